"""The command line: `wavecoder train …` and the other commands, and their errors in one line.

Imports Hydra only, so that `--help` and mistakes are answered within a second.
"""

import atexit
import gc
import logging
import logging.config
import os
import re
import signal
import sys
import traceback
import warnings
from importlib.metadata import version
from inspect import unwrap
from pathlib import Path
from typing import NoReturn

import hydra
import hydra.core.utils
from hydra.core.config_store import ConfigStore
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from wavecoder.runs import completion, foreign, hooks, job, resolvers, resume, targets
from wavecoder.runs.limits import SettingError
from wavecoder.runs.names import no_such_setting
from wavecoder.runs.overrides import (
    CONF,
    check_choices,
    check_options,
    options_first,
    quote_whole_numbers,
    sorted_options,
    suggestion,
)
from wavecoder.runs.settings import Settings
from wavecoder.runs.text import plain
from wavecoder.training.ending import saying_when_ended
from wavecoder.training.files import rename_damaged, write_atomically

log = logging.getLogger(__name__)

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130  # exit statuses
LOST_JOBS = ("UncompletedJobError", "TerminatedWorkerError", "WorkerCrashedError")  # of submitit, joblib and Ray
_LONGEST_WORD = 400  # characters of a value or a path in a message
_OF_PLUGINS = {  # configuration that comes with an optional package, and what asks for it
    "hydra/launcher/submitit_slurm": "hydra/launcher=slurm",
    "hydra/sweeper/optuna": "hydra/sweeper=optuna",
}


def main() -> None:
    """The command `wavecoder`."""
    from wavecoder.runs.commands import COMMANDS  # which imports this module

    commands = {"train": train} | COMMANDS
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if completion.is_asked_for([name]):
        completion.answer(sys.argv[1:], commands)
    elif name in commands:
        sys.argv[:2] = [f"wavecoder {name}"]
        commands[name]()
    elif name == "--version":
        show_version()
    elif name in ("--help", "-h"):
        lines = [f"  {name:13}{(command.__doc__ or '').splitlines()[0]}" for name, command in commands.items()]
        print("usage: wavecoder COMMAND …\n", "commands:", *lines, "\n`wavecoder COMMAND --help` says more.", sep="\n")
    else:
        exit_with_error(SettingError(f"{name}: no such command; there are {', '.join(commands)}"))


def show_version() -> NoReturn:
    """Print the version and leave."""
    print(f"wavecoder {version('wavecoder')}")
    sys.exit()


def train() -> None:
    """Train autoencoders: one run, or a sweep of many with -m.

    Takes the arguments of this process, and leaves with status 2 on bad input.
    """
    if "--version" in sys.argv[1:]:  # which would be Hydra's
        show_version()
    if completion.is_asked_for(sys.argv[1:]):
        completion.answer(sys.argv[1:])
    if not wants_traceback():
        # Hydra prints errors over several lines and leaves with status 1, unless it is told to let them pass
        os.environ["HYDRA_FULL_ERROR"] = "1"
        os.environ["WAVECODER_ONE_LINE_ERRORS"] = "1"
    job.remember_new_folders()
    try:
        from wavecoder.runs import typed

        typed.remember(sys.argv)
        foreign.remember_typed(sys.argv[1:])
        targets.allow(targets.typed_packages(sys.argv[1:]))
        arguments = resume.expand(options_first(sys.argv[1:]))
        check_options(arguments)
        check_choices(arguments)
        sys.argv[1:] = [quote_whole_numbers(argument) for argument in arguments]
        with saying_when_ended(typed.interrupted):
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")(job.train)()
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)  # all is done; Python would print a traceback
    except KeyboardInterrupt:
        leave_interrupted()
    except Exception as error:
        if any(frame.f_code is unwrap(job.train).__code__ for frame, _ in traceback.walk_tb(error.__traceback__)):
            raise  # a run went wrong, which has nothing to do with what was typed
        if type(error).__name__ in LOST_JOBS:  # of a search
            print(f"error: a job was lost: {lost_job(error)}; the same command again runs what is missing", file=sys.stderr)
            sys.exit(FAILED)
        job.remove_new_folders()  # Hydra makes them before it configures logging
        exit_with_error(error)


def leave_interrupted() -> NoReturn:
    """Say in one line how what Ctrl-C has ended is resumed, and leave with status 130."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would end in a traceback
    logging.disable()  # what half-imported PyTorch logs when the process ends
    from wavecoder.runs import typed

    print(f"\n{typed.interrupted()}", file=sys.stderr)
    sys.exit(INTERRUPTED)


def leave_failed(error: OSError) -> NoReturn:
    """Say in one line which file a run could not write or read and how it is resumed, and leave with status 1."""
    if wants_traceback():
        raise error
    from wavecoder.runs import typed

    print(typed.interrupted(f"error: {explain(error)}"), file=sys.stderr)
    sys.exit(FAILED)


def lost_job(error: Exception) -> str:
    """One line for a job whose process was ended from outside."""
    return re.sub(r" with path \S+", "", str(error).splitlines()[0]).rstrip(".")


def wants_traceback() -> bool:
    """Whether the user asked for tracebacks, as Hydra's users do."""
    return os.environ.get("HYDRA_FULL_ERROR") == "1" and "WAVECODER_ONE_LINE_ERRORS" not in os.environ


def exit_with_error(error: Exception, status: int = BAD_INPUT) -> NoReturn:
    """Say in one line what is wrong and leave, with status 2 on bad input; with a traceback if the user asked for one."""
    if wants_traceback():
        traceback.print_exception(error)
    print(f"error: {one_line(explain(error))}", file=sys.stderr)
    sys.exit(status)


