"""A run by its folder alone (`run=FOLDER`), and more epochs for a complete one (`extend=true`).

What stands in a run's folder is data: it is composed again, and the run is resumed only if that gives the same configuration, so
that it never starts over by `run=FOLDER`.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wavecoder.runs import results
from wavecoder.runs.fingerprints import known_fingerprints
from wavecoder.runs.hydra_files import read_config, read_overrides
from wavecoder.runs.limits import SettingError, as_typed
from wavecoder.runs.settings import Settings, from_config
from wavecoder.training.files import DamagedError

_TYPED_ONLY = ("allow_targets", "extend")  # what a file cannot ask for
_EPOCHS = "trainer.max_epochs"

_asked: list[Path] = []  # the folder that was given as run=FOLDER, if one was


def expand(arguments: Sequence[str]) -> list[str]:
    """Arguments in which `run=FOLDER` is replaced by those with which the run in that folder was started.

    What was typed beside it takes the place of what the folder says of the same key.

    Args:
        arguments: Those of the command, options before choices.

    Raises:
        SettingError: It is not the folder of a run, what Hydra keeps in it is damaged, or a sweep was asked for.
    """
    _asked.clear()
    given = [argument for argument in arguments if argument.startswith("run=")]
    if not given:
        return list(arguments)
    typed = [argument for argument in arguments if argument not in given]
    for argument in (*given[1:], *typed):
        if argument in ("-m", "--multirun", *given[1:]) or _key(argument) in ("hydra.run.dir", "hydra.mode", "sweep"):
            raise SettingError(f"{argument}: must be left out beside {given[0]}, which resumes the one run in that folder")
    folder = Path(given[0].partition("=")[2]).expanduser().absolute()
    recorded, options, cwd = _read(folder, given[0])
    if cwd is not None and cwd.is_dir():
        os.chdir(cwd)
    _asked.append(folder)
    left_out = {*map(_key, typed), *_TYPED_ONLY}
    meant = [f"hydra.run.dir={_quoted(str(folder))}", *(each for each in recorded if _key(each) not in left_out)]
    place = arguments.index(given[0])
    return [*options, *arguments[:place], *meant, *arguments[place + 1 :]]


def _read(folder: Path, given: str) -> tuple[list[str], list[str], Path | None]:
    """The overrides of a run, the options that name its configuration, and where its paths begin, if some are relative.

    Raises:
        SettingError: It is not the folder of a run, or what Hydra keeps in it is damaged.
    """
    if not folder.is_dir():
        raise SettingError(f"{given}: {'not a folder' if folder.exists() else 'no such folder'}; must be that of a run")
    try:
        recorded, hydra = read_overrides(folder), read_config(folder, "hydra").hydra
        config = dict(_leaves(OmegaConf.to_container(read_config(folder))))
        sources = [source for source in hydra.runtime.config_sources if source["provider"] == "command-line"]
        options = [f"--config-name={hydra.job.config_name}", *(f"--config-dir={source['path']}" for source in sources)]
        of_hydra = [str(each) for each in hydra.overrides.hydra if _key(str(each)) == "hydra.searchpath"]
        paths = (str(config.get(key) or "/") for key in ("data.path", "logger.save_dir"))
        is_relative = not all(path.startswith(("/", "~", "${")) for path in paths)
        return [*of_hydra, *recorded], options, Path(str(hydra.runtime.cwd)) if is_relative else None
    except FileNotFoundError as error:
        raise SettingError(f"{given}: not the folder of a run; it has no .hydra/{Path(error.filename).name}") from error
    except DamagedError as error:
        raise SettingError(f"{error}, so the run cannot be resumed by its folder") from error
    except (AttributeError, TypeError, KeyError, OmegaConfBaseException) as error:
        raise SettingError(f"{folder}/.hydra/hydra.yaml: is damaged, so the run cannot be resumed by its folder") from error


def _key(argument: str) -> str:
    return argument.partition("=")[0].lstrip("+~")


def _quoted(text: str) -> str:
    """A value that Hydra reads as this text, whatever is in it."""
    return "'" + text.replace("'", r"\'").replace("${", r"\${") + "'"


def check(config: DictConfig, settings: Settings, folder: Path) -> None:
    """Refuse to resume by its folder what has become another run, to extend what cannot be, and to cut short; writes nothing.

    Args:
        config: The composed configuration with its `hydra` node.
        settings: The checked settings.
        folder: The run's.

    Raises:
        SettingError: The folder's run is another one, cannot be extended, or is longer than it shall be.
    """
    record, wanted = results.read_record(folder), results.fingerprint(config)
    if settings.extend:
        _check_extension(config, settings, folder, record)
    elif (known := known_fingerprints(folder, record)) and wanted not in known:
        _check_length(config, settings, folder, record)
        if _asked:
            changed = _changed(config, folder)
            if not changed and never_began(folder, record):
                raise SettingError(f"run={folder}: its last command was ended before its run began, and must be given again")
            remedy = "; extend=true continues a complete run" if changed == [_EPOCHS] else ""
            raise SettingError(f"run={folder}: {_what_differs(changed)}, so it would be another run{remedy}")


def refuse_shorter(config: DictConfig, folder: Path, record: Mapping[str, Any]) -> None:
    """Refuse to begin anew what only has more epochs; asked under the run's lock, as another command may just have extended it.

    Raises:
        SettingError: It would be begun anew.
    """
    known = known_fingerprints(folder, record)
    if not config.extend and known and results.fingerprint(config) not in known:
        _check_length(config, from_config(config), folder, record)


def _check_length(config: DictConfig, settings: Settings, folder: Path, record: Mapping[str, Any]) -> None:
    """Refuse to begin anew what only has more epochs, as the command from before an extension would, and lose all of them."""
    if record["status"] != "completed" and not (folder / results.LAST_CHECKPOINT).exists():
        return  # there is nothing to lose
    before, now = _recorded_epochs(settings, folder, record), int(settings.trainer.get("max_epochs", 1))
    if now < before and results.fingerprint(config, max_epochs=before) in known_fingerprints(folder, record):
        longer = f"the {before} of the run in {folder}, which would be lost"
        raise SettingError(f"{_EPOCHS}={now}: must be {longer}; a shorter run needs another folder")


def _recorded_epochs(settings: Settings, folder: Path, record: Mapping[str, Any]) -> int:
    """How many epochs a run in a folder has or shall have; 0 if that is not known."""
    if record["status"] == "completed":
        return _epochs_of(settings, record)
    if record.get("max_epochs"):
        return int(record["max_epochs"])
    try:
        return int(OmegaConf.select(read_config(folder), _EPOCHS) or 0)
    except (OSError, DamagedError, OmegaConfBaseException, TypeError, ValueError):
        return 0


def never_began(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether Hydra has written what a command chose, and the process was killed before the run had a record of that."""
    chosen = (record.get("overrides", {}), results.read_overrides(folder))
    told, kept = ({key: each[key] for key in each if key.split(".")[0] not in results.NOT_IN_FINGERPRINT} for each in chosen)
    return told != kept


