"""What a signal is: sinusoids of several families on a time grid, noise, and sources of signals for training and validation.

After P. J. O. Câmara, "Autoencoders" (2024), sections 4.1, 4.2 and 4.4. The paper stores signals as columns; here they are rows,
`[signal, time]`. Times are in the paper's unit, which has no name, frequencies in radians per unit of time.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from wavecoder.families import FAMILIES
from wavecoder.rng import generator

Device = torch.device | str
_PART = 8_192  # training signals evaluated at once


@runtime_checkable
class SignalSet(Protocol):
    """Many signals, not necessarily in memory as rows: what a source of signals gives."""

    def __len__(self) -> int:
        """Number of signals in a one-dimensional set."""
        ...

    def take(self, index: Int[Tensor, "*picked"]) -> "SignalSet":
        """The signals at these positions of a one-dimensional set, in the shape of `index`."""
        ...

    def split(self, size: int) -> "Sequence[SignalSet]":
        """The set in parts of at most `size` along its first axis."""
        ...

    def evaluate(self, times: Float[Tensor, " time"]) -> Float[Tensor, "*signals time"]:
        """The signals themselves, as rows."""
        ...


class Sinusoids:
    """Many sinusoids `amplitude · sin(frequency · t + phase)` by their parameters, which all have one shape.

    Args:
        amplitude: Amplitudes.
        frequency: Frequencies, in radians per unit of time; negative ones are meaningful.
        phase: Phases, in radians.

    Example:
        >>> sine = Sinusoids(torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor([0.0]))
        >>> sine.evaluate(time_grid(4, 0.1))
        tensor([[0.0000, 0.0998, 0.1987, 0.2955]])
    """

    def __init__(
        self, amplitude: Float[Tensor, "*signals"], frequency: Float[Tensor, "*signals"], phase: Float[Tensor, "*signals"]
    ) -> None:
        self.amplitude = amplitude
        self.frequency = frequency
        self.phase = phase

    @property
    def parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """Amplitudes, frequencies and phases."""
        return self.amplitude, self.frequency, self.phase

    def __len__(self) -> int:
        return len(self.amplitude)

    def take(self, index: Int[Tensor, "*picked"]) -> "Sinusoids":
        flat = index.flatten()  # on CPUs six times as fast as values[index]
        return Sinusoids(*(values.index_select(0, flat).unflatten(0, index.shape) for values in self.parameters))

    def split(self, size: int) -> "list[Sinusoids]":
        return [Sinusoids(*parts) for parts in zip(*(values.split(size) for values in self.parameters), strict=True)]

    def evaluate(self, times: Float[Tensor, " time"]) -> Float[Tensor, "*signals time"]:
        """Evaluate every signal on a time grid, one sine per value.

        In memory the last axis of signals runs fastest, which is how the compiled engine reads a batch.
        """
        angles = torch.addcmul(self.phase.unsqueeze(-2), self.frequency.unsqueeze(-2), times.unsqueeze(-1))
        return angles.sin_().mul_(self.amplitude.unsqueeze(-2)).mT


def time_grid(signal_length: int, dt: float, device: Device = "cpu") -> Float[Tensor, " time"]:
    """Times `0, dt, 2 dt, …` of one signal (paper 4.2: 100 values, 0.1 apart)."""
    return (torch.arange(signal_length, dtype=torch.float64, device=device) * dt).float()


def sinusoids(family: Int[Tensor, "*signals"], r: Float[Tensor, "*signals"], families: Sequence[str]) -> Sinusoids:
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
    return Sinusoids(amplitude, multiple * r, phase)


def sample(count: int, families: Sequence[str], sigma: float, generator: Generator) -> Sinusoids:
    """Draw signals as the paper does (4.2): a family at random, each equally likely, and r ~ N(0, sigma²).

    Args:
        count: Number of signals.
        families: Names from `FAMILIES`.
        sigma: Standard deviation of r, in radians per unit of time (the paper: 2.25).
        generator: Source of randomness; the signals live on its device.
    """
    device = generator.device
    family = torch.randint(len(families), (count,), generator=generator, device=device)
    r = torch.randn(count, generator=generator, device=device) * sigma
    return sinusoids(family, r, families)


def stratified_sample(count: int, families: Sequence[str], sigma: float, generator: Generator) -> Sinusoids:
    """Draw signals as `sample` does, but evenly: the families in turn, and within each, r from intervals of equal probability.

    Means over such a set have the expectation that they have over independent draws and far less scatter, so that a few thousand
    signals measure an error to a fraction of a percent. The arguments are those of `sample`.
    """
    device, number = generator.device, torch.arange(count, device=generator.device)
    family, stratum = number % len(families), number // len(families)
    strata = (count - family + len(families) - 1) // len(families)  # the number of signals of this signal's family
    uniform = (stratum + torch.rand(count, generator=generator, device=device, dtype=torch.float64)) / strata
    r = torch.special.ndtri(uniform.clamp(1e-12, 1 - 1e-12)) * sigma
    return sinusoids(family, r.float(), families)


def add_noise(signals: Float[Tensor, "*signals time"], std: float, generator: Generator) -> Float[Tensor, "*signals time"]:
    """Add white Gaussian noise of standard deviation `std` to every value (paper 4.4: `l · p`, p ~ N(0, 1))."""
    noise = torch.randn(signals.shape, generator=generator, device=signals.device, dtype=signals.dtype)
    return torch.add(signals, noise, alpha=std)


class Prior(NamedTuple):
    """How sinusoids are drawn: what the Bayes denoiser and the exact moments need to know.

    Attributes:
        times: Time grid.
        families: Names from `FAMILIES`, each equally likely.
        sigma: Standard deviation of r, in radians per unit of time.
    """

    times: Float[Tensor, " time"]
    families: Sequence[str]
    sigma: float


@runtime_checkable
class SignalSource(Protocol):
    """Where the signals of a run come from. Everything it gives is a function of its own arguments alone.

    Attributes:
        signal_length: Number of values in a signal.
        train_size: Number of training signals.
    """

    signal_length: int
    train_size: int

    def times(self, device: Device) -> Float[Tensor, " time"]:
        """The time grid."""
        ...

    def training_set(self, device: Device) -> SignalSet:
        """The fixed set of `train_size` training signals."""
        ...

    def fresh(self, keys: Sequence[Generator], count: int, progress: float = 0.0) -> SignalSet:
        """New training signals, `count` from each generator, one after another; `progress` of the run, from 0 to 1, is behind."""
        ...

    def validation_set(self, device: Device) -> SignalSet:
        """Signals that no training set holds."""
        ...

    def test_signal(self, device: Device) -> Float[Tensor, " time"] | None:
        """One clean signal whose noisy copies are reconstructed at the end (paper 4.4); None if there is none."""
        ...

    def prior(self, device: Device) -> Prior | None:
        """The distribution that the signals are drawn from; None if it is not known."""
        ...


def own_training_sets(source: SignalSource, device: Device, data_seed: int, seeds: Sequence[int]) -> SignalSet:
    """The training sets of members that have each its own, `train_size` signals of each seed, one set after another.

    Args:
        source: Draws them.
        device: Where.
        data_seed: Which sets these are; those of another data seed have nothing in common with them.
        seeds: The seeds of the members: the set of one seed does not depend on the others.
    """
    return source.fresh([generator(device, data_seed, "training set", seed) for seed in seeds], source.train_size)


def training_signals(source: SignalSource, device: Device) -> Iterator[Float[Tensor, "_ time"]]:
    """The clean training set of a source, as rows, a part at a time."""
    return rows_of(source.training_set(device), source.times(device))


def rows_of(signals: SignalSet, times: Float[Tensor, " time"]) -> Iterator[Float[Tensor, "_ time"]]:
    """A set of signals as rows, a part at a time."""
    return (part.evaluate(times) for part in signals.split(_PART))


class SinusoidSource:
    """The paper's signals (4.2): sinusoids of several families with a normally distributed frequency.

    Args:
        families: Names from `FAMILIES`, each equally likely.
        sigma: Standard deviation of the frequency r, in radians per unit of time.
        signal_length: Number of values in a signal.
        dt: Time between two values.
        train_size: Number of training signals.
        val_size: Number of validation signals.
        test_frequency: r of the test signal sin(r t).
        seed: Which training and validation signals are drawn.
        fresh_sigma: Standard deviation of r in new training signals, if another one: a larger one shows a network more of the
            rare frequencies. Two, if it goes from the one at the run's begin to the other at its end. None for `sigma`.

    Example:
        >>> source = SinusoidSource(train_size=1000)
        >>> source.training_set("cpu").evaluate(source.times("cpu")).shape
        torch.Size([1000, 100])
    """

    def __init__(
        self,
        families: Sequence[str] = tuple(FAMILIES),
        sigma: float = 2.25,
        signal_length: int = 100,
        dt: float = 0.1,
        train_size: int = 20_000,
        val_size: int = 1_000,
        test_frequency: float = 1.0,
        seed: int = 0,
        fresh_sigma: float | Sequence[float] | None = None,
    ) -> None:
        self.families = families
        self.sigma = sigma
        self.signal_length = signal_length
        self.dt = dt
        self.train_size = train_size
        self.val_size = val_size
        self.test_frequency = test_frequency
        self.seed = seed
        given = sigma if fresh_sigma is None else fresh_sigma
        self.fresh_sigma = (given, given) if isinstance(given, int | float) else tuple(given)

    def times(self, device: Device) -> Float[Tensor, " time"]:
        return time_grid(self.signal_length, self.dt, device)

    def training_set(self, device: Device) -> Sinusoids:
        return sample(self.train_size, self.families, self.sigma, generator(device, self.seed, "training signals"))

    def fresh(self, keys: Sequence[Generator], count: int, progress: float = 0.0) -> Sinusoids:
        first, last = self.fresh_sigma
        drawn = [sample(count, self.families, first + (last - first) * progress, key).parameters for key in keys]
        return Sinusoids(*(torch.cat(values) for values in zip(*drawn, strict=True)))

    def validation_set(self, device: Device) -> Sinusoids:
        key = generator(device, self.seed, "validation signals")
        return stratified_sample(self.val_size, self.families, self.sigma, key)

    def test_signal(self, device: Device) -> Float[Tensor, " time"]:
        return torch.sin(self.test_frequency * self.times(device))

    def prior(self, device: Device) -> Prior:
        return Prior(self.times(device), self.families, self.sigma)
