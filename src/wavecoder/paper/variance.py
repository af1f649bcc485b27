"""Where the spread of errors comes from, and what a single run, as in the paper, can say.

The paper trains each network once, on one training set, and tests it on one draw of ten noisy copies of the sine. A sweep over
`data.seed` with several seeds each (`experiment=chance`) repeats all three: an error is y[i, j, l], of training set i, seed j
(initial weights and order of the batches) and noise draw l. The seeds are the same for every training set; the draws belong to a
training set and are the same for all of its seeds. So

    log y[i, j, l] = μ + D[i] + S[j] + DS[i, j] + N[i, l] + e[i, j, l]

with random effects, whose variances the balanced analysis of variance estimates by equating mean squares with their expectations
(Searle, Casella & McCulloch 1992, *Variance Components*, ch. 4); they need not be normally distributed for that. D is the share
of the training set (with the validation set, which `data.seed` decides too), S and DS that of initial weights and order of the
batches, N and e that of the noise. The logarithm is taken because errors are positive and spread by factors rather than by
differences: the largest of a network's runs is often ten times the smallest. A standard deviation s of the logarithm is a factor
of e^s.

Intervals resample the training sets. They are expanded percentiles (Hesterberg 2015, *The American Statistician* 69), for a few
training sets tell little about how training sets differ: with eight, intervals of 95 % covered 83 to 94 % in simulations.
"""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from wavecoder.paper.claims import Job, values_of
from wavecoder.paper.provenance import is_fresh
from wavecoder.paper.tables import in_order, labels_of
from wavecoder.training.files import read_arrays

Errors = Float[ndarray, "training_set seed draw"]

SOURCES = ("training set", "initial weights and batch order", "noise draw")
_RESAMPLES = 4000
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Component:
    """One source of chance in the logarithm of an error.

    Attributes:
        std: The standard deviation that it alone would cause.
        interval: Its 95 % bootstrap interval over training sets.
        share: Its share of the variance of a single run.
        share_interval: The interval of that.
        is_negative: Whether its variance was estimated below 0, and is given as 0.
    """

    std: float
    interval: tuple[float, float]
    share: float
    share_interval: tuple[float, float]
    is_negative: bool


@dataclass(frozen=True)
class Components:
    """Where the spread of one error of one network comes from.

    Attributes:
        network: What the network is called.
        latent_dim: Size of its latent.
        metric: The error.
        training_sets: How many there were.
        seeds: How many of each training set were used.
        draws: How many noise draws of each training set; 1 if the error has no noise.
        diverged: How many trainings diverged. A seed that did so with any training set is left out with all of them.
        median: The median over all single runs: a training set, a seed, a draw.
        range: Where the middle 95 % of them lie.
        std: The standard deviation of the logarithm of a single run's error.
        interval: Its 95 % bootstrap interval over training sets.
        sources: What each source contributes, by its name in `SOURCES`; no noise draw if the error has no noise.
    """

    network: str
    latent_dim: int
    metric: str
    training_sets: int
    seeds: int
    draws: int
    diverged: int
    median: float
    range: tuple[float, float]
    std: float
    interval: tuple[float, float]
    sources: Mapping[str, Component]


def components(jobs: Iterable[Job], folder: Path) -> list[Components]:
    """The components of variance of every network and error of a sweep.

    Args:
        jobs: What `store.read_sweep` returned.
        folder: The folder it was read from.

    Returns:
        None unless the sweep varies `data.seed` with several seeds each, all on the same signals.
    """
    return [
        decompose(errors, network, latent, metric)
        for (network, latent), metrics in single_runs(jobs, folder).items()
        for metric, errors in metrics.items()
    ]


def describe_design(found: Sequence[Components]) -> str:
    """How many trainings components are estimated from, and which of them are left out."""
    seeds, sets = (_span({getattr(each, name) for each in found}) for name in ("seeds", "training_sets"))
    lost = {f"{each.network} with a latent of {each.latent_dim}": each.diverged for each in found if each.diverged}
    named = ", ".join(f"{count} of {network}" for network, count in lost.items())
    left_out = f" Trainings diverged ({named}); their seeds are left out on all training sets." if lost else ""
    return f"Each network was trained with {seeds} seeds on each of {sets} training sets (data.seed).{left_out}"


def _span(counts: Set[int]) -> str:
    return " to ".join(str(count) for count in sorted({min(counts), max(counts)})) if counts else ""


def single_runs(jobs: Iterable[Job], folder: Path) -> dict[tuple[str, int], dict[str, Errors]]:
    """The errors of single runs, by network and size of its latent and by metric; those without noise have a single draw.

    Args:
        jobs: What `store.read_sweep` returned.
        folder: The folder it was read from.
    """
    alike: dict[tuple[object, ...], dict[int, Job]] = {}
    for job in jobs:
        if job["status"] == "completed" and job["num_seeds"] > 1 and job.get("per_seed") is False and _is_fixed(job):
            others = sorted((key, value) for key, value in job["overrides"].items() if key != "data.seed")
            alike.setdefault((job["seed"], *others), {})[job["data_seed"]] = job
    groups = {each[min(each)]["job"]: [each[seed] for seed in sorted(each)] for each in alike.values() if len(each) > 1}
    firsts = in_order(group[0] for group in groups.values())
    labels = labels_of(firsts)
    return {(labels[job["job"]], job["latent_dim"]): _errors(groups[job["job"]], folder) for job in firsts}


