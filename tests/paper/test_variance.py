from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_up_jobs import made_up_job

from wavecoder.paper import variance
from wavecoder.paper.variance import SOURCES, Components, components, decompose, describe_design, interval
from wavecoder.training.files import write_arrays


def errors_of(random: np.random.Generator, stds: dict[str, float], sets: int = 8, seeds: int = 6, draws: int = 5) -> np.ndarray:
    """Errors of the model, `[training set, seed, draw]`, from the standard deviations of its effects."""
    shapes = {"D": (sets, 1, 1), "S": (1, seeds, 1), "DS": (sets, seeds, 1), "N": (sets, 1, draws), "e": (sets, seeds, draws)}
    return np.exp(sum(std * random.normal(size=shapes[name]) for name, std in stds.items()))


def components_of(errors: np.ndarray) -> Components:
    return decompose(errors, "net", 5, "error")


def variances_of(errors: np.ndarray) -> list[float]:
    return [source.std**2 for source in components_of(errors).sources.values()]


def expected_variances(logs: np.ndarray) -> np.ndarray:
    """The textbook's way: mean squares of a table of the analysis of variance, and the equations for their expectations."""
    sets, seeds, draws = logs.shape

    def mean(*axes: int) -> np.ndarray:
        return logs.mean(axes, keepdims=True)

    effects = {
        "D": (mean(1, 2) - mean(0, 1, 2), sets - 1),
        "S": (mean(0, 2) - mean(0, 1, 2), seeds - 1),
        "DS": (mean(2) - mean(1, 2) - mean(0, 2) + mean(0, 1, 2), (sets - 1) * (seeds - 1)),
        "N": (mean(1) - mean(1, 2), sets * (draws - 1)),
        "e": (logs - mean(2) - mean(1) + mean(1, 2), sets * (seeds - 1) * (draws - 1)),
    }
    squares = [np.square(np.broadcast_to(effect, logs.shape)).sum() / freedom for effect, freedom in effects.values()]
    expectations = [  # of the mean squares, in the variances of D, S, DS, N, e
        [seeds * draws, 0, draws, seeds, 1],
        [0, sets * draws, draws, 0, 1],
        [0, 0, draws, 0, 1],
        [0, 0, 0, seeds, 1],
        [0, 0, 0, 0, 1],
    ]
    of_d, of_s, of_ds, of_n, of_e = np.linalg.solve(expectations, squares)
    return np.array([of_d, of_s + of_ds, of_n + of_e])


@pytest.mark.parametrize("sizes", [(8, 6, 5), (2, 2, 2), (3, 7, 4)])
def test_the_components_are_those_of_the_analysis_of_variance(sizes: tuple[int, int, int]) -> None:
    stds = {"D": 0.5, "S": 0.1, "DS": 0.3, "N": 0.2, "e": 0.1}
    errors = errors_of(np.random.default_rng(1), stds, *sizes)
    expected = expected_variances(np.log(errors))
    found = components_of(errors)
    np.testing.assert_allclose([source.std**2 for source in found.sources.values()], np.maximum(0, expected), atol=1e-12)
    assert [source.is_negative for source in found.sources.values()] == (expected < 0).tolist()
    assert found.std**2 == pytest.approx(np.maximum(0, expected).sum())


def test_without_noise_there_are_two_sources() -> None:
    errors = errors_of(np.random.default_rng(1), {"D": 0.5, "DS": 0.3}, draws=1)
    found = components_of(errors)
    assert list(found.sources) == list(SOURCES[:2])
    logs = np.log(errors[..., 0])
    # Searle, Casella & McCulloch (1992), of two crossed factors with one observation of each combination
    deviations = logs - logs.mean(0) - logs.mean(1, keepdims=True) + logs.mean()
    interaction = np.square(deviations).sum() / (7 * 5)
    of_sets = 6 * logs.mean(1).var(ddof=1)
    assert found.sources[SOURCES[0]].std ** 2 == pytest.approx((of_sets - interaction) / 6)


def test_known_components_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variance, "_RESAMPLES", 2)
    random = np.random.default_rng(0)
    stds = {"D": 0.4, "S": 0.2, "DS": 0.3, "N": 0.3, "e": 0.2}
    found = np.array([variances_of(errors_of(random, stds, sets=12)) for _ in range(150)])
    expected = [0.4**2, 0.2**2 + 0.3**2, 0.3**2 + 0.2**2]
    assert (np.abs(found.mean(0) - expected) < 4 * found.std(0) / np.sqrt(len(found))).all()


def test_intervals_cover_as_often_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variance, "_RESAMPLES", 500)
    random = np.random.default_rng(0)
    stds = {"D": 0.4, "DS": 0.3, "N": 0.2, "e": 0.1}
    true = dict(zip(SOURCES, [0.4, 0.3, np.hypot(0.2, 0.1)], strict=True))
    covered = []
    for _ in range(100):
        sources = components_of(errors_of(random, stds, seeds=8)).sources
        covered.append([low <= true[name] <= high for name, (low, high) in ((n, s.interval) for n, s in sources.items())])
    shares = np.mean(covered, axis=0)
    assert (shares > 0.75).all()  # 83 % less two standard errors
    assert (shares < 0.99).all()


@pytest.mark.parametrize("sets", [3, 8, 30])
def test_intervals_are_expanded_by_students_quantile(sets: int) -> None:
    student = scipy.stats.t(sets - 1).ppf(0.975)
    expected = scipy.stats.norm.cdf(-student * np.sqrt(sets / (sets - 1)))
    low, high = interval(np.linspace(0, 1, 100_001), sets)
    assert low == pytest.approx(expected, rel=0.15, abs=1e-5)
    assert high == pytest.approx(1 - low, abs=1e-5)


