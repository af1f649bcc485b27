"""Closed-form reconstructors that every autoencoder is measured against: SVD, PCA, the Wiener filter and the Bayes denoiser.

All share one interface, `fit(moments)` then `reconstruct(signals, noise)`. Fitting goes through the moments of the signals,
summed in double precision batch by batch, so the memory needed does not depend on how many there are; or through their exact
population values, `population_moments`.

A class derived from `Reference` is known everywhere by its `name`: it is measured, logged, and shown in every table.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from wavecoder.families import FAMILIES
from wavecoder.signals import Device, Prior, SignalSource, Sinusoids, own_training_sets, rows_of, sinusoids, training_signals


@dataclass(frozen=True)
class Moments:
    """Mean and second moment of signals, in double precision.

    Attributes:
        mean: The mean signal.
        second_moment: The mean of x xᵀ, not centred.
    """

    mean: Float[Tensor, " time"]
    second_moment: Float[Tensor, "time time"]

    @property
    def covariance(self) -> Float[Tensor, "time time"]:
        """Second moment about the mean."""
        return self.second_moment - torch.outer(self.mean, self.mean)


def moments_of(batches: Iterable[Float[Tensor, "_ time"]]) -> Moments:
    """The moments of all signals in `batches`, which are taken one after another.

    Raises:
        ValueError: There are no signals.
    """
    count, total, products = 0, None, None
    for signals in batches:
        signals = signals.double()
        if total is None or products is None:
            total = signals.new_zeros(signals.shape[-1])
            products = signals.new_zeros(signals.shape[-1], signals.shape[-1])
        count += len(signals)
        total += signals.sum(0)
        products.addmm_(signals.T, signals)
    if total is None or products is None:
        raise ValueError("no signals to take the moments of")
    return Moments(total / count, products / count)


def training_moments(source: SignalSource, device: Device, data_seed: int = 0, own_sets_of: Sequence[int] = ()) -> list[Moments]:
    """The moments of the training signals of a source: of its one set, or of each of the sets that members have for themselves.

    Args:
        source: The signals.
        device: Where they are made.
        data_seed: See `signals.own_training_sets`.
        own_sets_of: The seeds of members that have each a training set of its own; empty if they share one.
    """
    if not own_sets_of:
        return [moments_of(training_signals(source, device))]
    sets, times = own_training_sets(source, device, data_seed, own_sets_of), source.times(device)
    return [moments_of(rows_of(each, times)) for each in sets.split(source.train_size)]


def pooled_moments(each: Sequence[Moments]) -> Moments:
    """The moments of several sets of equally many signals, taken together."""
    means, seconds = ([getattr(moments, name) for moments in each] for name in ("mean", "second_moment"))
    return Moments(torch.stack(means).mean(0), torch.stack(seconds).mean(0))


def population_moments(prior: Prior) -> Moments:
    """The exact moments of the signals that `signals.sample` draws from.

    With r ~ N(0, σ²), E cos(a r) = exp(−σ² a²/2) =: φ(a), and a family A sin(m r t + p) has the mean A sin(p) φ(m t) and the
    second moment A²/2 · [φ(m (u − v)) − cos(2p) φ(m (u + v))].

    Args:
        prior: The distribution of the signals.
    """
    t = prior.times.double()
    differences, sums = t[:, None] - t, t[:, None] + t

    def phi(a: Tensor) -> Tensor:
        return torch.exp(-(prior.sigma**2) * a.square() / 2)

    mean, second = torch.zeros_like(t), torch.zeros_like(sums)
    for amplitude, multiple, phase in (FAMILIES[name] for name in prior.families):
        mean += amplitude * math.sin(phase) * phi(multiple * t)
        second += amplitude**2 / 2 * (phi(multiple * differences) - math.cos(2 * phase) * phi(multiple * sums))
    return Moments(mean / len(prior.families), second / len(prior.families))


REFERENCES: "dict[str, type[Reference]]" = {}
"""All references, by name, in the order in which tables show them."""


class Reference(ABC):
    """What the autoencoder is compared with.

    Deriving a class registers it in `REFERENCES`.

    Attributes:
        name: Name in metrics, files and settings.
        label: Name in tables and figures.
        denoises: Whether it leaves clean signals as they are; then it is measured on noisy ones only.
        show_ratio: Whether the autoencoder's errors are logged and shown as multiples of its errors.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    denoises: ClassVar[bool] = False
    show_ratio: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        REFERENCES[cls.name] = cls

    @classmethod
    def create(cls, rank: int, prior: Prior | None) -> "Reference | None":
        """The reference for autoencoders with a latent of size `rank` on signals with this prior; None where there is none."""
        return cls()

    @abstractmethod
    def fit(self, moments: Moments) -> "Reference":
        """Learn from the moments of the clean signals."""

    @abstractmethod
    def reconstruct(self, signals: Float[Tensor, "*signals time"], noise: float) -> Float[Tensor, "*signals time"]:
        """Reconstruct signals to which white noise of standard deviation `noise` was added; 0 for clean ones."""


