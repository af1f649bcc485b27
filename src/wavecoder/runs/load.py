"""A trained run for a notebook or another program: `wavecoder.load("outputs/runs/…")`. Imports torch, but not Lightning."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wavecoder.engine import Engine, Problem, measuring_engine
from wavecoder.ensemble import Ensemble
from wavecoder.references import Moments, Reference, fitted_references, pooled_moments, population_moments, training_moments
from wavecoder.rng import seeded_draws
from wavecoder.runs import build
from wavecoder.runs.denoiser import denoise
from wavecoder.runs.limits import MOST_NOISE, SettingError, is_noise
from wavecoder.runs.rows import Array, apply_to_rows
from wavecoder.runs.saved import DATA_STATE, SavedRun, UnreadableError, read_run, run_folders
from wavecoder.runs.targets import allowing
from wavecoder.runs.threads import engine_threads
from wavecoder.scaling import Scaling
from wavecoder.signals import SignalSource
from wavecoder.training.diverged import name_seeds
from wavecoder.training.files import warn_once

Seed = int | str
"""One of a run's seeds, or best, all or mean."""

_TYPES = {"64-true": torch.float64, "bf16-true": torch.bfloat16}  # of parameters, by Lightning's name of the precision


def load(folder: str | Path, seed: Seed = "best", device: str = "cpu", allow_targets: Sequence[str] = ()) -> "Trained":
    """Load a trained run from its folder.

    Nothing else is read, so the folder can be moved or copied, and nothing in it is run as code. A network of your own must be
    importable and allowed.

    Args:
        folder: The run's folder; or a sweep's, of which the job with the best `val/mse` is taken. Jobs that are damaged, or
            whose network is not allowed or cannot be imported, are named in a line and left out.
        seed: Which of the run's networks: the `best`, with the least `val/mse`; the one of a seed; `all` of them, those that
            diverged with the weights that they were frozen with; or the `mean` of the reconstructions of all.
        device: Where it computes, for example `cpu` or `cuda`.
        allow_targets: Packages of yours whose classes the run may name, as `["my_package"]`.

    Raises:
        SettingError: In one line: there is no complete run, it is damaged, it has no checkpoint, its network's class is not
            allowed or cannot be imported, it has no such seed, that diverged, or there is no such device.

    Example:
        >>> model = wavecoder.load("outputs/runs/2026-01-31/12-00-00_gelu_latent5_seed0_1f2e3d")     # doctest: +SKIP
        >>> model.reconstruct(x)              # x: [..., time], NumPy or torch                       # doctest: +SKIP
        >>> model.references["svd"].reconstruct(x)                                                   # doctest: +SKIP
    """
    with allowing(allow_targets):
        left_out: list[UnreadableError] = []
        for job in run_folders(Path(folder)):
            try:
                trained = Trained(read_run(job), seed, _device(device))
            except UnreadableError as error:
                left_out.append(error)
                continue
            for each in left_out:
                warn_once(f"{each}; the job is left out")
            return trained
        others = f"; none of the {len(left_out)} jobs can be loaded" if len(left_out) > 1 else ""
        raise UnreadableError(f"{left_out[0]}{others}") from left_out[0]


