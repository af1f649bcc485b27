"""Of which configuration a run's files are: told twice in its folder, so that neither file is the only one that knows."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wavecoder.runs.results import RESULTS, read_record
from wavecoder.training.files import read_file, rename_damaged, write_atomically

log = logging.getLogger(__name__)

FINGERPRINT = ".fingerprint"


def note_fingerprint(folder: Path, fingerprint: str) -> None:
    """Write the file `.fingerprint` in a run's folder, and say so if it was there and told another one than the run's record."""
    file = folder / FINGERPRINT
    recorded = read_record(folder).get("config_fingerprint")
    if recorded and os.path.lexists(file) and _noted(file) not in (recorded, fingerprint):
        log.warning("%s: is damaged, or of another run than %s beside it; it is made again", file, RESULTS)
    write_atomically(file, fingerprint)


def _noted(file: Path) -> str:
    """What the file `.fingerprint` tells; nothing if it cannot be read."""
    try:
        return read_file(file).decode()
    except (OSError, ValueError):
        return ""


def known_fingerprints(folder: Path, record: Mapping[str, Any]) -> set[str]:
    """The fingerprints that a run's record and the file `.fingerprint` beside it tell; one of them if only one can be read.

    They are two if one of the files is damaged, and the files are then of the configuration that has either: no damage makes one
    into that of another.

    Args:
        folder: The run's.
        record: What was read from its `results.json`.
    """
    return {each for each in (record.get("config_fingerprint"), _noted(folder / FINGERPRINT)) if each}


def name_lost_record(file: Path) -> None:
    """Say that a run's record is not there, or not of its configuration, though `.fingerprint` tells that its checkpoints are."""
    if os.path.lexists(file):
        log.warning("%s: is not of the run that %s names; it is set aside as %s", file, FINGERPRINT, rename_damaged(file))
    else:
        log.warning("%s: is missing, and made again", file)
