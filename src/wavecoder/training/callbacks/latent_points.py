"""Where signals lie in the latent, as points for TensorBoard's projector."""

from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor

from wavecoder import signals
from wavecoder.file_source import FileSource
from wavecoder.signals import Prior
from wavecoder.training.callbacks.figures import median_member
from wavecoder.training.curves import TensorBoardCurves
from wavecoder.training.data import datamodule_of
from wavecoder.training.module import AutoencoderModule

_FREQUENCIES = 201  # of each family, evenly over three standard deviations to both sides
_OF_FILE = 500  # validation signals


class LatentPoints(L.Callback):
    """Gives TensorBoard's projector the latents of signals at the end of a run, of the seed whose `val/mse` is the median.

    The signals are those of every family over all likely frequencies, and the points can be coloured by `family` and by `r`; a
    latent of one dimension is shown against `r`, both divided by their standard deviations. Of a file they are validation
    signals, coloured by `label` or by their `number`.
    """

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero or not isinstance(trainer.logger, TensorBoardCurves):
            return
        assert isinstance(pl_module, AutoencoderModule)
        datamodule = datamodule_of(trainer)
        source, prior = datamodule.signals, datamodule.signals.prior(datamodule.device)
        columns: dict[str, Any]
        if isinstance(source, FileSource):
            count = min(_OF_FILE, source.val_size)
            inputs = source.validation_set(datamodule.device).take(torch.arange(count)).evaluate(datamodule.times)
            labels = source.validation_labels()
            columns = {"number": range(count)} if labels is None else {"label": labels[:count], "number": range(count)}
        elif prior is not None:
            inputs, columns = _of_all_families(prior, datamodule.device)
        else:
            return
        member = median_member(pl_module.meter.compute()["val/mse"])
        latents = pl_module.divergence.masked(pl_module.ensemble.encode(inputs))[member].flatten(1)
        if latents.shape[1] == 1 and "r" in columns:  # a line says more beside the frequency, in which the family is a curve
            r = torch.tensor([float(value) for value in columns["r"]], device=latents.device)
            latents = torch.stack([latents[:, 0] / latents.std().clamp(min=1e-6), r / r.std()], dim=1)
        if latents.isfinite().all():  # it has not diverged
            trainer.logger.log_points(latents.float().cpu().numpy(), columns)


def _of_all_families(prior: Prior, device: torch.device) -> tuple[Float[Tensor, "signal time"], dict[str, list[Any]]]:
    """Signals of every family over all likely frequencies, with the family and the frequency of each."""
    r = torch.linspace(-3, 3, _FREQUENCIES, device=device) * prior.sigma
    family = torch.arange(len(prior.families), device=device).repeat_interleave(len(r))
    r = r.repeat(len(prior.families))
    inputs = signals.sinusoids(family, r, prior.families).evaluate(prior.times)
    columns = {"family": [prior.families[index] for index in family.tolist()], "r": [f"{value:.3g}" for value in r.tolist()]}
    return inputs, columns
