"""A fit with nothing to train, in which Lightning's own callbacks show whether they can take part in a run. Imports Lightning."""

import io
import warnings
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers.logger import DummyLogger

from wavecoder.runs.limits import SettingError


class StandIn(L.LightningModule):
    """What callbacks see of a run's module: it trains by itself, reports metrics, and cannot be copied."""

    def __init__(self, metrics: Iterable[str]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._metrics = {metric: torch.ones(()) for metric in metrics}

    def __deepcopy__(self, memo: Any) -> NoReturn:
        raise TypeError("the engine trains one set of weights, of which there are no copies")

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.trainer.callback_metrics.update(self._metrics)

    validation_step = training_step

    def configure_optimizers(self) -> None:
        """There is nothing to train."""


def try_callback(setting: str, callback: L.Callback, folder: Path, metrics: Iterable[str], has_logger: bool) -> None:
    """Refuse a callback of Lightning's that would end a run, as those do which take the training into their own hands.

    Callbacks of others are not tried: they may write files.

    Args:
        setting: What chooses it.
        callback: It, which takes part in no other fit.
        folder: The run's, which need not exist.
        metrics: What a run reports.
        has_logger: Whether a run has a logger.

    Raises:
        SettingError: It would.
    """
    if not type(callback).__module__.startswith("lightning.") or isinstance(callback, Checkpoint):
        return
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        callbacks=[callback],
        logger=DummyLogger() if has_logger else False,
        plugins=[LightningEnvironment()],
        enable_checkpointing=False,
        enable_progress_bar=isinstance(callback, ProgressBar),
        enable_model_summary=False,
        default_root_dir=str(folder),
    )
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(StandIn(metrics), [0.0], [0.0])
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise SettingError(f"{setting}: must be a callback that can take part in a run: {said}") from error