EXAMPLES = arrays(np.float64, st.tuples(st.integers(2, 4), st.integers(2, 4), st.integers(1, 3)), elements=st.floats(1e-6, 1e3))


@settings(deadline=None, max_examples=40)
@given(errors=EXAMPLES, factor=st.floats(1e-3, 1e3), order=st.randoms(use_true_random=False))
def test_units_and_order_do_not_matter_and_shares_are_shares(errors: np.ndarray, factor: float, order: Any) -> None:
    found = components_of(errors)
    changed = errors * factor
    for axis, size in enumerate(errors.shape):
        changed = changed.take(order.sample(range(size), size), axis)
    again = components_of(changed)
    for name, source in found.sources.items():
        assert again.sources[name].std == pytest.approx(source.std, rel=1e-3, abs=1e-5)
        assert source.interval[0] <= source.interval[1]
    shares = [source.share for source in found.sources.values()]
    assert found.std == 0 or sum(shares) == pytest.approx(1)
    assert found.std == pytest.approx(np.sqrt(sum(source.std**2 for source in found.sources.values())))
    assert found.range[0] <= found.median <= found.range[1]


def test_a_seed_that_diverged_is_left_out_everywhere_and_counted() -> None:
    errors = errors_of(np.random.default_rng(1), {"D": 0.5, "DS": 0.3, "N": 0.2, "e": 0.1})
    expected = variances_of(np.delete(errors, 2, axis=1))
    errors[3, 2] = np.nan
    found = components_of(errors)
    assert [source.std**2 for source in found.sources.values()] == pytest.approx(expected)
    assert (found.diverged, found.seeds, found.training_sets, found.draws) == (1, 6, 8, 5)
    errors[:, 1:, 0] = np.nan
    found = components_of(errors)
    assert found.diverged == 8 * 5
    assert np.isnan([found.std, found.median, *(source.std for source in found.sources.values())]).all()


OF_EVERY_RUN = {"times": np.zeros(3), "sine": np.zeros(3), "shown": np.array(0)}
"""Arrays that no error is computed from."""


def write_jobs(folder: Path, sets: int = 3, seeds: int = 2, draws: int = 4, **changes: Any) -> list[dict[str, Any]]:
    """Made-up jobs of two networks; that of training set i has errors of i + 1."""
    jobs = []
    for network, number in product(("tanh", "gelu"), range(sets)):
        name = f"data.seed={number},{network}"
        job = made_up_job(
            name,
            network,
            seed=0,
            num_seeds=seeds,
            data_seed=number,
            per_seed=False,
            overrides={"activation": network, "data.seed": str(number)},
            metrics={"val/mse": {"per_seed": [number + 1.0] * seeds}},
        )
        (folder / name).mkdir(exist_ok=True)
        errors = np.full((seeds, draws), number + 1.0)
        write_arrays(folder / name, {"draws_mse_0.1": errors, "draws_mean_mse_0.1": errors / 2} | OF_EVERY_RUN)
        jobs.append(job | changes)
    return jobs


def test_a_sweep_over_training_sets_is_decomposed(tmp_path: Path) -> None:
    jobs = write_jobs(tmp_path)
    found = components(reversed(jobs), tmp_path)
    metrics = ["val/mse", "sine/mse_noise_0.1", "sine/mean_mse_noise_0.1"]
    assert [(each.network, each.metric) for each in found] == list(product(("tanh", "gelu"), metrics))
    for each in found:
        assert (each.latent_dim, each.training_sets, each.seeds) == (5, 3, 2)
        assert each.median == (1 if "mean" in each.metric else 2)
        assert each.sources[SOURCES[0]].std == pytest.approx(np.log([1, 2, 3]).std(ddof=1))
        assert each.sources[SOURCES[0]].share == pytest.approx(1)
    write_arrays(tmp_path / jobs[0]["job"], OF_EVERY_RUN)
    assert [each.metric for each in components(jobs, tmp_path) if each.network == "tanh"] == ["val/mse"]
    assert len(components([*jobs[1:], jobs[0] | {"status": "failed"}], tmp_path)) == 6
    del jobs[0]["data_seed"]  # as in a damaged record
    assert [each.training_sets for each in components(jobs, tmp_path)] == [2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize(
    "changes", [{"per_seed": True}, {"num_seeds": 1}, {"data_seed": 0}, {"file": "signals.npy"}, {"fresh": True}]
)
def test_other_sweeps_have_no_components(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert components(write_jobs(tmp_path, **changes), tmp_path) == []


def test_the_design_names_gaps_and_trainings_that_diverged(tmp_path: Path) -> None:
    jobs = write_jobs(tmp_path)
    assert (
        describe_design(components(jobs, tmp_path))
        == "Each network was trained with 2 seeds on each of 3 training sets (data.seed)."
    )
    jobs[1]["metrics"]["val/mse"]["per_seed"][0] = None
    said = describe_design(components(jobs[:-1], tmp_path))
    assert "2 seeds on each of 2 to 3 training sets" in said
    assert "diverged (1 of tanh with a latent of 5)" in said


def test_a_damaged_file_of_reconstructions_is_a_missing_one(tmp_path: Path) -> None:
    jobs = write_jobs(tmp_path)
    file = tmp_path / jobs[0]["job"] / "reconstructions.npz"
    for content in (file.read_bytes()[:200], b"", b"damaged"):
        file.write_bytes(content)
        assert [each.metric for each in components(jobs, tmp_path) if each.network == "tanh"] == ["val/mse"]
