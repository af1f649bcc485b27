"""The written-out chain rule against autograd's."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from wavecoder.autoencoder import Autoencoder, DeepAutoencoder, TiedLinearAutoencoder
from wavecoder.backpropagation import flatten_gradients, flatten_parameters, loss_and_gradients

SLOPES = {"leaky_relu": 0.01, "prelu": 0.25}
ELEMENTWISE = {"mse": functional.mse_loss, "l1": functional.l1_loss, "huber": functional.huber_loss}


def compare_with_autograd(network: Autoencoder, loss: str = "mse", size: float = 1.0) -> None:
    network.double()
    inputs = size * torch.randn(3, 6, 100, dtype=torch.float64)
    targets = size * torch.randn(3, 6, 100, dtype=torch.float64)
    plain = ELEMENTWISE[loss](network(inputs), targets, reduction="none").mean((1, 2))
    expected = torch.autograd.grad(plain.sum(), list(network.parameters()))
    flat = flatten_parameters(network)
    flatten_gradients(network, flat).fill_(float("nan"))  # what is there must not matter
    torch.testing.assert_close(loss_and_gradients(network, inputs, targets, loss), plain.detach())
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    torch.testing.assert_close(flat.grad, torch.cat([gradient.flatten() for gradient in expected]))


@pytest.mark.parametrize("activation", ["identity", "relu", "sigmoid", "tanh", "leaky_relu", "prelu", "gelu"])
@pytest.mark.parametrize("latent", [1, 5])
def test_every_activation(activation: str, latent: int) -> None:
    compare_with_autograd(DeepAutoencoder(100, latent, range(3), activation, SLOPES.get(activation)))


@pytest.mark.parametrize("loss", ELEMENTWISE)
def test_every_loss(loss: str) -> None:
    compare_with_autograd(DeepAutoencoder(100, 5, range(3), "tanh"), loss, size=2.0)  # on both sides of huber's knee


@pytest.mark.parametrize("bias", [False, True])
def test_the_tied_autoencoder_whose_matrix_has_two_parts_of_a_gradient(bias: bool) -> None:
    compare_with_autograd(TiedLinearAutoencoder(100, 5, range(3), bias))


def test_no_biases_no_latent_activation() -> None:
    compare_with_autograd(DeepAutoencoder(100, 5, range(3), "gelu", bias=False, latent_activation=False))


def test_the_parts_of_a_batch_add_up() -> None:
    network = DeepAutoencoder(100, 5, range(2), "tanh").double()
    signals = torch.randn(2, 8, 100, dtype=torch.float64)
    flat = flatten_parameters(network)
    gradient = flatten_gradients(network, flat)
    loss_and_gradients(network, signals, signals)
    whole = gradient.clone()
    parts = []
    for part in signals.split(4, dim=1):
        loss_and_gradients(network, part, part, batch=8)
        parts.append(gradient.clone())
    torch.testing.assert_close(parts[0] + parts[1], whole)


def test_flattened_parameters_are_the_networks_own() -> None:
    network = DeepAutoencoder(100, 5, [0, 1], "prelu", 0.25)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    flat = flatten_parameters(network)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    with torch.no_grad():
        flat.mul_(2)
    for name, value in network.state_dict().items():
        assert torch.equal(value, 2 * before[name])
    network.load_state_dict(before)
    assert torch.equal(flat, torch.cat([value.flatten() for value in before.values()]))


def test_one_step_of_adam_on_the_flat_tensor_is_adams_on_the_many() -> None:
    signals = torch.randn(2, 8, 100)
    ours, theirs = (DeepAutoencoder(100, 5, [0, 1], "tanh") for _ in range(2))
    flat = flatten_parameters(ours)
    flatten_gradients(ours, flat)
    one, many = torch.optim.Adam([flat], fused=True), torch.optim.Adam(theirs.parameters())
    for _ in range(3):
        loss_and_gradients(ours, signals, signals)
        one.step()
        many.zero_grad()
        sum(nn.functional.mse_loss(theirs(signals)[i], signals[i]) for i in range(2)).backward()  # type: ignore[union-attr]
        many.step()
    for mine, yours in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, yours, rtol=1e-4, atol=1e-6)
