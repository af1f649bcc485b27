"""The networks: plain PyTorch modules of one autoencoder each, after P. J. O. Câmara, "Autoencoders" (2024), sections 2 and 4.3.

Any other `torch.nn.Module` with `encode`, `decode` and `forward` can be used in their place, see docs/extending.md. Nothing here
depends on seeds, ensembles, Lightning or Hydra.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Autoencoder(nn.Module):
    """An encoder and a decoder, which classes of this kind make.

    Attributes:
        encoder: From signals to latents.
        decoder: From latents to signals.
    """

    encoder: nn.Sequential
    decoder: nn.Sequential

    def encode(self, x: Float[Tensor, "batch time"]) -> Float[Tensor, "batch latent"]:
        """The latent of each signal."""
        return self.encoder(x)

    def decode(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch time"]:
        """The signal of each latent."""
        return self.decoder(z)

    def forward(self, x: Float[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
        """The reconstruction of each signal."""
        return self.decode(self.encode(x))


class DeepAutoencoder(Autoencoder):
    """Fully connected autoencoder whose decoder mirrors its encoder (paper 4.3).

    With the paper's widths the encoder is 100→50→25→10→5→1 for a latent of 1 and 100→50→25→10→5 for a latent of 5. In general
    its hidden layers are those of `widths` that are larger than the latent. An activation follows every layer but the last of the
    decoder.

    Args:
        signal_length: Number of values in a signal.
        latent_dim: Size of the latent.
        activation: Makes the activation of one layer, for example `torch.nn.GELU`. Called once for each, so that activations with
            parameters have their own.
        widths: Hidden widths to choose from, from the outside in.
        bias: Whether layers have biases.
        latent_activation: Whether an activation follows the last layer of the encoder.

    Raises:
        ValueError: A width is below 1.

    Example:
        >>> network = DeepAutoencoder(signal_length=100, latent_dim=5)
        >>> network.encode(torch.zeros(3, 100)).shape
        torch.Size([3, 5])
    """

    def __init__(
        self,
        signal_length: int,
        latent_dim: int,
        activation: Callable[[], nn.Module] = nn.GELU,
        widths: Sequence[int] = (50, 25, 10, 5),
        bias: bool = True,
        latent_activation: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(1, widths=widths)
        sizes = [signal_length, *(width for width in widths if width > latent_dim), latent_dim]
        self.encoder = fully_connected(sizes, activation, bias)
        self.decoder = fully_connected(sizes[::-1], activation, bias)
        if latent_activation:
            self.encoder.append(activation())


def check_sizes(least: int | float, **sizes: int | float | Sequence[int]) -> None:
    """Refuse arguments of a network, by name, that are below the least.

    Raises:
        ValueError: One is, or one of a sequence.
    """
    for name, size in sizes.items():
        each = size if isinstance(size, Sequence) else [size]
        if not all(value >= least for value in each):
            given = f"[{','.join(map(str, each))}]" if isinstance(size, Sequence) else size
            raise ValueError(f"{name}={given}: must be at least {least}")


def fully_connected(sizes: Sequence[int], activation: Callable[[], nn.Module], bias: bool) -> nn.Sequential:
    """Affine layers between these sizes with activations between them, and none after the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs, bias), activation()]
    return nn.Sequential(*layers[:-1])


class TiedLinearAutoencoder(nn.Module):
    """Linear autoencoder with one matrix for both directions, `z = W x`, `x' = Wᵀ z` (paper 2).

    At the optimum the rows of W span the first left singular vectors of the training signals (Bourlard & Kamp 1988; Baldi &
    Hornik 1989).

    Args:
        signal_length: Number of values in a signal.
        latent_dim: Size of the latent.
        bias: Whether latent and output have an offset each, which the paper's do not.

    Attributes:
        weight: The matrix W, `[latent, time]`.
    """

    def __init__(self, signal_length: int, latent_dim: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(latent_dim, signal_length))
        self.encoder_bias = nn.Parameter(torch.zeros(latent_dim)) if bias else None
        self.decoder_bias = nn.Parameter(torch.zeros(signal_length)) if bias else None
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as torch.nn.Linear

    def encode(self, x: Float[Tensor, "batch time"]) -> Float[Tensor, "batch latent"]:
        """The latent of each signal."""
        return functional.linear(x, self.weight, self.encoder_bias)

    def decode(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch time"]:
        """The signal of each latent."""
        return functional.linear(z, self.weight.T, self.decoder_bias)

    def forward(self, x: Float[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
        """The reconstruction of each signal."""
        return self.decode(self.encode(x))


class Sine(nn.Module):
    """The activation `sin(frequency · x)` (Sitzmann et al. 2020).

    Args:
        frequency: By how much inputs are multiplied.
    """

    def __init__(self, frequency: float = 1.0) -> None:
        super().__init__()
        self.frequency = frequency

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return torch.sin(self.frequency * x)


class ResidualBlock(nn.Module):
    """`x + W₂ a(W₁ x)`: two affine layers and an activation `a` beside an identity (He et al. 2016). It begins as the identity.

    Args:
        width: Number of inputs and outputs.
        activation: Makes the activation.
    """

    def __init__(self, width: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.inner = fully_connected([width, width, width], activation, bias=True)
        nn.init.zeros_(self.inner[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.inner[-1].bias)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        return x + self.inner(x)


class ResidualAutoencoder(Autoencoder):
    """Encoder and decoder of one width with residual blocks between their first and last layer.

    Args:
        signal_length: Number of values in a signal.
        latent_dim: Size of the latent.
        activation: Makes the activation of one layer.
        width: Width of all hidden layers.
        blocks: Residual blocks in the encoder, and as many in the decoder.

    Raises:
        ValueError: There is no width, or a number of blocks below 0.

    Example:
        >>> network = ResidualAutoencoder(signal_length=100, latent_dim=5, width=32)
        >>> network.encode(torch.zeros(3, 100)).shape
        torch.Size([3, 5])
    """

    def __init__(
        self,
        signal_length: int,
        latent_dim: int,
        activation: Callable[[], nn.Module] = nn.GELU,
        width: int = 256,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        check_sizes(1, width=width)
        check_sizes(0, blocks=blocks)
        self.encoder, self.decoder = (
            nn.Sequential(
                nn.Linear(inputs, width),
                *(ResidualBlock(width, activation) for _ in range(blocks)),
                activation(),
                nn.Linear(width, outputs),
            )
            for inputs, outputs in ((signal_length, latent_dim), (latent_dim, signal_length))
        )
