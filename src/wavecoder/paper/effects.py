"""What a sweep varied, and what each choice did to the errors."""

from collections.abc import Sequence
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
        errors: By metric: the median over all other seeds, and its 95 % bootstrap interval, None for a single seed.
    """

    value: str
    runs: int
    seeds: int
    diverged: int
    errors: dict[str, tuple[float, tuple[float, float] | None]]


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
        runs = {value: [job for job in jobs if job["overrides"].get(key, _NOT_GIVEN) == value] for value in values}
        others = [{_others(job, list(made), key) for job in each} for each in runs.values()]
        choices = [_choice(value, each, metrics) for value, each in runs.items()]
        effects.append(Effect(key, choices, all(each == others[0] for each in others)))
    return effects


def _others(job: Job, keys: Sequence[str], without: str) -> tuple[str | None, ...]:
    return tuple(job["overrides"].get(key) for key in keys if key != without)


def _choice(value: str, jobs: Sequence[Job], metrics: Sequence[str]) -> Choice:
    errors = {}
    diverged = 0
    for metric in metrics:
        values = np.concatenate([values_of(job, metric) for job in jobs])
        finite = values[np.isfinite(values)]
        diverged = max(diverged, len(values) - len(finite))
        middle = float(np.median(finite)) if len(finite) else float("nan")
        errors[metric] = middle, bootstrap(finite) if len(finite) > 1 else None
    return Choice(value, len(jobs), sum(job["num_seeds"] for job in jobs), diverged, errors)


def by_value(choice: str) -> tuple[bool, float, str]:
    """A key that sorts numbers by value, and after them other choices by length and name."""
    try:
        return (False, float(choice.split(",")[0]), choice)
    except ValueError:
        return (True, float(len(choice)), choice)
