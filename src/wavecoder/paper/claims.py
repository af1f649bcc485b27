"""What the claims of the paper are judged from: the results of its networks among the jobs of a sweep."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from wavecoder.paper.judging import Values
from wavecoder.references import REFERENCES
from wavecoder.training.files import ARRAYS, read_arrays

LINEAR = "identity"
NONLINEAR = ("relu", "sigmoid", "tanh", "leaky_relu", "prelu", "gelu")
ACTIVATIONS = (LINEAR, *NONLINEAR)
"""The paper's activations, in its order."""

_LATENTS = (1, 5)
_NOISE = {0.1, 1.0}
Job = Mapping[str, Any]
"""What `store.read_sweep` gives for a job of a sweep."""


class Missing(LookupError):
    """The sweep has no run that a claim needs, or the run did not measure what is needed. The message names it."""


def values_of(job: Job, metric: str) -> Values:
    """One metric of every seed of a job; NaN where training diverged.

    Raises:
        Missing: The job did not measure it.
    """
    if metric not in job["metrics"]:
        raise Missing(f"{metric} of {job['job']}")
    return np.array([np.nan if value is None else value for value in job["metrics"][metric]["per_seed"]])


class PaperRuns:
    """The results of the paper's networks among the jobs of a sweep, trained on clean signals.

    Of several jobs with the same network, one that was measured with the paper's noise counts rather than others, then one with
    the smallest `data.seed`, so that networks are compared on the same signals, then the first.

    Args:
        jobs: What `store.read_sweep` returned: the best first.
        folder: The folder it was read from.

    Attributes:
        networks: Which of the paper's fourteen networks were measured with its noise, as activation and size of the latent.
    """

    def __init__(self, jobs: Iterable[Job], folder: Path) -> None:
        self._folder = folder
        self._jobs: dict[tuple[str, str, int], Job] = {}
        self._arrays: dict[str, Mapping[str, ndarray]] = {}
        self.networks: set[tuple[str, int]] = set()
        completed = [job for job in jobs if job["status"] == "completed" and not job["noise"]["train_std"] and "file" not in job]
        for job in sorted(completed, key=lambda job: (not _has_papers_noise(job), job.get("data_seed", 0))):
            model = job["model"] if job["bias"] or job["model"] != "deep" else "deep without bias"
            activation, latent = job["activation"] or LINEAR, job["latent_dim"]
            measured = model in ("deep", "deep without bias") or (model == "linear_tied" and "linear/excess" in job["metrics"])
            if measured and activation in ACTIVATIONS:
                self._jobs.setdefault((model, activation, latent), job)
            if model == "deep" and activation in ACTIVATIONS and latent in _LATENTS and _has_papers_noise(job):
                self.networks.add((activation, latent))

    def missing(self) -> list[str]:
        """Which of the paper's fourteen networks are missing, for each size of the latent that lacks one."""
        gaps = {latent: [name for name in ACTIVATIONS if (name, latent) not in self.networks] for latent in _LATENTS}
        return [f"latent {latent}: {', '.join(names)}" for latent, names in gaps.items() if names]

    def chance(self) -> str:
        """Which sources of chance the verdicts cover and what networks are compared with; empty without the paper's networks."""
        per_seed = {bool(self._jobs["deep", *network].get("per_seed")) for network in self.networks}
        if not per_seed:
            return ""
        if len(per_seed) == 2:
            return "Seeds of some networks share one training set and one set of noise draws: their intervals do not cover those."
        if not per_seed.pop():
            return "All seeds share one training set and one set of noise draws: the intervals do not cover those."
        sentences = [
            "Seeds differ in training set, noise of the sine, initial weights and order of batches; intervals cover all of it.",
            "On the sine, each is compared with the SVD and PCA of its own training set, as in the paper;",
            f"on new signals (C8), {self._compared()}.",
        ]
        tied = [job for (model, _, _), job in self._jobs.items() if model == "linear_tied"]
        if tied and not any(job.get("per_seed") for job in tied):
            sentences.append("The linear autoencoders of C7 share one training set, on which the SVD is taken.")
        return " ".join(sentences)

    def _compared(self) -> str:
        bases = {self._jobs["deep", *network].get("basis") for network in self.networks}
        return "with the SVD of the exact moments" if bases == {"population"} else "with the SVD of all training sets together"

    def job(self, activation: str, latent: int, model: str = "deep") -> Job:
        """The results of one network.

        Args:
            activation: One of `ACTIVATIONS`; identity for the tied network.
            latent: Size of the latent.
            model: deep, deep without bias, or linear_tied.

        Raises:
            Missing: There are none.
        """
        job = self._jobs.get((model, activation, latent))
        if job is None:
            raise Missing(f"{activation} with a latent of {latent}" + ("" if model == "deep" else f" ({model})"))
        return job

    def latents(self, activation: str, model: str) -> list[int]:
        """The sizes of the latent in the sweep for a kind of network."""
        return sorted(latent for kind, name, latent in self._jobs if (kind, name) == (model, activation))

    def errors(self, activation: str, latent: int, metric: str, model: str = "deep") -> Values:
        """One metric of every seed of a network; NaN where training diverged.

        Raises:
            Missing: There is no such run, or it did not measure this.
        """
        return values_of(self.job(activation, latent, model), metric)

    def reference(self, name: str, latent: int, metric: str) -> Values:
        """A reference's error on the sine: of each member, fitted to its own training set, or a single one.

        Raises:
            Missing: There is no run with a latent of that size, or it did not measure this.
        """
        own = f"own_{name}_draws_{metric.removeprefix('sine/').replace('noise_', '')}"
        if ("deep", LINEAR, latent) in self._jobs and own in (arrays := self._arrays_of(self.job(LINEAR, latent))):
            return arrays[own].mean(1).astype(float)
        for job in self._jobs.values():
            if job["latent_dim"] == latent and metric in job["references"].get(name, {}):
                return np.array([float(job["references"][name][metric])])
        raise Missing(f"the {REFERENCES[name].label} with rank {latent}")

    def _arrays_of(self, job: Job) -> Mapping[str, ndarray]:
        """A job's `reconstructions.npz`, empty if there is none."""
        name = job["job"]
        if name not in self._arrays:
            self._arrays[name] = read_arrays(self._folder / name, job["num_seeds"]) or {}
        return self._arrays[name]

    def _array(self, job: Job, key: str) -> ndarray:
        """An array of a job's `reconstructions.npz`."""
        arrays, file = self._arrays_of(job), f"{job['job']}/{ARRAYS}"
        if key not in arrays:
            raise Missing(f"{key} in {file}" if arrays else file)
        return arrays[key]

    def means(self, name: str, latent: int, noise: float, model: str = "deep") -> Float[ndarray, "member time"]:
        """The mean over the noisy copies of the sine, of their first draw, reconstructed by a network or by a reference.

        Args:
            name: An activation or a reference, which has a row for each member if each has its own training set, to which it is
                then fitted, and otherwise a single one.
            latent: Size of the latent, or rank.
            noise: Standard deviation of the noise.
            model: See `job`.

        Raises:
            Missing: There is no such run, or it lacks these reconstructions.
        """
        if name in REFERENCES:
            job, own = self.job(LINEAR, latent), f"own_{name}_{noise}"
            return np.atleast_2d(self._array(job, own if own in self._arrays_of(job) else f"{name}_{noise}").mean(-2))
        return self._array(self.job(name, latent, model), f"autoencoder_{noise}").mean(1)

    def sine_power(self) -> float:
        """Mean square of the test sine.

        Raises:
            Missing: No run has it.
        """
        for job in self._jobs.values():
            try:
                return float(np.square(self._array(job, "sine")).mean())
            except Missing:
                continue
        raise Missing("a network with the test sine")

    def distance(self, first: str, second: str, latent: int, noise: float, model: str = "deep") -> Values:
        """Root mean square distance of two mean reconstructions, as a share of the root mean square of the SVD's.

        Args:
            first: See `means`, like the others.
            second: What `first` is compared with.
            latent: Size of the latent, or rank.
            noise: Standard deviation of the noise.
            model: See `job`; of `first` alone.

        Raises:
            Missing: A run is not in the sweep, lacks its reconstructions, or has other seeds.
        """
        own, other, svd = (
            self.means(first, latent, noise, model),
            self.means(second, latent, noise),
            self.means("svd", latent, noise),
        )
        if len(other) > 1 and len(own) != len(other):
            raise Missing("the same number of seeds of every network")
        return np.sqrt(np.square(own - other).mean(1) / np.square(svd).mean(1))


def _has_papers_noise(job: Job) -> bool:
    return set(job["noise"]["eval_std"]) >= _NOISE
