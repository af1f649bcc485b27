"""The command that was typed, and commands that can be copied: how to resume it, and what can be done with its results."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from wavecoder.runs import targets
from wavecoder.runs.screen import command_lines, say, width_of, wrap
from wavecoder.training.files import ARRAYS

_arguments: list[str] = []  # of this process, the program first; none in Python and in a notebook
_resumed_by: list[str] = []  # the setting that makes the same command resume what it has begun


def remember(arguments: Iterable[str]) -> None:
    """Note with which arguments this process was called."""
    _arguments[:] = arguments


def was_a_command() -> bool:
    """Whether a command was typed, rather than a function called in Python."""
    return bool(_arguments)


def note_folder(setting: str, folder: str | Path) -> None:
    """Note in which folder a run or a sweep has begun, and which setting chooses it."""
    _resumed_by[:] = [f"{setting}={os.path.relpath(folder)}"]


def begun_in() -> str:
    """The setting with the folder in which a run or a sweep has begun; nothing if none has."""
    return "".join(_resumed_by)


def program(name: str) -> list[str]:
    """How one of our commands is called where this process was called so: as `wavecoder NAME`, or as a script of a checkout."""
    script = Path(_arguments[0]).with_name(f"{name}.py") if _arguments else Path()
    if script.is_file():
        return [*executable("python"), os.path.relpath(script)]
    return [*executable("wavecoder"), name]


def executable(name: str) -> list[str]:
    """A program of this environment, by its name alone if the shell finds it under that name."""
    found, own = shutil.which(name), Path(sys.executable).with_name(name)
    if found is not None and Path(found).absolute() == own.absolute():
        return [name]
    if not own.exists():
        return [sys.executable, "-m", name]
    near = os.path.relpath(own)
    return [str(own) if near.startswith("..") else near]


def interrupted(what: str = "Interrupted") -> str:
    """What to say when a command was interrupted: how it is resumed, in a command that can be copied.

    Args:
        what: What happened.
    """
    if not was_a_command():
        return f"{what}; it resumes when it is started again"
    if not _resumed_by:
        return f"{what} before anything was begun"
    chosen = {argument.partition("=")[0] for argument in _arguments}
    if chosen & {"run", "sweep", "hydra.run.dir", "hydra.sweep.dir"} or "experiment=search" in _arguments:
        return f"{what}; the same command resumes it"
    said, command = f"{what}; to resume it:", [*program("train"), *_arguments[1:], *_resumed_by]
    console = Console(stderr=True)
    line = f"{said} {shlex.join(command)}"
    return line if len(line) <= width_of(console) else "\n".join([said, *command_lines(command, console.width)])


def print_commands(commands: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Print commands, each below a line that says what it does."""
    console = Console()
    for purpose, words in commands:
        for line in (*wrap(f"{purpose}:", width_of(console)), *command_lines(words, width_of(console))):
            console.print(line, soft_wrap=True, highlight=False, markup=False)


_OWN = ("signals.npy", "clean.npy")


def print_next_of_run(folder: Path, record: Mapping[str, Any]) -> None:
    """Print where a run's results are, and what can be done with them.

    Args:
        folder: The run's.
        record: Its results.
    """
    console, place = Console(), Path(os.path.relpath(folder))
    say(console, f"Everything about this run is in {place}")
    if not was_a_command():
        return
    if (folder / "figures").is_dir():
        say(console, f"Its figures are in {place / 'figures'}")
    commands: list[tuple[str, Sequence[str]]] = []
    if (folder / "tb").is_dir():
        commands.append(("To see curves, on http://localhost:6006", [*executable("wavecoder"), "tensorboard", str(place)]))
    file, levels = record.get("file"), record["noise"]["eval_std"]
    clean = [*program("denoise"), str(place)]
    allowed = ["--allow-targets", ",".join(packages)] if (packages := targets.allowed()) else []
    if file is not None and Path(file).is_file():
        commands.append(("To clean signals", [*clean, file, "clean.npy", *allowed]))
    elif record.get("per_seed"):  # its noisy sines are a table for each seed
        commands.append(("To clean signals of yours, here those in signals.npy", [*clean, *_OWN, *allowed]))
    elif levels and (folder / ARRAYS).exists():
        noisy = [str(place / ARRAYS), "clean.npy", "--key", f"noisy_{max(levels)}"]
        commands.append(("To clean signals, here the noisy sines of its test", [*clean, *noisy, *allowed]))
    print_commands(commands)


def print_next_of_sweep(folder: Path) -> None:
    """Print what can be done with the results of a sweep."""
    place = os.path.relpath(folder)
    commands: list[tuple[str, Sequence[str]]] = [("For a page with all figures and tables", [*program("report"), place])]
    if any(folder.glob("*/tb")):
        commands.append(("To see curves, on http://localhost:6006", [*executable("wavecoder"), "tensorboard", str(place)]))
    print_commands(commands)