class SVD(Reference):
    """Truncated singular value decomposition of the clean signals, not centred: `x' = U_k U_kᵀ x` (paper 4).

    The left singular vectors are the eigenvectors of the second moment. By the Eckart–Young theorem no other linear map of
    rank k has a smaller error on the signals it was fitted to.

    Args:
        rank: Number k of directions kept.

    Attributes:
        basis_: The directions kept, as columns, in double precision.
        centre_: What is subtracted before the projection and added after it: here 0.

    Raises:
        ValueError: When fitting, if the rank is not between 1 and the number of values in a signal.

    Example:
        >>> from wavecoder.signals import SinusoidSource
        >>> source = SinusoidSource()
        >>> x = source.training_set("cpu").evaluate(source.times("cpu"))
        >>> error = (SVD(5).fit(moments_of([x])).reconstruct(x) - x).square().mean()
        >>> round(error.item(), 2)
        0.31
    """

    name = "svd"
    label = "SVD"
    show_ratio = True

    def __init__(self, rank: int) -> None:
        self.rank = rank

    @classmethod
    def create(cls, rank: int, prior: Prior | None) -> "SVD":
        return cls(rank)

    def fit(self, moments: Moments) -> "SVD":
        self._keep_directions(torch.zeros_like(moments.mean), moments.second_moment)
        return self

    def _keep_directions(self, centre: Float[Tensor, " time"], matrix: Float[Tensor, "time time"]) -> None:
        if not 1 <= self.rank <= len(matrix):
            raise ValueError(f"rank must be between 1 and {len(matrix)}, the number of values in a signal, got {self.rank}")
        eigenvectors = torch.linalg.eigh(matrix).eigenvectors  # eigenvalues ascend
        self.basis_: Float[Tensor, "time rank"] = eigenvectors[:, -self.rank :].flip(1)
        self.centre_ = centre

    def reconstruct(self, signals: Float[Tensor, "*signals time"], noise: float = 0.0) -> Float[Tensor, "*signals time"]:
        """Project, whatever the noise."""
        centred = signals.double() - self.centre_
        return (centred @ self.basis_ @ self.basis_.T + self.centre_).to(signals.dtype)


class PCA(SVD):
    """Principal component analysis: as the SVD, but about the mean, `x' = m + U_k U_kᵀ (x − m)`.

    This is the optimum of a linear autoencoder with biases (Bourlard & Kamp 1988; Baldi & Hornik 1989).
    """

    name = "pca"
    label = "PCA"
    show_ratio = False

    def fit(self, moments: Moments) -> "PCA":
        self._keep_directions(moments.mean, moments.covariance)
        return self


class Wiener(Reference):
    """The best linear denoiser of any rank (Wiener 1949): `x' = C (C + l² I)⁻¹ y` with C the clean signals' second moment."""

    name = "wiener"
    label = "Wiener"
    denoises = True

    def fit(self, moments: Moments) -> "Wiener":
        powers, self.directions_ = torch.linalg.eigh(moments.second_moment)
        self.powers_ = powers.clamp(min=0)
        return self

    def reconstruct(self, signals: Float[Tensor, "*signals time"], noise: float) -> Float[Tensor, "*signals time"]:
        """Shrink every principal direction by its share of signal in the power; without noise, leave the signals as they are."""
        if noise == 0:
            return signals
        shares = self.powers_ / (self.powers_ + noise**2)
        return (signals.double() @ (self.directions_ * shares) @ self.directions_.T).to(signals.dtype)


