"""Limits of settings: what a setting must be, said in one line where it is not."""

import math
from dataclasses import asdict, is_dataclass
from numbers import Real
from typing import TypeGuard

from omegaconf import DictConfig, ListConfig

_CHOICES = {
    "basis": ("fitted", "population"),
    "data.scaling": ("none", "set", "signal"),
    "engine.name": ("auto", "compiled", "pytorch"),
    "noise.train_between": ("uniform", "log_uniform", "schedule"),
    "on_divergence": ("auto", "freeze", "stop"),
    "trainer.gradient_clip_algorithm": ("norm", "value"),
    # 16-mixed is left out: all members would share one loss scale
    "trainer.precision": ("32-true", "64-true", "bf16-true", "bf16-mixed"),
}


MOST_NOISE = 1e14
"""The greatest standard deviation of noise: squares of much larger values, or sums of them, are beyond 32 bits."""


class SettingError(ValueError):
    """A setting that cannot be used. Its message is one line: the setting, the value given, what is allowed."""


def require(holds: bool, setting: str, value: object, allowed: str) -> None:
    """Refuse a value that does not hold what is allowed.

    Raises:
        SettingError: It is refused.
    """
    if not holds:
        raise SettingError(f"{setting}={as_typed(value)}: must be {allowed}")


def as_typed(value: object) -> str:
    """A value as the command line has it."""
    if is_dataclass(value) and not isinstance(value, type):  # a group of ours, to which a value refers
        value = asdict(value)
    if isinstance(value, list | ListConfig):
        return f"[{','.join(map(as_typed, value))}]"
    if isinstance(value, dict | DictConfig):
        return f"{{{','.join(f'{key!s}:{as_typed(each)}' for key, each in value.items())}}}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def require_flags(settings: object, prefix: str, *names: str) -> None:
    """Refuse values of these settings that are not flags; `prefix` is that of their group.

    Raises:
        SettingError: It is refused.
    """
    for name in names:
        value = getattr(settings, name)
        require(isinstance(value, bool), f"{prefix}{name}", value, "true or false")


def require_choice(setting: str, value: object) -> None:
    """Refuse a value that is none of the setting's.

    Raises:
        SettingError: It is refused.
    """
    require(value in _CHOICES[setting], setting, value, f"one of {', '.join(_CHOICES[setting])}")


def is_whole(value: object, least: int) -> bool:
    """Whether a value is a whole number of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_noise(value: object) -> bool:
    """Whether a value can be the standard deviation of noise in signals, 0 for none."""
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) <= MOST_NOISE


def is_positive(value: object) -> bool:
    """Whether a value is a finite number above 0."""
    return is_number(value) and 0 < value < math.inf
