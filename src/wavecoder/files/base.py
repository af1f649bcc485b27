"""What all formats share: the error, and what a file that has been opened can do."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy import ndarray

LABEL_NAMES = ("labels", "label")
"""Names of the array or the column of labels in a file, unless the user gives another."""

BLOCK_VALUES = 1_000_000  # values that are looked at together where a whole file is read


class FileError(ValueError):
    """A file that cannot be used. Its message is one line: the path, what is wrong, what is allowed."""

    def __init__(self, path: Path | str, problem: object) -> None:
        super().__init__(f"{path}: {' '.join(str(problem).split())}")


class Stored(ABC):
    """The signals in a file, before they are read.

    Attributes:
        path: The file.
        shape: `(signals, samples)`, or `(samples,)` if it is one long recording.
        rate: Samples in a second; None if the file does not say.
        subtype: How an audio file stores a sample, in libsndfile's words; None for others.
    """

    path: Path
    shape: tuple[int, ...]
    rate: float | None = None
    subtype: str | None = None
    suffixes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def blocks(self, size: int) -> Iterator[ndarray]:
        """Everything in it from the beginning, in arrays of at most `size` rows, or samples of a recording; in flat memory."""

    def read(self) -> ndarray:
        """Everything in it as one array, memory-mapped where the format allows."""
        return np.concatenate(list(self.blocks(self.rows_at_once)))

    def labels(self, name: str | None) -> ndarray | None:
        """The labels of the rows by the name of their array or column; None if there are none."""
        if name is not None:
            raise FileError(self.path, f"has no labels named {name}")
        return None

    @property
    def is_recording(self) -> bool:
        """Whether it is one long signal rather than rows."""
        return len(self.shape) == 1

    @property
    def rows_at_once(self) -> int:
        """As many rows, or samples of a recording, as are looked at together."""
        return BLOCK_VALUES if self.is_recording else max(1, BLOCK_VALUES // self.shape[1])


def signal_shape(path: Path, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of an array as that of signals: one column is a recording.

    Raises:
        FileError: It has neither one nor two dimensions, or is empty.
    """
    if len(shape) not in (1, 2):
        raise FileError(path, f"holds an array of shape {tuple(shape)}; rows of signals (2-D) or one long one (1-D) are allowed")
    if 0 in shape:
        raise FileError(path, f"holds no values (shape {tuple(shape)})")
    return (int(shape[0]),) if len(shape) == 1 or shape[1] == 1 else (int(shape[0]), int(shape[1]))


def require_finite(path: Path, block: ndarray, first: int) -> None:
    """Refuse values that are no finite 32-bit numbers.

    Args:
        path: The file that they come from.
        block: Rows or samples.
        first: The number of the first of them in the file.

    Raises:
        FileError: There is one; the first is named, counted from 0.
    """
    with np.errstate(over="ignore"):
        finite = np.isfinite(block.astype(np.float32, copy=False))
    if finite.all():
        return
    row, *sample = map(int, np.argwhere(~finite)[0])
    value = block[(row, *sample)]
    where = f"row {first + row}, sample {sample[0]}" if sample else f"sample {first + row}"
    raise FileError(path, f"{where} (counted from 0) is {value:g}; finite numbers are needed")


def require_package(path: Path, package: str, extra: str) -> Any:
    """An optional package that a format needs.

    Raises:
        FileError: It is not installed.
    """
    try:
        return import_module(package)
    except (ImportError, OSError) as error:  # soundfile finds its library when it is imported
        raise FileError(path, f"needs wavecoder's extra {extra}: pip install 'wavecoder[{extra}]'") from error
