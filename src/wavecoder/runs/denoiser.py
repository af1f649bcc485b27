"""Cleaning signals of any length with a trained run, and judging what comes of it. `Trained.denoise` and the command share it."""

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wavecoder.rng import generator
from wavecoder.runs.limits import MOST_NOISE, is_noise
from wavecoder.runs.rows import Array, apply_to_rows, require_real
from wavecoder.windows import Excess, Reconstruct, SignalStatistics, excess_error, overlap_add

if TYPE_CHECKING:
    from wavecoder.runs.load import Trained

Level = Literal["keep", "match"]
LEVELS: tuple[Level, ...] = ("keep", "match")

BLOCK = 16_384  # samples of a long signal that are taken at once
FOREIGN = 3.0  # times the run's own error, from which on signals count as foreign


class Findings(NamedTuple):
    """What was found out about signals before they are cleaned.

    Attributes:
        noise: Standard deviation of their noise, in their units; 0 if it is too small to be seen.
        factor: What they are multiplied by for the network.
        power: Their mean square, noise included; where the run scales each signal by itself, about its own mean.
        excess: Their reconstruction error less what noise adds, in the units of the run's errors.
        val_mse: The run's own error on clean signals.
        unit: What an error of 1 in the run's units is in those of the signals: a root mean square.
    """

    noise: float
    factor: float
    power: float
    excess: Excess
    val_mse: float
    unit: float

    @property
    def expected_error(self) -> float:
        """The standard deviation, in the signals' units, of the error that is to be expected in the result."""
        return self.unit * math.sqrt(max(0.0, self.excess.error) + self.excess.passed)

    @property
    def distance(self) -> float:
        """How far the signals are from those of the training: the excess as a multiple of the run's error, 0 or more."""
        return max(0.0, self.excess.error) / self.val_mse if self.val_mse else math.inf

    @property
    def foreign(self) -> bool:
        """Whether the distance is large, chance aside."""
        chance = 2 * self.excess.uncertainty if math.isfinite(self.excess.uncertainty) else 0.0
        return self.excess.error - chance > FOREIGN * self.val_mse

    @property
    def drowned(self) -> bool:
        """Whether hardly anything but noise is there."""
        return self.power > 0 and self.power - self.noise**2 < 0.05 * self.power


class Denoiser:
    """Cleans signals with a trained run, in two passes: first it looks at all of them, then it cleans them.

    Args:
        model: The run.
        noise: Standard deviation of the noise in the signals; None if it is not known.
        level: `keep`: the network is given the signals as they are; `match`: multiplied by one factor that gives them, without
            their noise, the mean power of the training signals. Runs that scale signals by themselves keep the level.

    Raises:
        ValueError: The run is loaded with `seed="all"`, or a seed diverged; the noise is no number of 0 or more, or too large; or
            the level should be matched and the run scales signals by itself.
    """

    def __init__(self, model: "Trained", noise: float | None, level: Level) -> None:
        scaling = model.scaling
        if model.seed == "all":
            raise ValueError("seed=all cannot denoise; must be best, mean or a seed")
        most = MOST_NOISE * min(1.0, scaling.scale)
        if noise is not None and not (is_noise(noise) and noise <= most):
            raise ValueError(f"noise={noise!r}: must be a number, 0 or more, at most {most:g}")
        if level not in LEVELS:
            raise ValueError(f"level={level}: must be one of {', '.join(LEVELS)}")
        if level == "match" and scaling.kind != "none":
            raise ValueError(f"level=match: the run scales signals by itself (data.scaling={scaling.kind}); must be keep")
        self.model = model
        self._noise = noise
        self._match = level == "match"
        self._val_mse = _val_mse(model)
        self._statistics = SignalStatistics(model.moments.second_moment * scaling.scale**2)
        self._factor = 1.0
        self._found_noise = 0.0

    def look(self, windows: Float[Tensor, "window time"]) -> Float[Tensor, "window time"]:
        """First pass: take in some windows. They are given back, as if they had been cleaned."""
        self._statistics.update(windows - self.model.scaling.apply(windows).offset)
        return windows

    def judge(self) -> Findings:
        """What was found in the first pass, by which the second one goes."""
        scaling, statistics = self.model.scaling, self._statistics
        noise = self._noise
        if noise is None:
            noise = statistics.noise_std(level=self._match or scaling.kind == "signal")
        self._found_noise = noise
        if self._match:
            self._factor = statistics.level(noise)
        scaled = scaling.apply(statistics.examples * self._factor + scaling.offset)

        def reconstruct(values: Tensor, noise: float = 0.0) -> Tensor:
            return (self.model.reconstruct(scaled.undo(values), noise) - scaled.offset) / scaled.scale

        key = generator(self.model.device, 0, "noise of other signals")
        of_noisy = partial(reconstruct, noise=noise * self._factor)
        excess = excess_error(scaled.values, of_noisy, noise * self._factor / scaled.scale, key, reconstruct)
        unit = scaled.scale.double().square().mean().sqrt().item() / self._factor
        return Findings(noise, self._factor, statistics.power, excess, self._val_mse, unit)

    def clean(self, windows: Float[Tensor, "window time"]) -> Float[Tensor, "window time"]:
        """Second pass: what the network makes of some windows."""
        return self.model.reconstruct(windows * self._factor, self._found_noise * self._factor) / self._factor


