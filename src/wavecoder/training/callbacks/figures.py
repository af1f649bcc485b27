"""What a run draws at its end: test signals, or signals of a file, with their reconstructions, and the latent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from wavecoder import plots, signals
from wavecoder.file_source import FileSource
from wavecoder.metrics import ErrorMeter
from wavecoder.reconstructions import Panel, draw_reconstructions
from wavecoder.references import REFERENCES, Reference, fitted_references
from wavecoder.signals import Prior
from wavecoder.training.callbacks.references import find_references
from wavecoder.training.curves import TensorBoardCurves
from wavecoder.training.data import SignalDataModule, datamodule_of
from wavecoder.training.files import of_member, write_arrays, write_figure
from wavecoder.training.module import AutoencoderModule

_EXAMPLES = 8  # signals of a file that are drawn
_LATENTS = 2_000  # validation signals whose latents are kept and drawn


class ReconstructionFigures(L.Callback):
    """Draws, for each noise level, the noisy test signals, and their reconstructions by the autoencoder and the references.

    A latent of one dimension is drawn as well: where the signals of each family lie in it, and what the decoder makes of it.

    Of signals from a file, some of the validation are drawn with their reconstructions, from the best to the worst, and where the
    validation signals lie in the latent, by their labels if there are any.

    The figures go to `figures/` in the run's folder and to TensorBoard. Those of the test signals show the seed whose error on
    them, `sine/mse_noise_…`, is the median, the others that whose `val/mse` is. The data behind them, of all seeds, go to
    `reconstructions.npz`.
    """

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, AutoencoderModule)
        datamodule = datamodule_of(trainer)
        tensors = {"times": datamodule.times, "shown": median_member(pl_module.meter.compute()["val/mse"])}
        callback = find_references(trainer)
        references = callback.references if callback else {}
        tensors |= noisy_reconstructions(datamodule, pl_module, references)
        for name, draws in callback.draws.items() if callback else ():
            tensors |= {f"{name}_{key}": values for key, values in _draws(draws).items()}
        if callback and datamodule.own_sets:
            tensors |= _own_references(datamodule, callback.rank)
        source = datamodule.signals
        prior = source.prior(datamodule.device)
        if prior is not None:
            tensors |= latent_curves(prior, pl_module)
        if isinstance(source, FileSource):
            tensors |= file_reconstructions(datamodule, source, pl_module, references)
        arrays: dict[str, Any] = {name: values.float().cpu().numpy() for name, values in tensors.items()}
        shown = arrays["shown"] = int(tensors["shown"])
        if prior is not None:
            arrays["families"] = np.array(prior.families)
        if isinstance(source, FileSource) and (labels := source.validation_labels()) is not None:
            arrays["labels"] = labels[:_LATENTS]
        write_arrays(Path(trainer.default_root_dir), arrays)

        for std in datamodule.noise.eval_std:
            if f"noisy_{std}" in arrays:
                self._keep(trainer, f"sine_noise_{std}", reconstruction_figure(arrays, std, pl_module.label))
        title = f"The latent of the {pl_module.label} autoencoder"
        if isinstance(source, FileSource):
            self._keep(trainer, "reconstructions", examples_figure(arrays, pl_module.label))
            if np.isfinite(arrays["latent"][shown]).all():  # it has not diverged
                points = plots.latent_points(arrays["latent"][shown], arrays.get("labels"), f"{title}: validation signals")
                self._keep(trainer, "latent", points)
        elif "latent" in arrays:
            self._keep(trainer, "latent", plots.latent_curves(arrays, shown, title))

    def _keep(self, trainer: L.Trainer, name: str, figure: Figure) -> None:
        folder = Path(trainer.default_root_dir) / "figures"
        write_figure(folder, name, figure)
        if isinstance(trainer.logger, TensorBoardCurves):
            trainer.logger.log_picture(name, folder / f"{name}.png", trainer.global_step)


def median_member(errors: Tensor) -> Tensor:
    """The position of the median error, the smaller of the two in the middle; those that diverged come last."""
    return errors.nan_to_num(nan=torch.inf).argsort()[(len(errors) - 1) // 2]


def noisy_reconstructions(
    datamodule: SignalDataModule, module: AutoencoderModule, references: Mapping[str, Reference]
) -> dict[str, Tensor]:
    """The first noisy test signals of each level, `[copy, time]`, and reconstructions; the autoencoder's `[member, copy, time]`.

    Where each member has noise of its own, all are `[member, copy, time]`. Beside them are the errors of each draw, see `_draws`.
    """
    tensors: dict[str, Tensor] = {}
    for std in datamodule.noise.eval_std:
        batch = datamodule.noisy_test_signal(std, draws=1)
        if batch is None:
            continue
        tensors |= {"sine": batch.targets[0], f"noisy_{std}": batch.inputs, f"autoencoder_{std}": module(batch.inputs)}
        for name, reference in references.items():
            tensors[f"{name}_{std}"] = reference.reconstruct(batch.inputs, std)
    return tensors | _draws(module.meter.draws)


def _draws(errors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The errors of each draw of the noisy test signals, as `draws_mse_0.1` and `draws_mean_mse_0.1`."""
    return {f"draws_{metric.removeprefix('sine/').replace('noise_', '')}": values for metric, values in errors.items()}


