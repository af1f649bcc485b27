"""Reading and writing signals: every format gives back what was written, in flat memory."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from numpy import ndarray

from wavecoder.files import SUFFIXES, FileError, Recording, Rows, create, open_signals, open_stored, read_rows

ROWS = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
LONG = np.random.default_rng(1).uniform(-0.9, 0.9, 1000).astype(np.float32)
OF_ROWS = [suffix for suffix in SUFFIXES if suffix not in (".wav", ".flac")]


def write(path: Path, values: ndarray, **options: Any) -> Path:
    """Write signals without the package's own writer."""
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, x=values)
    elif path.suffix in (".csv", ".tsv"):
        np.savetxt(path, values, "%.9g", "," if path.suffix == ".csv" else "\t")
    elif path.suffix == ".parquet":
        pd.DataFrame(values.reshape(len(values), -1)).rename(columns=str).to_parquet(path)
    else:
        soundfile.write(path, values, 8000, **options)
    return path


def joined(recording: Recording, size: int) -> ndarray:
    return np.concatenate(list(recording.blocks(size)))


@pytest.mark.parametrize("suffix", OF_ROWS)
def test_rows_are_read_as_they_are(suffix: str, tmp_path: Path) -> None:
    found = open_signals(write(tmp_path / f"x{suffix}", ROWS))
    assert isinstance(found, Rows)
    np.testing.assert_array_equal(found.values.astype(np.float32), ROWS)
    assert found.labels is None
    assert isinstance(found.values, np.memmap) == (suffix == ".npy")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size", [64, 1000, 5000])
def test_recordings_come_in_blocks(suffix: str, size: int, tmp_path: Path) -> None:
    found = open_signals(write(tmp_path / f"x{suffix}", LONG, **({"subtype": "FLOAT"} if suffix == ".wav" else {})))
    assert isinstance(found, Recording)
    assert found.length == 1000
    assert found.rate == (8000 if suffix in (".wav", ".flac") else None)
    blocks = list(found.blocks(size))
    assert {len(block) for block in blocks[:-1]} <= {size}
    assert {block.dtype for block in blocks} == {np.dtype(np.float32)}
    np.testing.assert_allclose(np.concatenate(blocks), LONG, rtol=0, atol=4e-5 if suffix == ".flac" else 0)


@pytest.mark.parametrize("suffix", OF_ROWS)
def test_one_column_is_a_recording(suffix: str, tmp_path: Path) -> None:
    found = open_signals(write(tmp_path / f"x{suffix}", LONG[:, None]))
    assert isinstance(found, Recording)
    np.testing.assert_array_equal(joined(found, 300), LONG)