class Bayes(Reference):
    """The best denoiser of any kind: the mean of the posterior, which knows the families, the distribution of r and the noise.

    `E[x|y] = Σ_f ∫ x_{f,r} p(r) exp(−‖y − x_{f,r}‖² / 2l²) dr / (the same without x_{f,r})`. The integral is a sum over a grid of
    r, fine against the width of the posterior, so the estimate is one softmax over a codebook K of signals,
    `softmax(log p − ‖y − K‖²/2l²) K`. It is the floor: no estimator has a smaller expected error for signals of this kind.

    Signals and codebook are taken in blocks with a running maximum, as in an online softmax (Milakov & Gimelshein 2018), so that
    memory grows with neither the number of pairs nor the size of the codebook.

    Args:
        prior: The distribution of the signals.
    """

    name = "bayes"
    label = "Bayes"
    denoises = True
    show_ratio = True

    _REACH = 5.0  # the grid's, in standard deviations of r; beyond lie 6e-7 of the probability
    _SIGNALS, _CODES = 1024, 512  # of a block, so that its weights stay in the caches
    _LOWEST = -60.0  # smaller logits count as this one: exponentials that underflow take ten times as long

    def __init__(self, prior: Prior) -> None:
        self._prior = prior

    @classmethod
    def create(cls, rank: int, prior: Prior | None) -> "Bayes | None":
        return None if prior is None else cls(prior)

    def fit(self, moments: Moments) -> "Bayes":
        """Nothing to learn: the prior is known."""
        return self

    def codebook(self, noise: float) -> tuple[Sinusoids, Float[Tensor, " code"]]:
        """A grid of signals, and the logarithms of their probabilities up to a constant.

        The frequencies of a family are a standard deviation of its posterior apart, `√2 l / (A m ‖t‖)` by the Fisher information,
        where a sum over a grid and the integral agree to eight digits; and close enough that neighbours are alike.
        """
        t, sigma = self._prior.times.double(), self._prior.sigma
        grids, weights, numbers = [], [], []
        for number, name in enumerate(self._prior.families):
            amplitude, multiple, _ = FAMILIES[name]
            spacing = min(math.sqrt(2) * noise / (amplitude * t.norm().item()), 0.25 / t.abs().max().item()) / multiple
            half = math.ceil(self._REACH * sigma / spacing)
            deviations = torch.linspace(-self._REACH, self._REACH, 2 * half + 1, device=t.device, dtype=torch.float64)
            grids.append(sigma * deviations)
            weights.append(-deviations.square() / 2 - math.log(half))
            numbers.append(torch.full_like(deviations, number, dtype=torch.int64))
        return sinusoids(torch.cat(numbers), torch.cat(grids).float(), self._prior.families), torch.cat(weights).float()

    def reconstruct(self, signals: Float[Tensor, "*signals time"], noise: float) -> Float[Tensor, "*signals time"]:
        """The posterior mean of every signal; without noise, the signal itself."""
        if noise == 0:
            return signals
        codes, log_prior = self.codebook(noise)
        # logits are as large as this; where rounding them would show, they are computed in double precision
        largest = 2 * signals.shape[-1] / noise**2
        rows = signals.reshape(-1, signals.shape[-1]).to(torch.float64 if largest * 2**-24 > 0.005 else torch.float32)
        means = [self._posterior_mean(block, codes, log_prior, noise) for block in rows.split(self._SIGNALS)]
        return torch.cat(means).view_as(signals).to(signals.dtype)

    def _posterior_mean(
        self, signals: Float[Tensor, "signal time"], codes: Sinusoids, log_prior: Float[Tensor, " code"], noise: float
    ) -> Float[Tensor, "signal time"]:
        highest = signals.new_full((len(signals), 1), -math.inf)
        total, weighted = torch.zeros_like(highest), torch.zeros_like(signals)
        for codes_of_block, log_weight in zip(codes.split(self._CODES), log_prior.split(self._CODES), strict=True):
            block = codes_of_block.evaluate(self._prior.times).to(signals.dtype)
            offset = log_weight.to(signals.dtype) - block.square().sum(1) / (2 * noise**2)
            logits = torch.addmm(offset, signals, block.T, alpha=1 / noise**2)
            largest = logits.amax(1, keepdim=True)
            if (largest < highest + self._LOWEST).all():  # of no weight, as most are for noisy copies of one signal
                continue
            raised = torch.maximum(highest, largest)
            weights = logits.sub_(raised).clamp_(min=self._LOWEST).exp_()
            scale = (highest - raised).exp_()
            total.mul_(scale).add_(weights.sum(1, keepdim=True))
            weighted.mul_(scale).addmm_(weights, block)
            highest = raised
        return weighted / total


def fitted_references(rank: int, prior: Prior | None, moments: Moments) -> dict[str, Reference]:
    """All references that there are for autoencoders with a latent of size `rank` on signals with this prior, fitted, by name."""
    created = {name: kind.create(rank, prior) for name, kind in REFERENCES.items()}
    return {name: each.fit(moments) for name, each in created.items() if each is not None}
