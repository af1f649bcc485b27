"""The error of training signals while a network trains."""

import lightning as L

from wavecoder.metrics import ErrorMeter, EvaluationBatch
from wavecoder.training.data import datamodule_of
from wavecoder.training.module import AutoencoderModule


class TrainingError(L.Callback):
    """Logs `train/mse` after every validation, so that it can be compared with `val/mse`: measured clean, on weights of one step.

    The curve is of the first training signals; all of them are measured at the end of a run, for its results.

    Args:
        signals: How many are measured, of each member if each has its own.

    Raises:
        ValueError: It is below 1.
    """

    def __init__(self, signals: int) -> None:
        if signals < 1:
            raise ValueError(f"signals={signals}: must be at least 1")
        self.signals = signals
        self._batch: EvaluationBatch | None = None

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, AutoencoderModule)
        if trainer.logger is None:
            return
        if self._batch is None:
            whole = next(iter(datamodule_of(trainer).training_batches()))
            inputs = whole.inputs[..., : self.signals, :].contiguous()
            self._batch = whole._replace(inputs=inputs, targets=inputs)
        meter = ErrorMeter()
        pl_module.measure(self._batch, meter)
        pl_module.report(meter.compute())
