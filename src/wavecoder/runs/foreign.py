"""What a file from elsewhere may not decide, though a command may: commands that are run, the environment, and where files go."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from wavecoder.runs.limits import SettingError
from wavecoder.runs.resolvers import own_settings
from wavecoder.runs.targets import check_targets

_WORDS = tuple(f"hydra.launcher.{name}" for name in ("partition", "account", "qos", "constraint", "exclude", "gres"))
"""What of a launcher's settings may be a word in a file: the others are, if not numbers, run in a shell or lead elsewhere."""
_NOT_SEARCHED = ("hydra", "experiment", "debug", "callbacks", "logger", "trainer.default_root_dir", "trainer.profiler")
_WORDS_OF_SWEEPERS = r"hydra\.sweeper\.(direction(\[\d+\])?|study_name|sampler\..+)"
_STORAGE = "sqlite:///${hydra.sweep.dir}/study.db"  # as in conf/experiment/search.yaml
_OF_SWEEPS = r"\.(tasks|stacks|submitit|lock)|(sweep|study)\.db.*|figures|experiment"
"""What commands open or fill in a sweep's folder; its other files they replace."""
_LOGGING = ("hydra.job_logging", "hydra.hydra_logging")
_WITH_PATHS = ("callbacks", "logger", "trainer", "hydra.callbacks", *_LOGGING)
_OF_LOGGING = (  # write to the terminal, or to the one file
    "logging.StreamHandler",
    "logging.NullHandler",
    "logging.FileHandler",
    "logging.Formatter",
    "logging.Filter",
    "wavecoder.runs.screen.LogFile",
    "wavecoder.runs.screen.PlainFormatter",
    "wavecoder.runs.screen.SafeFormatter",
)

_typed: set[str] = set()  # keys on the command line, or in Python


def remember_typed(arguments: Iterable[str]) -> None:
    """Note what the user has chosen, rather than a file."""
    _typed.clear()
    _typed.update(argument.partition("=")[0].lstrip("+~") for argument in arguments)
    if "run" in _typed:  # run=FOLDER
        _typed.add("hydra.run.dir")


def check_trusted(config: DictConfig) -> None:
    """Refuse what a configuration may not name, and what only the command line may choose where a file has chosen it.

    Args:
        config: The composed configuration with its `hydra` node.

    Raises:
        SettingError: A class, a command, a variable of the environment, or a path that leaves the folder it belongs to.
    """
    check_targets(config)
    _check_commands(config)
    folder, _ = (_folder(config, key) for key in ("hydra.run.dir", "hydra.sweep.dir"))
    with as_the_job(config, folder):
        _check_names(config)
        for group in _WITH_PATHS:
            for key, value in _values(OmegaConf.select(config, group), group):
                if isinstance(value, str | bytes | os.PathLike) and not _is_typed(key):
                    _check_value(key, os.fsdecode(value), folder)
                    if group in _LOGGING:
                        _check_logging(config, key, os.fsdecode(value))


@contextmanager
def as_the_job(config: DictConfig, folder: Path) -> Iterator[None]:
    """What `${hydra:…}` refers to as in the job that is not there yet.

    Args:
        config: The composed configuration with its `hydra` node.
        folder: The job's, absolute.
    """
    hydra: Any = HydraConfig.instance()
    known, hydra.cfg = hydra.cfg, config  # its `set_config` would copy all of it
    there = {"runtime.output_dir": str(folder), "job.num": 0, "job.id": "0"}
    unknown = [key for key in there if OmegaConf.is_missing(*_place(config, key))]
    with read_write(config), open_dict(config.hydra):
        for key in unknown:
            OmegaConf.update(config.hydra, key, there[key])
    try:
        yield
    finally:
        hydra.cfg = known
        with read_write(config), open_dict(config.hydra):
            for key in unknown:
                OmegaConf.update(config.hydra, key, MISSING)


def _place(config: DictConfig, key: str) -> tuple[DictConfig, str]:
    node, name = key.split(".")
    return config.hydra[node], name


