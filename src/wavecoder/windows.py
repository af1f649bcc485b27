"""Long signals through a network of short ones: overlapping windows, the noise in them, their level, how foreign they are.

Everything here takes a network as a function of rows, `[window, time]` to `[window, time]`, so that it can be tried with any.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import fold

Reconstruct = Callable[[Float[Tensor, "window time"]], Float[Tensor, "window time"]]

RESOLUTION = 1e-3
"""The smallest noise that `SignalStatistics` tells from none, as a fraction of the root mean square of the signals."""

_SMALLEST_SHARE = 0.05  # of the signal in the power, below which a level is not raised any more
_KEPT_VALUES = 200_000  # of the windows that are kept to be looked at again


def overlap_add(
    blocks: Iterable[Float[Tensor, "*signals _"]], signal_length: int, function: Reconstruct
) -> Iterator[Float[Tensor, "*signals _"]]:
    """Send long signals through a function of short ones, in windows that overlap by half and are added with Hann's weights.

    The sum is divided by the sum of the weights (Griffin & Lim 1984), so the identity gives back what it is given, whatever the
    lengths. The first window begins with the signal and the last one ends with it: at the ends the function sees true samples
    only, as in the middle. Only signals shorter than a window are continued, by reflection.

    Args:
        blocks: Consecutive parts of the signals, of any sizes, along the last axis.
        signal_length: Samples in a window.
        function: Takes and gives windows, `[window, time]`.

    Yields:
        Consecutive parts of the result, in 64 bits or in the type of the blocks; together as long as the blocks together. Memory
        grows with the size of a block, not with the length of the signals.

    Example:
        >>> halves = overlap_add([torch.ones(150), torch.ones(87)], 100, lambda windows: windows / 2)
        >>> torch.cat(list(halves)).shape
        torch.Size([237])
    """
    hop = max(1, signal_length // 2)
    buffer: Tensor | None = None  # samples from the beginning of the last window that was taken
    sums: Tensor | None = None  # over its samples: the weighted results so far, and their weights
    for block in blocks:
        buffer = block if buffer is None else torch.cat([buffer, block], -1)
        count = (buffer.shape[-1] - signal_length) // hop + 1  # of the windows that it holds
        taken = 0 if sums is None else 1
        if count > taken:
            added = _add(buffer[..., taken * hop :], signal_length, hop, function)
            sums = added if sums is None else _joined(sums, added, hop)
            done = (count - 1) * hop
            if done:
                yield _divided(sums[..., :done], buffer)
            buffer, sums = buffer[..., done:], sums[..., done:]
    if buffer is None or not buffer.shape[-1]:
        return
    if sums is None:
        length = buffer.shape[-1]
        index = _reflected(torch.arange(signal_length, device=buffer.device), length)
        yield _divided(_add(buffer[..., index], signal_length, hop, function)[..., :length], buffer)
    else:
        rest = buffer.shape[-1] - signal_length
        if rest:
            sums = _joined(sums, _add(buffer[..., rest:], signal_length, hop, function), rest)
        yield _divided(sums, buffer)


def _add(samples: Tensor, length: int, hop: int, function: Reconstruct) -> Float[Tensor, "2 *signals _"]:
    """The weighted results of all windows of some samples, added up, and the sum of the weights."""
    windows = samples.unfold(-1, length, hop)  # [*signals, window, time]
    results = function(windows.reshape(-1, length)).double().view(windows.shape)
    # half a step inside its period, so that no weight is 0
    hann = torch.sin((torch.arange(length, dtype=torch.float64, device=samples.device) + 0.5) * math.pi / length).square()
    weighted = torch.stack([results * hann, hann.expand_as(results)])
    columns = weighted.view(-1, *weighted.shape[-2:]).mT
    span = (windows.shape[-2] - 1) * hop + length
    return fold(columns, (1, span), (1, length), stride=(1, hop)).view(*weighted.shape[:-2], span)


def _joined(sums: Tensor, later: Tensor, offset: int) -> Tensor:
    """Two sums added, the second of which begins `offset` samples later and ends later."""
    joined = later.new_zeros(*later.shape[:-1], offset + later.shape[-1])
    joined[..., : sums.shape[-1]] = sums
    joined[..., offset:] += later
    return joined


def _divided(sums: Float[Tensor, "2 *signals _"], like: Tensor) -> Tensor:
    return (sums[0] / sums[1]).to(like.dtype)


def _reflected(index: Tensor, length: int) -> Tensor:
    """Positions in a signal that is continued by reflection, as often as needed, at its first and last sample."""
    period = max(1, 2 * (length - 1))
    return torch.minimum(index.remainder(period), -index % period)


class SignalStatistics:
    """What is asked of signals before they are denoised: their power, their noise, and some of them to look at.

    A window is taken for `y ~ N(0, a C + l² I)`, with C the second moment of the training signals, l the standard deviation of
    white noise, and a the level, 1 or free. The mean squared projections of the windows on the eigenvectors of C are all that
    the likelihood needs, so memory does not grow with the number of windows.

    Args:
        second_moment: That of the training signals, in the units of the windows.

    Attributes:
        count: Number of windows so far.

    Example:
        >>> from wavecoder.signals import SinusoidSource, add_noise
        >>> from wavecoder.references import population_moments
        >>> source = SinusoidSource(train_size=1000)
        >>> x = source.training_set("cpu").evaluate(source.times("cpu"))
        >>> statistics = SignalStatistics(population_moments(source.prior("cpu")).second_moment)
        >>> statistics.update(add_noise(x, 0.3, torch.Generator().manual_seed(0)))
        >>> round(statistics.noise_std(), 2)
        0.3
    """

    def __init__(self, second_moment: Float[Tensor, "time time"]) -> None:
        powers, self._directions = torch.linalg.eigh(second_moment.double())
        self._powers = powers.clamp(min=0)
        self._sums = torch.zeros_like(powers)
        self._kept: list[Tensor] = []
        self._spacing = 1  # every such window is kept
        self._capacity = max(16, _KEPT_VALUES // len(powers))
        self.count = 0

    def update(self, windows: Float[Tensor, "window time"]) -> None:
        """Take in some windows."""
        self._sums += (windows.double() @ self._directions).square().sum(0)
        first = -self.count % self._spacing
        self._kept += list(windows[first :: self._spacing].clone())
        while len(self._kept) > self._capacity:
            self._kept, self._spacing = self._kept[::2], 2 * self._spacing
        self.count += len(windows)

    @property
    def examples(self) -> Float[Tensor, "window time"]:
        """Some of the windows, evenly spaced."""
        return torch.stack(self._kept)

    @property
    def power(self) -> float:
        """Mean square of all values."""
        return self._sums.mean().item() / self.count

    def noise_std(self, level: bool = False) -> float:
        """The standard deviation of the noise that is most likely; 0 if it is below `RESOLUTION`.

        Directions in which there is far more than signals of this kind and white noise explain are left out, so that a strange
        signal is not taken for noise.

        Args:
            level: Whether the signals may have another level than those in training.
        """
        if self.power == 0:
            return 0.0
        found, used = self._sums / self.count, torch.ones_like(self._powers, dtype=torch.bool)
        while True:
            variance = self._most_likely(found, used, level)
            expected = self._signal_scale(variance, level) * self._powers + variance
            # a mean of n squares has a standard deviation of √(2/n); windows that overlap by half count for half. And no signal
            # is exactly of this kind.
            typical = found <= max(2.0, 1 + 6 * math.sqrt(4 / self.count)) * expected
            signal = self._signal_scale(variance, level) * self._powers > variance
            remaining = used & (typical | signal)
            if remaining.equal(used) or remaining.sum() < len(used) / 4:
                break
            used = remaining
        return math.sqrt(variance) if variance > RESOLUTION**2 * self.power else 0.0

    def _most_likely(self, found: Tensor, used: Tensor, level: bool) -> float:
        """The variance of the noise at which the likelihood is greatest, by ever finer grids of its logarithm."""
        low, high = math.log(self.power) + 2 * math.log(RESOLUTION / 10), math.log(self.power)
        for points in (257, 17, 17):
            grid = torch.linspace(low, high, points, dtype=torch.float64, device=found.device)
            variances = grid.exp()[:, None]
            expected = (self._signal_scale(variances, level) * self._powers + variances)[:, used]
            best = int((expected.log() + found[used] / expected).sum(1).argmin())
            low, high = grid[max(0, best - 1)].item(), grid[min(points - 1, best + 1)].item()
        return math.exp((low + high) / 2)

    def _signal_scale(self, variance: Tensor | float, level: bool) -> Tensor | float:
        """The factor a of C: the power that is not noise, as a multiple of the training signals' power."""
        return (self.power - variance) / self._powers.mean() if level else 1.0

    def level(self, noise: float) -> float:
        """The factor that gives the signals in these windows the mean power of the training signals, 1 if they are all 0.

        Args:
            noise: Standard deviation of their noise, whose power is left out.
        """
        if self.power == 0:
            return 1.0
        signal = max(self.power - noise**2, _SMALLEST_SHARE * self.power)
        return math.sqrt(self._powers.mean().item() / signal)


