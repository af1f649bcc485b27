"""What an engine is, and the loop over the steps of a chunk."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from wavecoder.ensemble import Ensemble, flatten_gradients
from wavecoder.metrics import squared_errors
from wavecoder.signals import Sinusoids

Signals = Float[Tensor, "member batch time"]
Block = Float[Tensor, "step member batch time"]
Errors = Float[Tensor, " member"]
_EVALUATION_ROWS = 4_096  # signals times members evaluated at once: a megabyte or two, which the processor's caches hold


@runtime_checkable
class Chunk(Protocol):
    """The batches of consecutive optimiser steps.

    Attributes:
        epoch: The epoch they belong to.
        first_step: Number of the first of these steps in the epoch.
        times: The time grid.
        sinusoids: The signals, `[step, member, batch]`, if inputs and targets are both these sinusoids; otherwise None.
    """

    epoch: int
    first_step: int
    times: Float[Tensor, " time"]
    sinusoids: Sinusoids | None

    def blocks(self) -> Iterator[tuple[Block, Block]]:
        """Inputs and targets of some steps at a time; one tensor twice where they are the same."""
        ...

    def __iter__(self) -> Iterator[tuple[Signals, Signals]]:
        """Inputs and targets of each step."""
        ...


@dataclass(frozen=True)
class Problem:
    """What is to be trained and under which conditions: all that the choice of an engine depends on.

    Attributes:
        ensemble: The networks.
        loss: From reconstructions and targets of one member, `[batch, time]`, to one number.
        device: Where the networks are trained.
        seed: Key of the random numbers that the networks draw, as dropout does.
        processes: How many processes share a batch.
        rank: Which of them this is.
        precision: Lightning's name of the precision.
        accumulate: Into how many parts a batch is split whose gradients are averaged.
        clip_value: Largest absolute value of a gradient's entry; None for no limit.
        clip_norm: Largest norm of a member's gradient; None for no limit.
        threads: How many threads the compiled engine may use; PyTorch's operators use PyTorch's own number.
        torch_compile: Whether the PyTorch engine compiles its step with `torch.compile`.
    """

    ensemble: Ensemble
    loss: Callable[[Tensor, Tensor], Tensor]
    device: torch.device
    seed: int = 0
    processes: int = 1
    rank: int = 0
    precision: str = "32-true"
    accumulate: int = 1
    clip_value: int | float | None = None
    clip_norm: int | float | None = None
    threads: int = 1
    torch_compile: bool = False


class Engine(ABC):
    """Executes optimiser steps, a chunk of them per call.

    Args:
        problem: What is trained.
        flat: The parameters of the ensemble, from `flatten_parameters`.
        optimizer: Updates `flat`, or the parameters that are views of it.
        scheduler: Changes the learning rate after every step; None keeps it.
        average: Averages a gradient over the processes, in place.
    """

    def __init__(
        self,
        problem: Problem,
        flat: nn.Parameter,
        optimizer: Optimizer,
        scheduler: LRScheduler | None = None,
        average: Callable[[Tensor], object] = lambda gradient: None,
    ) -> None:
        self.problem = problem
        self.flat = flat
        self.gradient = flatten_gradients(problem.ensemble, flat)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.average = average

    @classmethod
    def steps_per_execution(cls, num_members: int) -> int:
        """Optimiser steps in a chunk, unless the user sets a number: a fraction of a second, so that progress can be seen."""
        return 20

    def execute(self, chunk: Chunk) -> Float[Tensor, "step member"]:
        """Do all steps of a chunk and return the losses before each."""
        steps = enumerate(chunk, chunk.first_step)
        return torch.stack([self._step(inputs, targets, chunk.epoch, step) for step, (inputs, targets) in steps])

    def reconstruct(self, signals: Float[Tensor, "*member batch time"]) -> Float[Tensor, "member batch time"]:
        """Every member's reconstruction of the same signals, or of its own."""
        return self.problem.ensemble(signals)

    def squared_errors(self, inputs: Float[Tensor, "*member batch time"], targets: Float[Tensor, "*member batch time"]) -> Errors:
        """The mean squared error per value of every member's reconstructions, summed over the batch."""
        rows = max(64, _EVALUATION_ROWS // len(self.flat))
        pairs = zip(inputs.split(rows, dim=-2), targets.split(rows, dim=-2), strict=True)
        return torch.stack([squared_errors(self.reconstruct(x), y) for x, y in pairs]).sum(0)

    def _step(self, inputs: Signals, targets: Signals, epoch: int, step: int) -> Float[Tensor, " member"]:
        losses = []

        def closure() -> Any:  # a tensor, which optimisers that use it take; their annotations say float
            losses.append(self.loss_and_gradient(inputs, targets, epoch, step))
            self.average(self.gradient)
            self._clip()
            return losses[-1].sum()

        self.optimizer.step(closure)
        if self.scheduler is not None:
            self.scheduler.step()
        return losses[0]  # some optimisers evaluate the loss several times; this is the one before the step

    def _clip(self) -> None:
        if self.problem.clip_value is not None:
            self.gradient.clamp_(-self.problem.clip_value, self.problem.clip_value)
        if self.problem.clip_norm is not None:
            norms = torch.linalg.vector_norm(self.gradient, dim=1, keepdim=True)
            self.gradient.mul_((self.problem.clip_norm / (norms + 1e-6)).clamp_(max=1))

    @abstractmethod
    def loss_and_gradient(self, inputs: Signals, targets: Signals, epoch: int, step: int) -> Float[Tensor, " member"]:
        """The loss of each member, writing its gradient into `self.gradient`.

        Args:
            inputs: What the networks are given.
            targets: What they should give.
            epoch: The epoch, as a key of random numbers.
            step: The step in the epoch, likewise.
        """


def is_elementwise(make_optimizer: Callable[..., Optimizer], num_members: int) -> bool:
    """Whether an optimiser updates every parameter by its own gradient alone, as Adam, SGD and their kin do.

    Only such optimisers keep the members of an ensemble independent of one another. Found by trying: the gradients of all
    parameters but one are changed, by small and by large factors, and that one must take the same steps as before.

    Args:
        make_optimizer: Makes the optimiser from a list of parameters.
        num_members: Number of members that it shall train.

    Raises:
        ValueError: It does not, and there are several members.
        Exception: What the optimiser says of its arguments.
    """

    def path(others: float) -> list[float]:
        parameter = nn.Parameter(torch.linspace(-1, 1, 8, dtype=torch.float64).view(2, 4))  # small steps are not rounded away
        weights = torch.full_like(parameter, others)
        weights[0, 0] = 0.1

        def closure() -> Any:  # some optimisers search along a line, so the loss must be that of the gradients
            values = parameter.detach()
            parameter.grad = weights * values
            return (weights * values.square()).sum() / 2

        optimizer, values = make_optimizer([parameter]), []
        for _ in range(3):
            closure()
            optimizer.step(closure)
            values.append(parameter[0, 0].item())
        return values

    first = path(0.2)
    independent = all(np.array_equal(first, path(others), equal_nan=True) for others in (0.0, 1e-4, 50.0, 1e6))
    if num_members > 1 and not independent:
        raise ValueError("the optimiser does not work element by element, so it would tie seeds together; num_seeds=1 can use it")
    return independent
