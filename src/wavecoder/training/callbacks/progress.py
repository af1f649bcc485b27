"""The progress of the training, as a bar on a terminal, one line in a notebook, and some lines in a log."""

import logging
import time
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from wavecoder.training.data import datamodule_of
from wavecoder.training.module import AutoencoderModule

log = logging.getLogger(__name__)

_READ_EVERY = 0.5  # seconds; reading the loss waits for the device
_WIDE = 130  # columns of a terminal in which everything has room


class TrainingProgress(L.Callback):
    """One bar for the whole training, in optimiser steps, with the loss and the error's ratio to the SVD's.

    In a notebook it is one line of text that changes. Without either, as in a job on a cluster, about ten lines over the training
    report the same.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._line: Any = None  # of a notebook; IPython's handle of what it displays
        self._task = TaskID(0)
        self._last_read = 0.0
        self._loss = float("nan")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and self._console.is_jupyter:
            from IPython.display import display

            self._line = display(self._as_text(trainer), raw=True, display_id=True)
        if not (trainer.is_global_zero and self._console.is_terminal):
            return
        datamodule = datamodule_of(trainer)
        total = datamodule.steps_per_epoch * (trainer.max_epochs or 0)
        # in a narrow terminal the bar gives way, and what can be done without: the time that is left never does
        kept = Column(no_wrap=True)
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(None if self._is_narrow else 40),
            *(() if self._is_narrow else (MofNCompleteColumn(table_column=kept), TextColumn("steps"))),
            TimeRemainingColumn(table_column=kept),
            TextColumn("left"),
            TextColumn("{task.fields[status]}"),
            expand=self._is_narrow,
            console=self._console,
            refresh_per_second=4,
            transient=True,
        )
        done = trainer.global_step  # above 0 if the run is resumed
        self._task = self._bar.add_task("", total=total, completed=done, epoch=self._epoch(trainer), status="")
        self._bar.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if (self._bar is None and self._line is None) or now - self._last_read < _READ_EVERY:
            return
        self._last_read = now
        self._read_loss(pl_module)
        self._show(trainer)

    def _show(self, trainer: L.Trainer) -> None:
        if self._line is not None:
            self._line.update(self._as_text(trainer), raw=True)
        elif self._bar is not None:
            self._bar.update(self._task, completed=trainer.global_step, epoch=self._epoch(trainer), status=self._status(trainer))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epochs = trainer.max_epochs or 1
        epoch = trainer.current_epoch + 1
        if self._bar is not None or self._line is not None:
            self._show(trainer)
        elif trainer.is_global_zero and (epoch == epochs or epoch % max(1, epochs // 10) == 0):
            self._read_loss(pl_module)
            log.info("epoch %d/%d  %s", epoch, epochs, self._status(trainer))

    def _read_loss(self, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, AutoencoderModule)
        if pl_module.losses:
            self._loss = pl_module.losses[-1].mean().item()

    def _epoch(self, trainer: L.Trainer) -> str:
        return f"{min(trainer.current_epoch + 1, trainer.max_epochs or 1)}/{trainer.max_epochs}"

    def _as_text(self, trainer: L.Trainer) -> dict[str, str]:
        return {"text/plain": f"epoch {self._epoch(trainer)}  {self._status(trainer)}"}

    def _status(self, trainer: L.Trainer) -> str:
        if "val/mse" not in trainer.callback_metrics:
            return f"loss {self._loss:.4g}"
        status = f"val/mse {trainer.callback_metrics['val/mse'].item():.4g}"
        if "val/mse/over_svd" in trainer.callback_metrics:
            status += f" = {trainer.callback_metrics['val/mse/over_svd'].item():.3g} × SVD"
        return status if self._bar is not None and self._is_narrow else f"loss {self._loss:.4g}  {status}"

    @property
    def _is_narrow(self) -> bool:
        return self._console.width < _WIDE

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
