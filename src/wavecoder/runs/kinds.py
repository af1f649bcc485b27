"""Folders where a run or a sweep writes files, and files where it has folders."""

import logging
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from wavecoder.training.files import rename_damaged

log = logging.getLogger(__name__)

_SUFFIXES = (".ckpt", ".json", ".npz", ".png", ".svg", ".txt", ".yaml")  # of the files in a run's own folders


def own_folders(folder: Path, names: Collection[str]) -> Iterator[Path]:
    """The folders in a run's folder that are its own: those of these names, Hydra's, and one for each line of TensorBoard's."""
    yield from (folder / name for name in (*names, ".hydra") if (folder / name).is_dir())
    yield from (line for line in (folder / "tb").glob("*") if line.is_dir())


def set_aside_wrong_kinds(folder: Path, run_files: Collection[str], run_folders: Collection[str]) -> None:
    """Set aside folders in places of files that a run writes, and files in places of folders: they would stop it every time.

    Args:
        folder: The run's, whose lock must be held, or a sweep's.
        run_files: The names of the files in it.
        run_folders: The names of the folders in it.
    """
    wrong = {folder / name: "folder" for name in run_files if (folder / name).is_dir()}
    wrong |= {folder / name: "file" for name in run_folders if os.path.lexists(folder / name) and not (folder / name).is_dir()}
    wrong |= {path: "file" for path in (folder / "tb").glob("*") if path.is_file() and "." not in path.name}
    for own in own_folders(folder, run_folders):
        wrong |= {path: "folder" for path in own.iterdir() if path.suffix in _SUFFIXES and path.is_dir()}
    for path, kind in wrong.items():
        log.warning("%s: is a %s, and must not be; it is set aside as %s", path, kind, rename_damaged(path))
