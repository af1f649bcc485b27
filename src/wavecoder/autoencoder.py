"""The networks: stacks of independent replicas of one autoencoder, trained at once.

Every weight is `[replica, out, in]`; replica i is the network that the i-th seed would make on its own. Architecture:
P. J. O. Câmara, "Autoencoders" (2024), sections 2 and 4.3.

An autoencoder takes and gives signals as rows, `[replica, batch, time]`. Its layers work on columns, `[replica, feature, batch]`,
as the paper writes it: products of small matrices are faster when their longest axis, the batch, is contiguous. Each layer has
its part of the chain rule written out, `backward`: in networks this small autograd's bookkeeping would cost as much as the
arithmetic (see backpropagation.py).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from wavecoder.signals import generator

Inputs = Float[Tensor, "replica in batch"]
Outputs = Float[Tensor, "replica out batch"]

aten = torch.ops.aten


class Layer(nn.Module):
    """One step of a network, `forward`, and of the chain rule, `backward`."""

    def backward(self, x: Inputs, y: Outputs, gradient: Outputs) -> Inputs:
        """Write the gradients of the parameters, and give the gradient with respect to the input.

        Args:
            x: The input that `forward` was given.
            y: The output that it gave.
            gradient: The gradient of the loss with respect to that output; it may be overwritten.
        """
        self.write_gradients(x, gradient)
        return self.input_gradient(x, y, gradient)

    def write_gradients(self, x: Inputs, gradient: Outputs) -> None:
        """The part of `backward` for the parameters; nothing for a layer without any."""

    def input_gradient(self, x: Inputs, y: Outputs, gradient: Outputs) -> Inputs:
        """The part of `backward` for the input."""
        raise NotImplementedError


def _gradient_of(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None, "gradients are made by flatten_gradients()"
    return parameter.grad


class Linear(Layer):
    """Replicas of an affine layer `y = W x + b`, in one batched product.

    Initial values are those of `torch.nn.Linear`, uniform in ±1/√in, drawn for each replica from its own seed.

    Args:
        inputs: Size of the input.
        outputs: Size of the output.
        seeds: The seed of each replica.
        name: Tells the layers of one network apart, so that no two draw the same weights.
        bias: Whether there is a bias.
    """

    def __init__(self, inputs: int, outputs: int, seeds: Sequence[int], name: str, bias: bool = True) -> None:
        super().__init__()
        weight = torch.empty(len(seeds), outputs, inputs)
        offset = torch.empty(len(seeds), outputs)
        bound = 1 / math.sqrt(inputs)
        for replica, seed in enumerate(seeds):
            source = generator("cpu", seed, "weights", name)
            weight[replica].uniform_(-bound, bound, generator=source)
            offset[replica].uniform_(-bound, bound, generator=source)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(offset) if bias else None

        self.kept_gradient = 0  # 1: add to the weight's gradient, because a layer that shares the weight has written its part

    def forward(self, x: Inputs) -> Outputs:
        if self.bias is None:
            return torch.bmm(self.weight, x)
        return torch.baddbmm(self.bias.unsqueeze(-1), self.weight, x)

    def write_gradients(self, x: Inputs, gradient: Outputs) -> None:
        _gradient_of(self.weight).baddbmm_(gradient, x.mT, beta=self.kept_gradient)
        if self.bias is not None:
            torch.sum(gradient, 2, out=_gradient_of(self.bias))

    def input_gradient(self, x: Inputs, y: Outputs, gradient: Outputs) -> Inputs:
        return torch.bmm(self.weight.mT, gradient)


class TransposedLinear(Layer):
    """The decoder of the tied autoencoder, `y = Wᵀ z (+ c)`, with the encoder's matrix W.

    Args:
        encoder: The layer whose matrix is shared.
        bias: Whether there is an offset c, at first 0.
    """

    def __init__(self, encoder: Linear, bias: bool) -> None:
        super().__init__()
        encoder.kept_gradient = 1
        self.weight = encoder.weight
        replicas, _, samples = self.weight.shape
        self.bias = nn.Parameter(torch.zeros(replicas, samples)) if bias else None

    def forward(self, x: Inputs) -> Outputs:
        if self.bias is None:
            return torch.bmm(self.weight.mT, x)
        return torch.baddbmm(self.bias.unsqueeze(-1), self.weight.mT, x)

    def write_gradients(self, x: Inputs, gradient: Outputs) -> None:
        torch.bmm(x, gradient.mT, out=_gradient_of(self.weight))
        if self.bias is not None:
            torch.sum(gradient, 2, out=_gradient_of(self.bias))

    def input_gradient(self, x: Inputs, y: Outputs, gradient: Outputs) -> Inputs:
        return torch.bmm(self.weight, gradient)


class Activation(Layer):
    """An activation without parameters.

    Args:
        name: What it is called, see `activation()`.
        function: The function, element by element.
        derivative: The gradient with respect to its input from (input, output, gradient with respect to its output).
        slope: The slope below zero of leaky_relu.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[Tensor], Tensor],
        derivative: Callable[[Tensor, Tensor, Tensor], Tensor],
        slope: float | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.slope = slope
        self.function = function
        self.derivative = derivative

    def forward(self, x: Inputs) -> Outputs:
        return self.function(x)

    def input_gradient(self, x: Inputs, y: Outputs, gradient: Outputs) -> Inputs:
        return self.derivative(x, y, gradient)


class PReLU(Layer):
    """`max(0, x) + a · min(0, x)` with one learned slope a for each replica (paper, table 1)."""

    def __init__(self, replicas: int, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((replicas,), slope))

    def forward(self, x: Inputs) -> Outputs:
        return torch.where(x > 0, x, self.slope[:, None, None] * x)

    def write_gradients(self, x: Inputs, gradient: Outputs) -> None:
        torch.sum(x.clamp(max=0) * gradient, (1, 2), out=_gradient_of(self.slope))

    def input_gradient(self, x: Inputs, y: Outputs, gradient: Outputs) -> Inputs:
        return torch.where(x > 0, gradient, self.slope[:, None, None] * gradient)


