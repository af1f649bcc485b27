"""Settings that follow from the file of signals. Imports NumPy, but not torch."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import InterpolationResolutionError

from wavecoder.files import SUFFIXES, FileError
from wavecoder.files.collection import Collection, sizes, stamp
from wavecoder.runs.limits import SettingError
from wavecoder.runs.settings import count_processes

_BATCH_SIZE = 64  # as of the other data


def fill_from_file(config: DictConfig, cwd: str | None, of_file: Mapping[str, Any] | None = None) -> None:
    """Fill in what is null in `data`, in place, and make the path absolute.

    Args:
        config: The configuration without its `hydra` node.
        cwd: The folder in which the command was typed.
        of_file: What a checkpoint says of the file, which then need not be there.

    Raises:
        SettingError: The file cannot be read, or a setting does not fit it.
    """
    data = config.data
    if data.path is None and of_file is None:  # ??? in conf/data/file.yaml
        known = ", ".join(SUFFIXES)
        raise SettingError(f"data.path: must be given: a file ({known}), or a folder of .wav and .flac; data.path=signals.npy")
    if None not in (data.families, data.sigma, data.test_frequency):  # they are those of another file in conf/data
        raise SettingError(f"data.path={data.path}: is for data=file")
    _refuse_dependent(config)
    path = Path(cwd or "", Path(data.path or "").expanduser()).absolute()
    accumulate = config.trainer.get("accumulate_grad_batches", 1)
    accumulate = accumulate if isinstance(accumulate, int) and accumulate > 0 else 1
    found = dict(of_file) | {"batch_size": of_file["batch_size"] // accumulate} if of_file else _found(data, path)
    if data.batch_size is None and "batch_size" not in found:
        processes = max(1, count_processes(config.trainer.get("devices", 1), int(config.trainer.get("num_nodes", 1))))
        fits = min(_BATCH_SIZE, found["train_size"] // accumulate)
        found["batch_size"] = max(1, fits - fits % processes)
    with read_write(data), open_dict(data):
        data.path = str(path)
        for name in ("signal_length", "dt", "train_size", "val_size", "batch_size"):
            if data[name] is None:
                data[name] = found[name]


def _refuse_dependent(config: DictConfig) -> None:
    """Refuse values that are computed from null, as the epochs of some experiments are from the number of signals.

    Raises:
        SettingError: There is one.
    """
    try:
        OmegaConf.to_container(config.trainer, resolve=True)
    except InterpolationResolutionError as error:
        needed = "data.train_size and data.batch_size, which must be given"
        raise SettingError(f"{error.full_key}: is computed from {needed}") from error


def _found(data: DictConfig, path: Path) -> dict[str, Any]:
    """What the file says of the settings that follow from it."""
    try:
        files = tuple(stamp(path))
        if not files and not path.exists():
            raise FileError(path, "there is no such file or folder")
        of_windows = data.signal_length
        if of_windows is not None and of_windows < 2:
            raise ValueError(f"signal_length={of_windows}: must be at least 2")
        count, length, rate = _looked_at(path, data.key, data.labels, of_windows, files)
        train_size, val_size = sizes(count, data.train_size, data.val_size)
    except FileError as error:
        raise SettingError(f"data.path={error}") from error
    except OSError as error:
        raise SettingError(f"data.path={path}: {error.strerror or error}") from error
    except ValueError as error:
        raise SettingError(f"data.{error}") from error
    return {"signal_length": length, "dt": 1 / rate if rate else 1.0, "train_size": train_size, "val_size": val_size}


@lru_cache(maxsize=16)
def _looked_at(
    path: Path, key: str | None, labels: str | None, signal_length: int | None, files: tuple[tuple[str, int, int], ...]
) -> tuple[int, int, float | None]:
    """How many signals a file has, their length, and their rate; as long as the file does not change, it is opened once."""
    collection = Collection(path, key, labels, signal_length)
    _ = collection.labels
    return collection.count, collection.signal_length, collection.rate
