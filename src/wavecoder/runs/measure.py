"""A trained run measured again as at the end of its training: on new signals, at other noise levels, on other distributions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy import ndarray
from torch import Tensor

from wavecoder import plots
from wavecoder.error_figures import frequency_figure, noise_figure
from wavecoder.families import FAMILIES
from wavecoder.file_source import FileSource
from wavecoder.references import fitted_references, moments_of
from wavecoder.rng import generator
from wavecoder.runs import build, results
from wavecoder.runs.dry_run import try_signals
from wavecoder.runs.limits import SettingError
from wavecoder.runs.load import Trained
from wavecoder.runs.memory import check_references
from wavecoder.signals import Prior, SignalSource, add_noise, sinusoids, training_signals
from wavecoder.training.callbacks.figures import (
    examples_figure,
    file_reconstructions,
    latent_curves,
    median_member,
    noisy_reconstructions,
    reconstruction_figure,
)
from wavecoder.training.callbacks.references import errors_of, measured, ratios
from wavecoder.training.data import EvaluationBatches, SignalDataModule
from wavecoder.training.module import AutoencoderModule
from wavecoder.training.noise import Noise

DATA_SEED = 314_159_265  # of fresh signals: the same for all runs, and hardly that of one's training
_COPIES = 8  # noisy ones of a signal, whose mean error is drawn over its frequency
_LEVELS = (0.05, 2.0, 12)  # of noise, at which errors are drawn: the least, the greatest, how many
_SIGNALS = 500  # at each of them, at most
_FREQUENCIES = 240  # of each distribution at which errors are drawn; an even number, for at 0 some signals are nothing
_SAME = 1e-4  # relative difference of moments that rounding on another machine may make
_REACH = 3.0  # of these, in standard deviations of r

ByFamily = Mapping[str, Mapping[str, Float[ndarray, "member r"]]]


@dataclass(frozen=True)
class Wanted:
    """How a run shall be measured; None leaves noise, families and sigma as they were in the training.

    Attributes:
        noise: Standard deviations of the noise in the inputs.
        families: Families of the signals.
        sigma: Standard deviation of their frequency, in radians per unit of time.
        data_seed: Which signals and noise are drawn; None for new ones, the same for all runs.
    """

    noise: Sequence[float] | None = None
    families: Sequence[str] | None = None
    sigma: float | None = None
    data_seed: int | None = None


class Measured:
    """A run, measured: its errors and those of the references, which are fitted as in its training.

    `train/mse` is the error on the run's own training signals. All else is measured on what is wanted; with the data seed, the
    distribution and the noise of the training these are the numbers of the run itself, to the bit, on the same kind of machine.

    Args:
        model: All networks of the run.
        wanted: How it is measured.

    Attributes:
        model: The run.
        source: The signals that it is measured on.
        training: The signals that it was trained on.
        noise: Standard deviations of the noise.
        data_seed: Which signals and noise were drawn.
        references: The references by name. Those that know a distribution know that of `source`.
        record: Metrics and references, as in a run's `results.json`.
    """

    def __init__(self, model: Trained, wanted: Wanted) -> None:
        self.model = model
        self.noise = list(model.settings.noise.eval_std if wanted.noise is None else wanted.noise)
        self.data_seed = _data_seed(model, wanted)
        self.source = _source(model, wanted)
        _check_magnitudes(model, self.source, self.noise)
        self.training = build.make_source(model.settings)
        _refuse_changed(model, self.training)
        self.references = fitted_references(model.latent_dim, self.source.prior(model.device), model.moments)
        self._datamodule = self._data_module(self.source, self.data_seed)
        self._module = AutoencoderModule(model.engine.problem, type(model.engine), torch.optim.SGD, label=model.label)
        self._module.engine = model.engine
        self._module.divergence.steps = {
            model.seeds.index(int(seed)): step for seed, step in model.results.get("diverged", {}).items()
        }
        self.record = self._measure()

    def _data_module(self, source: SignalSource, data_seed: int) -> SignalDataModule:
        settings = self.model.settings
        noise = Noise(self.noise, copies=settings.noise.copies, draws=settings.noise.draws)
        of_members = {"seed": settings.seed, "num_seeds": settings.num_seeds, "per_seed": settings.data.per_seed}
        batches = {"batch_size": 1, "fresh": settings.data.fresh}
        return _DataModule(self.model.device, source, noise, data_seed=data_seed, **batches, **of_members)

    def _batches(self) -> EvaluationBatches:
        own = self._data_module(self.training, self.model.settings.data.seed)
        return EvaluationBatches(own.training_batches(), self._datamodule.val_dataloader())

    def _measure(self) -> dict[str, Any]:
        precision, device = str(self.model.settings.trainer.get("precision", "32-true")), self.model.device
        dtype = next(self.model.ensemble.parameters()).dtype
        self._module.on_validation_epoch_start()
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            for number, batch in enumerate(self._batches()):
                # Lightning gives all tensors of a batch the type of the parameters
                batch = batch._replace(inputs=batch.inputs.to(dtype), targets=batch.targets.to(dtype))
                self._module.validation_step(batch, number)
        self._module.meter.discard(list(self._module.divergence.steps))
        errors, references = self._module.meter.compute(), errors_of(measured(self.references, self._batches()))
        summaries = {name: results.summarise(each.tolist()) for name, each in (errors | ratios(errors, references)).items()}
        described = {key: self.model.results[key] for key in ("network", "latent_dim", "seed", "num_seeds", "engine")}
        return described | {"metrics": summaries, "references": references}

    @torch.no_grad()
    def _figures_of_latent(self, prior: Prior) -> Iterator[tuple[str, Figure]]:
        arrays: dict[str, Any] = {key: each.float().cpu().numpy() for key, each in latent_curves(prior, self._module).items()}
        shown = int(median_member(self._module.meter.compute()["val/mse"]))
        if arrays and np.isfinite(arrays["latent"][shown]).all():  # of one dimension, and has not diverged
            arrays |= {"families": np.array(prior.families), "times": prior.times.cpu().numpy()}
            yield "latent", plots.latent_curves(arrays, shown, f"The latent of the {self.model.label} autoencoder")

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """The figures and their names: reconstructions as at the end of a run, and errors over frequency and family."""
        shown = int(median_member(self._module.meter.compute()["val/mse"]))
        with torch.no_grad():
            tensors = noisy_reconstructions(self._datamodule, self._module, self.references)
            if isinstance(self.source, FileSource):
                tensors |= file_reconstructions(self._datamodule, self.source, self._module, self.references)
        arrays: dict[str, Any] = {name: values.float().cpu().numpy() for name, values in tensors.items()}
        arrays |= {"times": self._datamodule.times.cpu().numpy(), "shown": shown}
        for std in self.noise:
            if f"noisy_{std}" in arrays:
                yield f"sine_noise_{std}", reconstruction_figure(arrays, std, self.model.label)
        if isinstance(self.source, FileSource):
            yield "reconstructions", examples_figure(arrays, self.model.label)
        prior, trained = self.source.prior(self.model.device), self.training.prior(self.model.device)
        if prior is not None and trained is not None:
            yield from self._figures_of_distribution(prior, trained)

    def _figures_of_distribution(self, prior: Prior, trained: Prior) -> Iterator[tuple[str, Figure]]:
        r, of_training = self._frequencies(prior, trained), (trained.families, trained.sigma)
        of_network = f"{self.model.label} autoencoder, latent {self.model.latent_dim}"
        for std in (0.0, *self.noise):
            errors = self.errors_by_family(r, prior.times, std)
            title = f"Errors of the {of_network}, " + (f"at noise {std}" if std else "on clean signals")
            name = f"error_frequency_noise_{std}" if std else "error_frequency"
            yield name, frequency_figure(r.cpu().numpy(), errors, *of_training, prior.sigma, title)
        levels = np.geomspace(*_LEVELS)
        yield "error_noise", noise_figure(levels, self.errors_by_noise(levels.tolist()), f"Errors of the {of_network}")
        yield from self._figures_of_latent(prior)

    def _frequencies(self, *priors: Prior) -> Tensor:
        reaches = {_REACH * prior.sigma for prior in priors}  # of which one may be much smaller than the other
        return torch.cat([torch.linspace(-each, each, _FREQUENCIES, device=self.model.device) for each in reaches]).sort().values

    def errors_by_family(self, r: Float[Tensor, " r"], times: Float[Tensor, " time"], noise: float = 0.0) -> ByFamily:
        """Errors on signals of these frequencies, by family and model, of all families that there are.

        Args:
            r: The frequencies.
            times: The time grid.
            noise: Standard deviation of the noise in the inputs; the errors are means over some copies.

        Returns:
            For each family the mean squared error per value of the autoencoder's members, `[member, r]`, and of the references,
            `[1, r]`; those that only denoise are left out where there is no noise.
        """
        errors = {}
        for number, name in enumerate(FAMILIES):
            family = torch.full_like(r, number, dtype=torch.int64)
            clean = sinusoids(family, r, list(FAMILIES)).evaluate(times)
            errors[name] = self._errors(clean.repeat(_COPIES if noise else 1, 1), noise, number)
        return {
            name: {label: values.reshape(len(values), -1, len(r)).mean(1) for label, values in of_family.items()}
            for name, of_family in errors.items()
        }

    def errors_by_noise(self, levels: Sequence[float]) -> Mapping[str, Float[ndarray, "member level"]]:
        """Errors on validation signals at some levels of noise: of the autoencoder's members and of the references."""
        datamodule = self._datamodule
        clean = self.source.validation_set(datamodule.device).evaluate(datamodule.times)
        key = generator(clean.device, self.data_seed, "signals at levels of noise")
        clean = clean[torch.randperm(len(clean), generator=key, device=clean.device)[:_SIGNALS]]
        at_levels = [self._errors(clean, std, number) for number, std in enumerate(levels)]
        return {label: np.stack([errors[label].mean(1) for errors in at_levels], axis=1) for label in at_levels[0]}

    def _errors(self, clean: Float[Tensor, "signal time"], noise: float, key: int) -> dict[str, Float[ndarray, "member signal"]]:
        noisy = add_noise(clean, noise, generator(clean.device, self.data_seed, "errors", noise, key)) if noise else clean
        made = {"autoencoder": self._module.divergence.masked(self.model.reconstruct(noisy))}
        used = [each for each in self.references.values() if noise or not each.denoises]
        made |= {each.label: each.reconstruct(noisy, noise)[None] for each in used}
        return {label: (values - clean).square().mean(-1).cpu().numpy() for label, values in made.items()}