def _check_extension(config: DictConfig, settings: Settings, folder: Path, record: Mapping[str, Any]) -> None:
    wanted = results.fingerprint(config)
    if record.get("config_fingerprint") == wanted:
        return  # an extension that was interrupted, or is complete
    if record["status"] != "completed":
        raise SettingError(f"extend=true: {folder} holds no complete run; it can be resumed by run=FOLDER if it has begun")
    if filled := [str(key) for key in config.scheduler if OmegaConf.is_missing(config.scheduler, key)]:
        said = "was filled in for the run's own epochs, at whose end the schedule has ended"
        raise SettingError(f"extend=true: scheduler.{filled[0]} {said}")
    if settings.noise.train_between == "schedule" and isinstance(settings.noise.train_std, list):
        _refuse_ended("noise.train_std", settings.noise.train_std)
    if isinstance(settings.data.fresh_sigma, list):
        _refuse_ended("data.fresh_sigma", settings.data.fresh_sigma)
    before, now = _epochs_of(settings, record), int(settings.trainer["max_epochs"])
    if now < before:
        raise SettingError(f"{_EPOCHS}={now}: must be above the {before} of the run that extend=true continues")
    if not is_extension(config, record):
        raise SettingError(f"extend=true: {_what_differs(_changed(config, folder, _EPOCHS))}, not {_EPOCHS} alone")
    if not (folder / results.LAST_CHECKPOINT).exists():
        raise SettingError(f"extend=true: {folder / results.LAST_CHECKPOINT} is missing, from which the run would continue")
    if any((parent / "multirun.yaml").exists() for parent in folder.parents[:2]):
        raise SettingError(f"extend=true: {folder} is a job of a sweep, whose folder and command say how long it is")


def _refuse_ended(key: str, value: Sequence[int | float]) -> None:
    raise SettingError(f"extend=true: {key}={as_typed(value)} has ended with the run's own epochs")


def is_extension(config: DictConfig, record: Mapping[str, Any]) -> bool:
    """Whether a configuration asks to extend a complete run, and differs from its own in a greater number of epochs alone."""
    if not config.extend or record["status"] != "completed":
        return False
    settings = from_config(config)
    before, now = _epochs_of(settings, record), int(settings.trainer["max_epochs"])
    return before < now and results.fingerprint(config, max_epochs=before) == record.get("config_fingerprint")


def _epochs_of(settings: Settings, record: Mapping[str, Any]) -> int:
    """How many epochs a complete run was to have, if nothing stopped it before.

    The record of an earlier version does not tell, but how many steps the run had.
    """
    steps_of_epoch = settings.steps // int(settings.trainer["max_epochs"])
    return int(record.get("max_epochs") or record["timing"]["steps"] // steps_of_epoch)


def _changed(config: DictConfig, folder: Path, *but: str) -> list[str]:
    """The settings whose values are others than those that Hydra keeps in a run's folder, as far as they can be read."""
    try:
        old, new = (dict(_leaves(results.relevant(each))) for each in (read_config(folder), config))
    except (OSError, DamagedError, OmegaConfBaseException):
        return []
    return [key for key in {**old, **new} if old.get(key) != new.get(key) and key not in but]


def _leaves(value: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _what_differs(changed: Sequence[str]) -> str:
    if not changed:
        return "its configuration, or the file of its signals, has changed since"
    return f"{', '.join(changed[:4])} {'differs' if len(changed) == 1 else 'differ'} from what its folder says"
