"""Files in a run's folder, each written completely or not at all. NumPy is imported late: the command line imports this too."""

import errno
import io
import logging
import os
import re
import shutil
import stat
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy import ndarray

log = logging.getLogger(__name__)

ARRAYS = "reconstructions.npz"
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")  # the names of what `write_atomically` has not renamed yet
_LONGEST_WRITE = 600  # seconds, of such a file


class DamagedError(ValueError):
    """A file in a run's folder is damaged, or of something else. The message is one line with its path."""


def read_file(path: Path) -> bytes:
    """The content of a file. Of what is none, as a pipe, nothing is read: a reader could wait for it for ever.

    Raises:
        FileNotFoundError: There is none.
        OSError: It cannot be read, or is no file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        kind = os.fstat(handle).st_mode
        if not stat.S_ISREG(kind):
            code = errno.EISDIR if stat.S_ISDIR(kind) else errno.EINVAL
            raise OSError(code, "Not a regular file" if code == errno.EINVAL else os.strerror(code), str(path))
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def write_atomically(path: Path, content: str | bytes, before: str | None = None) -> None:
    """Write a file so that at any moment, of a power cut too, either all of it is there or the file that was there before.

    The content goes to a temporary file beside it, which is then renamed; both are on the disk when this returns.

    Args:
        path: The file.
        content: What it holds then.
        before: The name beside it under which the file that was there before is kept; None if it is not kept.

    Raises:
        OSError: It cannot be written; what was there before still is. The error names the file.
    """
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            with suppress(FileNotFoundError):  # it is the first one
                path.replace(path.with_name(before))
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):  # of a full disk it names no file, and otherwise the temporary one
            raise type(error)(error.errno, error.strerror or str(error), str(path)) from error
        raise


def _sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such thing
            raise
    finally:
        os.close(handle)


def rename_damaged(path: Path) -> str:
    """Rename a damaged file, or a folder in its place, and return its new name; an earlier one of that name is removed."""
    aside = path.with_name(f"{path.name}.damaged")
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)
    else:
        aside.unlink(missing_ok=True)
    # with a slash, a file that another process has put there by now is not renamed
    os.rename(f"{path}/" if path.is_dir() and not path.is_symlink() else path, aside)  # noqa: PTH104 - a Path has no slash
    return aside.name


def remove_old_leftovers(folder: Path, *patterns: str) -> None:
    """Remove what processes that were killed have half-written in a folder that no lock keeps for one process, as a sweep's.

    What another process may be writing is younger than that.

    Args:
        folder: The folder.
        patterns: Those of its folders that are looked into, too, as `glob` takes them.
    """
    for parent in (folder, *(found for pattern in patterns for found in folder.glob(pattern))):
        for file in parent.glob(".*"):
            with suppress(OSError):  # it has just been renamed, or is somebody else's
                if _TEMPORARY.fullmatch(file.name) and time.time() - file.lstat().st_mtime > _LONGEST_WRITE:
                    file.unlink()


def remove_leftovers(folder: Path, names: Collection[str], folders: Iterable[Path]) -> None:
    """Remove what processes that were killed have half-written in a run's folder, and nothing else that lies there.

    Args:
        folder: The run's. Its lock must be held.
        names: Of the files that the run writes in it.
        folders: Those in it that are the run's own.
    """
    found = [file for file in folder.glob(".*") if file.name.rpartition(".")[0][1:] in names]
    for file in chain(found, *(each.glob(".*") for each in folders)):
        if _TEMPORARY.fullmatch(file.name) and not file.is_dir():
            file.unlink(missing_ok=True)
    for half in (folder / "tb").glob(".*"):  # of a reference's curves
        if _TEMPORARY.fullmatch(half.name) and half.is_dir() and not half.is_symlink():
            shutil.rmtree(half)


def write_arrays(folder: Path, arrays: Mapping[str, Any]) -> None:
    """Write NumPy arrays as `reconstructions.npz` into a run's folder."""
    import numpy as np

    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_atomically(folder / ARRAYS, content.getvalue())


def read_arrays(folder: Path, members: int | None = None) -> "dict[str, ndarray] | None":
    """The arrays that `write_arrays` wrote into a run's folder; None if there are none, or the file is damaged.

    Args:
        folder: The run's.
        members: How many members the run has, if that is known.
    """
    import numpy as np

    from wavecoder.training.array_shapes import are_sound

    file = folder / ARRAYS
    if not file.exists():
        return None
    try:
        with np.load(io.BytesIO(read_file(file))) as content:
            arrays = dict(content)
        if are_sound(arrays, members):
            return arrays
    except Exception as error:  # of many kinds
        log.debug("%s", error)
    warn_once(f"{file}: is damaged, and reports leave out what is drawn from it; the command that made the run makes it again")
    return None


@cache
def warn_once(message: str) -> None:
    """Warn of something that many readers find."""
    log.warning("%s", message)


def of_member(values: "ndarray", member: int) -> "ndarray":
    """Noisy copies of the test signal, or what a reference makes of them, `[copy, time]`, that belong to a member.

    Args:
        values: `[copy, time]`, the same for all members, or `[member, copy, time]` (data.per_seed=true).
        member: The position of the member.
    """
    return values[member] if values.ndim == 3 else values


def write_figure(folder: Path, name: str, figure: "Figure") -> None:
    """Write a figure as PNG, for the screen, and as SVG, for printing."""
    folder.mkdir(exist_ok=True)
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it is laid out now, and need not be for each file
    kinds: dict[str, dict[str, Any]] = {"png": {"dpi": 120}, "svg": {"metadata": {"Date": None}}}
    for kind, options in kinds.items():
        content = io.BytesIO()
        figure.savefig(content, format=kind, **options)
        write_atomically(folder / f"{name}.{kind}", content.getvalue())