class Trained:
    """A trained run: its network, or its networks, and what they were trained and measured on. `load` makes it.

    Signals are `[..., time]`, of any shape before the last axis, as NumPy arrays or tensors. What comes back is of the same kind,
    on the same device, of the same floating-point type (32 bits for whole numbers), and without a gradient. With `seed="all"` it
    has a first axis of members. Signals are taken in blocks, so that beside the result little memory is needed. NaN in a signal
    makes all NaN that is made of that signal, and of no other.

    With `seed="all"`, reconstructions of up to 64 signals are those of the run itself, to the bit, on the same kind of machine:
    they are made by the engine that trained it. Where this CPU lacks the compiled engine's instructions the other engine does
    it, and they agree up to rounding. So does one network that is taken out of several.

    Attributes:
        folder: The run's folder.
        settings: Its settings.
        results: Its results, the content of `results.json`.
        label: What the network is called in tables and figures.
        seeds: The seeds of the run.
        seed: Which of them this is: one of them, `all` or `mean`.
        weights: Which checkpoint the weights are from: `last`, those at the end of the training, which the results are about; or
            `best`, those with the least mean `val/mse` over seeds, where the run has kept no others (callbacks=lean).
        signal_length: Number of values in a signal.
        latent_dim: Size of the latent.
        dt: Time between two values.
        scaling: What was done to signals before the training; it is done here too, and undone.
        device: Where it computes.
        ensemble: The network, or the networks, as a module.
        engine: The engine that reconstructs: the one that trained the run, where it applies.
    """

    def __init__(self, saved: SavedRun, seed: Seed, device: torch.device) -> None:
        self.folder = saved.folder
        self.settings = saved.settings
        self.results = saved.record
        self.label = saved.network.label
        self.seeds = saved.seeds
        self.seed = _chosen(seed, saved)
        self.weights = saved.weights
        self.device = device
        self.latent_dim = saved.settings.latent.dim
        self.signal_length = saved.settings.data.signal_length
        self.dt = saved.settings.data.dt
        self._data_state: Mapping[str, Any] = saved.checkpoint.get(DATA_STATE) or {}
        self.scaling = Scaling.from_state(self._data_state["scaling"]) if self._data_state else Scaling()
        self.ensemble = _restored(saved, self.seeds if isinstance(self.seed, str) else [self.seed], device)
        precision, threads = str(saved.settings.trainer.get("precision", "32-true")), engine_threads(saved.settings)
        # neither the loss nor the optimiser matters: what was trained by the compiled engine had a loss that it knows
        problem = Problem(self.ensemble, nn.MSELoss(), device, saved.settings.seed, precision=precision, threads=threads)
        compiled = saved.record["engine"]["name"].startswith("compiled")
        self.engine: Engine = measuring_engine(problem, "auto" if compiled else "pytorch")

    def reconstruct(self, x: Array, noise: float = 0.0) -> Array:
        """What the autoencoder makes of signals, `[..., time]`, each for itself.

        Args:
            x: The signals.
            noise: Standard deviation of white noise in them, 0 for clean ones. It matters only where each signal was scaled by
                itself (data.scaling=signal): noise would make the signals in it smaller than those that the network knows.

        Raises:
            ValueError: They are no real numbers, or not of the network's signal length.
        """

        def of_rows(rows: Tensor) -> Tensor:
            scaled = self.scaling.apply(rows, noise)
            made = self.engine.reconstruct(scaled.values)
            return scaled.undo(made.mean(0, keepdim=True) if self.seed == "mean" else made)

        return self._apply(of_rows, x, "signal", (self.signal_length, self.signal_length))

    def denoise(self, y: Array, noise: float | None = None) -> Array:
        """Clean signals, `[..., time]`, of the network's signal length or longer.

        Signals of the network's length are reconstructed, as they are. Longer ones go through it in windows that overlap by half.
        A one-dimensional array that is longer is a recording, of any level: it is multiplied by one factor that gives it, without
        its noise, the mean power of the training signals, and divided by it afterwards (unless the run scales signals by itself).

        Args:
            y: The signals.
            noise: The standard deviation of their noise; None if it is not known, and then it is estimated. The network does not
                need it; the level of recordings depends on it.

        Raises:
            ValueError: They are no finite real numbers, or too short; or `seed="all"`; or the noise is no number of 0 or more.
        """
        return denoise(self, y, noise)

    def encode(self, x: Array) -> Array:
        """The latents, `[..., latent]`, of signals, `[..., time]`.

        Raises:
            ValueError: They are no real numbers, or not of the network's signal length; or `seed="mean"`.
        """
        self._refuse_mean()
        return self._apply(
            lambda rows: self.ensemble.encode(self.scaling.apply(rows).values), x, "signal", (self.signal_length, self.latent_dim)
        )

    def decode(self, z: Array) -> Array:
        """The signals, `[..., time]`, of latents, `[..., latent]`; with `seed="all"` these have a first axis of members too.

        Where each signal was scaled by itself (data.scaling=signal), the latent does not know how, and these are scaled signals.

        Raises:
            ValueError: They are no real numbers, or not of the latent's size; or `seed="mean"`.
        """
        self._refuse_mean()
        return self._apply(
            lambda rows: self.ensemble.decode(rows) * self.scaling.scale + self.scaling.offset,
            *(z, "latent", (self.latent_dim, self.signal_length), self.seed == "all"),
        )

    def _apply(
        self, function: Callable[[Tensor], Tensor], values: Array, what: str, sizes: tuple[int, int], paired: bool = False
    ) -> Array:
        def of_block(rows: Tensor, number: int) -> Tensor:
            later = (number,) if number else ()
            with seeded_draws(self.device, self.settings.seed, "evaluation", 0, *later):  # as a run does, for networks that draw
                return function(rows)

        members = len(self.seeds) if self.seed == "all" else None
        return apply_to_rows(of_block, values, what, sizes, members, paired, self.device)

    def _refuse_mean(self) -> None:
        if self.seed == "mean":
            raise ValueError("seed=mean has no latent: it is the mean of reconstructions; must be best, a seed or all")

    @cached_property
    def source(self) -> SignalSource | None:
        """The signals that it was trained on; None where their file is not there any more.

        With `data.per_seed=true` they are of the same kind, but each seed had a set of its own (`signals.own_training_sets`).
        """
        try:
            return build.make_source(self.settings)
        except SettingError:
            return None

    @cached_property
    def moments(self) -> Moments:
        """Moments of the training signals, or of their distribution (basis=population), to which the references were fitted."""
        if self._data_state:
            return Moments(*(self._data_state[name].to(self.device) for name in ("mean", "second_moment")))
        assert self.source is not None, "only files can be missing"
        prior = self.source.prior(self.device)
        if self.settings.basis == "population" and prior is not None:
            return population_moments(prior)
        own_sets_of = self.seeds if self.settings.data.per_seed and not self.settings.data.fresh else ()
        return pooled_moments(training_moments(self.source, self.device, self.settings.data.seed, own_sets_of))

    @cached_property
    def references(self) -> Mapping[str, "FittedReference"]:
        """The references by name, fitted as in the run: SVD and PCA of the latent's size, Wiener; Bayes if there is a prior."""
        prior = None if self._data_state or self.source is None else self.source.prior(self.device)
        fitted = fitted_references(self.latent_dim, prior, self.moments)
        return {name: FittedReference(each, self) for name, each in fitted.items()}