@pytest.mark.parametrize("suffix", OF_ROWS)
@pytest.mark.parametrize("other", OF_ROWS)
def test_rows_are_written_in_every_format(suffix: str, other: str, tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path / f"x{suffix}", ROWS))
    with create(tmp_path / f"y{other}", rows) as writer:
        for block in (ROWS[:3], ROWS[3:]):
            writer.write(block)
    np.testing.assert_array_equal(read_rows(tmp_path / f"y{other}").values.astype(np.float32), ROWS)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([f"x{suffix}", f"y{other}"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_recordings_are_written_in_every_format(suffix: str, tmp_path: Path) -> None:
    recording = open_signals(write(tmp_path / "x.wav", LONG, subtype="FLOAT"))
    assert isinstance(recording, Recording)
    with create(tmp_path / f"y{suffix}", recording) as writer:
        for block in recording.blocks(300):
            writer.write(block)
    assert writer.clipped == 0
    written = open_signals(tmp_path / f"y{suffix}")
    assert isinstance(written, Recording)
    np.testing.assert_allclose(joined(written, 400), LONG, rtol=0, atol=2e-7 if suffix == ".flac" else 0)
    if suffix in (".wav", ".flac"):
        assert (written.rate, written.subtype) == (8000, "FLOAT" if suffix == ".wav" else "PCM_24")


def test_audio_keeps_its_kind_of_samples_and_counts_what_it_clips(tmp_path: Path) -> None:
    recording = open_signals(write(tmp_path / "x.wav", LONG, subtype="PCM_16"))
    assert isinstance(recording, Recording)
    with create(tmp_path / "y.wav", recording) as writer:
        writer.write(2 * joined(recording, 100))
    assert writer.clipped == np.count_nonzero(np.abs(2 * LONG) > 1)
    assert soundfile.info(tmp_path / "y.wav").subtype == "PCM_16"
    assert np.abs(soundfile.read(tmp_path / "y.wav")[0]).max() <= 1


@pytest.mark.parametrize("kind", ["int16", "uint8", "float16", "float64", ">f4"])
def test_numbers_of_any_kind_are_rows(kind: str, tmp_path: Path) -> None:
    values = (np.arange(12).reshape(3, 4)).astype(kind)
    np.save(tmp_path / "x.npy", values)
    found = read_rows(tmp_path / "x.npy").values
    assert found.dtype.kind == "f"
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(np.concatenate(list(open_stored(tmp_path / "x.npy").blocks(2))), values)


def test_arrays_stored_by_columns_are_read_too(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.asfortranarray(ROWS))
    np.savez(tmp_path / "x.npz", np.asfortranarray(ROWS))
    for name in ("x.npy", "x.npz"):
        np.testing.assert_array_equal(read_rows(tmp_path / name).values, ROWS)
        np.testing.assert_array_equal(np.concatenate(list(open_stored(tmp_path / name).blocks(3))), ROWS)


def test_an_array_of_several_is_chosen_by_its_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=ROWS, b=2 * ROWS, y=np.arange(7), other=np.array(["u", "v"] * 3 + ["u"]))
    assert (read_rows(tmp_path / "x.npz", key="b").values == 2 * ROWS).all()
    assert read_rows(tmp_path / "x.npz", key="b").labels.tolist() == list(range(7))
    assert read_rows(tmp_path / "x.npz", key="b", labels="other").labels.tolist() == ["u", "v"] * 3 + ["u"]
    with pytest.raises(FileError, match=r"key=null: must name one of its arrays, which are a, b, other$"):
        read_rows(tmp_path / "x.npz")


def test_a_column_of_labels_is_no_sample(tmp_path: Path) -> None:
    table = pd.DataFrame(ROWS.astype(float), columns=[f"t{number}" for number in range(5)])
    table.insert(2, "label", list("abcabca"))
    table.to_csv(tmp_path / "x.csv", index=False)
    table.to_csv(tmp_path / "x.tsv", index=False, sep="\t")
    table.to_parquet(tmp_path / "x.parquet")
    for suffix in ("csv", "tsv", "parquet"):
        rows = read_rows(tmp_path / f"x.{suffix}")
        np.testing.assert_allclose(rows.values, ROWS)
        assert rows.labels is not None
        assert rows.labels.tolist() == list("abcabca")
    named = read_rows(tmp_path / "x.csv", labels="label").labels
    assert named is not None
    assert named.tolist() == list("abcabca")
    np.save(tmp_path / "x.npy", ROWS)
    np.save(tmp_path / "kinds.npy", np.arange(7))
    assert read_rows(tmp_path / "x.npy", labels="kinds.npy").labels.tolist() == list(range(7))


def test_a_line_of_names_may_hold_numbers_beside_labels(tmp_path: Path) -> None:
    """As pandas writes a table whose columns have no names."""
    pd.DataFrame(ROWS).assign(label=1).to_csv(tmp_path / "x.csv", index=False)
    assert read_rows(tmp_path / "x.csv").values.shape == (7, 5)


def test_lists_in_parquet_are_rows(tmp_path: Path) -> None:
    pd.DataFrame({"signal": list(ROWS), "labels": range(7)}).to_parquet(tmp_path / "x.parquet")
    rows = read_rows(tmp_path / "x.parquet")
    assert (rows.values == ROWS).all()
    assert rows.labels.tolist() == list(range(7))
    assert (read_rows(tmp_path / "x.parquet", key="signal").values == ROWS).all()


def test_values_beyond_32_bits_are_named(tmp_path: Path) -> None:
    values = np.ones((3, 4))
    values[2, 1] = 1e300
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(FileError, match=r"row 2, sample 1 \(counted from 0\) is 1e\+300; finite"):
        read_rows(tmp_path / "x.npy")


def fail(path: Path, force: bool = False) -> None:
    with create(path, Rows(ROWS), force) as writer:
        writer.write(ROWS[:2])
        raise RuntimeError


def test_nothing_is_left_of_what_is_not_written_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "there.npy").write_bytes(b"mine")
    for suffix in OF_ROWS:
        with pytest.raises(RuntimeError):
            fail(tmp_path / f"y{suffix}")
    with pytest.raises(RuntimeError):
        fail(tmp_path / "there.npy", force=True)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"mine"]
    with create(tmp_path / "there.npy", Rows(ROWS), force=True) as writer:
        writer.write(ROWS)
    assert (np.load(tmp_path / "there.npy") == ROWS).all()


