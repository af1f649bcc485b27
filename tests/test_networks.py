from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wavecoder.ensemble import Ensemble, loss_of
from wavecoder.fourier import CurveAutoencoder, FourierAutoencoder, FourierFeatures
from wavecoder.networks import DeepAutoencoder, ResidualAutoencoder, ResidualBlock, Sine, TiedLinearAutoencoder

ACTIVATIONS = [nn.Identity, nn.ReLU, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.PReLU, nn.GELU, nn.SiLU]


def linear_layers(network: nn.Module) -> list[nn.Linear]:
    return [module for module in network.modules() if isinstance(module, nn.Linear)]


def layer_sizes(network: DeepAutoencoder) -> list[int]:
    layers = linear_layers(network)
    return [layers[0].in_features, *(layer.out_features for layer in layers)]


def test_the_papers_architectures() -> None:
    assert layer_sizes(DeepAutoencoder(100, 1)) == [100, 50, 25, 10, 5, 1, 5, 10, 25, 50, 100]
    assert layer_sizes(DeepAutoencoder(100, 5)) == [100, 50, 25, 10, 5, 10, 25, 50, 100]


@given(latent=st.integers(1, 99))
@settings(max_examples=20, deadline=None)
def test_hidden_layers_are_those_larger_than_the_latent(latent: int) -> None:
    sizes = layer_sizes(DeepAutoencoder(100, latent))
    hidden = [width for width in (50, 25, 10, 5) if width > latent]
    assert sizes == [100, *hidden, latent, *hidden[::-1], 100]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_equals_plain_layers_in_a_row(activation: type[nn.Module]) -> None:
    torch.manual_seed(3)
    network = DeepAutoencoder(100, 5, activation)
    torch.manual_seed(3)
    plain = nn.Sequential()
    for inputs, outputs in [(100, 50), (50, 25), (25, 10), (10, 5), (5, 10), (10, 25), (25, 50), (50, 100)]:
        plain.extend([nn.Linear(inputs, outputs), activation()])
    plain = plain[:-1]  # an activation after every layer but the last of the decoder, so also on the latent
    x = torch.randn(6, 100)
    assert torch.equal(network(x), plain(x))
    assert torch.equal(network.encode(x), plain[:8](x))
    assert torch.equal(network.decode(network.encode(x)), network(x))


def test_latent_activation_and_biases_can_be_left_out() -> None:
    network = DeepAutoencoder(100, 5, nn.ReLU, latent_activation=False, bias=False)
    assert (network.encode(torch.randn(200, 100)) < 0).any()
    assert (DeepAutoencoder(100, 5, nn.ReLU).encode(torch.randn(200, 100)) >= 0).all()
    assert torch.equal(network(torch.zeros(3, 100)), torch.zeros(3, 100))
    assert all(layer.bias is None for layer in linear_layers(network))


def test_initial_weights_are_those_of_pytorchs_layers() -> None:
    torch.manual_seed(0)
    network = DeepAutoencoder(100, 5)
    torch.manual_seed(0)
    for layer in linear_layers(network):
        plain = nn.Linear(layer.in_features, layer.out_features)
        assert torch.equal(layer.weight, plain.weight)
        assert torch.equal(layer.bias, plain.bias)


def test_every_layer_has_a_slope_of_its_own() -> None:
    slopes = [module for module in DeepAutoencoder(100, 5, nn.PReLU).modules() if isinstance(module, nn.PReLU)]
    assert len({id(module.weight) for module in slopes}) == len(slopes) == 7


def test_tied_autoencoder_is_one_matrix_both_ways() -> None:
    network = TiedLinearAutoencoder(100, 5)
    (weight,) = network.parameters()
    assert weight.shape == (5, 100)
    x = torch.randn(8, 100)
    torch.testing.assert_close(network(x), x @ weight.T @ weight, atol=1e-6, rtol=1e-5)


def test_tied_autoencoder_with_biases_has_an_offset_each_way() -> None:
    network = TiedLinearAutoencoder(100, 5, bias=True)
    with torch.no_grad():
        for parameter, value in ((network.encoder_bias, 2.0), (network.decoder_bias, 3.0)):
            assert parameter is not None
            parameter.fill_(value)
    assert torch.equal(network.encode(torch.zeros(1, 100)), torch.full((1, 5), 2.0))
    assert torch.equal(network.decode(torch.zeros(1, 5)), torch.full((1, 100), 3.0))
    assert len(list(network.parameters())) == 3


