"""Every engine against what anybody would write: a loop over plain networks, one after another, with autograd and torch.optim."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

import pytest
import torch
from conftest import data_module, problem
from own_networks import ConvolutionalAutoencoder, ResidualAutoencoder
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from wavecoder.engine import choose
from wavecoder.engine.compiled import ACTIVATIONS, LOSSES
from wavecoder.ensemble import Ensemble, flatten_parameters
from wavecoder.networks import DeepAutoencoder, TiedLinearAutoencoder

SEED, MEMBERS, STEPS = 5, 3, 80

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": partial(torch.optim.Adam, lr=1e-3),
    "adamw": partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1),
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
}


def cosine(optimizer: Optimizer) -> LRScheduler:
    return CosineAnnealingLR(optimizer, T_max=STEPS)


class Chunk(NamedTuple):
    """Some steps of one member or of all, as the engines take them."""

    batches: list[tuple[Tensor, Tensor]]
    epoch: int
    first_step: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:  # type: ignore[override]
        return iter(self.batches)


@cache
def batches() -> list[tuple[Tensor, Tensor]]:
    """Inputs and targets of every step and member."""
    signals = data_module(MEMBERS, SEED, train_size=64 * STEPS, batch_size=64)
    return [pair for chunk in signals.train_dataloader() for pair in chunk]


@cache
def plain_losses(
    make_network: Callable[[], nn.Module], loss: type[nn.Module], optimizer: str = "adam", scheduled: bool = False
) -> Tensor:
    """The losses of plain PyTorch before each step, `[step, member]`, one network after another."""
    losses = torch.empty(STEPS, MEMBERS)
    for member in range(MEMBERS):
        torch.manual_seed(SEED + member)
        network = make_network()
        optimiser = OPTIMIZERS[optimizer](network.parameters())
        scheduler = cosine(optimiser) if scheduled else None
        for step, (inputs, targets) in enumerate(batches()):
            value = loss()(network(inputs[member]), targets[member])
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            if scheduler is not None:
                scheduler.step()
            losses[step, member] = value.detach()
    return losses


def engine_losses(
    engine: str,
    num_seeds: int,
    make_network: Callable[[], nn.Module],
    loss: type[nn.Module],
    optimizer: str = "adam",
    scheduled: bool = False,
    **conditions: Any,
) -> Tensor:
    """The losses of an engine before each step, `[step, member]`."""
    posed = problem(Ensemble(make_network, range(SEED, SEED + num_seeds)), loss(), **conditions)
    flat = flatten_parameters(posed.ensemble)
    optimiser = OPTIMIZERS[optimizer]([flat])
    trained = choose(posed, engine).engine(posed, flat, optimiser, cosine(optimiser) if scheduled else None)
    mine = [(inputs[:num_seeds], targets[:num_seeds]) for inputs, targets in batches()]
    return torch.cat([trained.execute(Chunk(mine[first : first + 20], 0, first)) for first in range(0, STEPS, 20)])
