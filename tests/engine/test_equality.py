"""The engines against what anybody would write: plain networks trained one after another with autograd and torch.optim."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import pytest
import torch
from conftest import Steps, data_module, engine_for, problem
from own_networks import ConvolutionalAutoencoder, ResidualAutoencoder
from processes import ROOT
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from wavecoder.engine.bindings import ACTIVATIONS, LOSSES
from wavecoder.ensemble import Ensemble
from wavecoder.networks import DeepAutoencoder, TiedLinearAutoencoder
from wavecoder.training.noise import Noise

SEED, MEMBERS, STEPS = 5, 3, 80
TOLERANCE = 1e-5  # of losses, relative
ROUNDING = 2e-6  # values of two computations in 32 bits are nearer than this
JUMPS = nn.ReLU | nn.LeakyReLU | nn.PReLU | nn.L1Loss  # their derivatives jump at 0

MakeNetwork = Callable[[], nn.Module]

DEEP: dict[str, MakeNetwork] = {kind.__name__: partial(DeepAutoencoder, 100, 5, kind) for kind in ACTIVATIONS}
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": partial(torch.optim.Adam, lr=1e-3),
    "adamw": partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1),
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
}


def cosine(optimizer: Optimizer) -> LRScheduler:
    return CosineAnnealingLR(optimizer, T_max=STEPS)


@cache
def batches(batch_size: int) -> list[tuple[Tensor, Tensor]]:
    """Inputs, which are noisy, and targets of every step, `[member, batch, time]`."""
    signals = data_module(MEMBERS, SEED, Noise(train_std=0.2), train_size=batch_size * STEPS, batch_size=batch_size)
    return [pair for chunk in signals.train_dataloader() for pair in chunk]


def batch_size_for(make_network: MakeNetwork, loss: type[nn.Module]) -> int:
    """The paper's 64, or 4 where derivatives jump, so that few values come so near to a jump that rounding decides."""
    return 4 if any(isinstance(module, JUMPS) for module in [*make_network().modules(), loss()]) else 64


class Plain(NamedTuple):
    """What the plain loop gave, `[step, member]`.

    Attributes:
        losses: The loss before each step.
        certain: Whether that loss depends on no derivative that rounding decided. Two computations that took different
            derivatives go apart from then on: with batches of 64, plain PyTorch in 32 bits from plain PyTorch in 64 bits by up to
            1e-3 within 80 steps.
    """

    losses: Tensor
    certain: Tensor


@cache
def train_plainly(make_network: MakeNetwork, loss: type[nn.Module], optimizer: str, scheduled: bool = False) -> Plain:
    losses, nearest = torch.empty(STEPS, MEMBERS), torch.full((STEPS, MEMBERS), torch.inf)
    for member in range(MEMBERS):
        torch.manual_seed(SEED + member)
        network = make_network()
        at_jumps = record_inputs_of_jumps(network)
        own_optimizer = OPTIMIZERS[optimizer](network.parameters())
        scheduler = cosine(own_optimizer) if scheduled else None
        for step, (inputs, targets) in enumerate(batches(batch_size_for(make_network, loss))):
            at_jumps.clear()
            outputs = network(inputs[member])
            value = loss()(outputs, targets[member])
            own_optimizer.zero_grad()
            value.backward()
            own_optimizer.step()
            if scheduler is not None:
                scheduler.step()
            losses[step, member] = value.detach()
            if loss is nn.L1Loss:
                at_jumps.append(outputs.detach() - targets[member])
            if at_jumps:
                nearest[step, member] = min(values.abs().min().item() for values in at_jumps)
    certain = torch.ones_like(nearest, dtype=torch.bool)
    certain[1:] = (nearest[:-1] > ROUNDING).cumprod(0)  # a derivative matters to the next loss
    return Plain(losses, certain)


def record_inputs_of_jumps(network: nn.Module) -> list[Tensor]:
    """A list to which a network will append what those of its activations are given whose derivatives jump at 0."""
    recorded: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, JUMPS):
            module.register_forward_pre_hook(lambda module, inputs: recorded.append(inputs[0].detach()))
    return recorded


