"""Folders where a run writes files, and files where it has folders."""

import logging
import os
from collections.abc import Collection
from pathlib import Path

from wavecoder.runs.fingerprints import FINGERPRINT
from wavecoder.training.files import rename_damaged

log = logging.getLogger(__name__)

_SUFFIXES = (".ckpt", ".json", ".npz", ".png", ".svg", ".txt", ".yaml")  # of the files that a run writes


def set_aside_wrong_kinds(folder: Path, run_folders: Collection[str]) -> None:
    """Set aside folders in places of files that the run writes, and files in places of folders: they would stop it every time.

    Args:
        folder: The run's. Its lock must be held.
        run_folders: The names of the folders in it.
    """
    for parent, folders, files in os.walk(folder):
        is_top = Path(parent) == folder
        wrong = {name: "folder" for name in folders if Path(name).suffix in _SUFFIXES or (is_top and name == FINGERPRINT)}
        wrong |= {
            name: "file"
            for name in files
            if (is_top and name in run_folders) or (Path(parent) == folder / "tb" and "." not in name)
        }
        for name, kind in wrong.items():
            path = Path(parent, name)
            log.warning("%s: is a %s, and must not be; it is set aside as %s", path, kind, rename_damaged(path))
        folders[:] = [name for name in folders if name not in wrong]
