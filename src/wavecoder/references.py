"""Closed-form reconstructors that every autoencoder is measured against: the SVD and PCA of the training signals.

All share one interface, `fit(moments)` then `reconstruct(signals)`. Fitting goes through the moments of the signals, summed in
double precision while they stream by, so the memory needed does not depend on how many there are.
"""

from collections.abc import Iterable
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor


class Moments:
    """Mean and second moment of a stream of signals, in double precision.

    Args:
        samples: Number of samples of a signal.
        device: Where the sums are kept and computed.
    """

    def __init__(self, samples: int, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self._sum = torch.zeros(samples, dtype=torch.float64, device=device)
        self._products = torch.zeros(samples, samples, dtype=torch.float64, device=device)

    def update(self, signals: Float[Tensor, "signal time"]) -> None:
        """Take more signals into account."""
        signals = signals.double()
        self.count += len(signals)
        self._sum += signals.sum(0)
        self._products.addmm_(signals.T, signals)

    @property
    def mean(self) -> Float[Tensor, " time"]:
        """Mean signal."""
        return self._sum / self.count

    @property
    def second_moment(self) -> Float[Tensor, "time time"]:
        """Mean of x xᵀ, not centred."""
        return self._products / self.count

    @property
    def covariance(self) -> Float[Tensor, "time time"]:
        """Second moment about the mean."""
        return self.second_moment - torch.outer(self.mean, self.mean)


def moments_of(batches: Iterable[Float[Tensor, "_ time"]]) -> Moments:
    """The moments of all signals in `batches`, which are taken one after another.

    Raises:
        ValueError: There are no signals.
    """
    moments = None
    for signals in batches:
        moments = moments or Moments(signals.shape[-1], signals.device)
        moments.update(signals)
    if moments is None:
        raise ValueError("no signals to take the moments of")
    return moments


class Reference(Protocol):
    """What the autoencoder is compared with."""

    def fit(self, moments: Moments) -> None:
        """Learn from the moments of the clean training signals."""
        ...

    def reconstruct(self, signals: Float[Tensor, "*signals time"]) -> Float[Tensor, "*signals time"]:
        """Reconstruct clean or noisy signals."""
        ...


class SVD:
    """Truncated singular value decomposition of the clean signals, not centred: `x' = U_k U_kᵀ x` (paper 4).

    The left singular vectors are the eigenvectors of the second moment. By the Eckart–Young theorem no other linear map of
    rank k has a smaller error on the signals it was fitted to.

    Args:
        rank: Number k of directions kept.

    Raises:
        ValueError: When fitting, if the rank is not between 1 and the number of samples.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def fit(self, moments: Moments) -> None:
        self._keep_directions(torch.zeros_like(moments.mean), moments.second_moment)

    def _keep_directions(self, centre: Float[Tensor, " time"], matrix: Float[Tensor, "time time"]) -> None:
        if not 1 <= self.rank <= len(matrix):
            raise ValueError(f"rank must be between 1 and {len(matrix)}, the number of samples, got {self.rank}")
        eigenvectors = torch.linalg.eigh(matrix).eigenvectors  # eigenvalues ascend
        self.basis: Float[Tensor, "time rank"] = eigenvectors[:, -self.rank :].flip(1)
        self.centre = centre

    def reconstruct(self, signals: Float[Tensor, "*signals time"]) -> Float[Tensor, "*signals time"]:
        centred = signals.double() - self.centre
        return (centred @ self.basis @ self.basis.T + self.centre).to(signals.dtype)


class PCA(SVD):
    """Principal component analysis: as the SVD, but about the mean, `x' = m + U_k U_kᵀ (x − m)`.

    This is the optimum of a linear autoencoder with biases (Bourlard & Kamp 1988; Baldi & Hornik 1989).
    """

    def fit(self, moments: Moments) -> None:
        self._keep_directions(moments.mean, moments.covariance)


def principal_angles(first: Float[Tensor, "time a"], second: Float[Tensor, "time b"]) -> Float[Tensor, " angle"]:
    """Principal angles between the spaces spanned by two sets of columns, in radians, ascending.

    Computed from sines where an angle is small and from cosines where it is large (Björck & Golub 1973), because the arc
    cosine alone loses half of the digits near zero.
    """
    a = torch.linalg.qr(first.double()).Q
    b = torch.linalg.qr(second.double()).Q
    if a.shape[1] < b.shape[1]:
        a, b = b, a
    cosines = torch.linalg.svdvals(a.T @ b).clamp(max=1.0)
    sines = torch.linalg.svdvals(b - a @ (a.T @ b)).flip(0).clamp(max=1.0)
    return torch.where(cosines.square() > 0.5, torch.asin(sines), torch.acos(cosines))
