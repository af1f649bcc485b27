"""Measuring reconstructions: the same inputs and the same arithmetic for autoencoders and references.

Every error is a mean squared error per value of a signal, so that numbers compare across signal lengths.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class EvaluationBatch(NamedTuple):
    """Signals to reconstruct and what they should become.

    Attributes:
        metric: Name of the error of each reconstruction, for example `val/mse_noise_0.1`.
        mean_metric: Name of the error of the mean over noisy copies of one signal; None for other batches.
        noise: Standard deviation of the noise in the inputs, 0 for clean ones; the references may use it.
        inputs: What is given to the model, clean or noisy: the same for all members, or with a first axis of members.
        targets: The clean signals, likewise.
        draws: Into how many equal parts the batch is divided, one after another, whose means are measured.
    """

    metric: str
    mean_metric: str | None
    noise: float
    inputs: Float[Tensor, "*member signal time"]
    targets: Float[Tensor, "*member signal time"]
    draws: int = 1


def squared_errors(
    reconstructions: Float[Tensor, "member signal time"], targets: Float[Tensor, "*member signal time"]
) -> Float[Tensor, " member"]:
    """The mean squared error per value of each member's reconstructions, summed over the signals; in 64 bits."""
    # squares of norms: on CPUs the one reduction that PyTorch does fast over two axes
    norms = torch.linalg.vector_norm(reconstructions - targets, dim=(1, 2), dtype=torch.float64)
    return norms.square() / targets.shape[-1]


class ErrorMeter:
    """Collects mean squared errors over batches, for each member of an ensemble, without leaving the device.

    Attributes:
        draws: The errors of each draw of noisy copies, `[member, draw]`, by metric, of batches with a `mean_metric`.
    """

    def __init__(self) -> None:
        self.draws: dict[str, Float[Tensor, "member draw"]] = {}
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def update(self, batch: EvaluationBatch, reconstructions: Float[Tensor, "member signal time"]) -> None:
        """Take in the reconstructions of one batch."""
        if batch.mean_metric is None:
            self.add(batch.metric, squared_errors(reconstructions, batch.targets), batch.inputs.shape[-2])
            return
        deviations = (reconstructions - batch.targets).double().unflatten(1, (batch.draws, -1))  # [member, draw, copy, time]
        self.draws[batch.metric] = deviations.square().mean((2, 3))
        self.draws[batch.mean_metric] = deviations.mean(2).square().mean(2)
        for metric in (batch.metric, batch.mean_metric):
            self.add(metric, self.draws[metric].sum(1), batch.draws)

    def add(self, metric: str, errors: Float[Tensor, " member"], count: int) -> None:
        """Take in the errors of some signals, summed over these."""
        self._sums[metric] = self._sums[metric] + errors if metric in self._sums else errors
        self._counts[metric] = self._counts.get(metric, 0) + count

    def discard(self, members: Sequence[int]) -> None:
        """Forget the errors of some members, as of those that diverged: they become NaN."""
        for values in (*self._sums.values(), *self.draws.values()):
            values[list(members)] = torch.nan

    def compute(self) -> dict[str, Float[Tensor, " member"]]:
        """The error of each member, by metric."""
        return {metric: total / self._counts[metric] for metric, total in self._sums.items()}
