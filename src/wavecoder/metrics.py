"""Measuring reconstructions: the same inputs and the same arithmetic for autoencoders and references.

Every error is a mean squared error per value of a signal, so that numbers compare across signal lengths.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class EvaluationBatch(NamedTuple):
    """Signals to reconstruct and what they should become.

    Attributes:
        metric: Name of the error of each reconstruction, for example `val/mse_noise_0.1`.
        mean_metric: Name of the error of the mean over the batch, for noisy copies of one signal; None for other batches.
        noise: Standard deviation of the noise in the inputs, 0 for clean ones; the references may use it.
        inputs: What is given to the model, clean or noisy.
        targets: The clean signals.
    """

    metric: str
    mean_metric: str | None
    noise: float
    inputs: Float[Tensor, "signal time"]
    targets: Float[Tensor, "signal time"]


def squared_errors(
    reconstructions: Float[Tensor, "member signal time"], targets: Float[Tensor, "signal time"]
) -> Float[Tensor, " member"]:
    """The mean squared error per value of each member's reconstructions, summed over the signals; in 64 bits."""
    # squares of norms: on CPUs the one reduction that PyTorch does fast over two axes
    norms = torch.linalg.vector_norm(reconstructions - targets, dim=(1, 2), dtype=torch.float64)
    return norms.square() / targets.shape[-1]


class ErrorMeter:
    """Collects mean squared errors over batches, for each member of an ensemble, without leaving the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def update(self, batch: EvaluationBatch, reconstructions: Float[Tensor, "member signal time"]) -> None:
        """Take in the reconstructions of one batch."""
        self.add(batch.metric, squared_errors(reconstructions, batch.targets), len(batch.inputs))
        if batch.mean_metric is not None:
            mean_error = (reconstructions.mean(1) - batch.targets.mean(0)).square().mean(-1)
            self.add(batch.mean_metric, mean_error.double(), 1)

    def add(self, metric: str, errors: Float[Tensor, " member"], count: int) -> None:
        """Take in the errors of some signals, summed over these."""
        self._sums[metric] = self._sums[metric] + errors if metric in self._sums else errors
        self._counts[metric] = self._counts.get(metric, 0) + count

    def compute(self) -> dict[str, Float[Tensor, " member"]]:
        """The error of each member, by metric."""
        return {metric: total / self._counts[metric] for metric, total in self._sums.items()}