def _own_references(datamodule: SignalDataModule, rank: int) -> dict[str, Tensor]:
    """What references make of the noisy test signals that are fitted to each member's own training set: SVD, PCA.

    Returns:
        As `own_svd_0.1` and so on those of the first draw, `[member, copy, time]`, and as `own_svd_draws_mse_0.1` and so on the
        errors of every draw, `[member, draw]`.
    """
    fitted = [fitted_references(rank, None, moments) for moments in datamodule.moments_of_sets]
    tensors: dict[str, Tensor] = {}
    for std in datamodule.noise.eval_std:
        batch = datamodule.noisy_test_signal(std)
        if batch is None:
            continue
        for name in (name for name, each in fitted[0].items() if not each.denoises):
            made = [own[name].reconstruct(inputs, std) for own, inputs in zip(fitted, batch.inputs, strict=True)]
            meter = ErrorMeter()
            meter.update(batch, torch.stack(made))
            tensors[f"own_{name}_{std}"] = torch.stack(made)[:, : datamodule.noise.copies]
            tensors |= {f"own_{name}_{key}": values for key, values in _draws(meter.draws).items()}
    return tensors


def reconstruction_figure(arrays: Mapping[str, Any], std: float, label: str) -> Figure:
    """The noisy test signals of one level, and what the autoencoder and the references make of them.

    Args:
        arrays: `times`, what `noisy_reconstructions` gives, and the errors of the references in each draw if there are any.
        std: The level of the noise.
        label: What the network is called.
    """
    errors = arrays[f"draws_mse_{std}"]
    members, draws = errors.shape
    shown = int(median_member(torch.from_numpy(errors.mean(1))))
    panels = {
        "noisy copies": Panel(of_member(arrays[f"noisy_{std}"], shown)),
        f"{label} autoencoder": Panel(arrays[f"autoencoder_{std}"][shown], float(errors[shown].mean())),
    }
    for name in (name for name in REFERENCES if f"{name}_{std}" in arrays):
        measured = arrays.get(f"{name}_draws_mse_{std}")
        error = None if measured is None else float(measured.mean())
        panels[REFERENCES[name].label] = Panel(of_member(arrays[f"{name}_{std}"], shown), error)
    notes = [f"Shown is that of {members} seeds whose error of each copy is the median."] if members > 1 else []
    if draws > 1:
        notes.append(f"Errors are means over {draws} draws of noise; shown is the first, with its error in parentheses.")
    title = f"Reconstructions of a sine with noise {std}"
    return draw_reconstructions(arrays["times"], arrays["sine"], panels, title, note=" ".join(notes))


def file_reconstructions(
    datamodule: SignalDataModule, source: FileSource, module: AutoencoderModule, references: Mapping[str, Reference]
) -> dict[str, Tensor]:
    """Some validation signals of a file, their reconstructions, and the latent of many.

    Returns:
        `signals`, `[signal, time]`, and in the same units `autoencoder_signals`, `[member, signal, time]`, and `svd_signals` and
        so on, `[signal, time]`; `scale`, `[signal]`, the scale of each; `latent`, `[member, signal, latent]`, of the first
        validation signals.
    """
    many = source.validation_set(datamodule.device).take(torch.arange(min(_LATENTS, source.val_size)))
    inputs = many.evaluate(datamodule.times)
    shown = median_member(module.meter.compute()["val/mse"])
    errors = (module(inputs)[shown] - inputs).square().mean(-1)
    # evenly from the best to the worst
    picked = errors.argsort()[torch.linspace(0, len(inputs) - 1, min(_EXAMPLES, len(inputs))).round().long()]
    signals_shown = many.take(picked).unscaled()
    scaled = source.scaling.apply(signals_shown)
    tensors = {"signals": signals_shown, "scale": scaled.scale.squeeze(-1)}
    tensors["latent"] = module.divergence.masked(module.ensemble.encode(inputs))
    tensors["autoencoder_signals"] = scaled.undo(module(scaled.values))
    for name, reference in references.items():
        if not reference.denoises:
            tensors[f"{name}_signals"] = scaled.undo(reference.reconstruct(scaled.values, 0.0))
    return tensors


def examples_figure(arrays: Mapping[str, Any], label: str) -> Figure:
    """Some signals of a file, and what the autoencoder and the SVD make of them.

    Args:
        arrays: `times`, what `file_reconstructions` gives, and the member `shown`.
        label: What the network is called.
    """
    series = {"autoencoder": arrays["autoencoder_signals"][arrays["shown"]]}
    if "svd_signals" in arrays:
        series["SVD"] = arrays["svd_signals"]
    title = f"Validation signals, from the best to the worst for the {label} autoencoder"
    return plots.examples(arrays["times"], arrays["signals"], series, arrays["scale"], title)


def latent_curves(prior: Prior, module: AutoencoderModule) -> dict[str, Tensor]:
    """A one-dimensional latent of every family and frequency, `[member, family, r]`, and what it is decoded to.

    Returns:
        `latent_r`, `latent`, `decoded_z`, `[member, z]`, and `decoded`, `[member, z, time]`; nothing for larger latents.
    """
    r = torch.linspace(-3, 3, 301, device=prior.times.device) * prior.sigma
    family = torch.arange(len(prior.families), device=r.device)[:, None].expand(-1, len(r))
    drawn = signals.sinusoids(family, r.expand(len(prior.families), -1), prior.families)
    latent = module.divergence.masked(module.ensemble.encode(drawn.evaluate(prior.times).flatten(0, 1)))
    if latent.shape[-1] != 1:
        return {}
    latent = latent.squeeze(-1)
    low, high = latent.amin(1, keepdim=True), latent.amax(1, keepdim=True)
    z = low + (high - low) * torch.linspace(0, 1, 9, device=r.device)
    decoded = module.ensemble.decode(z.unsqueeze(-1))
    return {"latent_r": r, "latent": latent.unflatten(1, family.shape), "decoded_z": z, "decoded": decoded}
