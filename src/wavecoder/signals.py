"""What a signal is: the five families of sinusoids, the time grid, sampling and noise.

Source: P. J. O. Câmara, "Autoencoders" (2024), sections 4.1, 4.2 and 4.4. The paper stores signals as columns; here they are
rows, `[signal, time]`. Times are in the paper's unit, frequencies in radians per unit of time.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor


class Family(NamedTuple):
    """One family of signals, `amplitude * sin(multiple * r * t + phase)`, with r the frequency that is drawn."""

    amplitude: float
    multiple: float
    phase: float


FAMILIES: dict[str, Family] = {
    "sin": Family(1.0, 1.0, 0.0),
    "cos": Family(1.0, 1.0, math.pi / 2),
    "sin+cos": Family(math.sqrt(2.0), 1.0, math.pi / 4),
    "sin-cos": Family(math.sqrt(2.0), 1.0, -math.pi / 4),
    "sin*cos": Family(0.5, 2.0, 0.0),
}
"""The paper's five families (section 4.2), by the name used in the configuration."""


class Waves(NamedTuple):
    """Many signals by their parameters, before they are evaluated on a time grid; all three have the same shape."""

    amplitude: Float[Tensor, "*signals"]
    frequency: Float[Tensor, "*signals"]
    phase: Float[Tensor, "*signals"]

    def at(self, times: Float[Tensor, " time"]) -> Float[Tensor, "*signals time"]:
        """Evaluate every signal on a time grid: one sine per sample.

        In memory the last axis of signals runs fastest, as the networks like it (see autoencoder.py).
        """
        angles = torch.addcmul(self.phase.unsqueeze(-2), self.frequency.unsqueeze(-2), times.unsqueeze(-1))
        return angles.sin_().mul_(self.amplitude.unsqueeze(-2)).mT

    def take(self, index: Int[Tensor, "*picked"]) -> "Waves":
        """Pick signals from a one-dimensional set by their positions, giving the shape of `index`."""
        return Waves(self.amplitude[index], self.frequency[index], self.phase[index])

    @property
    def device(self) -> torch.device:
        return self.amplitude.device


def time_grid(samples: int, step: float, device: torch.device | str = "cpu") -> Float[Tensor, " time"]:
    """Times `0, step, 2 step, …` of one signal (paper 4.2: 100 samples, step 0.1)."""
    return (torch.arange(samples, dtype=torch.float64, device=device) * step).float()


def generator(device: torch.device | str, *key: int | str | float) -> Generator:
    """A random generator of its own for one purpose.

    Streams with different keys do not depend on one another or on the global generator, so any draw can be repeated from its
    key alone, whatever else was drawn before. (PyTorch's CPU generator keeps 32 bits of a seed, so among very many keys two may
    give the same stream by chance.)
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return Generator(device=device).manual_seed(int.from_bytes(digest, "little") >> 1)


def waves(family: Int[Tensor, "*signals"], r: Float[Tensor, "*signals"], families: Sequence[str]) -> Waves:
    """The signals of given families and frequencies.

    Args:
        family: For each signal, the position of its family in `families`.
        r: Frequency of each signal, in radians per unit of time; negative values are meaningful.
        families: Names from `FAMILIES`.

    Raises:
        KeyError: A name is not in `FAMILIES`.
    """
    table = torch.tensor([FAMILIES[name] for name in families], dtype=torch.float32, device=r.device)
    amplitude, multiple, phase = table[family].unbind(-1)
    return Waves(amplitude, multiple * r, phase)


def sample(count: int, families: Sequence[str], sigma: float, generator: Generator) -> Waves:
    """Draw signals as the paper does (4.2): a family at random, each equally likely, and r ~ N(0, sigma²).

    Args:
        count: Number of signals.
        families: Names from `FAMILIES`.
        sigma: Standard deviation of r, in radians per unit of time (the paper: 2.25).
        generator: Where the randomness comes from; the signals live on its device.
    """
    device = generator.device
    family = torch.randint(len(families), (count,), generator=generator, device=device)
    r = torch.randn(count, generator=generator, device=device) * sigma
    return waves(family, r, families)


def stratified_sample(count: int, families: Sequence[str], sigma: float, generator: Generator) -> Waves:
    """Draw signals as `sample` does, but evenly: the families in turn, and in each one r from every stretch of equal probability.

    Means over such a set have the expectation that they have over independent draws and far less scatter, so that a few thousand
    signals tell an error to a fraction of a percent. The arguments are those of `sample`.
    """
    device, number = generator.device, torch.arange(count, device=generator.device)
    family, stratum = number % len(families), number // len(families)
    strata = (count - family + len(families) - 1) // len(families)  # the signals of this signal's family
    uniform = (stratum + torch.rand(count, generator=generator, device=device, dtype=torch.float64)) / strata
    r = torch.special.ndtri(uniform.clamp(1e-12, 1 - 1e-12)) * sigma
    return waves(family, r.float(), families)


def add_noise(signals: Float[Tensor, "*signals time"], level: float, generator: Generator) -> Float[Tensor, "*signals time"]:
    """Add white Gaussian noise of standard deviation `level` to every sample (paper 4.4: `l · p`, p ~ N(0, 1))."""
    noise = torch.randn(signals.shape, generator=generator, device=signals.device, dtype=signals.dtype)
    return torch.add(signals, noise, alpha=level)