def test_a_residual_network_begins_as_affine_layers_around_activations() -> None:
    torch.manual_seed(0)
    network = ResidualAutoencoder(100, 5, nn.Tanh, width=16, blocks=3)
    x = torch.randn(4, 100)
    first, last = network.encoder[0], network.encoder[-1]
    assert torch.allclose(network.encode(x), last(first(x).tanh()))
    assert [type(layer) for layer in network.decoder] == [nn.Linear, *[ResidualBlock] * 3, nn.Tanh, nn.Linear]
    network(x).square().mean().backward()
    assert all(block.inner[-1].weight.grad.any() for block in network.encoder[1:4])


def test_fourier_features_are_sines_and_cosines_in_geometric_progression() -> None:
    z = torch.tensor([[0.3, -0.2]])
    made = FourierFeatures(3, largest=8.0)(z)
    angles = torch.tensor([[each * factor * torch.pi for each in (0.3, -0.2) for factor in (0.5, 2.0, 8.0)]])
    assert torch.allclose(made, torch.cat([z, angles.sin(), angles.cos()], dim=1), atol=1e-5)


def test_the_latent_of_a_curve_is_near_its_most_probable_point() -> None:
    torch.manual_seed(0)
    network = CurveAutoencoder(100, 1, widths=[16], points=50, neighbours=2)
    x = torch.randn(30, 100)
    z, scores = network.encode(x), network.encoder(x)
    assert z.shape == (30, 1)
    assert (z.squeeze(1) - network.positions[scores.argmax(1)]).abs().max() <= 2 * 2 / 50 + 1e-6
    sharp = CurveAutoencoder(100, 1, widths=[16], points=50, neighbours=0)
    assert set(sharp.encode(x).flatten().tolist()) <= set(sharp.positions.tolist())


def test_the_loss_of_a_curve_is_that_of_the_nearest_point_and_a_classifiers() -> None:
    torch.manual_seed(0)
    network = CurveAutoencoder(100, 1, widths=[16], points=50, temperature=1e-7, encoder_weight=0.5)
    x, y = torch.randn(2, 8, 100)
    errors = (y.unsqueeze(1) - network.decode(network.positions.unsqueeze(1))).square().mean(2)
    nearest = errors.argmin(1)
    wanted = errors.amin(1).mean() + 0.5 * nn.functional.cross_entropy(network.encoder(x), nearest)
    assert network.training_loss(x, y, nn.MSELoss()).item() == pytest.approx(wanted.item(), rel=1e-4)
    with pytest.raises(ValueError, match="mean squared error alone"):
        network.training_loss(x, y, nn.L1Loss())
    with pytest.raises(ValueError, match="latent of 1, got 2"):
        CurveAutoencoder(100, 2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (partial(DeepAutoencoder, 100, 5, widths=[50, 0]), r"widths=\[50,0\]: must be at least 1"),
        (partial(ResidualAutoencoder, 100, 5, width=0), "width=0: must be at least 1"),
        (partial(ResidualAutoencoder, 100, 5, blocks=-1), "blocks=-1: must be at least 0"),
        (partial(FourierAutoencoder, 100, 5, frequencies=0), "frequencies=0: must be at least 1"),
        (partial(FourierAutoencoder, 100, 5, largest_frequency=0.1), r"largest_frequency=0\.1: must be at least 0\.5"),
        (partial(CurveAutoencoder, 100, 1, points=0), "points=0: must be at least 1"),
        (partial(CurveAutoencoder, 100, 1, neighbours=1024), "neighbours=1024: must be below points=1024"),
        (partial(CurveAutoencoder, 100, 1, temperature=0.0), r"temperature=0\.0: must be above 0"),
    ],
)
def test_sizes_that_no_network_has_are_refused(make: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        make()


@pytest.mark.parametrize("network", [FourierAutoencoder, CurveAutoencoder])
def test_members_of_an_ensemble_lose_what_single_ones_do(network: Callable[..., nn.Module]) -> None:
    make = partial(network, 100, 1, widths=[16], frequencies=4)
    ensemble, x = Ensemble(make, range(3)), torch.randn(2, 3, 6, 100)
    losses = ensemble.apply_to_members(partial(loss_of_member, nn.MSELoss()), *x)
    for seed in range(3):
        torch.manual_seed(seed)
        assert losses[seed].item() == pytest.approx(loss_of_member(nn.MSELoss(), make(), *x[:, seed]).item(), rel=1e-5)


def loss_of_member(loss: nn.Module, network: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return loss_of(network, loss, inputs, targets)


def test_sine() -> None:
    assert torch.equal(Sine(2.0)(torch.tensor([0.5])), torch.tensor([1.0]).sin())
