"""The trainer, the callbacks and the logger made before the run, so that what they refuse leaves nothing. Imports Lightning."""

import logging
import os
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from lightning.pytorch.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from omegaconf import DictConfig, OmegaConf

from wavecoder.references import REFERENCES
from wavecoder.runs import build, results
from wavecoder.runs.foreign import as_the_job
from wavecoder.runs.limits import SettingError, as_typed
from wavecoder.runs.names import no_such_setting
from wavecoder.runs.run import check_shares, make_trainer
from wavecoder.runs.settings import Settings
from wavecoder.runs.trial import try_callback
from wavecoder.runs.values import leaves
from wavecoder.training.callbacks.checkpoint import LastCheckpoint
from wavecoder.training.callbacks.references import ReferenceErrors
from wavecoder.training.callbacks.subspace import LinearSubspace
from wavecoder.training.callbacks.training_error import TrainingError
from wavecoder.training.checkpoints import LAST, PREVIOUS

_FOLDERS = ("dirpath", "folder", "save_dir")  # arguments that are folders, of our callbacks and Lightning's
_NAMES = ("filename", "filename_suffix")  # arguments that files are named with
_LONGEST_NAME = 200  # bytes, and Lightning may add a version; file systems allow 255


def check_trainer(config: DictConfig, settings: Settings, folder: Path) -> list[tuple[str, Path]]:
    """Refuse a trainer, callbacks and a logger that cannot be made, or that ask for what no run has.

    Args:
        config: The composed configuration with its `hydra` node.
        settings: The checked settings.
        folder: The run's, which need not exist.

    Returns:
        The folders in which they are going to write, by the settings that choose them.

    Raises:
        SettingError: One of them cannot be made.
    """
    with as_the_job(config, folder), _silenced():
        callbacks: dict[str, Any] = build.make_objects(config, "callbacks")
        trainer = make_trainer(config, folder, callbacks)
        _check_trainer_made(config, trainer)
        check_shares(settings, trainer)
        _check_checkpoints(callbacks, (folder / results.LAST_CHECKPOINT).parent)
        given = {group: OmegaConf.to_container(config[group], resolve=True) for group in ("callbacks", "logger")}
    kinds = {type(callback) for callback in callbacks.values()}
    if LinearSubspace in kinds and ReferenceErrors not in kinds:
        raise SettingError("~callbacks.references: cannot be left out; callbacks.subspace compares networks with them")
    has_logger = bool(config.logger.get("_target_"))
    reported = set(_reported(settings, kinds, has_logger))
    for name, callback in callbacks.items():
        if isinstance(callback, ReferenceErrors) and callback.rank > settings.data.signal_length:
            allowed = f"at most data.signal_length={settings.data.signal_length}"
            raise SettingError(f"callbacks.{name}.rank={callback.rank}: must be {allowed}")
        metric = getattr(callback, "monitor", None)
        of_others = any(not kind.__module__.startswith(("wavecoder.", "lightning.")) for kind in kinds)  # may report any
        if metric is not None and metric not in reported and not of_others:
            raise SettingError(f"callbacks.{name}.monitor={metric}: {no_such_setting(metric, reported, 'nothing reports it')}")
        if isinstance(callback, ModelCheckpoint):
            _check_filename(f"callbacks.{name}.filename={callback.filename}", callback, reported, of_others)
    with as_the_job(config, folder), _silenced():
        for name, callback in build.make_objects(config, "callbacks").items():  # made again, because a fit leaves its traces
            try_callback(f"callbacks.{name}._target_={config.callbacks[name]._target_}", callback, folder, reported, has_logger)
    for key, value in leaves(given):
        if key.rpartition(".")[2] in _NAMES and "/" in re.sub(r"\{.*?\}", "", str(value)):  # but for the names of metrics
            raise SettingError(f"{key}={value}: must be a part of a file's name, without /")
    return [(key, Path(value).absolute()) for key, value in leaves(given) if key.rpartition(".")[2] in _FOLDERS and value]


