"""What a run draws at its end: the noisy test signals and their reconstructions, and a one-dimensional latent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from matplotlib.image import imread
from torch import Tensor

from wavecoder import plots, signals
from wavecoder.references import REFERENCES, Reference
from wavecoder.training.callbacks.references import find_references
from wavecoder.training.data import SignalDataModule, datamodule_of
from wavecoder.training.files import write_arrays, write_figure
from wavecoder.training.module import AutoencoderModule


class ReconstructionFigures(L.Callback):
    """Draws, for each noise level, the noisy test signals, and their reconstructions by the autoencoder and the references.

    A latent of one dimension is drawn as well: where the signals of each family lie in it, and what the decoder makes of it. The
    figures go to `figures/` in the run's folder and to TensorBoard; they show the seed whose `val/mse` is the median. The data
    behind them, of all seeds, go to `reconstructions.npz`.
    """

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, AutoencoderModule)
        datamodule = datamodule_of(trainer)
        tensors = {"times": datamodule.times, "shown": median_member(pl_module.meter.compute()["val/mse"])}
        callback = find_references(trainer)
        tensors |= noisy_reconstructions(datamodule, pl_module, callback.references if callback else {}) | _latent(
            datamodule, pl_module
        )
        arrays: dict[str, Any] = {name: values.float().cpu().numpy() for name, values in tensors.items()}
        shown = arrays["shown"] = int(tensors["shown"])
        prior = datamodule.signals.prior(datamodule.device)
        if prior is not None:
            arrays["families"] = np.array(prior.families)
        write_arrays(Path(trainer.default_root_dir), arrays)

        for std in datamodule.noise.eval_std:
            if f"noisy_{std}" in arrays:
                self._keep(trainer, f"sine_noise_{std}", reconstruction_figure(arrays, std, pl_module.label))
        if "latent" in arrays:
            curves = dict(zip(arrays["families"].tolist(), arrays["latent"][shown], strict=True))
            decoded = dict(zip(arrays["decoded_z"][shown].tolist(), arrays["decoded"][shown], strict=True))
            title = f"The latent of the {pl_module.label} autoencoder"
            self._keep(trainer, "latent", plots.latent_curves(arrays["latent_r"], curves, arrays["times"], decoded, title))

    def _keep(self, trainer: L.Trainer, name: str, figure: Figure) -> None:
        folder = Path(trainer.default_root_dir) / "figures"
        write_figure(folder, name, figure)
        if isinstance(trainer.logger, TensorBoardLogger):
            picture = imread(folder / f"{name}.png")
            trainer.logger.experiment.add_image(name.replace("_", "/", 1), picture, trainer.global_step, dataformats="HWC")


def median_member(errors: Tensor) -> Tensor:
    """The position of the median error, the smaller of the two in the middle; those that diverged come last."""
    return errors.nan_to_num(nan=torch.inf).argsort()[(len(errors) - 1) // 2]


def noisy_reconstructions(
    datamodule: SignalDataModule, module: AutoencoderModule, references: Mapping[str, Reference]
) -> dict[str, Tensor]:
    """The noisy test signals of each level, `[copy, time]`, and reconstructions; the autoencoder's `[member, copy, time]`."""
    tensors: dict[str, Tensor] = {}
    for std in datamodule.noise.eval_std:
        batch = datamodule.noisy_test_signal(std)
        if batch is None:
            continue
        tensors |= {"sine": batch.targets[0], f"noisy_{std}": batch.inputs, f"autoencoder_{std}": module(batch.inputs)}
        for name, reference in references.items():
            tensors[f"{name}_{std}"] = reference.reconstruct(batch.inputs, std)
    return tensors


def reconstruction_figure(arrays: Mapping[str, Any], std: float, label: str) -> Figure:
    """The noisy test signals of one level, and what the autoencoder and the references make of them.

    Args:
        arrays: `times`, what `noisy_reconstructions` gives, and the member `shown`.
        std: The level of the noise.
        label: What the network is called.
    """
    panels = {
        "noisy copies": arrays[f"noisy_{std}"],
        f"{label} autoencoder": arrays[f"autoencoder_{std}"][arrays["shown"]],
    }
    names = [name for name in REFERENCES if f"{name}_{std}" in arrays]
    panels |= {REFERENCES[name].label: arrays[f"{name}_{std}"] for name in names}
    return plots.reconstructions(arrays["times"], arrays["sine"], panels, f"Reconstructions of a sine with noise {std}")


def _latent(datamodule: SignalDataModule, module: AutoencoderModule) -> dict[str, Tensor]:
    """A one-dimensional latent of every family and frequency, `[member, family, r]`, and what it is decoded to."""
    prior = datamodule.signals.prior(datamodule.device)
    if prior is None:
        return {}
    r = torch.linspace(-3, 3, 301, device=datamodule.device) * prior.sigma
    family = torch.arange(len(prior.families), device=r.device)[:, None].expand(-1, len(r))
    drawn = signals.sinusoids(family, r.expand(len(prior.families), -1), prior.families)
    latent = module.ensemble.encode(drawn.evaluate(prior.times).flatten(0, 1))
    if latent.shape[-1] != 1:
        return {}
    latent = latent.squeeze(-1)
    low, high = latent.amin(1, keepdim=True), latent.amax(1, keepdim=True)
    z = low + (high - low) * torch.linspace(0, 1, 9, device=r.device)
    decoded = module.ensemble.decode(z.unsqueeze(-1))
    return {"latent_r": r, "latent": latent.unflatten(1, family.shape), "decoded_z": z, "decoded": decoded}
