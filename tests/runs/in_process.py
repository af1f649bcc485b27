"""Commands in this process: everything that a command does except training itself, in a fraction of a second each."""

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from wavecoder.runs import cli, run, sweep
from wavecoder.runs.commands import COMMANDS


class Ended(NamedTuple):
    """How a command ended: its exit status, what it printed, and which files and folders are there that were not before."""

    status: int
    out: str
    err: str
    new: list[str]


def invoke(arguments: Sequence[str], folder: Path) -> Ended:
    """Call `wavecoder ARGUMENTS` in a folder. What a run trains is made, but not trained; a sweep launches no job."""
    name, *rest = arguments
    out, err, before, where = io.StringIO(), io.StringIO(), _contents(folder), Path.cwd()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", [f"wavecoder {name}", *rest])
        patch.setattr(run, "_train", lambda *_: 0.0)
        patch.setattr(sweep, "_run_here", lambda *_: None)
        patch.setattr(sweep, "conclude", lambda *_: None)
        for variable in ("HYDRA_FULL_ERROR", "WAVECODER_ONE_LINE_ERRORS"):
            patch.setenv(variable, "")
            patch.delenv(variable)
        os.chdir(folder)
        try:
            status = _status_of(name)
        finally:
            os.chdir(where)
            GlobalHydra.instance().clear()
            HydraConfig.instance().cfg = None
    return Ended(status, out.getvalue(), err.getvalue(), sorted(_contents(folder) - before))


def _status_of(name: str) -> int:
    try:
        (cli.train if name == "train" else COMMANDS[name])()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # a bug
        traceback.print_exc()
        return 1
    return 0


def _contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in _walk(folder)}


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
