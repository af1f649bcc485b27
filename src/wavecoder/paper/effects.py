"""What a sweep varied, and what each choice did to the errors."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wavecoder.paper.claims import Job, values_of
from wavecoder.paper.judging import bootstrap
from wavecoder.runs.results import varied

_MOST_CHOICES = 12  # of a setting; a search draws a new value for each job, which is no choice to look at by itself
_NOT_GIVEN = "default"


@dataclass(frozen=True)
class Choice:
    """The runs that made one choice.

    Attributes:
        value: As on the command line; `default` if it is not given.
        runs: How many runs there are.
        seeds: How many seeds they have together.
        diverged: How many of these diverged.
        errors: By metric: the median over all other seeds.
        ratios: By metric: the median ratio to the error with the setting's first choice, of runs with the same other choices and
            of the same seed, and its 95 % interval over these pairs, see `bootstrap`; None if there is no pair.
    """

    value: str
    runs: int
    seeds: int
    diverged: int
    errors: dict[str, float]
    ratios: dict[str, tuple[float, tuple[float, float]] | None]


@dataclass(frozen=True)
class Effect:
    """A setting that differs between runs.

    Attributes:
        key: The setting.
        choices: Its values; numbers in their order.
        is_balanced: Whether every choice was made together with the same others, so that the choices can be compared.
    """

    key: str
    choices: Sequence[Choice]
    is_balanced: bool


def choices_made(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """The settings that differ between jobs, and their values; numbers in their order."""
    keys = [key for key in varied(jobs) if key != "sweep"]
    return {key: sorted({job["overrides"].get(key, _NOT_GIVEN) for job in jobs}, key=by_value) for key in keys}


def effects_of(jobs: Sequence[Job], metrics: Sequence[str]) -> list[Effect]:
    """The effect of every setting that jobs vary, seeds apart, on errors that all of them measured.

    Args:
        jobs: Completed jobs.
        metrics: The errors.
    """
    made = choices_made(jobs)
    effects = []
    for key, values in made.items():
        if key == "seed" or len(values) > _MOST_CHOICES:
            continue
        runs: dict[str, dict[_Others, list[Job]]] = {value: {} for value in values}
        for job in jobs:
            others = tuple(job["overrides"].get(other) for other in made if other not in (key, "seed"))
            runs[job["overrides"].get(key, _NOT_GIVEN)].setdefault(others, []).append(job)
        first = runs[values[0]]
        choices = [_choice(value, each, first, metrics) for value, each in runs.items()]
        effects.append(Effect(key, choices, all(each.keys() == first.keys() for each in runs.values())))
    return effects


_Others = tuple[str | None, ...]


def _choice(
    value: str, runs: Mapping[_Others, Sequence[Job]], first: Mapping[_Others, Sequence[Job]], metrics: Sequence[str]
) -> Choice:
    jobs = [job for each in runs.values() for job in each]
    errors, ratios = {}, {}
    diverged = 0
    for metric in metrics:
        values = np.concatenate([values_of(job, metric) for job in jobs])
        finite = values[np.isfinite(values)]
        diverged = max(diverged, len(values) - len(finite))
        errors[metric] = float(np.median(finite)) if len(finite) else float("nan")
        shared = [(_by_seed(runs[others], metric), _by_seed(first[others], metric)) for others in runs if others in first]
        pairs = np.array([own[seed] / other[seed] for own, other in shared for seed in own if seed in other])
        pairs = pairs[np.isfinite(pairs)]
        ratios[metric] = (float(np.median(pairs)), bootstrap(pairs)) if len(pairs) else None
    return Choice(value, len(jobs), sum(job["num_seeds"] for job in jobs), diverged, errors, ratios)


def _by_seed(jobs: Iterable[Job], metric: str) -> dict[int, float]:
    """One metric of jobs that differ in their seeds alone."""
    return {job["seed"] + number: value for job in jobs for number, value in enumerate(values_of(job, metric).tolist())}


def by_value(choice: str) -> tuple[bool, float, str]:
    """A key that sorts numbers by value, and after them other choices by length and name."""
    try:
        return (False, float(choice.split(",")[0]), choice)
    except ValueError:
        return (True, float(len(choice)), choice)
