"""The errors of the SVD, PCA, the Wiener filter and the Bayes denoiser, next to the autoencoder's wherever that appears."""

from pathlib import Path

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from wavecoder.datamodule import SinusoidDataModule, datamodule_of
from wavecoder.errors import ErrorMeter
from wavecoder.module import AutoencoderModule
from wavecoder.references import PCA, SVD, Bayes, Moments, Reference, Wiener, moments_of, population_moments

_DENOISERS = ("wiener", "bayes")  # clean signals they leave as they are, so they are measured on noisy ones only
_RATIOS = ("svd", "bayes")  # the references that the autoencoder's errors are divided by
_WRITE_EVERY = 5  # seconds; TensorBoard's writer does it in a thread of its own


class ReferenceErrors(L.Callback):
    """Fits the references to the clean training signals and measures them on what the autoencoder is measured on.

    In TensorBoard each reference is a run of its own beside the autoencoder's, with the same tags, so that its line stands in
    the same charts. The ratios of the autoencoder's errors to the SVD's and to the Bayes denoiser's are logged as `…/over_svd`
    and `…/over_bayes`.

    Args:
        rank: Rank of the SVD and of PCA: the size of the latent.
        basis: Whether SVD, PCA and the Wiener filter are `fitted` to the training signals or to the exact `population` moments.

    Of several processes the first does the work, and tells the others the errors.

    Attributes:
        references: The fitted references, by name; in the first process alone.
        moments: What they were fitted to; in the first process alone.
        errors: Their errors, by name and metric.
    """

    moments: Moments

    def __init__(self, rank: int, basis: str) -> None:
        self.rank = rank
        self.basis = basis
        self.references: dict[str, Reference] = {}
        self.errors: dict[str, dict[str, float]] = {}
        self._writers: dict[str, SummaryWriter] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self._measure(datamodule_of(trainer))
            if isinstance(trainer.logger, TensorBoardLogger):
                folder = Path(trainer.logger.log_dir).parent
                self._writers = {name: SummaryWriter(folder / name, flush_secs=_WRITE_EVERY) for name in self.errors}
        self.errors = trainer.strategy.broadcast(self.errors)

    def _measure(self, datamodule: SinusoidDataModule) -> None:
        kind = (datamodule.times, datamodule.data.families, datamodule.data.sigma)
        self.moments = population_moments(*kind) if self.basis == "population" else moments_of(datamodule.training_signals())
        self.references = {"svd": SVD(self.rank), "pca": PCA(self.rank), "wiener": Wiener(), "bayes": Bayes(*kind)}
        for reference in self.references.values():
            reference.fit(self.moments)
        meters = {name: ErrorMeter() for name in self.references}
        for batch in datamodule.test_dataloader():
            for name, reference in self.references.items():
                if batch.noise or name not in _DENOISERS:
                    meters[name].update(batch, reference.reconstruct(batch.inputs, batch.noise).unsqueeze(0))
        self.errors = {
            name: {metric: errors.item() for metric, errors in meter.compute().items()}
            for name, meter in meters.items()
            if meter.compute()  # where no signal is noisy, the denoisers have nothing to do
        }

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
                if metric in self.errors[name]:
                    writer.add_scalar(metric, self.errors[name][metric], step)

    def ratios(self, module: AutoencoderModule) -> dict[str, Float[Tensor, " replica"]]:
        """The latest errors of each replica over those of the SVD and the Bayes denoiser, as `METRIC/over_svd` and so on."""
        return {
            f"{metric}/over_{name}": errors / torch.tensor(self.errors[name][metric], dtype=errors.dtype, device=errors.device)
            for metric, errors in module.meter.compute().items()
            for name in _RATIOS
            if metric in self.errors.get(name, {})
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
