"""The command line: what Hydra needs around it so that `latent=1,5` works and mistakes are answered in one line.

Imports Hydra only, so that `--help` and mistakes are answered in a second.
"""

import hashlib
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import RangeSweep
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from wavecoder.settings import SettingError, Settings

CONF = Path(__file__).parents[2] / "conf"
TRAIN = Path(__file__).parents[1] / "train.py"
FAILED, BAD_INPUT = 1, 2  # exit statuses
_LOST_JOBS = ("UncompletedJobError", "TerminatedWorkerError", "WorkerCrashedError")  # of submitit, joblib and Ray
_OF_PLUGINS = {  # configuration that comes with an optional package, and what asks for it
    "hydra/launcher/submitit_slurm": "hydra/launcher=slurm",
    "hydra/sweeper/optuna": "hydra/sweeper=optuna",
}
_OPTIONAL_GROUPS = ("experiment", "debug")  # null chooses nothing of them
_WHOLE_NUMBER = re.compile(r"(?<![^,(\s])\d+(?![^,)\s])")  # standing alone between commas and parentheses
_LONGEST_NAME = 120  # characters of a folder's name; file systems allow 255 bytes


def main(job: Callable[[DictConfig], Any], config_name: str) -> None:
    """Run a job under Hydra with the arguments of this process, and leave with status 2 on bad input.

    Args:
        job: Takes the composed configuration. Must be importable, so that a launcher can send it to another process.
        config_name: The main configuration file in `conf/`.
    """
    if not wants_traceback():
        # Hydra prints errors over several lines and leaves with status 1, unless it is told to let them pass
        os.environ["HYDRA_FULL_ERROR"] = "1"
        os.environ["WAVECODER_ONE_LINE_ERRORS"] = "1"
    try:
        sys.argv[1:] = [quote_whole_numbers(argument) for argument in sys.argv[1:]]
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)()
    except Exception as error:
        if any(frame.f_code is job.__code__ for frame, _ in traceback.walk_tb(error.__traceback__)):
            raise  # a job went wrong, which is no matter of what was typed
        if type(error).__name__ in _LOST_JOBS:
            _name_lost_job(error)
        refuse(error)


def _name_lost_job(error: Exception) -> NoReturn:
    """Say in one line that the process of a sweep's job was ended from outside, and leave with status 1."""
    what = re.sub(r" with path \S+", "", str(error).splitlines()[0]).rstrip(".")
    print(f"error: a job was lost: {what}; with sweep=NAME the same command again runs what is missing", file=sys.stderr)
    sys.exit(FAILED)


def _register() -> None:
    """Tell Hydra the types of the settings and the resolvers that `conf/` uses."""
    ConfigStore.instance().store(name="settings", node=Settings)
    # Hydra copies all that it has, a hundred times for --help, and with launchers installed that takes two seconds. The store
    # need not be copied: there is but one, and what is taken from it is.
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]
    # conf/hydra/launcher/ gives launchers the settings that suit us, in files that have the names of the launchers
    warnings.filterwarnings("ignore", message="(?s).*is validated against ConfigStore schema with the same name")
    OmegaConf.register_new_resolver("run_folder", run_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("epochs", epochs, replace=True)
    OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)


def wants_traceback() -> bool:
    """Whether the user asked for tracebacks, as Hydra's users do."""
    return os.environ.get("HYDRA_FULL_ERROR") == "1" and "WAVECODER_ONE_LINE_ERRORS" not in os.environ


def refuse(error: Exception) -> NoReturn:
    """Say in one line what is wrong and leave with status 2; with a traceback before it if the user asked for one."""
    if wants_traceback():
        traceback.print_exception(error)
    print(f"error: {explain(error)}", file=sys.stderr)
    sys.exit(BAD_INPUT)


def explain(error: Exception) -> str:
    """One line for an error in what the user gave: what is wrong, the value, what is allowed."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file in _OF_PLUGINS:
        return not_installed(_OF_PLUGINS[error.missing_cfg_file])
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group}={option}: no such option; there are {', '.join(_natural(error.options))}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not of the form key=value ({str(error.message).splitlines()[0]})"
    if str(error).startswith("Ambiguous value"):
        argument = str(error).splitlines()[0].removeprefix("Ambiguous value for argument ").replace("'", "")
        return f"{argument}: several values are a sweep, which needs -m; a list is written key=[a,b]"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and isinstance(cause.parent_node, DictConfig):
        known = ", ".join(sorted(str(key) for key in cause.parent_node if key != "hydra"))
        return f"{cause.full_key or cause.key}: no such setting; there are {known}"
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return f"{cause.full_key}: {str(cause).splitlines()[0]}"
    return " ".join(str(error).split())


def not_installed(choice: str) -> str:
    """One line for a launcher or a sweeper whose package is missing; the optional dependencies have the options' names."""
    return f"{choice}: is not installed; pip install -c constraints.txt '.[{choice.partition('=')[2]}]'"


def _natural(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (name.isdigit() and int(name), name))


def quote_whole_numbers(argument: str) -> str:
    """Quote the whole numbers in a choice among a group's options: `latent=1,5` becomes `latent='1','5'`.

    Hydra reads `1` as a number and then refuses it as the name of an option. Other arguments are returned as they are.

    Raises:
        SettingError: The value can name no option of the group.
    """
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return argument  # an option like -m, or a mistake that Hydra will name
    group = CONF / override.key_or_group
    if override.is_delete() or not group.is_dir():
        return argument
    key, _, choices = argument.partition("=")
    value = override.value()
    nothing = value is None and group.name not in _OPTIONAL_GROUPS
    if nothing or isinstance(value, float | bool | list | dict) or (isinstance(value, int) and value < 0):
        options = ", ".join(_natural(file.stem for file in group.glob("*.yaml")))
        raise SettingError(f"{argument}: must be the name of an option; there are {options}")
    if isinstance(value, RangeSweep):
        choices = ",".join(map(str, value.range()))
        if value.shuffle:
            choices = f"shuffle({choices})"
    return f"{key}=" + _WHOLE_NUMBER.sub(r"'\g<0>'", choices)


def run_folder(name: str) -> str:
    """The folder of a single run in `outputs/runs/`: one that no other run has, but the tasks of one Slurm step share theirs."""
    slurm = os.environ
    if int(slurm.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return f"slurm/{slurm['SLURM_JOB_ID']}.{slurm['SLURM_STEP_ID']}_{name}"
    return f"{datetime.now():%Y-%m-%d/%H-%M-%S}_{name}_{token_hex(3)}"


def sweep_folder(name: str | None) -> str:
    """The folder of a sweep in `outputs/sweeps/`: its name, or one that no other sweep has."""
    return name or f"{datetime.now():%Y-%m-%d/%H-%M-%S}_{token_hex(3)}"


def epochs(steps: int, signals: int, batch: int) -> int:
    """How many epochs come nearest to a number of optimiser steps, at least one."""
    return max(1, round(steps / max(1, signals // batch)))


def folder_name(overrides: str) -> str:
    """The name of a sweep job's folder: its overrides, readable, and the same for the same overrides.

    Quotes are left out and characters that need care in a path are replaced. A name that is too long, or that other overrides
    could come to as well, ends in a hash.
    """
    unquoted = re.sub(r"['\"]", "", overrides) or "default"
    name = re.sub(r"[\[\](){}]", "", unquoted)
    name = re.sub(r"[^\w=,.+-]+", "-", name).strip("-.")
    if name != unquoted or len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 9]}-{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"
    return name


_register()  # here, because processes that a launcher starts import this module and never come through main()
