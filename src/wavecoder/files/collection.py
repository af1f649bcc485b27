"""Many signals of equal length: the rows of a file, or windows of recordings, in memory or, if they are large, on disk."""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from wavecoder.files.arrays import Npy
from wavecoder.files.audio import Audio
from wavecoder.files.base import BLOCK_VALUES, FileError, Stored, require_finite
from wavecoder.files.opening import labels_of, open_stored

_KEPT_BYTES = 2**28  # a .npy file beyond this stays on disk
_MOST_VALIDATION = 10_000  # signals, unless the user asks for more: they measure an error to a percent


class Collection:
    """Signals of equal length, by number. Nothing but headers is read before `load`.

    Recordings are cut into consecutive windows that do not overlap; what is left at the end of each is not used.

    Args:
        path: A file of rows, a recording, or a folder of recordings (.wav, .flac), which are taken in the order of their names.
        key: The array in a .npz file, or the column of signals in a .parquet file; None for the only one.
        labels: Where the labels of rows are; None for those that are called so.
        signal_length: Samples in a window of a recording; of rows, None or as many as they have.

    Attributes:
        path: The file or the folder.
        count: Number of signals.
        signal_length: Number of values in a signal.
        rate: Samples in a second; None if the file does not say.

    Raises:
        FileError: It cannot be read.
        ValueError: The signal length does not fit; the message names it.
    """

    def __init__(
        self, path: Path | str, key: str | None = None, labels: str | None = None, signal_length: int | None = None
    ) -> None:
        self.path = Path(path)
        self._label_name = labels
        self._parts = _recordings(self.path, key) if self.path.is_dir() else [open_stored(self.path, key, labels)]
        rates = sorted({part.rate or 0.0 for part in self._parts})
        if len(rates) > 1:
            raise FileError(path, f"has recordings of {' and '.join(f'{rate:g}' for rate in rates)} Hz; all must have one rate")
        self.rate = rates[0] or None
        first = self._parts[0]
        if not first.is_recording:
            self.count, self.signal_length = first.shape
            if signal_length not in (None, self.signal_length):
                raise ValueError(f"signal_length={signal_length}: must be {self.signal_length}, as in {path}, or null")
            self._counts = [self.count]
            return
        longest = max(part.shape[0] for part in self._parts)
        if signal_length is None:
            kind = "a folder of recordings" if self.path.is_dir() else f"one long recording of {longest:,} samples"
            raise ValueError(
                f"signal_length=null: must be given, because {path} is {kind}, to be cut into windows of that length"
            )
        if labels is not None:
            raise ValueError(f"labels={labels}: must be null for recordings, whose windows have none")
        self.signal_length = signal_length
        self._counts = [part.shape[0] // signal_length for part in self._parts]
        self.count = sum(self._counts)
        if self.count == 0:
            raise ValueError(f"signal_length={signal_length}: must be at most {longest:,}, the samples of the longest in {path}")

    @property
    def is_on_disk(self) -> bool:
        """Whether signals are read when they are needed rather than kept in memory."""
        first = self._parts[0]
        return isinstance(first, Npy) and first.has_consecutive_rows and first.header.bytes > _KEPT_BYTES

    def load(self) -> None:
        """Look at every value, and read them into memory unless they stay on disk.

        Raises:
            FileError: One is not a finite number, or a file is damaged.
        """
        if not self.is_on_disk:
            _ = self.values
        elif not self._checked:
            for _, _ in _checked_blocks(self._parts[0]):
                pass
            self._checked = True

    _checked = False

    @cached_property
    def values(self) -> Float[ndarray, "signal time"]:
        """All signals, in memory.

        Raises:
            FileError: One is not a finite number, or a file is damaged.
        """
        values = np.empty((self.count, self.signal_length), np.float32)
        end = 0
        for part, count in zip(self._parts, self._counts, strict=True):
            start, end = end, end + count
            flat = values[start:end].reshape(-1)  # a view
            width = 1 if part.is_recording else self.signal_length
            for first, block in _checked_blocks(part):
                kept = flat[first * width : (first + len(block)) * width]
                kept[:] = block.reshape(-1)[: len(kept)]
        return values

    def take(self, index: Int[ndarray, " picked"]) -> Float[ndarray, "picked time"]:
        """The signals with these numbers, in 32 bits."""
        if not self.is_on_disk:
            return self.values[index]
        if len(index) == 0:
            return np.empty((0, self.signal_length), np.float32)
        low, high = int(index.min()), int(index.max()) + 1
        span = high - low
        if (
            span <= 8 * len(index) and span * self.signal_length <= 8 * BLOCK_VALUES
        ):  # what lies between costs less than many reads
            return self._as_rows(self._read(low, span))[index - low]
        return self._as_rows(bytearray().join([self._read(number, 1) for number in index.tolist()]))

    def _read(self, first: int, count: int) -> bytes:
        """Consecutive signals on disk, read rather than mapped, so that they take memory only while they are used."""
        stored = self._parts[0]
        assert isinstance(stored, Npy)
        size = self.signal_length * stored.header.dtype.itemsize
        content = os.pread(self._file, count * size, stored.header.offset + first * size)
        while len(content) < count * size:  # the system reads two gigabytes at most
            more = os.pread(self._file, count * size - len(content), stored.header.offset + first * size + len(content))
            if not more:
                raise FileError(self.path, "has become shorter since it was opened")
            content += more
        return content

    @cached_property
    def _file(self) -> int:
        return os.open(self.path, os.O_RDONLY)

    def __del__(self) -> None:
        if "_file" in vars(self):
            os.close(self._file)

    def _as_rows(self, content: bytes | bytearray) -> Float[ndarray, "picked time"]:
        stored = self._parts[0]
        assert isinstance(stored, Npy)
        return np.frombuffer(content, stored.header.dtype).astype(np.float32, copy=False).reshape(-1, self.signal_length)

    @cached_property
    def labels(self) -> ndarray | None:
        """The label of every signal; None if there are none.

        Raises:
            FileError: They cannot be read, or are not as many as the rows.
        """
        first = self._parts[0]
        return None if first.is_recording else labels_of(first, self._label_name)


def sizes(count: int, train_size: int | None = None, val_size: int | None = None) -> tuple[int, int]:
    """How many of some signals are for training, and how many for validation.

    Args:
        count: Number of signals.
        train_size: For training; None for all that are left.
        val_size: For validation; None for a tenth, at most 10,000.

    Raises:
        ValueError: There are not as many; the message names the argument.
    """
    if count < 2:
        raise ValueError(f"val_size={_or_null(val_size)}: needs 2 signals, one to train on and one to measure; there is {count}")
    val = min(max(1, count // 10), _MOST_VALIDATION) if val_size is None else val_size
    if val_size is None and train_size is not None:
        val = min(val, max(1, count - train_size))
    if not 1 <= val < count:
        raise ValueError(f"val_size={val}: must be 1 to {count - 1}, because there are {count} signals")
    train = count - val if train_size is None else train_size
    if not 1 <= train <= count - val:
        raise ValueError(f"train_size={train}: must be 1 to {count - val}: of {count} signals, {val} are for validation")
    return train, val


def stamp(path: Path | str) -> list[tuple[str, int, int]]:
    """What tells whether a file, or a recording in a folder, has changed: names, sizes in bytes, times in nanoseconds."""
    path = Path(path)
    files = _names(path) if path.is_dir() else [path] if path.exists() else []
    return [(file.name, (state := file.stat()).st_size, state.st_mtime_ns) for file in files]


def _or_null(value: object) -> object:
    return "null" if value is None else value


def _names(folder: Path) -> list[Path]:
    names = (file for file in folder.iterdir() if file.suffix.lower() in Audio.suffixes and not file.name.startswith("."))
    return sorted(names)


def _recordings(folder: Path, key: str | None) -> list[Stored]:
    try:
        files = _names(folder)
    except OSError as error:
        raise FileError(folder, error.strerror or error) from error
    if not files:
        raise FileError(folder, f"is a folder without recordings ({', '.join(Audio.suffixes)})")
    return [open_stored(file, key) for file in files]


def _checked_blocks(stored: Stored) -> Iterator[tuple[int, ndarray]]:
    """The blocks of a file, each after the number of its first row or sample, of finite numbers."""
    first = 0
    for block in stored.blocks(stored.rows_at_once):
        require_finite(stored.path, block, first)
        yield first, block
        first += len(block)
