"""What a run draws at its end: the noisy sines and their reconstructions, and a one-dimensional latent."""

from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch import Tensor

from wavecoder import plots, results, signals
from wavecoder.callbacks.references import find_references
from wavecoder.datamodule import SinusoidDataModule, datamodule_of
from wavecoder.module import AutoencoderModule


class SineFigures(L.Callback):
    """Draws, for each noise level, the noisy sines, and what the autoencoder and the references make of them.

    A latent of one dimension is drawn as well: each family's curve in it, and what the decoder makes of it. The pictures go to
    `figures/` in the run's folder and to TensorBoard; they show the replica whose `val/mse` is the median. What they are drawn
    from, for all replicas, goes to `reconstructions.npz`.

    Args:
        name: How the autoencoder is called in the pictures.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, AutoencoderModule)
        datamodule = datamodule_of(trainer)
        arrays = {"times": datamodule.times, "shown": median_replica(pl_module.meter.compute()["val/mse"])}
        arrays |= _sines(datamodule, pl_module, trainer) | _latent(datamodule, pl_module)
        kept = {name: values.cpu().numpy() for name, values in arrays.items()}
        folder = Path(trainer.default_root_dir)
        results.write_arrays(folder, kept)

        shown = int(kept["shown"])
        for level in datamodule.noise.levels:
            panels = {"noisy copies": kept[f"noisy_{level}"], f"{self.name} autoencoder": kept[f"autoencoder_{level}"][shown]}
            panels |= {label: kept[f"{name}_{level}"] for name, label in results.REFERENCES.items() if f"{name}_{level}" in kept}
            title = f"Reconstructions of a sine with noise {level}"
            self._keep(trainer, f"sine_noise_{level}", plots.reconstructions(kept["times"], kept["sine"], panels, title))
        if "latent" in kept:
            curves = dict(zip(datamodule.data.families, kept["latent"][shown], strict=True))
            drawn = dict(zip(kept["decoded_z"][shown].tolist(), kept["decoded"][shown], strict=True))
            title = f"The latent of the {self.name} autoencoder"
            self._keep(trainer, "latent", plots.latent_curves(kept["latent_r"], curves, kept["times"], drawn, title))

    def _keep(self, trainer: L.Trainer, name: str, figure: Figure) -> None:
        results.write_figure(Path(trainer.default_root_dir) / "figures", name, figure)
        if isinstance(trainer.logger, TensorBoardLogger):
            trainer.logger.experiment.add_figure(name.replace("_", "/", 1), figure, trainer.global_step)


def median_replica(errors: Tensor) -> Tensor:
    """The position of the median error, the better of the two in the middle; those that diverged come last."""
    return errors.nan_to_num(nan=torch.inf).argsort()[(len(errors) - 1) // 2]


def _sines(datamodule: SinusoidDataModule, module: AutoencoderModule, trainer: L.Trainer) -> dict[str, Tensor]:
    """The noisy sines of each level, `[copy, time]`, and their reconstructions; the autoencoder's `[replica, copy, time]`."""
    arrays: dict[str, Tensor] = {}
    callback = find_references(trainer)
    for level in datamodule.noise.levels:
        batch = datamodule.noisy_sine(level)
        arrays |= {"sine": batch.targets[0], f"noisy_{level}": batch.inputs}
        arrays[f"autoencoder_{level}"] = module.reconstruct(batch.inputs)
        for name, reference in callback.references.items() if callback else ():
            arrays[f"{name}_{level}"] = reference.reconstruct(batch.inputs, level)
    return arrays


def _latent(datamodule: SinusoidDataModule, module: AutoencoderModule) -> dict[str, Tensor]:
    """A one-dimensional latent of every family and frequency, `[replica, family, r]`, and what it is decoded to."""
    families = datamodule.data.families
    r = torch.linspace(-3, 3, 301, device=datamodule.device) * datamodule.data.sigma
    family = torch.arange(len(families), device=r.device)[:, None].expand(-1, len(r))
    waves = signals.waves(family, r.expand(len(families), -1), families)
    replicas = len(datamodule.seeds)
    latent = module.network.encode(waves.at(datamodule.times).flatten(0, 1).expand(replicas, -1, -1))
    if latent.shape[-1] != 1:
        return {}
    latent = latent.squeeze(-1)
    low, high = latent.amin(1, keepdim=True), latent.amax(1, keepdim=True)
    z = low + (high - low) * torch.linspace(0, 1, 9, device=r.device)
    decoded = module.network.decode(z.unsqueeze(-1))
    return {"latent_r": r, "latent": latent.unflatten(1, family.shape), "decoded_z": z, "decoded": decoded}
