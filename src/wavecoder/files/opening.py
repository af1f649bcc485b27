"""Which format a file has, and what is in it."""

from pathlib import Path

from numpy import ndarray

from wavecoder.files.arrays import Npy, Npz
from wavecoder.files.audio import Audio
from wavecoder.files.base import FileError, Stored, require_finite
from wavecoder.files.tables import Parquet, Text

_FORMATS: dict[str, type[Stored]] = {suffix: kind for kind in (Npy, Npz, Text, Parquet, Audio) for suffix in kind.suffixes}

SUFFIXES = tuple(_FORMATS)
"""Of the files that can be read and written."""


def open_stored(path: Path | str, key: str | None = None, labels: str | None = None) -> Stored:
    """What is in a file, by its header alone where the format has one.

    Args:
        path: The file.
        key: The array in a .npz file, the column of signals in a .parquet file, or the one column of a .csv or .tsv file that is
            the recording, where there are others; None for the only one.
        labels: The array (.npz), column (.csv, .tsv, .parquet) or file (.npy) of labels; None for one that is called so.

    Raises:
        FileError: It is not there, or cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        raise FileError(path, f"is a folder; a file of {', '.join(SUFFIXES)} is needed")
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise FileError(path, f"files of {', '.join(SUFFIXES)} can be read")
    if labels is not None and labels == key:
        raise FileError(path, f"labels={labels}: must be another than key, which holds the signals")
    try:
        if path.stat().st_size == 0:
            raise FileError(path, "is empty")
        return kind(path, key, labels) if issubclass(kind, Text | Parquet) else kind(path, key)  # type: ignore[call-arg]
    except OSError as error:
        raise FileError(path, error.strerror or error) from error


def check_rows(stored: Stored) -> None:
    """Look at every value.

    Raises:
        FileError: One is not a finite number, or the file ends too early.
    """
    first = 0
    for block in stored.blocks(stored.rows_at_once):
        require_finite(stored.path, block, first)
        first += len(block)


def labels_of(stored: Stored, name: str | None) -> ndarray | None:
    """The labels of the rows in a file; None if there are none.

    Raises:
        FileError: Their number is another than that of the rows.
    """
    labels = stored.labels(name)
    if labels is not None and len(labels) != stored.shape[0]:
        raise FileError(stored.path, f"has {len(labels):,} labels and {stored.shape[0]:,} rows; as many are needed")
    return labels
