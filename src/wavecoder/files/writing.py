"""Writing signals block by block, into a file that appears when it is complete."""

import csv
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray
from numpy.lib import format as npy

from wavecoder.files.arrays import Npz
from wavecoder.files.base import FileError, require_package
from wavecoder.files.tables import Text

if TYPE_CHECKING:
    from wavecoder.files import Recording, Rows

_NAME = "signals"  # of the array in a .npz file, and of the column in a table


class Writer:
    """Takes the blocks of a file one after another.

    Attributes:
        path: The file that will be there at the end.
        clipped: Samples so far that an audio file of whole numbers cannot hold because they are beyond ±1.
    """

    def __init__(self, path: Path, put: Callable[[ndarray], None], counts_clipping: bool) -> None:
        self.path = path
        self.clipped = 0
        self._put = put
        self._counts_clipping = counts_clipping

    def write(self, block: ndarray) -> None:
        """Write the next rows `[signal, time]`, or the next samples of a recording."""
        if self._counts_clipping:
            self.clipped += int(np.count_nonzero(np.abs(block) > 1))
        self._put(block)


@contextmanager
def create(path: Path | str, like: "Rows | Recording", force: bool = False) -> Iterator[Writer]:
    """Create a file of as many rows or samples as another has, of the kind that its suffix says.

    A .npz file keeps the names and the other arrays of the one that was read, a table the names of its columns and its labels.

    The file is written under another name beside it, and renamed at the end; on any error nothing is left. Recordings in .wav and
    .flac keep the rate, and the kind of samples where the format has it.

    Args:
        path: The new file.
        like: What was read.
        force: Whether a file that is there may be replaced.

    Raises:
        FileError: It exists already, its folder does not, or it cannot hold signals of this kind.
    """
    path = Path(path)
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise FileError(path, f"files of {', '.join(_KINDS)} can be written")
    if path.is_dir():
        raise FileError(path, "is a folder; a file is needed")
    if not path.parent.is_dir():
        raise FileError(path, f"there is no folder {path.parent}")
    if path.exists() and not force:
        raise FileError(path, "exists already; --force replaces it")
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        with ExitStack() as stack:
            yield kind(path, temporary, like, stack)
        temporary.replace(path)
    except OSError as error:
        if error.filename not in (None, str(temporary), str(path)):
            raise
        raise FileError(path, error.strerror or error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _shape(like: "Rows | Recording") -> tuple[int, ...]:
    return like.values.shape if isinstance(like, tuple) else (like.length,)


def _put_values(file: Any, shape: tuple[int, ...], dtype: np.dtype) -> Callable[[ndarray], None]:
    """Begin an array in NumPy's format."""
    npy.write_array_header_1_0(file, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})

    def put(block: ndarray) -> None:
        file.write(np.ascontiguousarray(block, dtype).tobytes())

    return put


def _dtype(like: "Rows | Recording") -> np.dtype:
    return np.dtype(like.values.dtype if isinstance(like, tuple) else np.float32)


def _npy(path: Path, temporary: Path, like: "Rows | Recording", stack: ExitStack) -> Writer:
    return Writer(path, _put_values(stack.enter_context(temporary.open("xb")), _shape(like), _dtype(like)), False)


def _npz(path: Path, temporary: Path, like: "Rows | Recording", stack: ExitStack) -> Writer:
    archive = stack.enter_context(zipfile.ZipFile(temporary, "x", zipfile.ZIP_DEFLATED))
    name = _NAME
    if isinstance(like.stored, Npz):
        name = like.stored.name
        for other, content in like.stored.others():
            archive.writestr(other, content)
    file = stack.enter_context(archive.open(f"{name}.npy", "w", force_zip64=True))
    return Writer(path, _put_values(file, _shape(like), _dtype(like)), False)


def _text(path: Path, temporary: Path, like: "Rows | Recording", stack: ExitStack) -> Writer:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    file = stack.enter_context(temporary.open("x", encoding="utf-8", newline=""))
    table = csv.writer(file, delimiter=separator, lineterminator="\n")
    number = "%.17g" if _dtype(like).itemsize > 4 else "%.9g"  # that give back the same number
    place = None
    if isinstance(like.stored, Text) and like.stored.names:
        table.writerow(like.stored.names)
        place = like.stored.label_column
    labels = iter(like.labels if isinstance(like, tuple) and like.labels is not None else ())

    def put(block: ndarray) -> None:
        if place is None:
            np.savetxt(file, block, number, separator)
            return
        for row in block:
            cells = [number % value for value in row]
            table.writerow([*cells[:place], next(labels), *cells[place:]])

    return Writer(path, put, False)


def _parquet(path: Path, temporary: Path, like: "Rows | Recording", stack: ExitStack) -> Writer:
    arrow = require_package(path, "pyarrow", "parquet")
    numbers = arrow.from_numpy_dtype(_dtype(like))
    shape = _shape(like)
    kind = arrow.list_(numbers) if len(shape) == 2 else numbers
    schema = arrow.schema([(_NAME, kind)])
    writer = stack.enter_context(require_package(path, "pyarrow.parquet", "parquet").ParquetWriter(temporary, schema))

    def put(block: ndarray) -> None:
        values = arrow.array(np.ascontiguousarray(block, _dtype(like)).ravel())
        if len(shape) == 2:
            starts = arrow.array(np.arange(0, block.size + 1, shape[1]), arrow.int32())
            values = arrow.ListArray.from_arrays(starts, values)
        writer.write_table(arrow.table([values], schema=schema))

    return Writer(path, put, False)


def _audio(path: Path, temporary: Path, like: "Rows | Recording", stack: ExitStack) -> Writer:
    if isinstance(like, tuple):
        rows = ", ".join(suffix for suffix in _KINDS if _KINDS[suffix] is not _audio)
        raise FileError(path, f"holds one recording; rows of signals can be written to {rows}")
    if like.rate is None:
        raise FileError(path, f"needs a sampling rate, which {like.path} does not say; .npy and .csv need none")
    soundfile: Any = require_package(path, "soundfile", "audio")
    format_name = path.suffix[1:].upper()
    kept = like.subtype if like.subtype and soundfile.check_format(format_name, like.subtype) else None
    subtype = kept or ("FLOAT" if format_name == "WAV" else "PCM_24")
    temporary.touch(exist_ok=False)  # whose errors say what is wrong
    file = stack.enter_context(soundfile.SoundFile(str(temporary), "w", int(like.rate), 1, subtype, format=format_name))
    return Writer(path, file.write, subtype not in ("FLOAT", "DOUBLE"))


_KINDS: dict[str, Callable[[Path, Path, Any, ExitStack], Writer]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _text,
    ".tsv": _text,
    ".parquet": _parquet,
    ".wav": _audio,
    ".flac": _audio,
}