def _folder(config: DictConfig, key: str) -> Path:
    """The folder of runs or sweeps, absolute; some folder where it cannot be known yet."""
    cwd = config.hydra.runtime.cwd
    try:
        folder = Path(os.path.normpath(Path(cwd, str(OmegaConf.select(config, key)))))
    except OmegaConfBaseException:
        return Path(cwd, "run")
    if not _is_typed(key) and not folder.is_relative_to(cwd):
        raise SettingError(f"{key}={folder}: must be within {cwd}, or be given on the command line")
    return folder


def _check_commands(config: DictConfig) -> None:
    launcher = str(config.hydra.runtime.choices.get("hydra/launcher"))
    own = own_settings("hydra/launcher", launcher)
    for base in (launcher, *own.get("defaults", ())):  # a plugin's option of this name is under it
        own = _of_plugin(base) | own
    ours = dict(_plain_values({"launcher": own, "job": {"env_set": {}}}, "hydra"))
    given = {"launcher": _raw(config.hydra.launcher), "job": {"env_set": _raw(config.hydra.job.env_set)}}
    for key, value in _plain_values(given, "hydra"):
        is_word = key in _WORDS and re.fullmatch(r"[\w.,:&|\[\]-]+", str(value))
        is_number = not key.startswith("hydra.job.") and isinstance(value, int | float | None)
        is_ours = key in ours and ours[key] == value
        if not (is_ours or is_word or is_number or key.endswith("._target_") or _is_typed(key)):
            raise SettingError(f"{key}={value}: must be given on the command line; a file has it")
    _check_sweeper(config)
    if config.hydra.runtime.choices.get("hydra/sweeper") == "basic":
        return  # its jobs are checked before any runs; those of a search are composed one after another
    for name in map(str, OmegaConf.select(config, "hydra.sweeper.params") or ()):
        if name.lstrip("+~").startswith(_NOT_SEARCHED) and not _is_typed(f"hydra.sweeper.params.{name}"):
            raise SettingError(f"hydra.sweeper.params.{name}: must be given on the command line; a file has it")


def _check_sweeper(config: DictConfig) -> None:
    """Refuse what a sweeper would run, and where else it would keep what it has seen, if a file says so."""
    for key, value in _plain_values(_raw(config.hydra.sweeper), "hydra.sweeper"):
        if key.startswith("hydra.sweeper.params."):
            continue
        is_word = re.fullmatch(_WORDS_OF_SWEEPERS, key) and re.fullmatch(r"[\w.-]+", str(value))
        is_ours = key == "hydra.sweeper.storage" and value == _STORAGE
        if not (is_ours or is_word or isinstance(value, int | float | None) or key.endswith("._target_") or _is_typed(key)):
            raise SettingError(f"{key}={value}: must be given on the command line; a file has it")


def _check_names(config: DictConfig) -> None:
    """Refuse paths as names of what Hydra writes into a job's folder."""
    kept, name = (str(OmegaConf.select(config, f"hydra.{key}")) for key in ("output_subdir", "job.name"))
    try:
        subdir = str(OmegaConf.select(config, "hydra.sweep.subdir"))
    except OmegaConfBaseException:  # a setting in it refers to what is missing, which is refused by the setting's name
        subdir = ""
    if leads_out(subdir):
        raise SettingError(f"hydra.sweep.subdir={subdir}: must be within hydra.sweep.dir")
    if kept != ".hydra" and not _is_typed("hydra.output_subdir"):
        raise SettingError(f"hydra.output_subdir={kept}: must be .hydra, unless it is given on the command line")
    if not re.fullmatch(r"\w[\w.-]*", name) and not _is_typed("hydra.job.name"):
        raise SettingError(f"hydra.job.name={name}: must be a name, unless it is given on the command line")


def _check_value(key: str, value: str, folder: Path) -> None:
    inside = Path(value).is_absolute() and Path(os.path.normpath(value)).is_relative_to(folder)
    if leads_out(value) and not inside:
        raise SettingError(f"{key}={value}: must not leave the run's folder, unless it is given on the command line")


