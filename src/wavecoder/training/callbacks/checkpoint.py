"""The checkpoint from which an interrupted run resumes."""

import os
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint


class LastCheckpoint(Checkpoint):
    """Keeps the state of a run as `last.ckpt`: after an epoch if the last one is old enough, and always after the last epoch.

    The file is replaced at once, so that at any moment there is either the new one or the one before.

    Args:
        folder: Where.
        every_seconds: The least time between two checkpoints, in seconds; as much work can be lost, and an epoch.

    Attributes:
        seconds: Duration of the training, in seconds, with the sessions before that this one resumed from.

    Raises:
        ValueError: The time is not a number, or below 0.
    """

    def __init__(self, folder: str, every_seconds: float) -> None:
        if not isinstance(every_seconds, int | float) or not every_seconds >= 0:
            raise ValueError(f"last.every_seconds={every_seconds}: must be a number of seconds, 0 or more")
        self.file = Path(folder) / "last.ckpt"
        self.every_seconds = every_seconds
        self._saved = self._started = time.monotonic()
        self._seconds_before = 0.0

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

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        now = time.monotonic()
        is_last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        # all processes take part, so the first one's clock counts
        if trainer.strategy.broadcast(is_last or now - self._saved >= self.every_seconds):
            new = self.file.with_suffix(".new")
            trainer.save_checkpoint(new, weights_only=False)
            if trainer.is_global_zero:
                with new.open("rb") as file:
                    os.fsync(file.fileno())
                new.replace(self.file)
            self._saved = now
