"""Networks that have died in training: they give every signal the same output."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

_LIMIT = 1e-6  # of the signals' root mean square
_FIRST = 64  # signals, on which nearly every network shows that it lives


class ConstantOutputs:
    """Finds members whose output is the same for every signal, up to rounding.

    Of 32 networks of the paper with ReLU and a latent of 1, 16 are so after training: their outputs differ by at most 2e-8 of the
    signals' root mean square, by either engine, and those of the other 16 by 1.8 and more.
    """

    def __init__(self) -> None:
        self._is_constant: Tensor | None = None
        self._first: Float[Tensor, "member 1 time"]
        self._limit: Tensor

    def update(self, signals: Float[Tensor, "signal time"], reconstruct: Callable[[Tensor], Tensor]) -> None:
        """Take in some signals.

        Args:
            signals: They are measured as far as there are members left whose output may be constant.
            reconstruct: Every member's reconstruction of signals, `[member, signal, time]`.
        """
        if self._is_constant is None:
            some = reconstruct(signals[:_FIRST])
            self._first, self._limit = some[:, :1], _LIMIT * signals.square().mean().sqrt()
            self._is_constant = self._are_constant(some)
        if self._is_constant.any():
            self._is_constant = self._is_constant & self._are_constant(reconstruct(signals))

    def _are_constant(self, outputs: Float[Tensor, "member signal time"]) -> Tensor:
        return (outputs - self._first).abs().amax((1, 2)) <= self._limit

    @property
    def members(self) -> list[int]:
        """Those whose output was the same for all signals so far."""
        return [] if self._is_constant is None else self._is_constant.nonzero().flatten().tolist()
