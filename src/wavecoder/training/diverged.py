"""Runs that have ended because their training diverged. Imports nothing heavy."""

from collections.abc import Mapping

MOST_NAMED = 6
"""Seeds that a line names."""


class Diverged(Exception):
    """A run has ended because seeds diverged. Its message is one line.

    Attributes:
        steps: The optimiser step at which each of these seeds diverged, by seed.
    """

    def __init__(self, message: str, steps: Mapping[int, int]) -> None:
        super().__init__(message)
        self.steps = dict(steps)


def name_seeds(steps: Mapping[int, int]) -> str:
    """Which seeds diverged at which steps, in a few words.

    >>> name_seeds({3: 1240, 5: 80})
    'seed 3 at step 1,240, seed 5 at step 80'
    """
    named = [f"seed {seed} at step {step:,}" for seed, step in steps.items()]
    return ", ".join(named if len(named) <= MOST_NAMED else [*named[: MOST_NAMED - 1], f"and {len(named) - MOST_NAMED + 1} more"])
