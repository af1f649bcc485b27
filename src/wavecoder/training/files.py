"""Files in a run's folder, each written completely or not at all. NumPy is imported late: the command line imports this too."""

import io
import logging
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy import ndarray

log = logging.getLogger(__name__)

ARRAYS = "reconstructions.npz"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that at any moment either all of it is there or the file that was there before.

    The content goes to a temporary file beside it, which is then renamed.
    """
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_arrays(folder: Path, arrays: Mapping[str, Any]) -> None:
    """Write NumPy arrays as `reconstructions.npz` into a run's folder."""
    import numpy as np

    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_atomically(folder / ARRAYS, content.getvalue())


def read_arrays(folder: Path) -> "dict[str, ndarray] | None":
    """The arrays that `write_arrays` wrote into a run's folder; None if there are none, or the file is damaged."""
    import numpy as np

    file = folder / ARRAYS
    if not file.exists():
        return None
    try:
        with np.load(file) as content:
            return dict(content)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        log.warning("%s is damaged; what would be drawn or judged from it is missing", file)
        return None


def of_member(values: "ndarray", member: int) -> "ndarray":
    """Noisy copies of the test signal, or what a reference makes of them, `[copy, time]`, that belong to a member.

    Args:
        values: `[copy, time]`, the same for all members, or `[member, copy, time]` (data.per_seed=true).
        member: The position of the member.
    """
    return values[member] if values.ndim == 3 else values


def write_figure(folder: Path, name: str, figure: "Figure") -> None:
    """Write a figure as PNG, for the screen, and as SVG, for printing."""
    folder.mkdir(parents=True, exist_ok=True)
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it is laid out now, and need not be for each file
    kinds: dict[str, dict[str, Any]] = {"png": {"dpi": 120}, "svg": {"metadata": {"Date": None}}}
    for kind, options in kinds.items():
        content = io.BytesIO()
        figure.savefig(content, format=kind, **options)
        write_atomically(folder / f"{name}.{kind}", content.getvalue())
