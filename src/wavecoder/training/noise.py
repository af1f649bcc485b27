"""White noise: how much of it training inputs are given, and at which levels reconstructions are measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor


@dataclass(frozen=True)
class Noise:
    """White noise in training and evaluation.

    Attributes:
        eval_std: Standard deviations at which reconstructions are measured.
        train_std: Standard deviation of the noise added to training inputs, or the two between which it is.
        copies: Noisy copies of the test signal at each level, whose mean reconstruction is measured too.
        draws: How many times this test is done, with new copies each time.
        train_between: How it is between two: `uniform` or `log_uniform`, drawn for every signal, or `schedule`, from the first at
            the first optimiser step to the second at the last.
        steps: Optimiser steps of the whole run, over which a schedule runs.

    Example:
        >>> Noise(train_std=(1.0, 0.0), train_between="schedule", steps=101).std_at(25, 64, torch.Generator)
        0.75
    """

    eval_std: Sequence[float] = (0.1, 1.0)
    train_std: float | Sequence[float] = 0.0
    copies: int = 10
    draws: int = 1
    train_between: str = "uniform"
    steps: int = 1

    def std_at(self, step: int, batch_size: int, key: Callable[[], Generator]) -> float | Float[Tensor, " batch"]:
        """The standard deviation of the training noise at an optimiser step: one for all signals of the batch, or one for each.

        Args:
            step: The number of the step in the run.
            batch_size: Number of signals.
            key: Gives the generator that they are drawn with, if they are drawn.
        """
        if isinstance(self.train_std, int | float):
            return self.train_std
        first, last = self.train_std
        if self.train_between == "schedule":
            return first + (last - first) * step / max(1, self.steps - 1)
        generator = key()
        drawn = torch.rand(batch_size, generator=generator, device=generator.device)
        return first * (last / first) ** drawn if self.train_between == "log_uniform" else first + (last - first) * drawn
