"""Pictures of the noisy sines and their reconstructions, at the end of a run."""

from pathlib import Path

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger

from wavecoder import plots
from wavecoder.callbacks.references import find_references
from wavecoder.datamodule import datamodule_of
from wavecoder.module import AutoencoderModule


class SineFigures(L.Callback):
    """Draws, for each noise level, the noisy sines, and what the autoencoder and the SVD make of them.

    The autoencoder shown is the first replica. The pictures go to `figures/` in the run's folder and to TensorBoard.

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
        folder = Path(trainer.default_root_dir) / "figures"
        folder.mkdir(exist_ok=True)
        references = find_references(trainer)
        for level in datamodule.noise.levels:
            batch = datamodule.noisy_sine(level)
            panels = {
                "noisy copies": batch.inputs,
                f"{self.name} autoencoder": pl_module.reconstruct(batch.inputs)[0],
            }
            if references is not None:
                panels["SVD"] = references.references["svd"].reconstruct(batch.inputs)
            figure = plots.sine_reconstructions(
                datamodule.times.cpu(),
                batch.targets[0].cpu(),
                {heading: copies.cpu() for heading, copies in panels.items()},
                f"Reconstructions of a sine with noise {level}",
            )
            figure.savefig(folder / f"sine_noise_{level}.png", dpi=120)
            if isinstance(trainer.logger, TensorBoardLogger):
                trainer.logger.experiment.add_figure(f"sine/noise_{level}", figure, trainer.global_step)