def train_by_engine(
    engine: str,
    num_seeds: int,
    make_network: MakeNetwork,
    loss: type[nn.Module],
    optimizer: str,
    scheduled: bool = False,
    **conditions: Any,
) -> Tensor:
    """The losses of an engine before each step, `[step, member]`."""
    posed = problem(Ensemble(make_network, range(SEED, SEED + num_seeds)), loss(), **conditions)
    trained = engine_for(posed, engine, OPTIMIZERS[optimizer], cosine if scheduled else None)
    mine = [(inputs[:num_seeds], targets[:num_seeds]) for inputs, targets in batches(batch_size_for(make_network, loss))]
    return torch.cat([trained.execute(Steps(mine[first : first + 20], 0, first)) for first in range(0, STEPS, 20)])


def check_losses(
    engine: str,
    make_network: MakeNetwork,
    loss: type[nn.Module] = nn.MSELoss,
    optimizer: str = "adam",
    scheduled: bool = False,
    **conditions: Any,
) -> None:
    plain = train_plainly(make_network, loss, optimizer, scheduled)
    for num_seeds in (1, MEMBERS):
        losses = train_by_engine(engine, num_seeds, make_network, loss, optimizer, scheduled, **conditions)
        expected, certain = plain.losses[:, :num_seeds], plain.certain[:, :num_seeds]
        torch.testing.assert_close(losses[certain], expected[certain], rtol=TOLERANCE, atol=0)
        torch.testing.assert_close(losses, expected, rtol=1e-2, atol=0)


@pytest.mark.parametrize(("activation", "loss"), list(product(DEEP, LOSSES)))
def test_every_activation_and_loss(activation: str, loss: type[nn.Module], engine: str) -> None:
    # Sigmoids of different signals are nearly equal at first, so in the sums of gradients signs cancel all but rounding, which
    # Adam divides by its own size
    optimizer = "sgd" if (activation, loss) == ("Sigmoid", nn.L1Loss) else "adam"
    check_losses(engine, DEEP[activation], loss, optimizer)


@pytest.mark.parametrize(("optimizer", "scheduled"), [("adamw", False), ("sgd", False), ("adam", True), ("sgd", True)])
def test_every_optimizer_and_schedule(optimizer: str, scheduled: bool, engine: str) -> None:
    check_losses(engine, DEEP["Tanh"], nn.MSELoss, optimizer, scheduled)


OTHERS: dict[str, MakeNetwork] = {
    "residual": partial(ResidualAutoencoder, 100, 5),
    "convolutional": partial(ConvolutionalAutoencoder, 100, 5),
    "tied": partial(TiedLinearAutoencoder, 100, 5),
    "silu": partial(DeepAutoencoder, 100, 5, nn.SiLU),
}


@pytest.mark.parametrize("network", OTHERS)
def test_networks_that_the_pytorch_engine_alone_knows(network: str) -> None:
    check_losses("auto", OTHERS[network])


def check_torch_compile() -> None:
    check_losses("auto", DEEP["Tanh"], torch_compile=True)


@pytest.mark.slow
def test_torch_compile_changes_nothing() -> None:
    """In a process of its own: in this one the annotations are checked, which torch.compile cannot trace."""
    folders = os.pathsep.join(str(folder) for folder in (ROOT / "tests", ROOT / "tests" / "engine"))
    command = [sys.executable, "-c", "from test_equality import check_torch_compile; check_torch_compile()"]
    finished = subprocess.run(command, env=os.environ | {"PYTHONPATH": folders}, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_most_of_the_losses_are_compared() -> None:
    """The comparisons above are worth something: the loss falls, and where derivatives jump, most steps are certain."""
    for name, make_network in DEEP.items():
        plain = train_plainly(make_network, nn.MSELoss, "adam")
        assert plain.certain.float().mean() > 0.3, name
        assert plain.losses[-10:].mean() < plain.losses[:10].mean(), name
