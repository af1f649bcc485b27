"""How near a linear autoencoder is to the subspace of the SVD, while it trains (paper 2)."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wavecoder import plots, results
from wavecoder.autoencoder import TiedLinearAutoencoder
from wavecoder.callbacks.references import find_references
from wavecoder.datamodule import datamodule_of
from wavecoder.module import AutoencoderModule
from wavecoder.references import PCA, SVD, Moments, principal_angles

LABELS = {
    "linear/excess": "error over the smallest, less 1",
    "linear/largest_angle": "largest principal angle, degrees",
    "linear/direction_angle": "largest angle of a direction, degrees",
    "linear/gram_error": "largest entry of E Eᵀ − I",
}
"""What `LinearSubspace` logs, in words for figures."""


class LinearSubspace(L.Callback):
    """Compares a linear autoencoder with the theorem, after every validation.

    With `x' = D (E x + b) + c` after training, the theorem (Bourlard & Kamp 1988; Baldi & Hornik 1989) says that the columns of D
    span the first left singular vectors U_k, those of the covariance if there are biases, and that no such map has a smaller
    error. Logged, as means over replicas, are

    - `linear/excess`: the error on the training signals over the smallest possible one, less 1;
    - `linear/largest_angle`: the largest principal angle between the columns of D and U_k, in degrees;
    - `linear/direction_angle`: the largest angle between a left singular vector of D and that of the signals, in degrees. Only
      the span is determined, unless the weights decay (Plaut 2018; Kunin et al. 2019);
    - `linear/gram_error`: the largest entry of E Eᵀ − I, which goes to 0 if D = Eᵀ.

    At the end they are drawn, in `figures/convergence`, and if signals are points in space and the latent has two dimensions also
    the plane, in `figures/plane`.

    Attributes:
        steps: Optimiser steps at which they were taken.
        history: The values of all replicas at each of these steps, by name.
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.history: dict[str, list[list[float]]] = {}

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, AutoencoderModule)
        references = find_references(trainer)
        assert references is not None, "the references come before this callback"
        values = linear_distances(pl_module, references.moments, references.rank)
        self.steps.append(trainer.global_step)
        for name, replicas in values.items():
            self.history.setdefault(name, []).append(replicas.tolist())
        if trainer.logger is not None:
            trainer.logger.log_metrics({name: replicas.mean().item() for name, replicas in values.items()}, trainer.global_step)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, AutoencoderModule)
        folder = Path(trainer.default_root_dir) / "figures"
        panels = {LABELS[name]: {"": np.median(values, axis=1)} for name, values in self.history.items()}
        results.write_figure(folder, "convergence", plots.convergence(self.steps, panels, "On the way to the SVD's subspace"))
        weight = next(pl_module.network.parameters())[0]
        if isinstance(pl_module.network, TiedLinearAutoencoder) and weight.shape == (2, 3):
            references = find_references(trainer)
            assert references is not None
            svd = SVD(2)
            svd.fit(references.moments)
            some = next(datamodule_of(trainer).training_signals())[:10]
            title = "Signals of three samples, and the plane of their SVD"
            figure = plots.plane(_array(some), _array(svd.basis), _array(weight), title)
            results.write_figure(folder, "plane", figure)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps, self.history = state_dict["steps"], state_dict["history"]

    @property
    def latest(self) -> dict[str, list[float]]:
        """The last values of all replicas, by name."""
        return {name: values[-1] for name, values in self.history.items()}


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def linear_distances(module: AutoencoderModule, moments: Moments, rank: int) -> dict[str, Float[Tensor, " replica"]]:
    """What `LinearSubspace` logs, for each replica."""
    network = module.network
    replicas = next(network.parameters()).shape[0]

    def rows(size: int) -> Tensor:
        return torch.eye(size, device=moments.mean.device).expand(replicas, -1, -1)

    zero, origin = rows(len(moments.mean))[:, :1] * 0, rows(rank)[:, :1] * 0
    encoder = (network.encode(rows(len(moments.mean))) - network.encode(zero)).double().mT  # [replica, latent, time]
    decoder = (network.decode(rows(rank)) - network.decode(origin)).double().mT  # [replica, time, latent]
    offset = network(zero).double().squeeze(1)

    best = PCA(rank) if offset.any() else SVD(rank)
    best.fit(moments)
    identity = torch.eye(len(moments.mean), dtype=torch.float64, device=offset.device)
    smallest = _error(identity - best.basis @ best.basis.T, best.centre - best.basis @ (best.basis.T @ best.centre), moments)
    names = ("linear/excess", "linear/largest_angle", "linear/direction_angle", "linear/gram_error")
    distances = []
    for e, d, c in zip(encoder, decoder, offset, strict=True):
        excess = _error(identity - d @ e, c, moments) / smallest - 1
        angle = principal_angles(d, best.basis)[-1].rad2deg()
        directions = torch.linalg.svd(d, full_matrices=False).U
        each = torch.stack([principal_angles(a[:, None], b[:, None])[0] for a, b in zip(directions.T, best.basis.T, strict=True)])
        gram_error = (e @ e.T - identity[:rank, :rank]).abs().max()
        distances.append(torch.stack([excess, angle, each.max().rad2deg(), gram_error]))
    return dict(zip(names, torch.stack(distances, dim=1), strict=True))


def _error(residual: Float[Tensor, "time time"], offset: Float[Tensor, " time"], moments: Moments) -> Tensor:
    """Mean of ‖residual x − offset‖² per sample over signals with these moments."""
    quadratic = (residual @ moments.second_moment * residual).sum()
    return (quadratic - 2 * offset @ residual @ moments.mean + offset @ offset) / len(offset)
