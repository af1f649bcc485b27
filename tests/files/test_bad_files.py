"""Files that cannot be used: one line each, which names what is wrong."""

import os
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from wavecoder.files import FileError, Recording, open_signals, read_rows

ROWS = np.random.default_rng(0).standard_normal((20, 5))
TONE = np.sin(np.arange(8000) / 20)


def with_value(values: np.ndarray, place: tuple[int, ...], value: float) -> np.ndarray:
    changed = values.copy()
    changed[place] = value
    return changed


def npy(values: np.ndarray) -> bytes:
    content = BytesIO()
    np.save(content, values, allow_pickle=True)
    return content.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    content = BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def parquet(**columns: object) -> bytes:
    return bytes(pd.DataFrame(columns).to_parquet())


def audio(suffix: str, samples: np.ndarray, rate: int = 8000, subtype: str | None = None) -> bytes:
    content = BytesIO()
    soundfile.write(content, samples, rate, subtype, format=suffix)
    return content.getvalue()


def damaged(content: bytes, place: int, replacement: bytes) -> bytes:
    return content[:place] + replacement + content[place + len(replacement) :]


FROM_0 = r"\(counted from 0\)"
BAD: dict[str, tuple[str, bytes, str]] = {
    "empty": ("x.npy", b"", "is empty"),
    "empty text": ("x.csv", b"", "is empty"),
    "blank text": ("x.csv", b"\n\n", "is empty"),
    "empty recording": ("x.wav", b"", "is empty"),
    "no array": ("x.npy", b"hello world" * 10, "is not an array of NumPy"),
    "pickle": ("x.npy", pickle.dumps([1, 2]), "is not an array of NumPy"),
    "header cut": ("x.npy", npy(ROWS)[:50], "its header is damaged"),
    "values cut": ("x.npy", npy(ROWS)[:-100], "is truncated: 700 bytes of values, 800 by its header"),
    "archive cut": ("x.npz", npz(x=ROWS)[:-30], "is not a .npz file, or truncated"),
    "archive changed": ("x.npz", damaged(npz(x=ROWS), 400, b"\xff\xff"), "is damaged .Bad CRC-32"),
    "objects": ("x.npy", npy(np.array([[1, "a"], [2, None]], dtype=object)), "Python objects, which are never loaded"),
    "objects in archive": ("x.npz", npz(x=np.array([[1, None]], dtype=object)), "Python objects, which are never loaded"),
    "complex": ("x.npy", npy(ROWS + 1j), "holds complex numbers; real numbers are needed"),
    "truth values": ("x.npy", npy(ROWS > 0), "holds truth values"),
    "texts": ("x.npy", npy(np.array([["a", "b"]])), "holds values of type <U1"),
    "dates": ("x.npy", npy(np.array([["2020-01-01"]], dtype="M8[D]")), "values of type datetime64"),
    "fields": ("x.npy", npy(np.zeros(3, dtype=[("a", "f4")])), "holds values of type"),
    "3-D": ("x.npy", npy(ROWS.reshape(2, 10, 5)), r"shape \(2, 10, 5\); rows of signals \(2-D\) or one long one \(1-D\)"),
    "0-D": ("x.npy", npy(np.float64(3)), r"shape \(\)"),
    "no rows": ("x.npy", npy(np.zeros((0, 5))), r"holds no values \(shape \(0, 5\)\)"),
    "no columns": ("x.npy", npy(np.zeros((5, 0))), "holds no values"),
    "NaN": ("x.npy", npy(with_value(ROWS, (3, 2), np.nan)), f"row 3, sample 2 {FROM_0} is nan; finite numbers are needed"),
    "infinite": ("x.npy", npy(with_value(ROWS, (19, 4), np.inf)), f"row 19, sample 4 {FROM_0} is inf"),
    "infinite sample": ("x.npy", npy(with_value(ROWS[:, 0], (7,), -np.inf)), f"sample 7 {FROM_0} is -inf"),
    "several arrays": ("x.npz", npz(a=ROWS, b=ROWS), "key=null: must name one of its arrays, which are a, b"),
    "too few labels": ("x.npz", npz(x=ROWS, y=np.arange(3)), "has 3 labels and 20 rows"),
    "labels of rows": ("x.npz", npz(x=ROWS, y=ROWS), r"holds labels of shape \(20, 5\)"),
    "text": ("x.csv", b"1,2,3\n4,abc,6\n", f"row 1, column 1 {FROM_0} is 'abc'; numbers are needed"),
    "text in the first line": ("x.csv", b"1,x,3\n4,5,6\n", f"row 0, column 1 {FROM_0} is 'x'"),
    "text in a recording": ("x.tsv", b"1\n2\nthree\n", f"row 2, column 0 {FROM_0} is 'three'"),
    "gap": ("x.csv", b"1\n2\n\n4\n", f"row 2, column 0 {FROM_0} is empty or nan"),
    "empty cell": ("x.csv", b"1,2,3\n4,,6\n", f"row 1, column 1 {FROM_0} is empty or nan"),
    "short line": ("x.csv", b"1,2,3\n4,5\n", f"row 1, column 2 {FROM_0} is empty or nan"),
    "long line": ("x.csv", b"1,2,3\n4,5,6,7\n", "Expected 3 fields in line 2, saw 4"),
    "infinite text": ("x.csv", b"1,2\n3,1e999\n", f"row 1, sample 1 {FROM_0} is inf"),
    "truth in text": ("x.csv", b"1,True\n2,False\n", f"row 0, column 1 {FROM_0} is 'True'"),
    "names alone": ("x.csv", b"a,b,c\n", "holds no values"),
    "semicolons": ("x.csv", b"1;2\n3;4\n", "has semicolons between its values; commas, and points in numbers, are needed"),
    "decimal commas": ("x.csv", b"1,5;2,5\n3,5;4,5\n", "has semicolons between its values; commas"),
    "counted columns and row numbers": ("x.csv", b",0,1,2\n0,1,2,3\n", "the first column has no name: it looks like row numbers"),
    "row numbers": ("x.csv", b",a,b\n0,1,2\n", "the first column has no name: it looks like row numbers"),
    "no text": ("x.csv", bytes(range(128, 256)), "is not a text file"),
    "no table": ("x.parquet", b"PAR1hello", "is not a .parquet file, or damaged"),
    "text column": ("x.parquet", parquet(a=[1.0, 2.0], b=["x", "y"]), "column b holds values of type"),
    "lists of different length": ("x.parquet", parquet(s=[[1.0, 2.0], [1.0]]), f"row 1 {FROM_0} has 1 values and row 0 has 2"),
    "NaN in a list": ("x.parquet", parquet(s=[[1.0, 2.0], [1.0, np.nan]]), f"row 1, sample 1 {FROM_0} is nan"),
    "empty table": ("x.parquet", parquet(a=[]), "holds no values"),
    "two lists": ("x.parquet", parquet(s=[[1.0, 2.0]], t=[[1.0, 2.0]]), "must name the column of signals, one of s, t"),
    "no recording": ("x.wav", b"xx" * 100, "is not a recording that libsndfile can read"),
    "recording cut": ("x.wav", audio("wav", TONE)[:5000], "is truncated: 4,956 of 16,000 bytes of samples"),
    "0 Hz": ("x.wav", damaged(audio("wav", TONE), 24, bytes(4)), "has a sampling rate of 0 Hz; it must be above 0"),
    "no samples": ("x.wav", audio("wav", TONE[:0]), "holds no samples"),
    "stereo": ("x.wav", audio("wav", np.stack([TONE, TONE], 1)), r"is stereo; recordings of one channel \(mono\) are allowed"),
    "six channels": ("x.wav", audio("wav", np.stack([TONE] * 6, 1)), "is 6 channels"),
    "NaN in a recording": ("x.wav", audio("wav", with_value(TONE, (5,), np.nan), 8000, "FLOAT"), f"sample 5 {FROM_0} is nan"),
    "compressed recording cut": ("x.flac", audio("flac", TONE)[:3000], "is damaged after sample"),
    "unknown suffix": ("x.txt", b"1", r"files of .npy, .npz, .csv, .tsv, .parquet, .wav, .flac can be read"),
}


