"""A run as it is on disk, read from its folder alone. Nothing in the folder is run as code, but for the network's own class."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from wavecoder.runs import resolvers, results
from wavecoder.runs.build import NetworkChoice, choose_network
from wavecoder.runs.hydra_files import read_config
from wavecoder.runs.limits import SettingError
from wavecoder.runs.resume import never_began
from wavecoder.runs.settings import Settings, from_config
from wavecoder.training.checkpoints import read_checkpoint
from wavecoder.training.files import DamagedError

DATA_STATE = "SignalDataModule"
"""Where Lightning keeps the state of the data module in a checkpoint."""


class UnreadableError(SettingError):
    """What is in a run's folder is damaged, or of another version."""


@dataclass(frozen=True)
class SavedRun:
    """A complete run on disk.

    Attributes:
        folder: Its folder.
        record: The content of its `results.json`.
        settings: Its settings.
        network: Its kind of network.
        checkpoint: The checkpoint that it is loaded from.
        weights: Which that is: `last`, at the end of the training; or `best`, with the least `val/mse`, where there is no other.
    """

    folder: Path
    record: dict[str, Any]
    settings: Settings
    network: NetworkChoice
    checkpoint: Mapping[str, Any]
    weights: str

    @property
    def seeds(self) -> list[int]:
        """The seeds of the run, in the order of its members."""
        return list(range(self.settings.seed, self.settings.seed + self.settings.num_seeds))


def read_run(folder: Path) -> SavedRun:
    """Read a complete run from its folder.

    Raises:
        UnreadableError: It is damaged, or its network's class is not allowed or cannot be imported.
    """
    record = results.read_record(folder)
    config = _read_config(folder)
    checkpoint, weights = _read_checkpoint(folder)
    with _as_unreadable(folder):
        settings = from_config(config, checkpoint.get(DATA_STATE) or None)
        network = choose_network(config, settings)
        is_its_own = (record["seed"], record["num_seeds"]) == (settings.seed, settings.num_seeds)
        if not is_its_own or (never_began(folder, record) and not _has_fingerprint(folder, record)):
            why = "as after a command that was refused or ended before its run began; the run's own command makes it again"
            raise SettingError(f".hydra/config.yaml: is of another run than {results.RESULTS} beside it, {why}")
    return SavedRun(folder, record, settings, network, checkpoint, weights)


@contextmanager
def _as_unreadable(folder: Path) -> Iterator[None]:
    """Turn whatever is wrong with what a run's folder says, as where a file of its configuration was cut, into one line.

    Raises:
        UnreadableError: In place of whatever was raised.
    """
    try:
        yield
    except OmegaConfBaseException as error:
        raise UnreadableError(f"{folder}: {error.full_key}: {str(error).splitlines()[0]}") from error
    except Exception as error:  # of many kinds: what is read there may be anything
        raise UnreadableError(f"{folder}: {' '.join(str(error).split()) or type(error).__name__}") from error


def _has_fingerprint(folder: Path, record: Mapping[str, Any]) -> bool:
    return results.fingerprint(read_config(folder)) == record.get("config_fingerprint")


def run_folders(folder: Path) -> list[Path]:
    """The folder itself if it is a complete run's, those of the complete jobs if it is a sweep's, the best first.

    Raises:
        SettingError: It is neither.
    """
    if not folder.is_dir():
        raise SettingError(
            f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}; must be that of a run or a sweep"
        )
    if (folder / results.RESULTS).exists():
        record = _read_record(folder)
        if record["status"] != "completed":
            said = f" ({record['error']})" if "error" in record else ""
            raise SettingError(f"{folder}: the run is {record['status']}{said}; must be completed")
        return [folder]
    jobs = {file.parent: results.read_record(file.parent) for file in sorted(folder.glob(f"*/{results.RESULTS}"))}
    if not jobs:
        raise SettingError(f"{folder}: not the folder of a run or a sweep; it has no {results.RESULTS}")
    complete = {path: record for path, record in jobs.items() if record["status"] == "completed"}
    if not complete:
        raise SettingError(f"{folder}: no job of the sweep is completed")
    return sorted(complete, key=lambda path: results.rank(complete[path]))


def _read_record(folder: Path) -> dict[str, Any]:
    """The record of a run.

    Raises:
        UnreadableError: It is damaged.
    """
    try:
        return results.load_record(folder)
    except DamagedError as error:
        raise UnreadableError(f"{error}, so the run cannot be loaded") from error


def _read_config(folder: Path) -> DictConfig:
    """The composed configuration of a run, with its `hydra` node.

    Raises:
        UnreadableError: It is missing or damaged.
    """
    resolvers.register()
    parts: list[Any] = [OmegaConf.structured(Settings)]
    for name in ("config", "hydra"):
        try:
            parts.append(read_config(folder, name))
        except FileNotFoundError as error:
            raise UnreadableError(f"{error.filename} is missing, so the run cannot be loaded") from error
        except DamagedError as error:
            raise UnreadableError(f"{error}, so the run cannot be loaded") from error
    with _as_unreadable(folder), open_dict(parts[0]):
        config = OmegaConf.merge(*parts)
    assert isinstance(config, DictConfig)
    return config


def _read_checkpoint(folder: Path) -> tuple[Mapping[str, Any], str]:
    """The last checkpoint of a run or, where it kept none, the best.

    Raises:
        UnreadableError: There is none, or it is damaged.
    """
    files = [folder / file for file in (results.LAST_CHECKPOINT, results.BEST_CHECKPOINT) if (folder / file).exists()]
    if not files:
        raise UnreadableError(
            f"{folder}: has no checkpoint, neither {results.LAST_CHECKPOINT} nor {results.BEST_CHECKPOINT.name}"
        )
    try:
        return read_checkpoint(files[0]), files[0].stem
    except DamagedError as error:
        raise UnreadableError(f"{error}; train run={folder} makes it again") from error