def one_line(text: str) -> str:
    r"""A message without line breaks and control characters, and without the middle of what would fill the screen.

    Example:
        >>> one_line("sweep=a\nb: must be a word")
        'sweep=a b: must be a word'
    """
    return re.sub(rf"\S{{{_LONGEST_WORD},}}", lambda word: f"{word[0][:80]}…{word[0][-40:]}", plain(" ".join(text.split())))


def explain(error: Exception) -> str:
    """One line for an error in what the user gave: what is wrong, the value, what is allowed."""
    if isinstance(error, SettingError):
        return " ".join(str(error).split())
    if isinstance(error, MissingConfigException) and error.missing_cfg_file in _OF_PLUGINS:
        return not_installed(_OF_PLUGINS[error.missing_cfg_file])
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        options = sorted_options(error.options)
        return f"{group}={option}: no such option; there are {', '.join(options)}{suggestion(group, option, options)}"
    if isinstance(error, MissingConfigException) and str(error).startswith("Cannot find primary config"):
        return f"--config-name={error.missing_cfg_file}: no such file; one of yours needs --config-dir, and ours is train"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not of the form key=value ({str(error.message).splitlines()[0]})"
    if str(error).startswith("Ambiguous value"):
        argument = str(error).splitlines()[0].removeprefix("Ambiguous value for argument ").replace("'", "")
        return f"{argument}: several values are a sweep, which needs -m; a list is written key=[a,b]"
    if added := re.match(r"Could not append to config\. .*at '([^']+)'\.\s+Either remove \+ prefix: '([^']+)'", str(error)):
        return f"+{added[2]}: {added[1]} is there already; without the + it is set"
    if twice := re.match(r"Multiple values for (\S+)\. To override", str(error)):
        return f"{twice[1]}: must be chosen once, and without +, as {twice[1]}=OPTION"
    if isinstance(error.__cause__, SettingError):  # which the configuration of logging makes another error of
        return explain(error.__cause__)
    if gone := re.match(r"Could not delete (?:from config\. )?'([^']+)'", str(error)):
        return f"~{gone[1]}: there is no such setting to leave out"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and isinstance(cause.parent_node, DictConfig):
        key = str(cause.full_key or cause.key)
        return f"{key}: {no_such_setting(key, (str(name) for name in cause.parent_node if name != 'hydra'))}"
    if isinstance(cause, OmegaConfBaseException) and cause.full_key and "HydraConfig was not set" in str(cause):
        return f"~{cause.full_key}: refers to the run's folder, which Hydra cannot leave out; it can be set to another value"
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        said = str(cause).splitlines()[0]
        if (refers := re.match(r"While dereferencing interpolation '(.+?)': ", said)) and re.search("(Dict|List)Config'", said):
            return f"{cause.full_key}={refers[1]}: must be a single value, not all of a group or a list"
        return f"{cause.full_key}: {said}"
    if type(error) is ValueError and isinstance(error.__cause__, OSError):  # of logging, when it cannot open its file
        error = error.__cause__
        if isinstance(error, IsADirectoryError):
            return f"{os.fsdecode(error.filename)}: is a folder, and must be removed: the log is written there"
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not isinstance(error, OSError) and any(code.co_filename == logging.config.__file__ for code in frames):
        kind = "job" if any(code.co_name == "run_job" for code in frames) else "hydra"
        return f"hydra.{kind}_logging: {' '.join(str(error.__cause__ or error).split())}"
    if isinstance(error, OSError) and error.strerror:
        from wavecoder.runs import typed

        place = os.fsdecode(error.filename or typed.begun_in())  # a full disk names no file
        return f"{place}: {error.strerror}" if place else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def not_installed(choice: str) -> str:
    """One line for a launcher or a sweeper whose package is missing; the optional dependencies have the options' names."""
    extra = choice.partition("=")[2]
    return f"{choice}: needs wavecoder's extra {extra}; in the repository: pip install -c constraints.txt '.[{extra}]'"


def register() -> None:
    """Tell Hydra the types of the settings, the resolvers that `conf/` uses, and what a configuration may name."""
    ConfigStore.instance().store(name="settings", node=Settings)
    # Hydra copies all that it has, a hundred times for --help, and with launchers installed that takes two seconds. The store
    # need not be copied: there is but one, and its nodes are copied when they are used.
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]
    hydra.core.utils._save_config = _save_config  # noqa: SLF001 - Hydra's own truncates what run=FOLDER reads
    # conf/hydra/launcher/ gives launchers the settings that suit us, in files that have the names of the launchers
    warnings.filterwarnings("ignore", message="(?s).*is validated against ConfigStore schema with the same name")
    resolvers.register()
    hooks.install()


def _save_config(cfg: DictConfig | ListConfig, filename: str, output_dir: Path) -> None:
    """Write what Hydra keeps in a run's folder, completely or not at all; what is in its place but no file is set aside."""
    file = output_dir / filename
    for path, belongs in ((output_dir, Path.is_dir), (file, Path.is_file)):
        if path.exists() and not belongs(path):
            log.warning("%s: is damaged; it is set aside as %s, and made again", path, rename_damaged(path))
    output_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(file, OmegaConf.to_yaml(cfg))


def _collect_garbage_less() -> None:
    """Save two seconds of every run: PyTorch's and Lightning's imports make a million objects, all of which stay.

    Python's collector would look through them some hundred times while they are made, and again at the end of the process.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)


# here, because processes that a launcher starts import this module and never come through main()
register()
_collect_garbage_less()