def read(path: Path, key: str | None = None) -> None:
    signals = open_signals(path, key)
    if isinstance(signals, Recording):
        for _ in signals.blocks(1000):
            pass


@pytest.mark.parametrize("kind", BAD)
def test_what_is_wrong_with_a_file_is_said_in_one_line(kind: str, tmp_path: Path) -> None:
    name, content, problem = BAD[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match=problem) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_columns_called_by_their_number_are_not_a_signal(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("0,1,2\n5,6,7\n8,9,10\n", encoding="utf-8")
    assert read_rows(tmp_path / "x.csv").values.tolist() == [[5, 6, 7], [8, 9, 10]]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(FileError, match=r"missing.npy: No such file or directory$"):
        read(tmp_path / "missing.npy")
    with pytest.raises(FileError, match=r"folder.npy: is a folder; a file of .npy, "):
        read(tmp_path / "folder.npy")


def test_a_file_that_may_not_be_read() -> None:
    with tempfile.TemporaryDirectory() as name, _no_superuser(folder := Path(name)):
        np.save(folder / "x.npy", ROWS)
        (folder / "x.npy").chmod(0)
        with pytest.raises(FileError, match=r"^\S+x.npy: Permission denied$"):
            read(folder / "x.npy")


@contextmanager
def _no_superuser(folder: Path) -> Iterator[None]:
    """Somebody else, whose a folder is, in place of the superuser, who may read everything."""
    if os.geteuid():
        yield
        return
    nobody = 65_534
    os.chown(folder, nobody, -1)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)


