"""What a single run of each network can say about which is best."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from wavecoder.paper.claims import Job
from wavecoder.paper.variance import Errors, interval, resample, single_runs


@dataclass(frozen=True)
class Ranking:
    """How often the order of networks in a single run of each is that of their medians.

    The single runs of an order share a training set and a noise draw, as the paper's do; seeds of different networks are
    independent of one another, and all combinations of them count. A training that diverged comes last.

    Attributes:
        latent_dim: Size of the networks' latent.
        metric: The error by which they are ordered.
        networks: What they are called, that with the smallest median error first.
        medians: Their median errors over all single runs.
        first: In which fraction of orders each has the smallest error of all.
        first_intervals: The 95 % bootstrap intervals of that over training sets.
        before_next: In which fraction each but the last has a smaller error than the next.
        right_pairs: The fraction of pairs of networks that an order has as their medians are, on average.
        right_pairs_interval: Its 95 % bootstrap interval over training sets.
    """

    latent_dim: int
    metric: str
    networks: Sequence[str]
    medians: Sequence[float]
    first: Sequence[float]
    first_intervals: Sequence[tuple[float, float]]
    before_next: Sequence[float]
    right_pairs: float
    right_pairs_interval: tuple[float, float]


def rankings(jobs: Iterable[Job], folder: Path) -> list[Ranking]:
    """What single runs say about the order of networks, for every size of the latent and error of a sweep.

    Args:
        jobs: What `store.read_sweep` returned.
        folder: The folder it was read from.

    Returns:
        None unless the sweep varies `data.seed` with several seeds each, as for `components`. Networks that were trained on other
        numbers of training sets or measured with another number of draws than most are left out.
    """
    tables: dict[tuple[int, str], dict[str, Errors]] = {}
    for (network, latent), metrics in single_runs(jobs, folder).items():
        for metric, errors in metrics.items():
            tables.setdefault((latent, metric), {})[network] = errors
    made = []
    for (latent, metric), table in tables.items():
        sizes = [(len(each), each.shape[2]) for each in table.values()]
        usual = max(sizes, key=sizes.count)
        comparable = {network: each for network, each in table.items() if (len(each), each.shape[2]) == usual}
        if len(comparable) > 1:
            made.append(rank(comparable, latent, metric))
    return made


def rank(errors: Mapping[str, Errors], latent_dim: int, metric: str) -> Ranking:
    """How often single runs have networks in the order of their medians.

    Args:
        errors: The errors by network, of the same training sets and draws; NaN where training diverged.
        latent_dim: Size of the networks' latent.
        metric: The error.
    """
    runs = {network: np.nan_to_num(each, nan=np.inf) for network, each in errors.items()}
    medians = {network: float(np.median(each)) for network, each in runs.items()}
    networks = sorted(runs, key=medians.__getitem__)
    first = {network: _first(runs, network) for network in networks}
    pairs = {
        (better, worse): _smaller(runs[better], runs[worse])
        for place, better in enumerate(networks)
        for worse in networks[place + 1 :]
    }
    right = np.mean(list(pairs.values()), axis=0)
    picked = resample(len(right))
    return Ranking(
        latent_dim,
        metric,
        tuple(networks),
        tuple(medians[network] for network in networks),
        tuple(float(first[network].mean()) for network in networks),
        tuple(interval(first[network][picked].mean(1), len(right)) for network in networks),
        tuple(float(pairs[pair].mean()) for pair in pairwise(networks)),
        float(right.mean()),
        interval(right[picked].mean(1), len(right)),
    )


def _smaller(one: Errors, other: Float[ndarray, "training_set other_seed draw"]) -> Float[ndarray, " training_set"]:
    """In which fraction of pairs of seeds, and of draws, the first has the smaller error; of ties, in half."""
    return _is_smaller(one[:, :, None], other[:, None]).mean((1, 2, 3))


def _first(errors: Mapping[str, Errors], network: str) -> Float[ndarray, " training_set"]:
    """In which fraction of combinations of seeds, and of draws, a network has the smallest error of all.

    Seeds of different networks are independent, so that for each error of the network it is a product over the others.
    """
    own = errors[network]
    others = [each for name, each in errors.items() if name != network]
    chances = [_is_smaller(own[:, :, None], each[:, None]).mean(2) for each in others]
    return (np.prod(chances, axis=0) * np.isfinite(own)).mean((1, 2))


def _is_smaller(one: Float[ndarray, "..."], other: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
    return (one < other) + (one == other) / 2
