"""The PyTorch engine against plain single networks."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from conftest import Steps, engine_for, problem
from own_networks import ConvolutionalAutoencoder, ResidualAutoencoder, VariationalAutoencoder
from torch import Tensor, nn

from wavecoder.engine import Engine
from wavecoder.engine.bindings import ACTIVATIONS, LOSSES
from wavecoder.ensemble import Ensemble
from wavecoder.networks import DeepAutoencoder, TiedLinearAutoencoder

MakeNetwork = Callable[[], nn.Module]

OTHERS: dict[str, MakeNetwork] = {
    "tied": partial(TiedLinearAutoencoder, 100, 5),
    "tied with biases": partial(TiedLinearAutoencoder, 100, 5, bias=True),
    "no biases, no latent activation": partial(DeepAutoencoder, 100, 5, bias=False, latent_activation=False),
    "residual": partial(ResidualAutoencoder, 100, 5),
    "convolutional": partial(ConvolutionalAutoencoder, 100, 5),
}


def signals(*shape: int, size: float = 1.0) -> Tensor:
    return size * torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def compare_with_plain_networks(make_network: MakeNetwork, loss: nn.Module, members: int = 3, size: float = 1.0) -> None:
    """In double precision, where losses and gradients of two computations agree to many digits."""
    inputs, targets = signals(2, members, 6, 100, size=size)
    engine = engine_for(problem(Ensemble(lambda: make_network().double(), range(members)), loss), "pytorch")
    engine.gradient.fill_(float("nan"))  # what is there must not matter
    losses = engine.loss_and_gradient(inputs, targets, 0, 0)
    for i in range(members):
        torch.manual_seed(i)
        network = make_network().double()
        value = loss(network(inputs[i]), targets[i])
        torch.testing.assert_close(losses[i], value.detach())
        expected = torch.autograd.grad(value, list(network.parameters()))
        torch.testing.assert_close(engine.gradient[i], torch.cat([gradient.flatten() for gradient in expected]))


@pytest.mark.parametrize("activation", [*ACTIVATIONS, nn.SiLU])
@pytest.mark.parametrize("latent", [1, 5])
def test_every_activation(activation: type[nn.Module], latent: int) -> None:
    compare_with_plain_networks(partial(DeepAutoencoder, 100, latent, activation), nn.MSELoss())


@pytest.mark.parametrize("loss", [*LOSSES, nn.SmoothL1Loss])
def test_every_loss(loss: type[nn.Module]) -> None:
    compare_with_plain_networks(partial(DeepAutoencoder, 100, 5, nn.Tanh), loss(), size=2.0)  # on both sides of Huber's knee


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("members", [1, 3])
def test_every_network(name: str, members: int) -> None:
    compare_with_plain_networks(OTHERS[name], nn.MSELoss(), members)


def test_nan_stays_with_its_member() -> None:
    engine = engine_for(problem(Ensemble(partial(DeepAutoencoder, 100, 5), range(3))), "pytorch")
    inputs = signals(3, 6, 100).float()
    inputs[0, 2, 3] = float("nan")
    losses = engine.loss_and_gradient(inputs, inputs, 0, 0)
    assert losses.isnan().tolist() == [True, False, False]
    assert engine.gradient.isnan().any(1).tolist() == [True, False, False]


@pytest.mark.parametrize("members", [1, 2])
def test_accumulating_gradients_equals_one_large_batch(members: int) -> None:
    pairs = [tuple(pair) for pair in signals(20, 2, members, 64, 100).float()]
    make_network = partial(DeepAutoencoder, 100, 5, nn.Tanh)
    whole, parts = (
        engine_for(problem(Ensemble(make_network, range(members)), accumulate=accumulate), "pytorch") for accumulate in (1, 4)
    )
    inputs, targets = pairs[0]
    torch.testing.assert_close(parts.loss_and_gradient(inputs, targets, 0, 0), whole.loss_and_gradient(inputs, targets, 0, 0))
    torch.testing.assert_close(parts.gradient, whole.gradient, atol=1e-7, rtol=1e-5)
    torch.testing.assert_close(parts.execute(Steps(pairs)), whole.execute(Steps(pairs)), rtol=1e-5, atol=0)


class Unused(DeepAutoencoder):
    """It has a layer that it never asks."""

    def __init__(self) -> None:
        super().__init__(100, 5)
        self.unused = nn.Linear(3, 3)


def test_parameters_without_a_gradient_keep_their_values() -> None:
    ensemble = Ensemble(Unused, range(2))
    before = ensemble.network.unused.weight.detach().clone()
    engine = engine_for(problem(ensemble))
    engine.gradient.fill_(float("nan"))
    engine.execute(Steps([tuple(signals(2, 2, 6, 100).float())]))
    assert torch.equal(ensemble.network.unused.weight, before)
    assert engine.flat.isfinite().all()


def test_frozen_parameters_keep_their_values() -> None:
    def frozen_decoder() -> nn.Module:
        network = DeepAutoencoder(100, 5)
        network.decoder.requires_grad_(False)
        return network

    ensemble = Ensemble(frozen_decoder, range(2))
    before = {name: values.clone() for name, values in ensemble.state_dict().items()}
    engine_for(problem(ensemble)).execute(Steps([tuple(signals(2, 2, 6, 100).float())]))
    changed = {name for name, values in ensemble.state_dict().items() if not torch.equal(values, before[name])}
    assert changed == {name for name in before if "encoder" in name}


# --- random numbers that networks draw --------------------------------------------------------------------------------------

RANDOM: dict[str, MakeNetwork] = {
    "dropout": partial(DeepAutoencoder, 100, 5, partial(nn.Dropout, 0.2)),
    "variational": partial(VariationalAutoencoder, 100, 5),
}


def random_engine(name: str, seed: int = 0) -> Engine:
    return engine_for(problem(Ensemble(RANDOM[name], range(2)), seed=seed))


@pytest.mark.parametrize("name", RANDOM)
def test_draws_depend_on_seed_epoch_and_step_alone(name: str) -> None:
    inputs = signals(2, 6, 100).float()

    def drawn(seed: int, epoch: int, step: int) -> Tensor:
        engine = random_engine(name, seed)
        losses = engine.loss_and_gradient(inputs, inputs, epoch, step)
        return torch.cat([losses, engine.gradient.flatten()])

    first = drawn(0, 0, 0)
    torch.manual_seed(99)
    assert torch.equal(drawn(0, 0, 0), first)
    for key in [(1, 0, 0), (0, 1, 0), (0, 0, 1)]:
        assert not torch.equal(drawn(*key), first)


@pytest.mark.parametrize("name", RANDOM)
def test_draws_leave_the_global_generator_alone(name: str) -> None:
    inputs = signals(2, 6, 100).float()
    before = torch.get_rng_state()
    random_engine(name).execute(Steps([(inputs, inputs)]))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", RANDOM)
def test_draws_do_not_depend_on_the_chunks(name: str) -> None:
    inputs = signals(2, 6, 100).float()
    whole, parts = random_engine(name), random_engine(name)
    losses = whole.execute(Steps([(inputs, inputs)] * 6))
    first, second = parts.execute(Steps([(inputs, inputs)] * 4)), parts.execute(Steps([(inputs, inputs)] * 2, 0, 4))
    assert torch.equal(torch.cat([first, second]), losses)
    assert torch.equal(parts.flat, whole.flat)
