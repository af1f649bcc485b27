from math import nan
from typing import Any

import pytest

from wavecoder.paper.effects import effects_of


def job_of(errors: list[float | None], seed: int = 0, **overrides: str) -> dict[str, Any]:
    return {"overrides": overrides, "seed": seed, "num_seeds": len(errors), "metrics": {"val/mse": {"per_seed": errors}}}


def test_choices_are_compared_where_all_else_is_the_same() -> None:
    """What the latent does is far more than what the rate does, which medians over both sizes of the latent would not show."""
    jobs = [
        job_of([1.0, 2.0, 4.0, 8.0], lr="0.1", latent="1"),
        job_of([0.01, 0.02, 0.04, 0.08], lr="0.1", latent="5"),
        job_of([0.9, 1.8, 3.6, 7.2], lr="0.2", latent="1"),
        job_of([0.009, None, 0.036, 0.072], lr="0.2", latent="5"),
        job_of([7.0], lr="0.2", latent="9"),  # without its like
    ]
    effects = {effect.key: effect for effect in effects_of(jobs, ["val/mse"])}
    first, second = effects["lr"].choices
    assert (first.value, first.ratios["val/mse"]) == ("0.1", (1, (1, 1)))
    assert second.ratios["val/mse"] == (pytest.approx(0.9), (pytest.approx(0.9), pytest.approx(0.9)))
    assert (second.seeds, second.diverged) == (9, 1)
    assert not effects["lr"].is_balanced
    ratios = [choice.ratios["val/mse"] for choice in effects["latent"].choices]
    assert ratios[1] == (pytest.approx(0.01), (pytest.approx(0.01), pytest.approx(0.01)))
    assert ratios[2] == (pytest.approx(7 / 0.9), pytest.approx((nan, nan), nan_ok=True))  # one pair has no interval


def test_seeds_of_several_jobs_are_compared_seed_by_seed() -> None:
    jobs = [
        job_of([1.0, 2.0, 3.0], lr="0.1", seed=0),
        job_of([4.0, 8.0, 5.0], lr="0.1", seed=3),
        job_of([2.0, 4.0, 6.0, 8.0, 16.0, 10.0], lr="0.2", seed=0),
        job_of([1.0], lr="0.3", seed=9),
    ]
    (effect,) = (effect for effect in effects_of(jobs, ["val/mse"]) if effect.key == "lr")
    assert [choice.ratios["val/mse"] for choice in effect.choices] == [(1, (1, 1)), (2, (2, 2)), None]
