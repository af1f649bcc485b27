"""The errors of the paper's networks over the same seeds, and sentences about them."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from wavecoder.paper.claims import ACTIVATIONS, Missing, PaperRuns
from wavecoder.paper.judging import Holds, Values, percent, share, worst_of
from wavecoder.paper.numbers import number
from wavecoder.references import REFERENCES


def median(values: Values) -> float:
    """The median over the seeds that did not diverge."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def require_same_seeds(errors: Iterable[Values]) -> None:
    """Refuse to compare networks of different numbers of seeds.

    Raises:
        Missing: The numbers differ.
    """
    if len({len(values) for values in errors}) > 1:
        raise Missing("the same number of seeds of every network")


def errors_of(runs: PaperRuns, latent: int, metric: str, activations: Iterable[str]) -> dict[str, Values]:
    """One metric of several autoencoders, by activation, over the same seeds."""
    errors = {name: runs.errors(name, latent, metric) for name in activations}
    require_same_seeds(errors.values())
    return errors


def relative_errors(runs: PaperRuns, latent: int, metric: str, activations: Iterable[str] = ACTIVATIONS) -> dict[str, Values]:
    """The errors of autoencoders and of the SVD on the sine, as shares of its power."""
    power = runs.sine_power()
    errors = {name: values / power for name, values in errors_of(runs, latent, metric, activations).items()}
    svd, seeds = runs.reference("svd", latent, metric) / power, len(next(iter(errors.values())))
    errors["svd"] = np.full(seeds, svd.item()) if len(svd) == 1 else svd
    require_same_seeds(errors.values())
    return errors


def label_of(model: str) -> str:
    """What an activation or a reference is called."""
    return REFERENCES[model].label if model in REFERENCES else model


def medians(errors: Mapping[str, Values]) -> str:
    """The median of each model, the smallest first, as a phrase."""
    return ", ".join(
        f"{label_of(name)} {number(value)}" for value, name in sorted((median(errors[name]), name) for name in errors)
    )


def describe_ratios(ratios: Mapping[str, Values]) -> list[str]:
    """The median of each model's ratio, and in how many seeds it is below 1."""
    return [f"{label_of(name)}: median ratio {number(median(r))}, below 1 in {share(r < 1)}." for name, r in ratios.items()]


def winners(errors: Mapping[str, Values]) -> str:
    """In how many seeds each model has the smallest error, the most frequent first, as a phrase."""
    first = np.array(list(errors))[np.nan_to_num(np.stack(list(errors.values())), nan=np.inf).argmin(0)]
    names, counts = np.unique(first, return_counts=True)
    fractions = sorted(zip(counts / len(first), names.tolist(), strict=True), key=lambda each: -each[0])
    return ", ".join(f"{label_of(name)} in {percent(fraction)}" for fraction, name in fractions) + " of seeds"


def smallest(errors: Mapping[str, Values], *without: str) -> Values:
    """The smallest error in each seed; NaN where one diverged."""
    return np.stack([values for name, values in errors.items() if name not in without]).min(0)


def worst_model(errors: Mapping[str, Values], condition: Callable[[Values], Holds]) -> str:
    """The model whose error meets a condition in the fewest seeds."""
    return worst_of({label_of(name): condition(values) for name, values in errors.items()})
