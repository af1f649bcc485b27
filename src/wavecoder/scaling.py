"""Scaling of signals to what networks are trained on, and what undoes it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

SCALINGS = ("none", "set", "signal")
"""Nothing; the mean and the standard deviation of all training values; those of each signal."""

_SMALLEST_SHARE = 0.1  # of a noisy signal's variance that is taken for the signal


class Scaled(NamedTuple):
    """Scaled signals, and what they were made with: `values = (signals − offset) / scale`.

    Attributes:
        values: The scaled signals.
        offset: What was subtracted, `[*signals, 1]`.
        scale: What was divided by, `[*signals, 1]`.
    """

    values: Float[Tensor, "*signals time"]
    offset: Float[Tensor, "*signals 1"]
    scale: Float[Tensor, "*signals 1"]

    def undo(self, values: Float[Tensor, "*signals time"]) -> Float[Tensor, "*signals time"]:
        """Scaled signals, such as reconstructions of these, in the units of the original ones."""
        return values * self.scale + self.offset


@dataclass(frozen=True)
class Scaling:
    """How signals are scaled before training.

    Attributes:
        kind: `none`; `set`, by one mean and standard deviation for all; `signal`, each by its own.
        offset: The mean for `set`.
        scale: The standard deviation for `set`, above 0.

    Example:
        >>> import torch
        >>> scaled = Scaling("signal").apply(torch.tensor([[1.0, 3.0], [5.0, 5.0]]))
        >>> scaled.values
        tensor([[-1.,  1.],
                [ 0.,  0.]])
        >>> scaled.undo(scaled.values)
        tensor([[1., 3.],
                [5., 5.]])
    """

    kind: str = "none"
    offset: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in SCALINGS:
            raise ValueError(f"scaling={self.kind}: must be one of {', '.join(SCALINGS)}")

    def apply(self, x: Float[Tensor, "*signals time"], noise: float = 0.0) -> Scaled:
        """Scale signals. A constant signal, which has no standard deviation, is only shifted.

        Args:
            x: The signals.
            noise: Standard deviation of white noise in them. `signal` leaves its variance out, so that noisy signals get the
                scale that they would have without it; but at least a tenth of a signal's variance is taken for the signal.
        """
        ones = x.new_ones(*x.shape[:-1], 1)
        if self.kind != "signal":
            values = x if self.kind == "none" else (x - self.offset) / self.scale
            return Scaled(values, ones * self.offset, ones * self.scale)
        mean = x.mean(-1, keepdim=True)
        centred = x - mean
        variance = centred.square().mean(-1, keepdim=True)
        std = (variance - noise**2).maximum(_SMALLEST_SHARE * variance).sqrt()
        # rounding leaves a constant signal a deviation of this size
        std = std.where(std > 1e-6 * mean.abs(), ones)
        return Scaled(centred / std, mean, std)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Scaling":
        """The scaling that a checkpoint has kept."""
        return cls(**state)
