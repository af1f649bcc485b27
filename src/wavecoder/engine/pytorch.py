"""The PyTorch engine: gradients by autograd, for any network, loss, optimiser and device."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wavecoder.engine.base import Engine, Problem, Signals
from wavecoder.ensemble import loss_of, trained_parameters
from wavecoder.rng import seeded_draws


class PyTorchEngine(Engine):
    """Autograd over the ensemble. The arguments are those of `Engine`."""

    def __init__(self, problem: Problem, *arguments: Any, **others: Any) -> None:
        super().__init__(problem, *arguments, **others)
        self._parameters = trained_parameters(problem.ensemble)
        self._losses: Callable[[Signals, Signals], Tensor] = self._losses_of_members
        if problem.torch_compile:
            # on a GPU this mode replays the step's kernels as one CUDA graph; on a CPU it changes nothing
            self._losses = torch.compile(self._losses_of_members, dynamic=False, mode="reduce-overhead")

    def _losses_of_members(self, inputs: Signals, targets: Signals) -> Float[Tensor, " member"]:
        return self.problem.ensemble.apply_to_members(self._loss_of_one, inputs, targets)

    def _loss_of_one(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return loss_of(network, self.problem.loss, inputs, targets)

    def loss_and_gradient(self, inputs: Signals, targets: Signals, epoch: int, step: int) -> Float[Tensor, " member"]:
        parts, losses = self.problem.accumulate, list[Tensor]()
        key = (self.problem.seed, "network", self.problem.rank, epoch, step)
        with seeded_draws(self.flat.device, *key), torch.enable_grad():
            for x, y in zip(inputs.chunk(parts, dim=1), targets.chunk(parts, dim=1), strict=True):
                loss = self._losses(x, y)
                gradients = torch.autograd.grad(loss.sum(), self._parameters, materialize_grads=True)
                self._collect(gradients, first=not losses)
                losses.append(loss.detach().clone())  # a CUDA graph writes its results to the same place every time
        if parts == 1:
            return losses[0]
        self.gradient.div_(parts)
        return torch.stack(losses).mean(0)

    @torch.no_grad()
    def _collect(self, gradients: tuple[Tensor, ...], first: bool) -> None:
        rows = [gradient.reshape(len(self.gradient), -1) for gradient in gradients]
        if first:
            torch.cat(rows, dim=1, out=self.gradient)
        else:
            self.gradient.add_(torch.cat(rows, dim=1))
