"""NumPy's files, .npy and .npz, read by their headers: nothing in them is ever unpickled."""

import math
import tokenize
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.lib import format as npy

from wavecoder.files.base import LABEL_NAMES, FileError, Stored, signal_shape

_LABELS_IN_NPZ = (*LABEL_NAMES, "y")

BinaryFile = Any  # a file, or a member of an archive, which have no type in common


class Header(NamedTuple):
    """What the header of a .npy file says, and where the values begin."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @property
    def bytes(self) -> int:
        """Size of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(path: Path, file: BinaryFile) -> Header:
    """The header of an array.

    Raises:
        FileError: It is not one, or damaged.
    """
    try:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):  # 3.0 is for names of fields
            raise FileError(path, "holds a structured array; an array of numbers is needed")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(path, "is not an array of NumPy, or its header is damaged") from error
    return Header(shape, dtype, fortran, file.tell())


def require_real(path: Path, dtype: np.dtype) -> None:
    """Refuse arrays that do not hold real numbers."""
    if dtype.kind not in "iuf":
        kind = {"c": "complex numbers", "O": "Python objects, which are never loaded", "b": "truth values"}
        raise FileError(path, f"holds {kind.get(dtype.kind, f'values of type {dtype}')}; real numbers are needed")


class _Array(Stored):
    """An array whose header has been read."""

    header: Header

    @abstractmethod
    def _values(self) -> AbstractContextManager[BinaryFile]:
        """The file, at its first value."""

    def blocks(self, size: int) -> Iterator[ndarray]:
        if self.header.fortran and not self.is_recording:
            yield from (self.read()[first : first + size] for first in range(0, self.shape[0], size))
            return
        width = math.prod(self.shape[1:])
        with self._values() as file:
            for first in range(0, self.shape[0], size):
                count = min(size, self.shape[0] - first) * width
                content = self._read(file, count * self.header.dtype.itemsize)
                yield np.frombuffer(content, self.header.dtype).reshape(-1, *self.shape[1:])

    def read(self) -> ndarray:
        with self._values() as file:
            content = self._read(file, self.header.bytes)
        order = "F" if self.header.fortran else "C"
        return np.frombuffer(content, self.header.dtype).reshape(self.shape, order=order)  # type: ignore[call-overload]

    def _read(self, file: BinaryFile, count: int) -> bytes:
        content: bytes = file.read(count)
        if len(content) < count:
            raise FileError(self.path, "is truncated: it holds fewer values than its header says")
        return content


class Npy(_Array):
    """One array in a .npy file."""

    suffixes = (".npy",)

    def __init__(self, path: Path, key: str | None = None) -> None:
        if key is not None:
            raise FileError(path, f"holds a single array and none named {key}")
        self.path = path
        with path.open("rb") as file:
            self.header = read_header(path, file)
        require_real(path, self.header.dtype)
        self.shape = signal_shape(path, self.header.shape)
        there = path.stat().st_size - self.header.offset
        if there < self.header.bytes:
            raise FileError(path, f"is truncated: {there:,} bytes of values, {self.header.bytes:,} by its header")

    @contextmanager
    def _values(self) -> Iterator[BinaryFile]:
        with self.path.open("rb") as file:
            file.seek(self.header.offset)
            yield file

    @property
    def has_consecutive_rows(self) -> bool:
        """Whether the values of each row lie one after another."""
        return self.is_recording or not self.header.fortran

    def read(self) -> ndarray:
        """Everything in it, memory-mapped."""
        order: Literal["F", "C"] = "F" if self.header.fortran else "C"
        return np.memmap(self.path, self.header.dtype, "r", self.header.offset, self.shape, order)

    def labels(self, name: str | None) -> ndarray | None:
        """The labels in another .npy file, whose path is `name`, relative to the folder of this one."""
        if name is None:
            return None
        path = self.path.parent / name
        if path.suffix.lower() != ".npy" or not path.is_file():
            raise FileError(self.path, f"labels={name}: must be a .npy file with a label for each row")
        if path.samefile(self.path):
            raise FileError(self.path, f"labels={name}: must be another file than that of the signals")
        with path.open("rb") as file:
            header = read_header(path, file)
            return _labels(path, header, file.read(header.bytes))


class Npz(_Array):
    """One array in a .npz file: the one asked for, or the only one beside the labels.

    Attributes:
        name: Its name.
    """

    suffixes = (".npz",)

    def __init__(self, path: Path, key: str | None = None) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        except zipfile.BadZipFile as error:
            raise FileError(path, "is not a .npz file, or truncated") from error
        candidates = [name for name in self._names if name not in _LABELS_IN_NPZ] or self._names
        if key is None and len(candidates) != 1:
            there = f"which are {', '.join(candidates)}" if candidates else "of which there are none"
            raise FileError(path, f"key=null: must name one of its arrays, {there}")
        if key is not None and key not in self._names:
            raise FileError(path, f"key={key}: must be one of {', '.join(self._names)}")
        self.name = key or candidates[0]
        with self._open(self.name) as file:
            self.header = read_header(path, file)
        require_real(path, self.header.dtype)
        self.shape = signal_shape(path, self.header.shape)

    def others(self) -> Iterator[tuple[str, bytes]]:
        """The other arrays of the file: the name of each in the archive, and its content."""
        with zipfile.ZipFile(self.path) as archive:
            for name in archive.namelist():
                if name != f"{self.name}.npy":
                    yield name, archive.read(name)

    @contextmanager
    def _open(self, name: str) -> Iterator[BinaryFile]:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as file:
                yield file
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:  # encrypted, too
            raise FileError(self.path, f"is damaged ({error})") from error

    @contextmanager
    def _values(self) -> Iterator[BinaryFile]:
        with self._open(self.name) as file:
            file.read(self.header.offset)
            yield file

    def labels(self, name: str | None) -> ndarray | None:
        if name is not None and name not in self._names:
            raise FileError(self.path, f"labels={name}: must be one of {', '.join(self._names)}")
        if name == self.name:
            raise FileError(self.path, f"labels={name}: must be another array than that of the signals")
        found = [each for each in (name,) if each] or [each for each in _LABELS_IN_NPZ if each in self._names]
        if not found or found[0] == self.name:
            return None
        with self._open(found[0]) as file:
            header = read_header(self.path, file)
            return _labels(self.path, header, self._read(file, header.bytes))


def _labels(path: Path, header: Header, content: bytes) -> ndarray:
    if header.dtype.kind not in "iufbUS" or len(header.shape) != 1 or len(content) < header.bytes:
        raise FileError(
            path, f"holds labels of shape {header.shape} and type {header.dtype}; one number or text for each row is needed"
        )
    labels = np.frombuffer(content, header.dtype)
    return labels.astype(str) if header.dtype.kind == "S" else labels
