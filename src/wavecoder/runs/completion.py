"""Completion of a command line in a shell: what Hydra knows, and never an error in the middle of somebody's prompt."""

import contextlib
import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

_OPTIONS = ("-sc", "--shell-completion")


def is_asked_for(arguments: Sequence[str]) -> bool:
    """Whether a shell asks what could be typed next, or for the function that asks so."""
    return bool(arguments) and arguments[0] in _OPTIONS


def answer(arguments: Sequence[str], commands: Iterable[str] = ()) -> NoReturn:
    """Print what Hydra answers to a shell, and leave. Where it fails, as on a line with a mistake, there is nothing to print.

    Args:
        arguments: Those of this process.
        commands: The names of all commands if this process is the command `wavecoder`.
    """
    words = os.environ.get("COMP_LINE", "").split(" ")  # the last one is empty after a space
    if not any(argument.startswith("query=") for argument in arguments):
        print(_harmless(_ask_hydra()), end="")
        sys.exit()
    before = 2  # `wavecoder train` or `python src/train.py`
    if commands and (len(words) <= before or words[1] != "train"):
        # after the name of another command, the shell completes names of files by itself
        print(*(commands if len(words) <= before else ()))
        sys.exit()
    for chosen in (words[before:], words[-1:]):  # if there is a mistake in what is typed so far, the last word alone
        os.environ["COMP_LINE"] = " ".join(["python train.py", *chosen])
        with contextlib.suppress(Exception, SystemExit):
            print(_ask_hydra(), end="")
            break
    sys.exit()


def _ask_hydra() -> str:
    """What Hydra prints."""
    import hydra

    from wavecoder.runs import job
    from wavecoder.runs.overrides import CONF

    os.environ["HYDRA_FULL_ERROR"] = "1"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")(job.train)()
    return printed.getvalue()


def _harmless(script: str) -> str:
    """Hydra's functions for shells, which would show errors, and would call any script of Python with arguments of ours."""
    quiet = script.replace("-sc query=bash)", "-sc query=bash 2> /dev/null)").replace(
        'eval "$cmd -sc query=fish"', 'eval "$cmd -sc query=fish" 2> /dev/null'
    )
    quiet = quiet.replace('"${words[0]}" == "python"', '"${words[0]##*/}" == "python"')  # that of an environment too
    ours = 'grep -qs "wavecoder.runs" "$file_path" || return'
    return quiet.replace('grep "@hydra.main" $file_path -q', ours).replace('grep -q "@hydra.main"', 'grep -qs "wavecoder.runs"')