class FittedReference:
    """A reference fitted to the training signals of a run, for arrays as well as tensors.

    Attributes:
        label: Its name in tables and figures.
        fitted: The reference itself.
    """

    def __init__(self, fitted: Reference, model: Trained) -> None:
        self.label = fitted.label
        self.fitted = fitted
        self._model = model

    def reconstruct(self, x: Array, noise: float = 0.0) -> Array:
        """Reconstruct signals, `[..., time]`, to which white noise of standard deviation `noise` was added; 0 for clean ones.

        Raises:
            ValueError: They are no real numbers, or not of the run's signal length, or the noise is no number of 0 or more.
        """
        if not is_noise(noise):
            raise ValueError(f"noise={noise}: must be a number, 0 or more, at most {MOST_NOISE:g}")
        scaling, length = self._model.scaling, self._model.signal_length

        def of_rows(rows: Tensor, _: int) -> Tensor:
            scaled = scaling.apply(rows, noise)
            if scaling.kind != "signal" or noise == 0 or not self.fitted.denoises:
                made = self.fitted.reconstruct(scaled.values, noise / scaling.scale)
            else:  # each has another noise after scaling
                pairs = zip(scaled.values.split(1), scaled.scale.flatten().tolist(), strict=True)
                made = torch.cat([self.fitted.reconstruct(row, noise / scale) for row, scale in pairs])
            return scaled.undo(made)[None]

        return apply_to_rows(of_rows, x, "signal", (length, length), device=self._model.device)


def _device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        SettingError: It is not there.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of names that PyTorch gives up
            device = torch.device(name)
            torch.zeros(1, device=device).add(1).item()  # devices without values, as meta, have none to give
    except Exception as error:  # of whatever kind the device's library raises
        raise SettingError(f"device={name}: there is no such device here; cpu is everywhere") from error
    return device


def _chosen(seed: Seed, saved: SavedRun) -> int | str:
    """The seed that is asked for.

    Raises:
        SettingError: The run has no such seed, or it diverged.
    """
    if seed == "best":
        errors = saved.record["metrics"]["val/mse"]["per_seed"]
        return min(saved.seeds, key=lambda each: math.inf if (error := errors[each - saved.seeds[0]]) is None else error)
    lost = {int(each): step for each, step in saved.record.get("diverged", {}).items()}
    if lost and (seed == "mean" or seed in lost):
        which = name_seeds({each: step for each, step in lost.items() if seed in ("mean", each)})
        raise SettingError(f"seed={seed}: diverged in training ({which}); must be best, or one that did not")
    if seed in ("all", "mean"):
        return seed
    if not isinstance(seed, Integral) or isinstance(seed, bool) or seed not in saved.seeds:
        has = f"{saved.seeds[0]} to {saved.seeds[-1]}" if len(saved.seeds) > 1 else str(saved.seeds[0])
        raise SettingError(f"seed={seed}: must be best, mean, or one of the run's, {has}; wavecoder.load takes all too")
    return int(seed)


def _restored(saved: SavedRun, seeds: Sequence[int], device: torch.device) -> Ensemble:
    """The networks of some or all seeds of a run, with the weights of its checkpoint.

    Raises:
        UnreadableError: They do not fit.
    """
    weights = {name.removeprefix("ensemble."): values for name, values in saved.checkpoint["state_dict"].items()}
    if len(seeds) < len(saved.seeds):
        weights = {name: values[seeds[0] - saved.seeds[0]] for name, values in weights.items()}
    try:
        ensemble = Ensemble(saved.network.make, seeds)
        dtype = _TYPES.get(str(saved.settings.trainer.get("precision")))
        ensemble.to(device, dtype).load_state_dict(weights)
    except Exception as error:  # of whatever kind the network raises
        raise UnreadableError(f"{saved.folder}: the network cannot be restored: {' '.join(str(error).split())}") from error
    return ensemble.eval()
