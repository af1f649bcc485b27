"""A few signals as a run would compute them: settings of a magnitude that 32 bits cannot hold are refused. Imports torch."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from wavecoder.runs.limits import MOST_NOISE, SettingError
from wavecoder.runs.settings import Settings
from wavecoder.signals import SignalSource, SinusoidSource, add_noise

_SIGNALS = 64
_LARGEST_PHASE = 1e6  # radians that 32 bits tell to a tenth
_LEAST_RANGE = 1e-6  # of a signal: less is lost beside 1
_ALL = 1e9  # values whose squares are summed, at most
_USUAL = {"data.sigma": 2.25, "data.dt": 0.1, "data.signal_length": 100.0}  # of the paper


def try_signals(settings: Settings, source: SignalSource | None = None) -> None:
    """Refuse signals and noise whose values, squares and phases 32 bits cannot hold.

    Args:
        settings: The checked settings.
        source: The signals of a file; None for sinusoids.

    Raises:
        SettingError: There are some.
    """
    if source is None:
        clean = _sinusoids(settings)
    else:
        clean = source.validation_set("cpu").split(_SIGNALS)[0].evaluate(source.times("cpu"))
        if not _has_squares(clean):
            raise SettingError(f"data.path={settings.data.path}: has values whose squares 32 bits cannot hold; data.scaling=set")
    noise = settings.noise
    of_training = noise.train_std if isinstance(noise.train_std, list) else [noise.train_std]
    levels = {"noise.eval_std": noise.eval_std, "noise.train_std": of_training}
    for setting, std in ((setting, std) for setting, stds in levels.items() for std in stds):
        if std > 0 and not _is_kept(std, clean):
            raise SettingError(
                f"{setting}={std}: must leave a trace in 32 bits and have squares there, as 1e-6 to {MOST_NOISE:g} do"
            )


def _sinusoids(settings: Settings) -> Tensor:
    data = settings.data
    assert data.families is not None, "the settings are checked"
    assert data.sigma is not None
    assert data.test_frequency is not None
    sizes = (data.signal_length, data.dt, _SIGNALS, _SIGNALS)
    fresh = data.fresh_sigma if isinstance(data.fresh_sigma, list) else [data.fresh_sigma or 0]
    sigma = max(data.sigma, *fresh)
    source = SinusoidSource(data.families, sigma, *sizes, data.test_frequency, data.seed)
    times, signals = source.times("cpu"), source.validation_set("cpu")
    if not (times.isfinite().all() and (times.diff() > 0).all()):
        raise SettingError(f"data.dt={data.dt}: must give times 0, dt, 2 dt, … that are finite and distinct in 32 bits")
    used = {"data.sigma": data.sigma, "data.dt": data.dt, "data.signal_length": data.signal_length}
    span = times[-1].item()
    phases = {_farthest(used): signals.frequency.abs().max().item() * span}
    phases |= {f"data.test_frequency={data.test_frequency}": abs(data.test_frequency) * span}
    for setting, phase in phases.items():
        if not phase <= _LARGEST_PHASE:
            allowed = f"at most {_LARGEST_PHASE:.0e} radians, which 32 bits tell to a tenth"
            raise SettingError(
                f"{setting}: must be smaller: the last values of signals have phases of {phase:.0e}, and {allowed}"
            )
    clean = signals.evaluate(times)
    largest = (clean.amax(-1) - clean.amin(-1)).max().item()
    if largest < _LEAST_RANGE:
        said = f"no signal changes by more than {largest:.0e} from its first value to its last"
        raise SettingError(f"{_farthest(used)}: must be larger: {said}, and {_LEAST_RANGE:.0e} is the least")
    return clean


def _farthest(used: Mapping[str, float]) -> str:
    """That of some settings which is farthest from what is usual, as on the command line."""
    setting = max(used, key=lambda name: abs(math.log(used[name] / _USUAL[name])))
    return f"{setting}={used[setting]}"


def _is_kept(std: float, clean: Tensor) -> bool:
    """Whether noise of this standard deviation is still of it once it was added."""
    if std > torch.finfo(torch.float32).max:
        return False
    added = add_noise(clean, std, torch.Generator().manual_seed(0)) - clean
    return _has_squares(added) and 0.5 * std <= added.std().item() <= 2 * std


def _has_squares(values: Tensor) -> bool:
    return bool((values.abs().max().double().square() * _ALL <= torch.finfo(torch.float32).max).item())
