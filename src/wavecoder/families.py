"""The families of sinusoids. Without torch, so that the settings can be checked against them at once."""

import math
from typing import NamedTuple


class Family(NamedTuple):
    """One family of signals, `amplitude · sin(multiple · r t + phase)`, where the frequency r is drawn at random.

    Attributes:
        amplitude: Amplitude, above 0.
        multiple: Factor of r, above 0.
        phase: Phase, in radians.
    """

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
"""All families, by the name used in `data.families`. These five are the paper's (section 4.2)."""
