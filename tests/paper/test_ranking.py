from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_up_jobs import made_up_job

from wavecoder.paper.ranking import rank, rankings
from wavecoder.training.files import write_arrays


def test_every_combination_of_single_runs_counts() -> None:
    random = np.random.default_rng(0)
    errors = {name: random.lognormal(size=(2, seeds, 2)) for name, seeds in (("a", 3), ("b", 3), ("c", 2))}
    errors["a"][0, 1] = np.nan  # diverged
    found = rank(errors, 5, "error")
    medians = {name: np.median(np.nan_to_num(each, nan=np.inf)) for name, each in errors.items()}
    assert list(found.networks) == sorted(errors, key=lambda name: medians[name])
    assert list(found.medians) == sorted(medians.values())
    orders = [
        {name: each[i, seed, draw] for (name, each), seed in zip(errors.items(), chosen, strict=True)}
        for i, draw, *chosen in product(range(2), range(2), range(3), range(3), range(2))
    ]
    orders = [{name: np.inf if np.isnan(error) else error for name, error in order.items()} for order in orders]
    best = [min(order, key=lambda name: order[name]) for order in orders]
    assert found.first == pytest.approx([best.count(name) / len(best) for name in found.networks])

    def share(better: str, worse: str) -> float:
        return float(np.mean([order[better] < order[worse] for order in orders]))

    assert found.before_next == pytest.approx([share(*pair) for pair in pairwise(found.networks)])
    one, two, three = found.networks
    assert found.right_pairs == pytest.approx((share(one, two) + share(one, three) + share(two, three)) / 3)


@settings(deadline=None, max_examples=30)
@given(errors=st.lists(arrays(np.float64, (3, 2, 2), elements=st.floats(1e-6, 1e3), unique=True), min_size=2, max_size=4))
def test_fractions_are_fractions(errors: list[np.ndarray]) -> None:
    found = rank({str(number): each * (1 + number * 1e-9) for number, each in enumerate(errors)}, 1, "error")
    assert sum(found.first) == pytest.approx(1, abs=1e-9)
    assert 0 <= found.right_pairs_interval[0] <= found.right_pairs_interval[1] <= 1
    assert all(0 <= low <= high <= 1 for low, high in found.first_intervals)


def test_networks_that_never_overlap_are_always_in_order() -> None:
    random = np.random.default_rng(0)
    found = rank({name: 10.0**place * random.uniform(1, 2, (4, 3, 5)) for place, name in enumerate("abc")}, 1, "error")
    assert (found.networks, found.first, found.right_pairs) == (("a", "b", "c"), (1, 0, 0), 1)
    assert found.right_pairs_interval == (1, 1)


def test_networks_with_fewer_training_sets_are_left_out(tmp_path: Path) -> None:
    jobs = []
    for network, number in product(("relu", "tanh", "gelu"), range(3)):
        if (network, number) == ("tanh", 2):
            continue
        job = f"{network}{number}"
        (tmp_path / job).mkdir()
        write_arrays(tmp_path / job, {})
        jobs.append(
            made_up_job(
                job,
                network,
                seed=0,
                num_seeds=2,
                data_seed=number,
                per_seed=False,
                overrides={"activation": network, "data.seed": str(number)},
                metrics={"val/mse": {"per_seed": [1.0, 2.0 if network == "gelu" else None]}},
            )
        )
    [found] = rankings(jobs, tmp_path)
    assert (found.latent_dim, found.metric, found.networks) == (5, "val/mse", ("gelu", "relu"))