def bad_outputs(folder: Path) -> list[tuple[Path, Rows | Recording, str]]:
    recording = open_signals(write(folder / "x.csv", LONG))
    np.save(folder / "there.npy", ROWS)
    return [
        (folder / "there.npy", Rows(ROWS), "exists already; --force replaces it"),
        (folder / "y.txt", Rows(ROWS), "files of .npy, .npz, .csv, .tsv, .parquet, .wav, .flac can be written"),
        (folder / "no" / "y.npy", Rows(ROWS), f"there is no folder {folder / 'no'}"),
        (folder / "y.wav", Rows(ROWS), "holds one recording; rows of signals can be written to .npy, .npz, .csv, .tsv, .parquet"),
        (folder / "y.wav", recording, f"needs a sampling rate, which {folder / 'x.csv'} does not say; .npy and .csv need none"),
        (folder, Rows(ROWS), "files of .npy, .npz, .csv, .tsv, .parquet, .wav, .flac can be written"),
    ]


def test_files_that_cannot_be_written_are_refused_in_one_line(tmp_path: Path) -> None:
    for path, like, problem in bad_outputs(tmp_path):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(FileError) as caught, create(path, like):
            pass
        assert str(caught.value) == f"{path}: {problem}"
        assert sorted(tmp_path.rglob("*")) == before


def test_a_zip_file_of_something_else_is_no_npz(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(FileError, match=r"of which there are none$"):
        read_rows(tmp_path / "x.npz")


def test_one_column_of_a_table_is_a_recording(tmp_path: Path) -> None:
    """As data loggers write them, with the time beside the values."""
    path = tmp_path / "pulse.csv"
    table = {"time": [f"2016-11-24 13:58:{second:02}" for second in range(50)], "pulse": LONG[:50], "label": ["a"] * 50}
    pd.DataFrame(table).to_csv(path, index=False)
    found = open_signals(path, "pulse")
    assert isinstance(found, Recording)
    assert found.length == 50
    np.testing.assert_array_equal(joined(found, 7), LONG[:50])
    with create(tmp_path / "clean.csv", found) as writer:
        writer.write(LONG[:50])
    assert (tmp_path / "clean.csv").read_text().splitlines()[0] == "pulse"
    np.testing.assert_array_equal(joined(open_signals(tmp_path / "clean.csv"), 50), LONG[:50])
    with pytest.raises(FileError, match=r"row 0, column 0 \(counted from 0\) is '2016-11-24 13:58:00'; numbers are needed"):
        joined(open_signals(path, "time"), 50)
    with pytest.raises(FileError, match=r"key=puls: must be one of its columns, time, pulse, label$"):
        open_signals(path, "puls")
