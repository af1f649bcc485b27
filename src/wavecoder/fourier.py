"""Networks whose decoder is given Fourier features of the latent, and so can draw curves with many turns."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wavecoder.networks import Autoencoder, check_sizes, fully_connected

_LEAST = 0.5  # frequency, in half turns for each unit of the latent


class FourierFeatures(nn.Module):
    """`z` beside its sines and cosines at several frequencies, from which a network can make curves with many turns.

    After Tancik et al. 2020, "Fourier features let networks learn high frequency functions in low dimensional domains".

    Args:
        count: Number of frequencies.
        largest: The greatest, in half turns for each unit of `z`; the least is a half, the others in geometric progression.
    """

    frequencies: Tensor

    def __init__(self, count: int, largest: float) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(math.log2(_LEAST), math.log2(largest), count, base=2) * math.pi)

    def forward(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch features"]:
        angles = (z.unsqueeze(-1) * self.frequencies).flatten(1)
        return torch.cat([z, angles.sin(), angles.cos()], dim=1)


class FourierAutoencoder(Autoencoder):
    """Fully connected encoder, and a decoder that is given Fourier features of the latent.

    Args:
        signal_length: Number of values in a signal.
        latent_dim: Size of the latent.
        activation: Makes the activation of one layer.
        widths: Hidden widths of the encoder, from the outside in; the decoder mirrors them.
        frequencies: Number of frequencies of the Fourier features.
        largest_frequency: The greatest of them, in half turns for each unit of the latent.

    Raises:
        ValueError: A width or the number of frequencies is below 1, or the greatest frequency below the least.

    Example:
        >>> network = FourierAutoencoder(signal_length=100, latent_dim=1, widths=[32])
        >>> network.decode(torch.zeros(3, 1)).shape
        torch.Size([3, 100])
    """

    def __init__(
        self,
        signal_length: int,
        latent_dim: int,
        activation: Callable[[], nn.Module] = nn.GELU,
        widths: Sequence[int] = (256, 256, 256),
        frequencies: int = 6,
        largest_frequency: float = 16.0,
    ) -> None:
        super().__init__()
        check_sizes(1, widths=widths)
        self.encoder = fully_connected([signal_length, *widths, latent_dim], activation, bias=True)
        self.decoder = _fourier_decoder([latent_dim, *widths[::-1], signal_length], activation, frequencies, largest_frequency)


def _fourier_decoder(
    sizes: Sequence[int], activation: Callable[[], nn.Module], frequencies: int, largest_frequency: float
) -> nn.Sequential:
    """Affine layers between these sizes, with Fourier features of the first before them."""
    check_sizes(1, frequencies=frequencies)
    check_sizes(_LEAST, largest_frequency=largest_frequency)
    sizes = [sizes[0] * (2 * frequencies + 1), *sizes[1:]]
    return nn.Sequential(FourierFeatures(frequencies, largest_frequency), *fully_connected(sizes, activation, bias=True))


class CurveAutoencoder(Autoencoder):
    """A latent of one dimension, for data that are curves: the encoder finds the place of a signal on one long curve.

    The decoder draws the curve, from a number between -1 and 1 to a signal. The encoder chooses among many points of it, as a
    classifier does, and the latent is the mean of the chosen point and its neighbours, weighted by their probabilities. In
    training, signals are compared with all points: gradients then know places that are far away on the curve, which the gradient
    of a plain autoencoder's loss does not, as it follows the curve from where it is. The curve is pulled to the signals that are
    nearest to each point, and the encoder learns which point is nearest. This is the generative topographic mapping of Bishop,
    Svensén & Williams (1998), with a network for the posterior, and with hard clusters as the temperature goes to 0.

    Args:
        signal_length: Number of values in a signal.
        latent_dim: Must be 1.
        activation: Makes the activation of one layer.
        widths: Hidden widths of the encoder, from the outside in; the decoder mirrors them.
        frequencies: Number of frequencies of the Fourier features.
        largest_frequency: The greatest of them, in half turns for each unit of the latent.
        points: Number of points on the curve, evenly between -1 and 1.
        neighbours: Points to both sides of the chosen one whose weighted mean is the latent.
        temperature: Squared error per value at which a point counts less by a factor of e than a perfect one.
        encoder_weight: Weight of the encoder's cross entropy in the loss.

    Raises:
        ValueError: The latent has more than one dimension, a number is out of its limits, or the loss of the training is not the
            mean squared error.

    Example:
        >>> network = CurveAutoencoder(signal_length=100, latent_dim=1, widths=[32], points=64)
        >>> network.encode(torch.zeros(3, 100)).shape
        torch.Size([3, 1])
    """

    positions: Tensor

    def __init__(
        self,
        signal_length: int,
        latent_dim: int,
        activation: Callable[[], nn.Module] = nn.GELU,
        widths: Sequence[int] = (256, 256, 256),
        frequencies: int = 64,
        largest_frequency: float = 64.0,
        points: int = 1024,
        neighbours: int = 3,
        temperature: float = 3e-4,
        encoder_weight: float = 0.1,
    ) -> None:
        if latent_dim != 1:
            raise ValueError(f"a curve has a latent of 1, got {latent_dim}")
        super().__init__()
        check_sizes(1, widths=widths, points=points)
        check_sizes(0, neighbours=neighbours, encoder_weight=encoder_weight)
        if neighbours >= points:
            raise ValueError(f"neighbours={neighbours}: must be below points={points}")
        if not temperature > 0:
            raise ValueError(f"temperature={temperature}: must be above 0")
        self.encoder = fully_connected([signal_length, *widths, points], activation, bias=True)
        self.decoder = _fourier_decoder([1, *widths[::-1], signal_length], activation, frequencies, largest_frequency)
        self.register_buffer("positions", (torch.arange(points) + 0.5) / points * 2 - 1)
        self.register_buffer("offsets", torch.arange(-neighbours, neighbours + 1))
        self.temperature = temperature
        self.encoder_weight = encoder_weight

    def encode(self, x: Float[Tensor, "batch time"]) -> Float[Tensor, "batch latent"]:
        """The latent of each signal, from -1 to 1."""
        scores = self.encoder(x)
        near = (scores.argmax(1, keepdim=True) + self.offsets).clamp(0, len(self.positions) - 1)
        weights = scores.gather(1, near).softmax(1)
        return (weights * self.positions[near]).sum(1, keepdim=True)

    def training_loss(self, inputs: Float[Tensor, "batch time"], targets: Float[Tensor, "batch time"], loss: object) -> Tensor:
        """The squared error of the curve's points, weighted by how near they are, and the encoder's cross entropy."""
        if not isinstance(loss, nn.MSELoss):
            raise ValueError("a curve is trained with the mean squared error alone")
        curve = self.decode(self.positions.unsqueeze(1))
        products = targets @ curve.mT
        errors = (targets.square().sum(1, keepdim=True) - 2 * products + curve.square().sum(1)) / curve.shape[1]
        nearness = (-errors.detach() / self.temperature).softmax(1)
        cross_entropy = -(nearness * self.encoder(inputs).log_softmax(1)).sum(1).mean()
        return (nearness * errors).sum(1).mean() + self.encoder_weight * cross_entropy