def _tanh(x: Tensor) -> Tensor:
    """tanh x = 2 σ(2x) − 1, exact to 2e-7: on CPUs PyTorch's logistic function takes a third of the time of its tanh."""
    return torch.tanh(x) if x.is_cuda else torch.rsub(torch.sigmoid(x + x), -1, alpha=-2)


def activation(name: str, slope: float | None, replicas: int) -> Layer | None:
    """One of the paper's seven activation functions (table 1); None for identity, which needs no layer.

    Args:
        name: identity, relu, sigmoid, tanh, leaky_relu, prelu or gelu (exact, with the Gaussian distribution function).
        slope: The slope below zero: fixed for leaky_relu, the initial one for prelu, ignored by the others.
        replicas: Number of replicas.

    Raises:
        ValueError: There is no such activation, or it needs a slope and none is given.
    """
    match name:
        case "identity":
            return None
        case "relu":
            return Activation(name, torch.relu, lambda x, y, g: aten.threshold_backward.grad_input(g, y, 0, grad_input=g))
        case "sigmoid":
            return Activation(name, torch.sigmoid, lambda x, y, g: aten.sigmoid_backward.grad_input(g, y, grad_input=g))
        case "tanh":
            return Activation(name, _tanh, lambda x, y, g: aten.tanh_backward.grad_input(g, y, grad_input=g))
        case "gelu":
            return Activation(name, functional.gelu, lambda x, y, g: aten.gelu_backward.grad_input(g, x, grad_input=g))
        case "leaky_relu" | "prelu":
            if slope is None:
                raise ValueError(f"{name} needs a slope")
            if name == "prelu":
                return PReLU(replicas, slope)
            leaky = partial(functional.leaky_relu, negative_slope=slope)
            return Activation(
                name, leaky, lambda x, y, g: aten.leaky_relu_backward.grad_input(g, x, slope, False, grad_input=g), slope
            )
    raise ValueError(f"no activation is called {name!r}")


class Autoencoder(nn.Module):
    """A stack of autoencoders: an encoder and a decoder, each a sequence of layers."""

    encoder: nn.Sequential
    decoder: nn.Sequential

    def encode(self, x: Float[Tensor, "replica batch time"]) -> Float[Tensor, "replica batch latent"]:
        return self.encoder(x.mT).mT

    def decode(self, z: Float[Tensor, "replica batch latent"]) -> Float[Tensor, "replica batch time"]:
        return self.decoder(z.mT).mT

    def forward(self, x: Float[Tensor, "replica batch time"]) -> Float[Tensor, "replica batch time"]:
        return self.decode(self.encode(x))

    @property
    def layers(self) -> list[Layer]:
        """All layers from the input to the output."""
        return [*self.encoder, *self.decoder]


class DeepAutoencoder(Autoencoder):
    """Fully connected autoencoder, the decoder mirroring the encoder (paper 4.3).

    With the paper's widths the encoder is 100→50→25→10→5→1 for a latent of 1 and 100→50→25→10→5 for a latent of 5. In
    general its hidden layers are those of `widths` that are larger than the latent. The same activation follows every
    layer but the last of the decoder; without `latent_activation`, the last of the encoder goes without as well.

    Args:
        samples: Number of samples of a signal.
        latent: Size of the latent.
        seeds: The seed of each replica.
        activation: Name of the activation, see `activation()`.
        slope: Slope of leaky_relu and prelu.
        widths: Hidden widths to choose from, from the outside in.
        bias: Whether layers have biases.
        latent_activation: Whether the activation is applied to the latent.
    """

    def __init__(
        self,
        samples: int,
        latent: int,
        seeds: Sequence[int],
        activation: str = "gelu",
        slope: float | None = None,
        widths: Sequence[int] = (50, 25, 10, 5),
        bias: bool = True,
        latent_activation: bool = True,
    ) -> None:
        super().__init__()
        sizes = [samples, *(width for width in widths if width > latent), latent]
        self.encoder = _layers("encoder", sizes, seeds, activation, slope, bias, activate_last=latent_activation)
        self.decoder = _layers("decoder", sizes[::-1], seeds, activation, slope, bias, activate_last=False)


def _layers(
    name: str, sizes: Sequence[int], seeds: Sequence[int], function: str, slope: float | None, bias: bool, activate_last: bool
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for depth, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers.append(Linear(inputs, outputs, seeds, f"{name}.{depth}", bias))
        nonlinear = activation(function, slope, len(seeds))
        if nonlinear is not None and (activate_last or depth < len(sizes) - 2):
            layers.append(nonlinear)
    return nn.Sequential(*layers)


class TiedLinearAutoencoder(Autoencoder):
    """Linear autoencoder with one matrix for both directions, `z = W x`, `x' = Wᵀ z` (paper 2).

    At the optimum the rows of W span the first left singular vectors of the training signals (Bourlard & Kamp 1988;
    Baldi & Hornik 1989).

    Args:
        samples: Number of samples of a signal.
        latent: Size of the latent.
        seeds: The seed of each replica.
        bias: Whether latent and output have an offset each, which the paper's do not.
    """

    def __init__(self, samples: int, latent: int, seeds: Sequence[int], bias: bool = False) -> None:
        super().__init__()
        encoder = Linear(samples, latent, seeds, "encoder.0", bias)
        self.encoder = nn.Sequential(encoder)
        self.decoder = nn.Sequential(TransposedLinear(encoder, bias))
