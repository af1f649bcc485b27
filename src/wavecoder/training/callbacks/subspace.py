"""How near a linear autoencoder is to the subspace of the SVD, while it trains (paper 2)."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from torch import Tensor

from wavecoder import plots
from wavecoder.networks import TiedLinearAutoencoder
from wavecoder.references import SVD, Moments
from wavecoder.subspace import LABELS, linear_distances
from wavecoder.training.callbacks.references import ReferenceErrors, find_references
from wavecoder.training.data import SignalDataModule, datamodule_of
from wavecoder.training.files import write_figure
from wavecoder.training.module import AutoencoderModule


class LinearSubspace(L.Callback):
    """Compares a linear autoencoder with the theorem after every validation, see `wavecoder.subspace.linear_distances`.

    Means over members are logged. At the end the distances are drawn, in `figures/convergence`, and for signals of three values
    and a latent of two the plane as well, in `figures/plane`.

    Attributes:
        steps: Optimiser steps at which they were measured.
        history: The values of all members at each of these steps, by name.
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
        moments = _moments(references, datamodule_of(trainer), pl_module.ensemble.num_members)
        values = linear_distances(pl_module.ensemble, moments, references.rank)
        self.steps.append(trainer.global_step)
        for name, members in values.items():
            self.history.setdefault(name, []).append(members.tolist())
        if trainer.logger is not None:
            means = {name: pl_module.divergence.mean(members).item() for name, members in values.items()}
            trainer.logger.log_metrics(means, trainer.global_step)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, AutoencoderModule)
        folder = Path(trainer.default_root_dir) / "figures"
        panels = {
            LABELS[name]: {"": np.median(np.array(values)[:, pl_module.divergence.others], axis=1)}
            for name, values in self.history.items()
        }
        if panels:  # there may have been no validation
            write_figure(folder, "convergence", plots.convergence(self.steps, panels, "On the way to the SVD's subspace"))
        network = pl_module.ensemble.network
        if isinstance(network, TiedLinearAutoencoder) and network.weight.shape[-2:] == (2, 3):
            references = find_references(trainer)
            assert references is not None
            datamodule = datamodule_of(trainer)
            svd = SVD(2).fit(_moments(references, datamodule, 1)[0])
            weight = network.weight.reshape(-1, 2, 3)[0]
            some = next(datamodule.training_signals())[: min(10, datamodule.signals.train_size)]
            title = "Signals of three values, and the plane of their SVD"
            figure = plots.plane(_array(some), _array(svd.basis_), _array(weight), title)
            write_figure(folder, "plane", figure)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps, self.history = state_dict["steps"], state_dict["history"]

    @property
    def latest(self) -> dict[str, list[float]]:
        """The last values of all members, by name."""
        return {name: values[-1] for name, values in self.history.items()}


def _moments(references: ReferenceErrors, datamodule: SignalDataModule, members: int) -> list[Moments]:
    """What the theorem is about for each member: its own training signals where each has its own, if references are fitted."""
    own = references.basis == "fitted" and datamodule.own_sets
    return datamodule.moments_of_sets if own else [references.moments] * members


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
