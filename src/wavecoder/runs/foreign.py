"""What a file from elsewhere may not decide, though a command may: commands that are run, the environment, and where files go."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wavecoder.runs.limits import SettingError
from wavecoder.runs.resolvers import own_settings
from wavecoder.runs.targets import values_in

_COMMANDS = (  # what of Hydra's is run in a shell, loaded into processes, or takes what is sent as code
    "hydra.job.env_set",
    "hydra.launcher.setup",
    "hydra.launcher.srun_args",
    "hydra.launcher.additional_parameters",
    "hydra.launcher.ray.init.address",
    "hydra.launcher.ray.init.runtime_env",
)
_WITH_PATHS = ("callbacks", "logger", "trainer", "hydra.callbacks", "hydra.job_logging", "hydra.hydra_logging")

_typed: set[str] = set()  # keys on the command line, or in Python


def remember_typed(arguments: Iterable[str]) -> None:
    """Note what the user has chosen, rather than a file."""
    _typed.clear()
    _typed.update(argument.partition("=")[0].lstrip("+~") for argument in arguments)
    if "run" in _typed:  # run=FOLDER
        _typed.add("hydra.run.dir")


def check_foreign(config: DictConfig) -> None:
    """Refuse what only the command line may choose, where a file has chosen it.

    Args:
        config: The composed configuration with its `hydra` node.

    Raises:
        SettingError: A command, a variable of the environment, or a path that leaves the folder it belongs to.
    """
    launcher = OmegaConf.create(own_settings("hydra/launcher", str(config.hydra.runtime.choices.get("hydra/launcher"))))
    for key in _COMMANDS:
        value = OmegaConf.select(config, key)
        entries = {f"{key}.{name}": value[name] for name in map(str, value)} if isinstance(value, DictConfig) else {key: value}
        for entry, each in entries.items():
            own = OmegaConf.select(launcher, entry.removeprefix("hydra.launcher."))
            if each and not _is_typed(entry) and each != own:
                raise SettingError(f"{entry}={each}: must be given on the command line; a file has it")
    for key in ("hydra.run.dir", "hydra.sweep.dir"):
        try:
            folder = os.path.normpath(Path(config.hydra.runtime.cwd, OmegaConf.select(config, key)))
        except OmegaConfBaseException:
            continue  # it refers to what is missing, which is refused by its own name before there is a folder
        chosen = _is_typed(key) or (key == "hydra.run.dir" and _is_typed("run"))
        if not chosen and not Path(folder).is_relative_to(config.hydra.runtime.cwd):
            raise SettingError(f"{key}={folder}: must be within {config.hydra.runtime.cwd}, or be given on the command line")
    subdir = str(_resolved(config, "hydra.sweep", "subdir"))
    if _leaves(subdir):
        raise SettingError(f"hydra.sweep.subdir={subdir}: must be within hydra.sweep.dir")
    for group in _WITH_PATHS:
        for at, key, value in values_in(_contents(config, group), group):
            if isinstance(value, str) and not _is_typed(f"{at}.{key}") and _leaves(path := _resolved(config, at, key)):
                raise SettingError(f"{at}.{key}={path}: must not leave the run's folder, unless it is given on the command line")


def _is_typed(key: str) -> bool:
    # a mapping or a list may have been typed as a whole; a group's name chooses a file
    return any(key == each or (key.startswith((f"{each}.", f"{each}[")) and "." in each) for each in _typed)


def _contents(config: DictConfig, group: str) -> Any:
    """What a group holds, as it is written; nothing where it was left out, as with ~logger."""
    node = OmegaConf.select(config, group)
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else {}


def _resolved(config: DictConfig, at: str, key: str) -> Any:
    """A value, or as it is written where it refers to what is known in the run alone, as to its folder."""
    try:
        return OmegaConf.select(config, f"{at}.{key}")
    except (OmegaConfBaseException, ValueError):
        node = OmegaConf.select(config, at)
        return OmegaConf.to_container(node)[key]  # type: ignore[call-overload,index]


def _leaves(path: object) -> bool:
    return isinstance(path, str) and (path.startswith(("/", "~")) or ".." in path.split("/"))


def refuse_links(folder: Path) -> None:
    """Refuse a run's folder with links that lead out of it, through which the run would write.

    Raises:
        SettingError: There is one.
    """
    inside = folder.resolve()
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise SettingError(f"{path}: is a link out of the run's folder, which must hold none")
