from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wavecoder.autoencoder import DeepAutoencoder, Linear, PReLU, TiedLinearAutoencoder, activation

ACTIVATIONS: dict[str, tuple[float | None, Callable[[], nn.Module]]] = {
    "identity": (None, nn.Identity),
    "relu": (None, nn.ReLU),
    "sigmoid": (None, nn.Sigmoid),
    "tanh": (None, nn.Tanh),
    "leaky_relu": (0.01, nn.LeakyReLU),
    "prelu": (0.25, nn.PReLU),
    "gelu": (None, nn.GELU),
}


def layer_sizes(network: DeepAutoencoder) -> list[int]:
    layers = [module for module in network.modules() if isinstance(module, Linear)]
    return [layers[0].weight.shape[2], *(layer.weight.shape[1] for layer in layers)]


def test_the_papers_architectures() -> None:
    assert layer_sizes(DeepAutoencoder(100, 1, [0])) == [100, 50, 25, 10, 5, 1, 5, 10, 25, 50, 100]
    assert layer_sizes(DeepAutoencoder(100, 5, [0])) == [100, 50, 25, 10, 5, 10, 25, 50, 100]


@given(latent=st.integers(1, 99))
@settings(max_examples=20, deadline=None)
def test_hidden_layers_are_those_larger_than_the_latent(latent: int) -> None:
    sizes = layer_sizes(DeepAutoencoder(100, latent, [0]))
    hidden = [width for width in (50, 25, 10, 5) if width > latent]
    assert sizes == [100, *hidden, latent, *hidden[::-1], 100]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_replica_computes_what_plain_pytorch_layers_do(name: str) -> None:
    slope, plain = ACTIVATIONS[name]
    ours = DeepAutoencoder(100, 5, [3, 4], name, slope)
    layers = [module for module in ours.modules() if isinstance(module, Linear)]
    for replica in range(2):
        theirs = nn.Sequential()
        for depth, layer in enumerate(layers):
            linear = nn.Linear(layer.weight.shape[2], layer.weight.shape[1])
            linear.load_state_dict({"weight": layer.weight[replica], "bias": layer.bias[replica]})
            theirs.append(linear)
            if depth < len(layers) - 1:  # after every layer but the last of the decoder, so also on the latent
                theirs.append(plain())
        x = torch.randn(2, 6, 100)
        torch.testing.assert_close(ours(x)[replica], theirs(x[replica]), atol=1e-6, rtol=1e-5)


def test_latent_activation_and_biases_can_be_left_out() -> None:
    network = DeepAutoencoder(100, 5, [0], "relu", latent_activation=False, bias=False)
    assert (network.encode(torch.randn(1, 200, 100)) < 0).any()
    assert (DeepAutoencoder(100, 5, [0], "relu").encode(torch.randn(1, 200, 100)) >= 0).all()
    assert torch.equal(network(torch.zeros(1, 3, 100)), torch.zeros(1, 3, 100))


def test_a_replicas_initial_weights_depend_on_its_own_seed_alone() -> None:
    stack, alone = DeepAutoencoder(100, 5, [5, 6, 7], "tanh"), DeepAutoencoder(100, 5, [7], "tanh")
    for ours, theirs in zip(stack.parameters(), alone.parameters(), strict=True):
        assert torch.equal(ours[2:], theirs)
        assert not torch.equal(ours[1:2], theirs)


def test_initial_weights_are_distributed_as_pytorchs() -> None:
    torch.manual_seed(0)
    ours, theirs = Linear(50, 400, range(4), "layer"), nn.Linear(50, 1600)
    for mine, reference in [(ours.weight, theirs.weight), (ours.bias, theirs.bias)]:
        assert mine.abs().max().item() == pytest.approx(reference.abs().max().item(), rel=0.01)
        assert mine.std().item() == pytest.approx(reference.std().item(), rel=0.05)


def test_prelu_has_one_slope_for_each_replica() -> None:
    layer = PReLU(2, 0.25)
    with torch.no_grad():
        layer.slope[1] = 0.5
    x = torch.tensor([[[-2.0, 3.0]], [[-4.0, -6.0]]])
    assert layer(x).tolist() == [[[-0.5, 3.0]], [[-2.0, -3.0]]]


def test_tied_autoencoder_is_one_matrix_both_ways() -> None:
    network = TiedLinearAutoencoder(100, 5, [0, 1])
    assert [parameter.shape for parameter in network.parameters()] == [(2, 5, 100)]
    x = torch.randn(2, 8, 100)
    (weight,) = network.parameters()
    expected: Tensor = torch.stack([x[i] @ weight[i].T @ weight[i] for i in range(2)])
    torch.testing.assert_close(network(x), expected, atol=1e-6, rtol=1e-5)


def test_tied_autoencoder_with_biases_has_an_offset_each_way() -> None:
    network = TiedLinearAutoencoder(100, 5, [0], bias=True)
    z = torch.zeros(1, 1, 5)
    assert torch.equal(network.decode(z), torch.zeros(1, 1, 100))
    assert network.encode(torch.zeros(1, 1, 100)).abs().min() > 0


@pytest.mark.parametrize(("name", "message"), [("swish", "no activation is called 'swish'"), ("prelu", "needs a slope")])
def test_impossible_activations_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        activation(name, None, 1)