def _check_logging(config: DictConfig, key: str, value: str) -> None:
    """Refuse what would open another file than the run's own log, or a connection, as soon as logging is configured."""
    name, log = key.rpartition(".")[2], f"{config.hydra.runtime.output_dir}/{config.hydra.job.name}.log"
    if name in ("class", "()") and value not in _OF_LOGGING:
        raise SettingError(f"{key}={value}: must be one of {', '.join(_OF_LOGGING)}, or be given on the command line")
    if (name == "filename" and value != log) or ".." in key:  # attributes are set by the key `.`
        raise SettingError(f"{key}={value}: must be the run's own log, {log}, or be given on the command line")


def _is_typed(key: str) -> bool:
    # a mapping or a list may have been typed as a whole; a group's name chooses a file
    return any(key == each or (key.startswith((f"{each}.", f"{each}[")) and "." in each) for each in _typed)


def _of_plugin(launcher: str) -> dict[str, Any]:
    try:
        return dict(_raw(ConfigStore.instance().load(f"hydra/launcher/{launcher}.yaml").node))
    except OSError:  # there is none of this name: it is a file's
        return {}


def _raw(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig | ListConfig) else node


def _plain_values(content: Any, at: str) -> Iterator[tuple[str, Any]]:
    """The values in nested mappings and lists that are neither, by their keys."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from _plain_values(value, f"{at}.{name}")
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from _plain_values(value, f"{at}[{number}]")
    else:
        yield at, content


def _values(node: Any, at: str) -> Iterator[tuple[str, Any]]:
    """All values in nested mappings and lists, with what they refer to, by their keys."""
    if not isinstance(node, DictConfig | ListConfig) or node._is_none():  # noqa: SLF001
        return
    names: Any = node if isinstance(node, DictConfig) else range(len(node))
    for name in names:
        key = f"{at}.{name!s}" if isinstance(node, DictConfig) else f"{at}[{name}]"
        try:
            value = node[name]
        except OmegaConfBaseException:
            continue  # it refers to what is missing, which is refused by its own name before there is a folder
        yield key, value
        yield from _values(value, key)


def leads_out(path: str) -> bool:
    """Whether a path would lead out of the folder that it is relative to."""
    return path.startswith(("/", "~")) or ".." in path.split("/")


def refuse_links(folder: Path) -> None:
    """Refuse a run's folder with links that lead out of it, through which the run would write.

    Raises:
        SettingError: There is one.
    """
    _refuse_links_among((*folder.glob("*"), *folder.glob("*/*"), *folder.glob("tb/*/*")), folder, "run")


def refuse_links_of_sweep(folder: Path, jobs: Iterable[str] = ()) -> None:
    """Refuse a sweep's folder with links that lead out of it, through which its commands would read and write.

    Args:
        folder: The sweep's.
        jobs: The names of those that will be written. The folders of others, which are only read, may be links.

    Raises:
        SettingError: There is one, or a job that will be written is one.
    """
    entries = os.scandir(folder) if folder.is_dir() else ()  # of ten thousand jobs too
    own = [Path(entry.path) for entry in entries if re.fullmatch(_OF_SWEEPS, entry.name)]
    _refuse_links_among((*own, *(path for each in own for path in each.glob("*"))), folder, "sweep")
    for name in jobs:
        if (folder / name).is_symlink():
            raise SettingError(f"{folder / name}: is a link, and must be a folder of the job's own")
        refuse_links(folder / name)


def _refuse_links_among(paths: Iterable[Path], folder: Path, kind: str) -> None:
    inside = os.path.realpath(folder)  # not `resolve`, which fails if links lead in a circle
    for path in paths:
        if path.is_symlink() and ((end := Path(os.path.realpath(path))).is_symlink() or not end.is_relative_to(inside)):
            raise SettingError(f"{path}: is a link out of the {kind}'s folder, which must hold none")
