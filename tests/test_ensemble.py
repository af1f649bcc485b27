"""Ensembles against the single networks that they are made of."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from own_networks import ConvolutionalAutoencoder, Normalised, Plain, ResidualAutoencoder, VariationalAutoencoder
from torch import Tensor, nn

from wavecoder import networks
from wavecoder.ensemble import (
    Ensemble,
    flatten_gradients,
    flatten_parameters,
    loss_of,
    trained_parameters,
)
from wavecoder.networks import DeepAutoencoder, TiedLinearAutoencoder

MakeNetwork = Callable[[], nn.Module]

NETWORKS: dict[str, MakeNetwork] = {
    "deep": partial(DeepAutoencoder, 100, 5, nn.PReLU),
    "tied": partial(TiedLinearAutoencoder, 100, 5),
    "tied with biases": partial(TiedLinearAutoencoder, 100, 5, bias=True),
    "residual": partial(ResidualAutoencoder, 100, 5),
    "convolutional": partial(ConvolutionalAutoencoder, 100, 5),
    "residual blocks": partial(networks.ResidualAutoencoder, 100, 5, width=16),
}
SEEDS = range(7, 10)


def single(make_network: MakeNetwork, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return make_network()


class Shared(Plain):
    """A network whose decoder has the matrix of its encoder, and a constant."""

    encoder: nn.Linear
    decoder: nn.Linear
    constant: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(20, 20, bias=False)
        self.decoder = nn.Linear(20, 20, bias=False)
        self.decoder.weight = self.encoder.weight
        self.register_buffer("constant", torch.randn(()))

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z) + self.constant


class SharedBuffer(Shared):
    """Its decoder has the same constant as the whole network."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder.register_buffer("constant", self.constant)

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(z) * self.decoder.constant


def frozen_decoder() -> DeepAutoencoder:
    network = DeepAutoencoder(100, 5)
    network.decoder.requires_grad_(False)
    return network


# --- members ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("num_members", [1, 3])
def test_member_i_is_to_the_bit_what_its_seed_makes_alone(name: str, num_members: int) -> None:
    ensemble = Ensemble(NETWORKS[name], SEEDS[:num_members])
    assert ensemble.num_members == num_members
    for i in range(num_members):
        alone = dict(single(NETWORKS[name], SEEDS[i]).named_parameters())
        assert alone.keys() == dict(ensemble.network.named_parameters()).keys()
        for parameter, values in ensemble.network.named_parameters():
            assert torch.equal(values[i] if num_members > 1 else values, alone[parameter])
    if num_members > 1:
        assert any(not torch.equal(values[0], values[1]) for values in ensemble.parameters())