class Excess(NamedTuple):
    """How much worse some signals are reconstructed than noise explains.

    Attributes:
        error: The mean squared error per value between a signal and its reconstruction, less what the noise adds.
        uncertainty: The standard error of that.
        passed: The mean square of what the noise in the signals changes in their reconstructions.
    """

    error: float
    uncertainty: float
    passed: float


def excess_error(
    windows: Float[Tensor, "window time"],
    reconstruct: Reconstruct,
    noise: Float[Tensor, "window 1"],
    generator: Generator,
    reconstruct_clean: Reconstruct | None = None,
) -> Excess:
    """The reconstruction error of signals that may be noisy, without what their noise adds to it.

    What noise adds is measured (a parametric bootstrap, Efron 1979): it is the error of signals that the network itself has made,
    with as much noise. The error of a reconstruction as an estimate of the clean signal is about `error + passed`.

    Args:
        windows: The signals.
        reconstruct: The network.
        noise: Standard deviation of the noise in each of them.
        generator: Source of the noise that is added.
        reconstruct_clean: The network for signals without noise, if it is told which are noisy.
    """
    made, passed = reconstruct(windows), 0.0
    errors = (made - windows).double().square().mean(-1)
    if noise.any():
        drawn = torch.randn(made.shape, generator=generator, device=made.device, dtype=made.dtype)
        noisy = made + noise * drawn
        again = reconstruct(noisy)
        errors = errors - (again - noisy).double().square().mean(-1)
        passed = (again - (reconstruct_clean or reconstruct)(made)).double().square().mean().item()
    count = len(errors)
    return Excess(errors.mean().item(), errors.std().item() / math.sqrt(count) if count > 1 else math.inf, passed)
