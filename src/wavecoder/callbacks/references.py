"""The error of the SVD and of PCA, next to the autoencoder's wherever that appears."""

from pathlib import Path

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from wavecoder.datamodule import datamodule_of
from wavecoder.errors import ErrorMeter
from wavecoder.module import AutoencoderModule
from wavecoder.references import PCA, SVD, Reference, moments_of


class ReferenceErrors(L.Callback):
    """Fits the references to the clean training signals and measures them on what the autoencoder is measured on.

    In TensorBoard each reference is a run of its own beside the autoencoder's, with the same tags, so that its line stands in
    the same charts. The ratio of the autoencoder's error to the SVD's is logged as `…/over_svd`.

    Args:
        rank: Rank of the SVD and of PCA: the size of the latent.

    Attributes:
        references: The fitted references, by name.
        errors: Their errors, by name and metric.
    """

    def __init__(self, rank: int) -> None:
        self.references: dict[str, Reference] = {"svd": SVD(rank), "pca": PCA(rank)}
        self.errors: dict[str, dict[str, float]] = {}
        self._writers: dict[str, SummaryWriter] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        datamodule = datamodule_of(trainer)
        moments = moments_of(datamodule.training_signals())
        meters = {name: ErrorMeter() for name in self.references}
        for reference in self.references.values():
            reference.fit(moments)
        for batch in datamodule.test_dataloader():
            for name, reference in self.references.items():
                meters[name].update(batch, reference.reconstruct(batch.inputs).unsqueeze(0))
        self.errors = {
            name: {metric: errors.item() for metric, errors in meter.compute().items()} for name, meter in meters.items()
        }
        if trainer.is_global_zero and isinstance(trainer.logger, TensorBoardLogger):
            folder = Path(trainer.logger.log_dir).parent
            self._writers = {name: SummaryWriter(folder / name) for name in self.references}

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._report(trainer, pl_module)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._report(trainer, pl_module)

    def _report(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, AutoencoderModule)
        ratios = {metric: ratio.mean().float() for metric, ratio in self.ratios(pl_module).items()}
        pl_module.log_dict(ratios, logger=False, sync_dist=True)
        step = trainer.global_step
        if trainer.logger is not None:
            trainer.logger.log_metrics({metric: ratio.item() for metric, ratio in ratios.items()}, step)
        for name, writer in self._writers.items():
            for metric in pl_module.meter.compute():
                writer.add_scalar(metric, self.errors[name][metric], step)
            writer.flush()

    def ratios(self, module: AutoencoderModule) -> dict[str, Float[Tensor, " replica"]]:
        """The latest error of each replica over the SVD's, as `METRIC/over_svd`."""
        return {
            f"{metric}/over_svd": errors / torch.tensor(self.errors["svd"][metric], dtype=errors.dtype, device=errors.device)
            for metric, errors in module.meter.compute().items()
        }

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


def find_references(trainer: L.Trainer) -> ReferenceErrors | None:
    """The callback that has the references, if a trainer has it."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, ReferenceErrors)), None)