def test_making_an_ensemble_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    Ensemble(NETWORKS["deep"], SEEDS)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("num_members", [1, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_members_compute_what_the_single_networks_do(name: str, num_members: int, shared: bool) -> None:
    ensemble = Ensemble(NETWORKS[name], SEEDS[:num_members])
    x, z = torch.randn(num_members, 6, 100), torch.randn(num_members, 6, 5)
    if shared:
        x, z = x[0], z[0]
    reconstructions, latents, decoded = ensemble(x), ensemble.encode(x), ensemble.decode(z)
    assert reconstructions.shape == decoded.shape == (num_members, 6, 100)
    assert latents.shape == (num_members, 6, 5)
    for i in range(num_members):
        alone = single(NETWORKS[name], SEEDS[i])
        signals, codes = (x, z) if shared else (x[i], z[i])
        for ours, theirs in (
            (reconstructions, alone(signals)),
            (latents, alone.encode(signals)),  # type: ignore[operator]
            (decoded, alone.decode(codes)),  # type: ignore[operator]
        ):
            torch.testing.assert_close(ours[i], theirs, atol=2e-6, rtol=1e-5)


def test_one_member_is_the_network_itself() -> None:
    ensemble = Ensemble(NETWORKS["deep"], [4])
    x = torch.randn(6, 100)
    assert isinstance(ensemble.network, DeepAutoencoder)
    assert torch.equal(ensemble(x)[0], ensemble.network(x))


def test_weights_that_modules_share_stay_shared() -> None:
    ensemble = Ensemble(Shared, SEEDS)
    assert ensemble.network.encoder.weight is ensemble.network.decoder.weight
    assert [parameter.shape for parameter in ensemble.parameters()] == [(3, 20, 20)]
    with torch.no_grad():
        next(ensemble.parameters()).mul_(2)
    x = torch.randn(4, 20)
    (gradient,) = torch.autograd.grad(ensemble(x).square().sum(), list(ensemble.parameters()))
    for i, seed in enumerate(SEEDS):
        alone = single(Shared, seed)
        with torch.no_grad():
            alone.encoder.weight.mul_(2)
        torch.testing.assert_close(ensemble(x)[i], alone(x), atol=1e-6, rtol=1e-5)
        (expected,) = torch.autograd.grad(alone(x).square().sum(), list(alone.parameters()))
        torch.testing.assert_close(gradient[i], expected, atol=1e-4, rtol=1e-4)


def test_buffers_are_stacked() -> None:
    ensemble = Ensemble(SharedBuffer, SEEDS)
    (constant,) = ensemble.buffers()
    assert torch.equal(constant, torch.stack([single(SharedBuffer, seed).constant for seed in SEEDS]))
    assert "network.constant" in ensemble.state_dict()
    x = torch.randn(4, 20)
    for i, seed in enumerate(SEEDS):
        torch.testing.assert_close(ensemble(x)[i], single(SharedBuffer, seed)(x), atol=1e-6, rtol=1e-5)


def test_frozen_parameters_stay_frozen() -> None:
    ensemble = Ensemble(frozen_decoder, SEEDS)
    trained = [name for name, parameter in ensemble.network.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(name.startswith("encoder") for name in trained)
    decoder = [parameter.detach().clone() for parameter in ensemble.network.decoder.parameters()]
    flat = flatten_parameters(ensemble)
    assert flat.shape == (3, sum(parameter.numel() for parameter in trained_parameters(ensemble)) // 3)
    with torch.no_grad():
        flat.zero_()
    assert all(torch.equal(a, b) for a, b in zip(decoder, ensemble.network.decoder.parameters(), strict=True))
    assert not any(parameter.any() for parameter in ensemble.network.encoder.parameters())


# --- random layers and running statistics -----------------------------------------------------------------------------------


def test_dropout_differs_between_members_and_is_repeatable() -> None:
    ensemble = Ensemble(partial(DeepAutoencoder, 100, 5, nn.Dropout), SEEDS)
    x = torch.ones(50, 100)

    def zeros(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return ensemble.encode(x) == 0

    first = zeros(0)
    assert 0.4 < first.float().mean() < 0.6
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first, zeros(0))
    assert not torch.equal(first, zeros(1))
    ensemble.eval()
    assert not zeros(0).any()


def test_running_statistics_are_for_one_member() -> None:
    with pytest.raises(ValueError, match=r"^encoder\.1 keeps running statistics"):
        Ensemble(Normalised, SEEDS)
    ensemble = Ensemble(Normalised, [0])
    before = {name: values.clone() for name, values in ensemble.named_buffers()}
    ensemble(torch.randn(6, 100))
    assert all(not torch.equal(values, before[name]) for name, values in ensemble.named_buffers())
    several = Ensemble(partial(Normalised, running=False), SEEDS)
    x = torch.randn(6, 100)
    torch.testing.assert_close(several(x)[1], single(partial(Normalised, running=False), SEEDS[1])(x), atol=1e-6, rtol=1e-5)


def test_hooks_of_parameters_are_for_one_member() -> None:
    def hooked() -> nn.Module:
        network = Plain()
        next(network.parameters()).register_hook(lambda gradient: 0 * gradient)
        return network

    with pytest.raises(ValueError, match=r"^encoder\.weight has a hook"):
        Ensemble(hooked, SEEDS)
    ensemble = Ensemble(hooked, [0])
    (gradient, *_) = torch.autograd.grad(ensemble(torch.ones(6, 20)).sum(), trained_parameters(ensemble))
    assert not gradient.any()


# --- one tensor for the optimiser -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("num_members", [1, 3])
def test_flattened_parameters_are_the_ensembles_own(name: str, num_members: int) -> None:
    ensemble = Ensemble(NETWORKS[name], SEEDS[:num_members])
    before = {key: values.clone() for key, values in ensemble.state_dict().items()}
    parameters = {key: values for key, values in before.items() if "scale" not in key}  # a buffer of the convolutional one
    flat = flatten_parameters(ensemble)
    assert torch.equal(flat, torch.cat([values.reshape(num_members, -1) for values in parameters.values()], dim=1))
    for key, values in ensemble.state_dict().items():
        assert torch.equal(values, before[key])
    with torch.no_grad():
        flat.mul_(2)
    for key, values in ensemble.state_dict().items():
        assert torch.equal(values, 2 * before[key] if key in parameters else before[key])
    with torch.no_grad():
        next(ensemble.parameters()).fill_(9)
    assert (flat[:, 0] == 9).all()
    ensemble.load_state_dict(before)
    assert torch.equal(flat, torch.cat([values.reshape(num_members, -1) for values in parameters.values()], dim=1))


@pytest.mark.filterwarnings("ignore:grad and param do not obey the gradient layout contract")  # backward() alone says so
def test_flattened_gradients_are_the_parameters_own() -> None:
    ensemble = Ensemble(NETWORKS["deep"], SEEDS)
    flat = flatten_parameters(ensemble)
    gradient = flatten_gradients(ensemble, flat)
    assert gradient is flat.grad
    assert not gradient.any()
    ensemble(torch.randn(6, 100)).square().sum().backward()
    rows = [parameter.grad.reshape(3, -1) for parameter in ensemble.parameters() if parameter.grad is not None]
    assert gradient.any()
    assert torch.equal(gradient, torch.cat(rows, dim=1))
    gradient.fill_(3)
    assert all(parameter.grad is not None and (parameter.grad == 3).all() for parameter in ensemble.parameters())


@pytest.mark.filterwarnings("ignore:grad and param do not obey the gradient layout contract")
def test_steps_on_the_one_tensor_are_steps_on_the_many() -> None:
    x = torch.randn(2, 8, 100)
    ours, theirs = (Ensemble(partial(DeepAutoencoder, 100, 5, nn.Tanh), range(2)) for _ in range(2))
    flat = flatten_parameters(ours)
    gradient = flatten_gradients(ours, flat)
    one, many = torch.optim.Adam([flat], fused=True), torch.optim.Adam(theirs.parameters())
    for _ in range(3):
        gradient.zero_()
        (ours(x) - x).square().mean((1, 2)).sum().backward()
        one.step()
        many.zero_grad()
        (theirs(x) - x).square().mean((1, 2)).sum().backward()
        many.step()
    for mine, others in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, others, rtol=1e-4, atol=1e-6)


# --- what a network is trained on -------------------------------------------------------------------------------------------


def test_a_network_may_say_itself_what_it_is_trained_on() -> None:
    x, y = torch.randn(6, 100), torch.randn(6, 100)
    plain = single(NETWORKS["deep"], 0)
    assert torch.equal(loss_of(plain, nn.L1Loss(), x, y), nn.functional.l1_loss(plain(x), y))
    own = single(partial(VariationalAutoencoder, 100, 5), 0)
    torch.manual_seed(1)
    loss = loss_of(own, nn.L1Loss(), x, y)
    torch.manual_seed(1)
    assert torch.equal(loss, own.training_loss(x, y, nn.L1Loss()))  # type: ignore[operator]