class _DataModule(SignalDataModule):
    """A data module without a trainer, on some device."""

    def __init__(self, device: torch.device, *arguments: Any, **others: Any) -> None:
        super().__init__(*arguments, **others)
        self._device = device

    @property
    def device(self) -> torch.device:
        return self._device


def _source(model: Trained, wanted: Wanted) -> SignalSource:
    """The signals that are wanted.

    Raises:
        SettingError: They are those of a file, and it is not there, or others are wanted.
    """
    data = model.settings.data
    if data.path is not None:
        others = {"--families": wanted.families, "--sigma": wanted.sigma, "--data-seed": wanted.data_seed}
        if given := [name for name, value in others.items() if value is not None]:
            needed = "left alone: its signals are those of a file, and it is evaluated on its validation signals"
            raise SettingError(f"{model.folder}: {given[0]} must be {needed}")
        return build.make_source(model.settings)
    assert data.families is not None, "the settings are checked"
    assert data.sigma is not None
    families = data.families if wanted.families is None else wanted.families
    sigma = data.sigma if wanted.sigma is None else wanted.sigma
    changed = replace(data, families=list(families), sigma=sigma, seed=_data_seed(model, wanted))
    return build.make_source(replace(model.settings, data=changed))


def _check_magnitudes(model: Trained, source: SignalSource, noise: Sequence[float]) -> None:
    """Refuse signals and noise of a magnitude that a run's are refused for.

    Raises:
        SettingError: They are; the options of the command are named.
    """
    settings, prior = model.settings, source.prior("cpu")
    data = settings.data if prior is None else replace(settings.data, families=list(prior.families), sigma=prior.sigma)
    others = replace(settings, data=data, noise=replace(settings.noise, eval_std=list(noise), train_std=0.0))
    try:
        try_signals(others, None if prior is not None else source)
        check_references(others)
    except SettingError as error:
        raise SettingError(str(error).replace("data.sigma=", "--sigma=").replace("noise.eval_std", "--noise")) from error


def _refuse_changed(model: Trained, training: SignalSource) -> None:
    """Refuse a file whose signals are not those that the run's scaling and references were fitted to.

    Raises:
        SettingError: They are others.
    """
    if not isinstance(training, FileSource):
        return
    found, kept = moments_of(training_signals(training, model.device)).second_moment, model.moments.second_moment
    scaling, of_run = training.scaling, model.scaling
    close = abs(scaling.offset - of_run.offset) < _SAME * of_run.scale and abs(scaling.scale / of_run.scale - 1) < _SAME
    if not close or (found - kept).abs().max() > _SAME * kept.abs().max():
        changed = f"has other signals than when {model.folder} was trained; must be the file of its training"
        raise SettingError(f"data.path={model.settings.data.path}: {changed}")


def _data_seed(model: Trained, wanted: Wanted) -> int:
    if model.settings.data.path is not None:
        return model.settings.data.seed
    return DATA_SEED if wanted.data_seed is None else wanted.data_seed
