"""The networks: stacks of independent replicas of one autoencoder, trained at once.

Every weight is `[replica, out, in]` and every activation `[replica, batch, feature]`; replica i is the network that the i-th seed
would make on its own. Architecture: P. J. O. Câmara, "Autoencoders" (2024), sections 2 and 4.3.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from wavecoder.signals import generator


class Linear(nn.Module):
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
        offset = torch.empty(len(seeds), 1, outputs)
        bound = 1 / math.sqrt(inputs)
        for replica, seed in enumerate(seeds):
            source = generator("cpu", seed, "weights", name)
            weight[replica].uniform_(-bound, bound, generator=source)
            offset[replica].uniform_(-bound, bound, generator=source)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(offset) if bias else None

    def forward(self, x: Float[Tensor, "replica batch in"]) -> Float[Tensor, "replica batch out"]:
        if self.bias is None:
            return torch.bmm(x, self.weight.mT)
        return torch.baddbmm(self.bias, x, self.weight.mT)


class PReLU(nn.Module):
    """`max(0, x) + a · min(0, x)` with one learned slope a for each replica (paper, table 1)."""

    def __init__(self, replicas: int, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((replicas,), slope))

    def forward(self, x: Float[Tensor, "replica batch feature"]) -> Float[Tensor, "replica batch feature"]:
        # prelu takes one slope per channel, and channels are its second axis
        return functional.prelu(x.unsqueeze(0), self.slope).squeeze(0)


def activation(name: str, slope: float | None, replicas: int) -> nn.Module:
    """One of the paper's seven activation functions (table 1).

    Args:
        name: identity, relu, sigmoid, tanh, leaky_relu, prelu or gelu (exact, with the Gaussian distribution function).
        slope: The slope below zero: fixed for leaky_relu, the initial one for prelu, ignored by the others.
        replicas: Number of replicas.

    Raises:
        ValueError: There is no such activation, or it needs a slope and none is given.
    """
    plain: dict[str, type[nn.Module]] = {
        "identity": nn.Identity,
        "relu": nn.ReLU,
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "gelu": nn.GELU,
    }
    if name in plain:
        return plain[name]()
    if name not in ("leaky_relu", "prelu"):
        raise ValueError(f"no activation is called {name!r}")
    if slope is None:
        raise ValueError(f"{name} needs a slope")
    return nn.LeakyReLU(slope) if name == "leaky_relu" else PReLU(replicas, slope)


class DeepAutoencoder(nn.Module):
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

    def encode(self, x: Float[Tensor, "replica batch time"]) -> Float[Tensor, "replica batch latent"]:
        return self.encoder(x)

    def decode(self, z: Float[Tensor, "replica batch latent"]) -> Float[Tensor, "replica batch time"]:
        return self.decoder(z)

    def forward(self, x: Float[Tensor, "replica batch time"]) -> Float[Tensor, "replica batch time"]:
        return self.decode(self.encode(x))


def _layers(
    name: str, sizes: Sequence[int], seeds: Sequence[int], function: str, slope: float | None, bias: bool, activate_last: bool
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for depth, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers.append(Linear(inputs, outputs, seeds, f"{name}.{depth}", bias))
        if activate_last or depth < len(sizes) - 2:
            layers.append(activation(function, slope, len(seeds)))
    return nn.Sequential(*layers)


class TiedLinearAutoencoder(nn.Module):
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
        self.encoder = Linear(samples, latent, seeds, "encoder.0", bias)
        self.offset = nn.Parameter(torch.zeros(len(seeds), 1, samples)) if bias else None

    def encode(self, x: Float[Tensor, "replica batch time"]) -> Float[Tensor, "replica batch latent"]:
        return self.encoder(x)

    def decode(self, z: Float[Tensor, "replica batch latent"]) -> Float[Tensor, "replica batch time"]:
        if self.offset is None:
            return torch.bmm(z, self.encoder.weight)
        return torch.baddbmm(self.offset, z, self.encoder.weight)

    def forward(self, x: Float[Tensor, "replica batch time"]) -> Float[Tensor, "replica batch time"]:
        return self.decode(self.encode(x))
