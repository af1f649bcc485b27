"""Subspaces: angles between them, and how near a linear autoencoder is to that of the SVD (paper 2)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from wavecoder.ensemble import Ensemble
from wavecoder.references import PCA, SVD, Moments

LABELS = {
    "linear/excess": "error over the smallest, less 1",
    "linear/largest_angle": "largest principal angle, degrees",
    "linear/direction_angle": "largest angle of a direction, degrees",
    "linear/gram_error": "largest entry of E Eᵀ − I",
}
"""What `linear_distances` measures, in words for figures."""


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


@torch.no_grad()
def linear_distances(ensemble: Ensemble, moments: Moments | Sequence[Moments], rank: int) -> dict[str, Float[Tensor, " member"]]:
    """How near linear autoencoders are to the optimum that the theorem promises (paper 2).

    A linear autoencoder computes `x' = D (E x + b) + c`. The theorem (Bourlard & Kamp 1988; Baldi & Hornik 1989) says that at the
    optimum the columns of D span the first left singular vectors U_k, those of the covariance if there are biases.

    Args:
        ensemble: Linear autoencoders with a latent of size `rank`.
        moments: Moments of the training signals; a sequence if each member has its own.
        rank: Number k of directions.

    Returns:
        For each member, under the names of `LABELS`; NaN for one that diverges:

        - `linear/excess`: the error on the training signals over the smallest possible one, less 1;
        - `linear/largest_angle`: the largest principal angle between the columns of D and U_k, in degrees;
        - `linear/direction_angle`: the largest angle between a left singular vector of D and that of the signals, in degrees.
          Only the span is determined, unless the weights decay (Plaut 2018; Kunin et al. 2019);
        - `linear/gram_error`: the largest entry of E Eᵀ − I, which goes to 0 if D = Eᵀ.
    """
    every = [moments] * ensemble.num_members if isinstance(moments, Moments) else moments
    size, device = len(every[0].mean), every[0].mean.device
    unit_signals, unit_latents = torch.eye(size, device=device), torch.eye(rank, device=device)
    zero, origin = torch.zeros(1, size, device=device), torch.zeros(1, rank, device=device)
    encoder = (ensemble.encode(unit_signals) - ensemble.encode(zero)).double().mT  # [member, latent, time]
    decoder = (ensemble.decode(unit_latents) - ensemble.decode(origin)).double().mT  # [member, time, latent]
    offset = ensemble(zero).double().squeeze(1)

    kind = PCA if offset[offset.isfinite()].any() else SVD
    identity = torch.eye(size, dtype=torch.float64, device=offset.device)
    fitted = {key: kind(rank).fit(own) for key, own in {id(own): own for own in every}.items()}
    distances = []
    for e, d, c, own in zip(encoder, decoder, offset, every, strict=True):
        if not all(values.isfinite().all() for values in (e, d, c)):
            distances.append(torch.full((len(LABELS),), torch.nan, dtype=e.dtype, device=e.device))
            continue
        best = fitted[id(own)]
        projector = best.basis_ @ best.basis_.T
        smallest = _error(identity - projector, best.centre_ - best.basis_ @ (best.basis_.T @ best.centre_), own)
        excess = _error(identity - d @ e, c, own) / smallest - 1
        angle = principal_angles(d, best.basis_)[-1].rad2deg()
        directions = torch.linalg.svd(d, full_matrices=False).U
        each = torch.stack(
            [principal_angles(a[:, None], b[:, None])[0] for a, b in zip(directions.T, best.basis_.T, strict=True)]
        )
        gram_error = (e @ e.T - identity[:rank, :rank]).abs().max()
        distances.append(torch.stack([excess, angle, each.max().rad2deg(), gram_error]))
    return dict(zip(LABELS, torch.stack(distances, dim=1), strict=True))


def _error(residual: Float[Tensor, "time time"], offset: Float[Tensor, " time"], moments: Moments) -> Tensor:
    """Mean of ‖residual x − offset‖² per sample over signals with these moments."""
    quadratic = (residual @ moments.second_moment * residual).sum()
    return (quadratic - 2 * offset @ residual @ moments.mean + offset @ offset) / len(offset)
