"""The checkpoint from which an interrupted run resumes."""

import os
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins import CheckpointIO
from torch import Tensor

from wavecoder.training.callbacks.signals import KINDS, SignalHandlers, find_handlers
from wavecoder.training.checkpoints import LAST, PREVIOUS, read_checkpoint, write_checkpoint
from wavecoder.training.curves import TensorBoardCurves
from wavecoder.training.module import AutoencoderModule

SESSION = "session"
"""Where a checkpoint keeps what is needed to resume beside Lightning's own state."""


class CheckpointFiles(CheckpointIO):
    """How Lightning writes and reads checkpoints, of whatever callback: see `wavecoder.training.checkpoints`.

    Its `storage_options` is the name under which a file of the same name is kept, if there is one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: str | None = None) -> None:
        write_checkpoint(checkpoint, Path(path), storage_options)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


class LastCheckpoint(Checkpoint):
    """Keeps the state of a run as `last.ckpt`, and the one before as `previous.ckpt`.

    One is written at the end of an epoch and within an epoch, each if the last one is old enough; after the last epoch; and when
    the run is told to end by a signal (see `SignalHandlers`). Within an epoch that is done after a chunk of optimiser steps, and
    a run that resumes there continues with the next chunk.

    Args:
        folder: Where.
        every_seconds: The least time between two checkpoints at ends of epochs, in seconds.
        every_minutes: The time after which there is one within an epoch, in minutes; None for no such checkpoints.
        every_steps: The number of optimiser steps after which there is one at the latest; None for any number.

    Attributes:
        seconds: Duration of the training, in seconds, with the sessions before that this one resumed from.

    Raises:
        ValueError: A time is not a number, or below 0; or the number of steps is not a whole one, or below 1.
    """

    def __init__(
        self, folder: str, every_seconds: int | float = 10, every_minutes: int | float | None = 5, every_steps: int | None = None
    ) -> None:
        if not isinstance(every_seconds, int | float) or not every_seconds >= 0:
            raise ValueError(f"last.every_seconds={every_seconds}: must be a number of seconds, 0 or more")
        if every_minutes is not None and (not isinstance(every_minutes, int | float) or not every_minutes >= 0):
            raise ValueError(f"last.every_minutes={every_minutes}: must be a number of minutes, 0 or more, or null")
        if every_steps is not None and (not isinstance(every_steps, int) or every_steps < 1):
            raise ValueError(f"last.every_steps={every_steps}: must be a number of steps, 1 or more, or null")
        self.folder = Path(folder)
        self.every_seconds = every_seconds
        self.every_minutes = every_minutes
        self.every_steps = every_steps
        self._saved = self._started = time.monotonic()
        self._saved_step = 0
        self._seconds_before = 0.0
        self._handlers = SignalHandlers()
        self._epoch_is_over = False
        self._resumed: dict[str, Any] = {}

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started + self._seconds_before

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            self._saved = self._started = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds_before = state_dict["seconds"]

    # --- what a checkpoint holds beside Lightning's own state -----------------------------------------------------------------

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        assert isinstance(pl_module, AutoencoderModule)
        curves = trainer.logger.state() if isinstance(trainer.logger, TensorBoardCurves) and trainer.is_global_zero else None
        checkpoint[SESSION] = {
            "losses": _of_all_processes(torch.cat(pl_module.losses), trainer, pl_module) if pl_module.losses else None,
            "metrics": {name: value.detach().clone() for name, value in trainer.callback_metrics.items()},
            "curves": curves,
            "should_stop": self._epoch_is_over and trainer.should_stop,
        }
        if self._epoch_is_over:
            _begin_next_epoch(checkpoint["loops"]["fit_loop"], trainer)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._resumed = checkpoint.get(SESSION, {})
        trainer.should_stop = self._resumed.get("should_stop", False)
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for best in (callback for callback in callbacks if isinstance(callback, ModelCheckpoint)):
            if state := checkpoint["callbacks"].get(best.state_key):  # or it would forget what was best if the folder was moved
                moved = _with_folder(state, str(state["dirpath"]), str(best.dirpath))
                if any(_leads_out(value, str(best.dirpath)) for value in _strings(moved)):
                    del checkpoint["callbacks"][best.state_key]  # Lightning removes the files that it names
                else:
                    checkpoint["callbacks"][best.state_key] = moved

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, AutoencoderModule)
        resumed, self._resumed = self._resumed, {}
        if resumed.get("losses") is not None:
            pl_module.losses = [resumed["losses"][trainer.global_rank].to(pl_module.device)]
        trainer.callback_metrics.update(resumed.get("metrics", {}))
        self._saved_step = trainer.global_step
        self._handlers = find_handlers(trainer)
        self._handlers.defer()

    # --- when one is written --------------------------------------------------------------------------------------------------

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        fetcher = trainer.fit_loop._data_fetcher  # noqa: SLF001 - Lightning has no public word for when it validates
        assert fetcher is not None
        if not _epoch_ends(trainer) and not trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher):  # noqa: SLF001
            self._save_if(self._is_old_within_epoch(trainer), trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking and not _epoch_ends(trainer):
            self._save_if(self._is_old_within_epoch(trainer), trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        is_last = trainer.current_epoch + 1 == trainer.max_epochs or 0 <= trainer.max_steps <= trainer.global_step
        is_old = time.monotonic() - self._saved >= self.every_seconds
        self._epoch_is_over = True
        self._save_if(is_last or trainer.should_stop or is_old or self._has_many_steps(trainer), trainer)
        self._epoch_is_over = False

    def _is_old_within_epoch(self, trainer: L.Trainer) -> bool:
        limit = self.every_minutes
        return self._has_many_steps(trainer) or (limit is not None and time.monotonic() - self._saved >= 60 * limit)

    def _has_many_steps(self, trainer: L.Trainer) -> bool:
        return self.every_steps is not None and trainer.global_step - self._saved_step >= self.every_steps

    def _save_if(self, is_due: bool, trainer: L.Trainer) -> None:
        """Write a checkpoint if it is due or a signal was received, which acts then."""
        received = set(self._handlers.received)
        if trainer.world_size > 1:  # all take part in both, so the first one's clock counts, and signals to any
            told = torch.tensor(
                [is_due and trainer.is_global_zero, *(kind in received for kind in KINDS)],
                dtype=torch.long,
                device=trainer.strategy.root_device,
            )
            is_due, *flags = trainer.strategy.reduce(told, reduce_op="max").tolist()
            received = {kind for kind, flag in zip(KINDS, flags, strict=True) if flag}
        if is_due or received:
            self._save(trainer)
        self._handlers.act(received, trainer.global_step)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.folder / LAST, weights_only=False, storage_options=PREVIOUS)
        self._saved, self._saved_step = time.monotonic(), trainer.global_step


def _epoch_ends(trainer: L.Trainer) -> bool:
    """Whether the chunk of this moment is the last of the epoch."""
    return trainer.should_stop or trainer.fit_loop.epoch_loop._is_training_done  # noqa: SLF001 - nor for this


def _of_all_processes(
    losses: Float[Tensor, "step member"], trainer: L.Trainer, module: L.LightningModule
) -> Float[Tensor, "process step member"]:
    gathered = module.all_gather(losses)
    assert isinstance(gathered, Tensor)
    return gathered.reshape(trainer.world_size, *losses.shape).cpu()


def _with_folder(state: Any, before: str, now: str) -> Any:
    """The state of a callback with the folder of its files replaced wherever it is named."""
    if isinstance(state, dict):
        return {_with_folder(key, before, now): _with_folder(value, before, now) for key, value in state.items()}
    return now + state.removeprefix(before) if isinstance(state, str) and state.startswith(before) else state


def _strings(state: Any) -> Iterator[str]:
    """The strings in the state of a callback, keys and values."""
    if isinstance(state, dict):
        yield from chain.from_iterable(map(_strings, chain(state.keys(), state.values())))
    elif isinstance(state, str):
        yield state


def _leads_out(value: str, folder: str) -> bool:
    """Whether a string is the path of a file that is not in a folder, absolute or upwards."""
    path = Path(value)
    return (path.is_absolute() or ".." in path.parts) and not Path(os.path.normpath(path)).is_relative_to(folder)


def _begin_next_epoch(fit_loop: dict[str, Any], trainer: L.Trainer) -> None:
    """Let the state of Lightning's loops be that of the beginning of the next epoch.

    What it is while hooks of the end of an epoch run, Lightning resumes by guessing where it was, and with `max_steps` it guesses
    that the epoch is not over.
    """
    epochs, batches = fit_loop["epoch_progress"], fit_loop["epoch_loop.batch_progress"]
    for count in ("total", "current"):
        epochs[count]["completed"] = epochs[count]["processed"]
    for counts in (batches["current"], fit_loop["epoch_loop.val_loop.batch_progress"]["total"]):
        counts.update(dict.fromkeys(counts, 0))
    batches["is_last_batch"] = False
    if trainer.max_steps != -1:  # there it begins with a pass through its loop in which it looks whether it must validate
        fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