def _val_mse(model: "Trained") -> float:
    errors = model.results["metrics"]["val/mse"]
    found = errors["mean"] if model.seed == "mean" else errors["per_seed"][model.seeds.index(int(model.seed))]
    if found is None:
        others = any(error is not None for error in errors["per_seed"])
        raise ValueError(f"seed={model.seed}: {'it diverged; must be another' if others else 'all seeds diverged'}")
    return float(found)


def denoise(model: "Trained", y: Array, noise: float | None = None) -> Array:
    """Clean signals in memory; see `Trained.denoise`."""
    require_real(y, "signal")
    length = model.signal_length
    size = y.shape[-1] if y.ndim else 0
    if size < length:
        raise ValueError(f"signals of shape {list(y.shape)}: must have {length} samples or more along the last axis")
    if 0 in y.shape:
        raise ValueError(f"signals of shape {list(y.shape)}: there are none")
    finite: Any = np.isfinite(y) if isinstance(y, np.ndarray) else y.isfinite()
    if not finite.all():
        where = np.argwhere(~np.asarray(finite if isinstance(y, np.ndarray) else finite.cpu()))[0].tolist()
        raise ValueError(f"value at {where} is {float(y[tuple(where)])}: must be a finite number")
    denoiser = Denoiser(model, noise, default_level(model, recording=y.ndim == 1 and size > length))

    def send(function: Reconstruct) -> Array:
        def of_rows(rows: Tensor, _: int) -> Tensor:
            return torch.cat(list(in_windows(rows, length, function)), -1)[None]

        return apply_to_rows(of_rows, y, "signal", (size, size), device=model.device)

    send(denoiser.look)
    denoiser.judge()
    return send(denoiser.clean)


def in_windows(
    rows: Float[Tensor, "signal _"], signal_length: int, function: Reconstruct, always: bool = False
) -> Iterator[Float[Tensor, "signal _"]]:
    """Send signals through a function of windows: as they are if they are as long, else (or always) in overlapping ones."""
    if rows.shape[-1] == signal_length and not always:
        yield function(rows)
    else:
        yield from overlap_add(rows.split(BLOCK, -1), signal_length, function)


def default_level(model: "Trained", recording: bool) -> Level:
    """Recordings have any level; rows, and signals that the run scales by itself, have the one of the training signals."""
    return "match" if recording and model.scaling.kind == "none" else "keep"
