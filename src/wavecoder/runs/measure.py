"""A trained run measured again as at the end of its training: on new signals, at other noise levels, on other distributions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy import ndarray

from wavecoder import plots
from wavecoder.families import FAMILIES
from wavecoder.references import REFERENCES
from wavecoder.runs import results
from wavecoder.runs.load import Trained
from wavecoder.signals import SignalSource, SinusoidSource, sinusoids
from wavecoder.training.callbacks.figures import median_member, noisy_reconstructions, reconstruction_figure
from wavecoder.training.callbacks.references import measure, ratios
from wavecoder.training.data import EvaluationBatches, Noise, SignalDataModule
from wavecoder.training.module import AutoencoderModule

_FREQUENCIES = 241  # at which errors are drawn
_REACH = 3.0  # of these, in standard deviations of r

ByFamily = Mapping[str, Mapping[str, Float[ndarray, "member r"]]]


@dataclass(frozen=True)
class Wanted:
    """How a run shall be measured; None leaves it as it was in the training.

    Attributes:
        noise: Standard deviations of the noise in the inputs.
        families: Families of the signals.
        sigma: Standard deviation of their frequency, in radians per unit of time.
        data_seed: Which signals and noise are drawn.
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
        noise: Standard deviations of the noise.
        data_seed: Which signals and noise were drawn.
        references: The references by name. Those that know a distribution know that of `source`.
        record: Metrics and references, as in a run's `results.json`.
    """

    def __init__(self, model: Trained, wanted: Wanted) -> None:
        self.model = model
        self.noise = list(model.settings.noise.eval_std if wanted.noise is None else wanted.noise)
        self.data_seed = model.settings.data.seed if wanted.data_seed is None else wanted.data_seed
        self.source = _source(model, wanted)
        prior = self.source.prior(model.device)
        created = {name: kind.create(model.latent_dim, prior) for name, kind in REFERENCES.items()}
        self.references = {name: each.fit(model.moments) for name, each in created.items() if each is not None}
        self._datamodule = self._data_module(self.source)
        self._module = AutoencoderModule(model.engine.problem, type(model.engine), torch.optim.SGD, label=model.label)
        self._module.engine = model.engine
        self.record = self._measure()

    def _data_module(self, source: SignalSource) -> SignalDataModule:
        noise = Noise(self.noise, copies=self.model.settings.noise.copies)
        return _DataModule(self.model.device, source, noise, batch_size=1, data_seed=self.data_seed)

    def _batches(self) -> EvaluationBatches:
        own = self._data_module(self.model.source)
        return EvaluationBatches(own.training_batches(), self._datamodule.val_dataloader())

    def _measure(self) -> dict[str, Any]:
        precision, device = str(self.model.settings.trainer.get("precision", "32-true")), self.model.device
        self._module.on_validation_epoch_start()
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            for number, batch in enumerate(self._batches()):
                if precision == "bf16-true":  # Lightning gives all tensors of a batch this type
                    batch = batch._replace(inputs=batch.inputs.bfloat16(), targets=batch.targets.bfloat16())
                self._module.validation_step(batch, number)
        errors, references = self._module.meter.compute(), measure(self.references, self._batches())
        summaries = {name: results.summarise(each.tolist()) for name, each in (errors | ratios(errors, references)).items()}
        described = {key: self.model.results[key] for key in ("network", "latent_dim", "seed", "num_seeds", "engine")}
        return described | {"metrics": summaries, "references": references}

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """The figures and their names: the noisy test signals as at the end of a run, and errors over frequency and family."""
        shown = int(median_member(self._module.meter.compute()["val/mse"]))
        with torch.no_grad():
            tensors = noisy_reconstructions(self._datamodule, self._module, self.references)
        arrays: dict[str, Any] = {name: values.float().cpu().numpy() for name, values in tensors.items()}
        arrays |= {"times": self._datamodule.times.cpu().numpy(), "shown": shown}
        for std in self.noise:
            if f"noisy_{std}" in arrays:
                yield f"sine_noise_{std}", reconstruction_figure(arrays, std, self.model.label)
        if isinstance(self.source, SinusoidSource):
            r, errors = self.errors_by_frequency()
            trained = self.model.settings.data
            title = f"Errors of the {self.model.label} autoencoder, latent {self.model.latent_dim}, on clean signals"
            yield (
                "error_frequency",
                plots.errors_by_frequency(r, errors, trained.families, trained.sigma, self.source.sigma, title),
            )

    def errors_by_frequency(self) -> tuple[Float[ndarray, " r"], ByFamily]:
        """Errors on clean signals over frequency, by family and model, of all families that there are.

        Returns:
            Frequencies, and for each family the mean squared error per value of the autoencoder's members, `[member, r]`, and
            of the references that are no mere denoisers, `[1, r]`.
        """
        assert isinstance(self.source, SinusoidSource)
        device, reach = self.model.device, _REACH * max(self.source.sigma, self.model.settings.data.sigma)
        r = torch.linspace(-reach, reach, _FREQUENCIES, device=device)
        errors = {}
        for number, name in enumerate(FAMILIES):
            family = torch.full_like(r, number, dtype=torch.int64)
            clean = sinusoids(family, r, list(FAMILIES)).evaluate(self.source.times(device))
            made = {"autoencoder": self.model.reconstruct(clean)}
            plain = {key: each for key, each in self.references.items() if not each.denoises}
            made |= {each.label: each.reconstruct(clean, 0.0)[None] for each in plain.values()}
            errors[name] = {label: (values - clean).square().mean(-1).cpu().numpy() for label, values in made.items()}
        return r.cpu().numpy().astype(np.float64), errors


class _DataModule(SignalDataModule):
    """A data module without a trainer, on some device."""

    def __init__(self, device: torch.device, *arguments: Any, **others: Any) -> None:
        super().__init__(*arguments, **others)
        self._device = device

    @property
    def device(self) -> torch.device:
        return self._device


def _source(model: Trained, wanted: Wanted) -> SignalSource:
    data = model.settings.data
    families = data.families if wanted.families is None else wanted.families
    sigma = data.sigma if wanted.sigma is None else wanted.sigma
    seed = data.seed if wanted.data_seed is None else wanted.data_seed
    return SinusoidSource(
        *(families, sigma, data.signal_length, data.dt, data.train_size, data.val_size, data.test_frequency, seed)
    )