def test_keys_and_labels_that_are_not_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=ROWS)
    np.save(tmp_path / "x.npy", ROWS)
    np.savetxt(tmp_path / "x.csv", ROWS, delimiter=",")
    soundfile.write(tmp_path / "x.wav", TONE, 8000)
    pd.DataFrame({"a": [1.0], "b": [2.0]}).to_parquet(tmp_path / "x.parquet")
    for name, problem in {
        "x.npz": "key=no: must be one of x",
        "x.npy": "holds a single array and none named no",
        "x.csv": "key=no: must be left out: its columns have no names",
        "x.wav": "key=no: chooses an array in .npz files",
        "x.parquet": "key=no: must be one of its columns, a, b",
    }.items():
        with pytest.raises(FileError, match=problem):
            read(tmp_path / name, key="no")
    for name, problem in {
        "x.npz": "labels=no: must be one of x",
        "x.npy": "labels=no: must be a .npy file with a label for each row",
        "x.csv": "has no column of labels named no",
        "x.parquet": "has no column of labels named no",
    }.items():
        with pytest.raises(FileError, match=problem):
            read_rows(tmp_path / name, labels="no")
    for name, choice in {
        "x.npz": {"labels": "x"},
        "x.npy": {"labels": "x.npy"},
        "x.parquet": {"key": "a", "labels": "a"},
    }.items():
        with pytest.raises(FileError, match=f"labels={choice['labels']}: must be another"):
            read_rows(tmp_path / name, **choice)


def test_packages_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.wav").write_bytes(audio("wav", TONE))
    (tmp_path / "x.parquet").write_bytes(parquet(a=[1.0]))

    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("wavecoder.files.base.import_module", absent)
    with pytest.raises(FileError, match=r"needs wavecoder's extra audio: pip install 'wavecoder\[audio\]'$"):
        read(tmp_path / "x.wav")
    with pytest.raises(FileError, match=r"needs wavecoder's extra parquet: pip install 'wavecoder\[parquet\]'$"):
        read(tmp_path / "x.parquet")


def test_rows_are_wanted_and_it_is_a_recording(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", TONE, 8000)
    with pytest.raises(FileError, match=r"is one long recording of 8,000 samples; rows of signals are needed"):
        read_rows(tmp_path / "x.wav")