def _check_checkpoints(callbacks: Mapping[str, Any], folder: Path) -> None:
    """Refuse checkpoints where a run does not look for what it resumes from, and others in their place.

    Args:
        callbacks: By their names.
        folder: Where a run's checkpoints are.
    """
    for name, callback in callbacks.items():
        if isinstance(callback, LastCheckpoint) and callback.folder.absolute() != folder:
            allowed = "${hydra:runtime.output_dir}/checkpoints, from which a run is resumed"
            raise SettingError(f"callbacks.{name}.folder={callback.folder}: must be {allowed}")
        if isinstance(callback, ModelCheckpoint) and Path(callback.dirpath or folder).absolute() == folder:
            if (file := f"{callback.filename}.ckpt") in (LAST, PREVIOUS):
                setting = f"callbacks.{name}.filename={callback.filename}"
                raise SettingError(f"{setting}: must be another name; a run is resumed from {file}")
            if callback.save_last:
                setting = f"callbacks.{name}.save_last={as_typed(callback.save_last)}"
                raise SettingError(f"{setting}: must be false; a run is resumed from {LAST}")


def _check_trainer_made(config: DictConfig, trainer: L.Trainer) -> None:
    """Refuse a trainer whose processes cannot be given what they train, or that has no time."""
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        allowed = "auto or ddp, which start processes with the command; others cannot be given what they train"
        raise SettingError(f"trainer.strategy={config.trainer.strategy}: must be {allowed}")
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for timer in (callback for callback in callbacks if isinstance(callback, Timer)):
        if (time := timer.time_remaining()) is not None and time < 0:
            raise SettingError(f"trainer.max_time or a Timer of {time:g} seconds: must be 0 or more")


def _check_filename(setting: str, callback: ModelCheckpoint, reported: Collection[str], of_others: bool) -> None:
    """Refuse a name of checkpoints that is none: it is used after an epoch, with the metrics, which callbacks of others know."""
    metrics = {"epoch": torch.tensor(0), "step": torch.tensor(0)} | dict.fromkeys(reported, torch.zeros(()))
    for metric in re.findall(r"\{(.*?)[:}]", callback.filename or ""):  # as Lightning reads it, to which others are 0
        if metric not in metrics and not of_others:
            raise SettingError(f"{setting}: {no_such_setting(metric, metrics, f'nothing reports {metric}')}")
    with build.as_setting_error(setting):
        path = callback.format_checkpoint_name(metrics)
    name = path.removeprefix(f"{callback.dirpath}/")
    if "/" in name or len(os.fsencode(name)) > _LONGEST_NAME:
        hint = "; auto_insert_metric_name=false leaves out the names of metrics" if "{" in str(callback.filename) else ""
        raise SettingError(f"{setting}: must be a file's name of at most {_LONGEST_NAME} bytes, without /, not {name}{hint}")


@contextmanager
def _silenced() -> Iterator[None]:
    """No messages, which come again when the job is there."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _reported(settings: Settings, kinds: Collection[type], has_logger: bool) -> Iterator[str]:
    """The metrics that a run with callbacks of these kinds reports, which others can monitor."""
    levels = [f"_noise_{std}" for std in settings.noise.eval_std]
    errors = ["val/mse"] + [f"val/mse{level}" for level in levels]
    if settings.data.path is None:
        errors += [f"sine/{kind}{level}" for kind in ("mse", "mean_mse") for level in levels]
    if TrainingError in kinds and has_logger:
        errors.append("train/mse")
    yield from errors
    if ReferenceErrors in kinds:
        shown = {name: reference for name, reference in REFERENCES.items() if reference.show_ratio}
        for name, reference in shown.items():
            yield from (f"{error}/over_{name}" for error in errors if "_noise_" in error or not reference.denoises)
