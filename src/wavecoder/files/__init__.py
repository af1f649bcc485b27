"""Signals in files: rows of equal length, or recordings of any length. Reading, and writing the same kind again.

The formats are .npy and .npz (nothing is unpickled), .csv and .tsv, .parquet (pyarrow), .wav and .flac (soundfile).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from wavecoder.files.base import FileError, Stored, require_finite
from wavecoder.files.opening import SUFFIXES, check_rows, labels_of, open_stored
from wavecoder.files.writing import Writer, create

__all__ = ["SUFFIXES", "FileError", "Recording", "Rows", "Writer", "create", "open_signals", "open_stored", "read_rows"]


class Rows(NamedTuple):
    """Signals of equal length.

    Attributes:
        values: `[signal, time]`, floating-point numbers, memory-mapped if they are so in a .npy file.
        labels: Numbers or texts, one for each signal; None if there are none.
        stored: The file that they are from; None for others.
    """

    values: ndarray
    labels: ndarray | None = None
    stored: Stored | None = None


class Recording:
    """One long signal in a file.

    Attributes:
        path: The file.
        length: Number of samples.
        rate: Samples in a second; None if the file does not say.
        subtype: How an audio file stores a sample, in libsndfile's words; None for others.
        stored: The file, as it was opened.
    """

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.path = stored.path
        self.length = stored.shape[0]
        self.rate = stored.rate
        self.subtype = stored.subtype

    def blocks(self, size: int) -> Iterator[ndarray]:
        """The samples from the beginning, in 32-bit arrays of at most `size`, in flat memory.

        Raises:
            FileError: A sample is not a finite number, or the file ends too early.
        """
        first = 0
        for block in self.stored.blocks(size):
            require_finite(self.path, block, first)
            first += len(block)
            yield block.astype(np.float32, copy=False)


def read_rows(path: Path | str, key: str | None = None, labels: str | None = None) -> Rows:
    """Read signals of equal length, each a row; all values are checked, in flat memory.

    Args:
        path: The file.
        key: The array in a .npz file, the column of signals in a .parquet file, or the one column of a .csv or .tsv file that is
            the recording, where there are others; None for the only one.
        labels: Where the labels are; None for those that are called so.

    Raises:
        FileError: It cannot be read, holds one long recording, or a value is not a finite number (the first is named).

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> path = Path(tempfile.mkdtemp(), "signals.npy")
        >>> np.save(path, np.ones((3, 100)))
        >>> read_rows(path).values.shape
        (3, 100)
    """
    signals = _opened(open_stored(path, key, labels), labels)
    if isinstance(signals, Recording):
        raise FileError(path, f"is one long recording of {signals.length:,} samples; rows of signals are needed")
    return signals


def open_signals(path: Path | str, key: str | None = None) -> Rows | Recording:
    """Open signals of either kind: rows, or a recording (.wav, .flac, or a single column of numbers).

    Raises:
        FileError: It cannot be read; see `read_rows` and `Recording.blocks`.
    """
    return _opened(open_stored(path, key), None)


def _opened(stored: Stored, labels: str | None) -> Rows | Recording:
    if stored.is_recording:
        return Recording(stored)
    check_rows(stored)
    values = stored.read()
    usable = values.dtype.kind == "f" and values.dtype.isnative
    return Rows(values if usable else values.astype(np.float32), labels_of(stored, labels), stored)
