"""The errors of the references, such as the SVD and the Bayes denoiser, next to the autoencoder's wherever that appears."""

from collections.abc import Iterable, Mapping

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor

from wavecoder.metrics import ErrorMeter, EvaluationBatch
from wavecoder.references import REFERENCES, Moments, Reference, fitted_references, population_moments
from wavecoder.training.curves import TensorBoardCurves
from wavecoder.training.data import SignalDataModule, datamodule_of
from wavecoder.training.module import AutoencoderModule


class ReferenceErrors(L.Callback):
    """Fits all references to the clean training signals and measures them on what the autoencoder is measured on.

    In TensorBoard each reference is a run of its own beside the autoencoder's, with the same tags, so that its line is in
    the same charts. The ratios of the autoencoder's errors to those of some references are logged as `…/over_NAME`.

    With several processes the first does the work, and sends the others the errors.

    Args:
        rank: Rank of the SVD and of PCA: the size of the latent.
        basis: Whether the references are `fitted` to the training signals or to the exact moments of the `population`.

    Attributes:
        references: The fitted references, by name; in the first process alone.
        moments: What they were fitted to; in the first process alone.
        errors: Their errors, by name and metric; means over members where each has inputs of its own.
        draws: Their errors in each draw of the noisy test signal, by name and metric, `[draw]`, or `[member, draw]` where each
            member has draws of its own; in the first process alone.

    Raises:
        ValueError: The rank is below 1, or there is no such basis.
    """

    moments: Moments

    def __init__(self, rank: int, basis: str) -> None:
        if rank < 1:
            raise ValueError(f"rank={rank}: must be at least 1")
        if basis not in ("fitted", "population"):
            raise ValueError(f"basis={basis}: must be fitted or population")
        self.rank = rank
        self.basis = basis
        self.references: dict[str, Reference] = {}
        self.errors: dict[str, dict[str, float]] = {}
        self.draws: dict[str, dict[str, Float[Tensor, "*member draw"]]] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            datamodule = datamodule_of(trainer)
            self._measure(datamodule)
            if isinstance(trainer.logger, TensorBoardCurves):
                for name, errors in self.errors.items():
                    trainer.logger.log_reference(REFERENCES[name].label, errors, _planned_steps(trainer, datamodule))
        self.errors = trainer.strategy.broadcast(self.errors)

    def _measure(self, datamodule: SignalDataModule) -> None:
        prior = datamodule.signals.prior(datamodule.device)
        if self.basis == "population":
            if prior is None:
                raise ValueError("basis=population needs signals whose distribution is known; basis=fitted does not")
            self.moments = population_moments(prior)
        else:
            self.moments = datamodule.moments
        self.references = fitted_references(self.rank, prior, self.moments)
        meters = measured(self.references, datamodule.test_dataloader())
        self.errors = errors_of(meters)
        self.draws = {name: {key: each.squeeze(0) for key, each in meter.draws.items()} for name, meter in meters.items()}

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, AutoencoderModule)
        pl_module.report(self.ratios(pl_module))

    on_test_epoch_end = on_validation_epoch_end

    def ratios(self, module: AutoencoderModule) -> dict[str, Float[Tensor, " member"]]:
        """The latest errors of each member over those of the references, see `ratios`."""
        return ratios(module.meter.compute(), self.errors)


def _planned_steps(trainer: L.Trainer, datamodule: SignalDataModule) -> int:
    """Optimiser steps of the whole run."""
    epochs = trainer.max_epochs or 0
    of_epochs = [epochs * datamodule.steps_per_epoch] if epochs > 0 else []
    return min([*of_epochs, *([trainer.max_steps] if trainer.max_steps > 0 else [])], default=1)


def measured(references: Mapping[str, Reference], batches: Iterable[EvaluationBatch]) -> dict[str, ErrorMeter]:
    """References measured, by name; denoisers, where signals are noisy."""
    meters = {name: ErrorMeter() for name in references}
    for batch in batches:
        for name, reference in references.items():
            if batch.noise or not reference.denoises:
                made = reference.reconstruct(batch.inputs, batch.noise)
                meters[name].update(batch, made if made.dim() == 3 else made.unsqueeze(0))
    return meters


def errors_of(meters: Mapping[str, ErrorMeter]) -> dict[str, dict[str, float]]:
    """The errors of references, by name and metric."""
    errors = {name: {key: values.mean().item() for key, values in meter.compute().items()} for name, meter in meters.items()}
    return {name: of_metrics for name, of_metrics in errors.items() if of_metrics}  # denoisers may have nothing to measure


def ratios(
    errors: Mapping[str, Float[Tensor, " member"]], references: Mapping[str, Mapping[str, float]]
) -> dict[str, Float[Tensor, " member"]]:
    """The errors of each member over those of references with `show_ratio`, as `METRIC/over_svd` and so on.

    Args:
        errors: The errors of each member, by metric.
        references: The errors of the references, by name and metric.
    """
    return {
        f"{metric}/over_{name}": values / torch.tensor(references[name][metric], dtype=values.dtype, device=values.device)
        for metric, values in errors.items()
        for name in references
        if REFERENCES[name].show_ratio and metric in references[name]
    }


def find_references(trainer: L.Trainer) -> ReferenceErrors | None:
    """The callback of a trainer that has the references; None if there is none."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, ReferenceErrors)), None)