def _is_fixed(job: Job) -> bool:
    """Whether a job has a training set that `data.seed` draws; it only divides a file, and fresh signals are of each seed."""
    return "file" not in job and "data_seed" in job and not is_fresh(job)


def _errors(jobs: Sequence[Job], folder: Path) -> dict[str, Errors]:
    """The errors of one network on several training sets, by metric."""
    errors = {}
    if all("val/mse" in job["metrics"] for job in jobs):
        errors["val/mse"] = np.stack([values_of(job, "val/mse")[:, None] for job in jobs])
    arrays = [read_arrays(folder / job["job"], job["num_seeds"]) or {} for job in jobs]
    for key in arrays[0]:
        match = re.fullmatch(r"draws_(mse|mean_mse)_(.+)", key)
        if match and arrays[0][key].shape[1] > 1 and all(key in each for each in arrays):
            errors[f"sine/{match[1]}_noise_{match[2]}"] = np.stack([each[key] for each in arrays]).astype(float)
    return errors


def decompose(errors: Errors, network: str, latent_dim: int, metric: str) -> Components:
    """The components of variance of the logarithm of an error.

    Args:
        errors: The errors; NaN where training diverged.
        network: See `Components`, like the next two.
        latent_dim: Size of its latent.
        metric: The error.
    """
    converged = (np.isfinite(errors) & (errors > 0)).all(2)
    kept = errors[:, converged.all(0)]
    if kept.shape[1] < 2:
        kept = np.full((2, 2, errors.shape[2]), np.nan)
    estimated, resampled = _variances(np.log(kept))
    variances, spread = np.maximum(0, estimated), np.maximum(0, resampled)
    total, totals = variances.sum(), spread.sum(1)
    size = len(errors)
    sources = {
        name: Component(
            std=float(np.sqrt(variances[number])),
            interval=interval(np.sqrt(spread[:, number]), size),
            share=float(variances[number] / total) if total else float("nan"),
            share_interval=interval(spread[:, number] / np.where(totals > 0, totals, np.nan), size),
            is_negative=bool(estimated[number] < 0),
        )
        for number, name in enumerate(SOURCES[: len(estimated)])
    }
    low, high = np.quantile(kept, [0.025, 0.975])
    return Components(
        network,
        latent_dim,
        metric,
        training_sets=size,
        seeds=errors.shape[1],
        draws=errors.shape[2],
        diverged=int((~converged).sum()),
        median=float(np.median(kept)),
        range=(float(low), float(high)),
        std=float(np.sqrt(total)),
        interval=interval(np.sqrt(totals), size),
        sources=sources,
    )


def resample(training_sets: int) -> Int[ndarray, "resample training_set"]:
    """Training sets drawn with replacement, the same at every call."""
    return np.random.default_rng(0).integers(training_sets, size=(_RESAMPLES, training_sets))


def interval(resampled: Float[ndarray, " resample"], training_sets: int) -> tuple[float, float]:
    """The 95 % expanded percentile interval of a statistic of resampled training sets."""
    nu = training_sets - 1
    # the 97.5 % quantile of Student's distribution (Abramowitz & Stegun 1964, 26.7.5)
    terms = [(_Z**3 + _Z) / 4, (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96, (3 * _Z**7 + 19 * _Z**5 + 17 * _Z**3 - 15 * _Z) / 384]
    student = _Z + sum(term / nu**power for power, term in enumerate(terms, 1))
    tail = NormalDist().cdf(-student * np.sqrt(training_sets / nu))
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def _variances(logs: Errors) -> tuple[Float[ndarray, " source"], Float[ndarray, "resample source"]]:
    """The estimated variance of each of `SOURCES`, and those of resampled training sets; they may be negative."""
    sets, seeds, draws = logs.shape
    cells = logs.mean(2)
    within = cells.var(1, ddof=1)
    left = logs - cells[:, :, None]
    of_draws = left.mean(1)
    freedom = max(1, draws - 1)  # of one draw all deviations are 0
    shared = seeds * np.square(of_draws).sum(1) / freedom
    own = np.square(left - of_draws[:, None]).sum((1, 2)) / (freedom * (seeds - 1))

    def combine(picked: Int[ndarray, "*resample training_set"], correction: float) -> Float[ndarray, "*resample source"]:
        some = cells[picked]
        of_sets = some.mean(-1)
        between = of_sets.var(-1, ddof=1) * correction
        interaction = some - of_sets[..., None] - some.mean(-2, keepdims=True) + of_sets.mean(-1)[..., None, None]
        interaction = np.square(interaction).sum((-1, -2)) / ((sets - 1) * (seeds - 1)) * correction
        noise, residual = shared[picked].mean(-1), own[picked].mean(-1)
        of_set = between - interaction / seeds - (noise - residual) / (seeds * draws)
        of_seed = within[picked].mean(-1) - residual / draws
        of_draw = (noise - residual) / seeds + residual
        return np.stack([of_set, of_seed, of_draw] if draws > 1 else [of_set, of_seed], axis=-1)

    # resampled training sets differ less, because some are the same
    return combine(np.arange(sets), 1.0), combine(resample(sets), sets / (sets - 1))
