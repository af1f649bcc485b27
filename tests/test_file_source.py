"""Signals of a file as a source: the split, windows, scaling, and the same signals from disk as from memory."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from wavecoder.file_source import FileSource
from wavecoder.files import FileError, collection
from wavecoder.files.collection import Collection, sizes, stamp
from wavecoder.signals import SignalSet, SignalSource

ROWS = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32) * 3 + 7


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", ROWS)
    return tmp_path / "x.npy"


def rows_of(source: FileSource, signals: SignalSet) -> np.ndarray:
    return np.asarray(signals.evaluate(source.times("cpu")))


def numbers(rows: np.ndarray) -> list[int]:
    """Which rows of the file these are."""
    return [int(np.flatnonzero((row == ROWS).all(1))[0]) for row in rows]


def test_every_signal_is_for_training_or_for_validation(file: Path) -> None:
    source = FileSource(file)
    assert isinstance(source, SignalSource)
    train, val = (numbers(rows_of(source, part)) for part in (source.training_set("cpu"), source.validation_set("cpu")))
    assert (len(train), len(val)) == (source.train_size, source.val_size) == (45, 5)
    assert sorted(train + val) == list(range(50))
    assert source.test_signal("cpu") is source.prior("cpu") is None
    again, other = FileSource(file), FileSource(file, seed=1)
    assert numbers(rows_of(again, again.validation_set("cpu"))) == val
    assert numbers(rows_of(other, other.validation_set("cpu"))) != val


def test_validation_does_not_depend_on_the_number_of_training_signals(file: Path) -> None:
    few, many = FileSource(file, train_size=7, val_size=10), FileSource(file, val_size=10)
    assert numbers(rows_of(few, few.validation_set("cpu"))) == numbers(rows_of(many, many.validation_set("cpu")))
    assert set(numbers(rows_of(few, few.training_set("cpu")))) < set(numbers(rows_of(many, many.training_set("cpu"))))


@pytest.mark.parametrize("scaling", ["none", "set", "signal"])
def test_signals_on_disk_are_those_in_memory(scaling: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory = FileSource(file, scaling=scaling)
    assert not in_memory.collection.is_on_disk
    whole = rows_of(in_memory, in_memory.training_set("cpu"))
    monkeypatch.setattr(collection, "_KEPT_BYTES", 10)
    on_disk = FileSource(file, scaling=scaling)
    assert on_disk.collection.is_on_disk
    on_disk.collection.load()
    assert "values" not in vars(on_disk.collection)
    index = torch.tensor([[[3, 44], [0, 17]]])
    assert on_disk.scaling == in_memory.scaling
    some = rows_of(on_disk, on_disk.training_set("cpu").take(index))
    np.testing.assert_array_equal(some, whole[index.numpy()])
    parts = [rows_of(on_disk, part) for part in on_disk.training_set("cpu").split(20)]
    assert [len(part) for part in parts] == [20, 20, 5]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_scaling_of_the_set_is_that_of_the_training_values(file: Path) -> None:
    source = FileSource(file, scaling="set")
    plain = FileSource(file)
    training = rows_of(plain, plain.training_set("cpu")).astype(np.float64)
    assert source.scaling.offset == pytest.approx(training.mean(), rel=1e-6)
    assert source.scaling.scale == pytest.approx(training.std(), rel=1e-6)
    scaled = rows_of(source, source.training_set("cpu"))
    assert (scaled.mean(), scaled.std()) == pytest.approx((0, 1), abs=1e-5)
    assert source.state() == {
        "signal_length": 6,
        "dt": 1.0,
        "train_size": 45,
        "val_size": 5,
        "scaling": {"kind": "set", "offset": source.scaling.offset, "scale": source.scaling.scale},
    }


def test_a_large_mean_does_not_hide_small_deviations(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", 1e6 + np.random.default_rng(0).standard_normal((100, 10)))
    assert FileSource(tmp_path / "x.npy", scaling="set").scaling.scale == pytest.approx(1, rel=0.1)


def test_recordings_are_cut_into_windows(tmp_path: Path) -> None:
    tones = {name: np.linspace(-1, 1, count, dtype=np.float32) for name, count in {"b": 25, "a": 41, "short": 5}.items()}
    for name, tone in tones.items():
        soundfile.write(tmp_path / f"{name}.wav", tone, 100, "FLOAT")
    (tmp_path / "notes.txt").write_text("no recording")
    found = Collection(tmp_path, signal_length=10)
    expected = np.concatenate([tones["a"][:40].reshape(4, 10), tones["b"][:20].reshape(2, 10)])
    assert (found.count, found.signal_length, found.rate) == (6, 10, 100)
    np.testing.assert_array_equal(found.values, expected)
    assert FileSource(tmp_path, signal_length=10).dt == 0.01
    np.save(tmp_path / "long.npy", tones["a"])
    np.testing.assert_array_equal(Collection(tmp_path / "long.npy", signal_length=10).values, tones["a"][:40].reshape(4, 10))


def test_windows_of_a_long_array_stay_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "_KEPT_BYTES", 10)
    tone = np.arange(57, dtype=np.int16)
    np.save(tmp_path / "x.npy", tone)
    found = Collection(tmp_path / "x.npy", signal_length=10)
    assert found.is_on_disk
    assert found.count == 5
    np.testing.assert_array_equal(found.take(np.array([4, 0])), tone[:50].reshape(5, 10)[[4, 0]])
    np.save(tmp_path / "columns.npy", np.asfortranarray(ROWS))
    assert not Collection(tmp_path / "columns.npy").is_on_disk


def test_labels_belong_to_the_validation_signals(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=ROWS, labels=np.arange(50))
    source = FileSource(tmp_path / "x.npz")
    labels = source.validation_labels()
    assert labels is not None
    assert labels.tolist() == numbers(rows_of(source, source.validation_set("cpu")))


def test_the_number_of_signals_decides_their_sizes() -> None:
    assert sizes(1000) == (900, 100)
    assert sizes(5) == (4, 1)
    assert sizes(2) == (1, 1)
    assert sizes(1_000_000) == (990_000, 10_000)
    assert sizes(1000, val_size=300) == (700, 300)
    assert sizes(1000, train_size=950) == (950, 50)
    assert sizes(1000, train_size=10) == (10, 100)


@pytest.mark.parametrize(
    ("count", "train_size", "val_size", "problem"),
    [
        (1, None, None, r"val_size=null: needs 2 signals, one to train on and one to measure; there is 1"),
        (50, None, 50, r"val_size=50: must be 1 to 49, because there are 50 signals"),
        (50, None, 0, r"val_size=0: must be 1 to 49"),
        (50, 45, 10, r"train_size=45: must be 1 to 40: of 50 signals, 10 are for validation"),
        (50, 50, None, r"train_size=50: must be 1 to 49: of 50 signals, 1 are for validation"),
        (50, 0, None, r"train_size=0: must be 1 to"),
    ],
)
def test_sizes_that_do_not_fit_are_named(count: int, train_size: int | None, val_size: int | None, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        sizes(count, train_size, val_size)


def test_arguments_that_do_not_fit_the_file_are_named(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    with pytest.raises(FileError, match=r"recordings: is a folder without recordings \(.wav, .flac\)"):
        FileSource(folder)
    for name, rate in {"a.wav": 8000, "b.flac": 16000}.items():
        soundfile.write(folder / name, np.zeros(100), rate)
    with pytest.raises(FileError, match=r"has recordings of 8000 and 16000 Hz; all must have one rate"):
        FileSource(folder, signal_length=10)
    (folder / "b.flac").unlink()
    with pytest.raises(ValueError, match=r"^signal_length=null: must be given, because \S+recordings is a folder of recordings"):
        FileSource(folder)
    with pytest.raises(ValueError, match=r"^signal_length=101: must be at most 100, the samples of the longest in "):
        FileSource(folder, signal_length=101)
    with pytest.raises(ValueError, match=r"^labels=y: must be null for recordings"):
        FileSource(folder, signal_length=10, labels="y")
    with pytest.raises(ValueError, match=r"^signal_length=5: must be 6, as in \S+x.npy, or null"):
        FileSource(file, signal_length=5)
    with pytest.raises(ValueError, match=r"^there are no new signals in a file; fresh and per_seed must be false"):
        FileSource(file).fresh([], 1)


def test_a_file_that_shrinks_while_it_is_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "_KEPT_BYTES", 10)
    np.save(tmp_path / "x.npy", ROWS)
    found = Collection(tmp_path / "x.npy")
    with (tmp_path / "x.npy").open("r+b") as file:
        file.truncate(500)
    with pytest.raises(FileError, match="has become shorter since it was opened"):
        found.take(np.array([49]))


def test_a_stamp_changes_with_the_files(file: Path, tmp_path: Path) -> None:
    before = stamp(file)
    np.save(file, ROWS + 1)
    assert stamp(file) != before
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 8000)
    assert [name for name, _, _ in stamp(tmp_path)] == ["a.wav"]
    assert stamp(tmp_path / "missing") == []
