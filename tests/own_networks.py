"""Networks of the tests' own, as a user would write them: plain modules that wavecoder has never seen."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from wavecoder.networks import DeepAutoencoder

Loss = Callable[[Tensor, Tensor], Tensor]


class EncoderDecoder(nn.Module):
    """What the networks here have in common."""

    encoder: nn.Module
    decoder: nn.Module

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


class Plain(EncoderDecoder):
    """A linear autoencoder, for other networks to differ from."""

    def __init__(self, signal_length: int = 20, latent_dim: int = 2) -> None:
        super().__init__()
        self.encoder = nn.Linear(signal_length, latent_dim)
        self.decoder = nn.Linear(latent_dim, signal_length)


class Normalised(Plain):
    """Has batch normalisation, which keeps running statistics unless told otherwise."""

    def __init__(self, running: bool = True) -> None:
        super().__init__(100, 5)
        self.encoder = nn.Sequential(nn.Linear(100, 20), nn.BatchNorm1d(20, track_running_stats=running), nn.Linear(20, 5))


class ResidualAutoencoder(EncoderDecoder):
    """Fully connected, with layer normalisation and skip connections."""

    def __init__(self, signal_length: int, latent_dim: int, activation: Callable[[], nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.encoder = nn.Sequential(ResidualBlock(signal_length, activation), nn.Linear(signal_length, latent_dim))
        self.decoder = nn.Sequential(nn.Linear(latent_dim, signal_length), ResidualBlock(signal_length, activation))


class ResidualBlock(nn.Module):
    def __init__(self, size: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, 20), activation(), nn.Linear(20, size))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class ConvolutionalAutoencoder(EncoderDecoder):
    """Two strided convolutions and a linear layer, and the reverse. `scale`, a buffer, stands for constants of a network."""

    scale: Tensor

    def __init__(self, signal_length: int, latent_dim: int, activation: Callable[[], nn.Module] = nn.GELU) -> None:
        super().__init__()
        reduced = math.ceil(signal_length / 4)
        self.signal_length = signal_length
        self.register_buffer("scale", torch.tensor(0.7))
        self.encoder = nn.Sequential(
            nn.Unflatten(-1, (1, signal_length)),
            nn.Conv1d(1, 4, 5, stride=2, padding=2),
            activation(),
            nn.Conv1d(4, 8, 5, stride=2, padding=2),
            activation(),
            nn.Flatten(),
            nn.Linear(8 * reduced, latent_dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, 8 * reduced),
            nn.Unflatten(-1, (8, reduced)),
            activation(),
            nn.ConvTranspose1d(8, 4, 4, stride=2, padding=1),
            activation(),
            nn.ConvTranspose1d(4, 1, 4, stride=2, padding=1),
            nn.Flatten(),
        )

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(self.scale * x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)[:, : self.signal_length] / self.scale


class VariationalAutoencoder(EncoderDecoder):
    """Kingma & Welling (2014): draws noise while it is trained, and says itself what its loss is."""

    def __init__(self, signal_length: int, latent_dim: int, activation: Callable[[], nn.Module] = nn.Tanh) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(signal_length, 20), activation(), nn.Linear(20, 2 * latent_dim))
        self.decoder = nn.Sequential(nn.Linear(latent_dim, 20), activation(), nn.Linear(20, signal_length))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x).chunk(2, dim=-1)[0]

    def training_loss(self, inputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
        mean, log_variance = self.encoder(inputs).chunk(2, dim=-1)
        z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1).mean() / 2
        return loss(self.decode(z), targets) + 1e-3 * divergence


class FailsWhenTrained(DeepAutoencoder):
    """Raises an error for batches of more signals than a check of the network has."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 2:
            raise RuntimeError("out of order")
        return super().forward(x)
