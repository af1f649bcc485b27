import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wavecoder import signals
from wavecoder.families import FAMILIES
from wavecoder.rng import generator
from wavecoder.signals import SignalSet, SignalSource, Sinusoids, SinusoidSource

NAMES = list(FAMILIES)
# The paper's five formulas (4.2), written as the paper writes them.
FORMULAS = {
    "sin": lambda a: np.sin(a),
    "cos": lambda a: np.cos(a),
    "sin+cos": lambda a: np.sin(a) + np.cos(a),
    "sin-cos": lambda a: np.sin(a) - np.cos(a),
    "sin*cos": lambda a: np.sin(a) * np.cos(a),
}


def population_second_moment(times: np.ndarray, sigma: float = 2.25) -> np.ndarray:
    """C(u, v) of SPEC section 6, with φ(a) = exp(-σ²a²/2)."""
    u, v = times[:, None], times[None, :]
    phi = lambda a: np.exp(-(sigma**2) * a**2 / 2)  # noqa: E731
    return (3 * phi(u - v) + phi(2 * (u - v)) / 8 - phi(2 * (u + v)) / 8) / 5


def test_time_grid_is_the_papers() -> None:
    grid = signals.time_grid(100, 0.1)
    np.testing.assert_array_equal(grid.numpy(), (np.arange(100) / 10).astype(np.float32))


@given(r=st.floats(-10, 10, width=32), name=st.sampled_from(NAMES))
def test_every_family_is_the_papers_formula(r: float, name: str) -> None:
    times = signals.time_grid(100, 0.1)
    ours = signals.sinusoids(torch.tensor([NAMES.index(name)]), torch.tensor([r]), NAMES).evaluate(times)[0]
    angles = np.float64(r) * np.arange(100) / 10
    np.testing.assert_allclose(ours.numpy(), FORMULAS[name](angles), atol=3e-5)


def test_unknown_family_is_refused() -> None:
    with pytest.raises(KeyError, match="saw"):
        signals.sinusoids(torch.zeros(1, dtype=torch.int64), torch.ones(1), ["saw"])


def test_sampled_signals_have_the_population_moments() -> None:
    times = signals.time_grid(100, 0.1)
    drawn = signals.sample(200_000, NAMES, 2.25, generator("cpu", "moments")).evaluate(times).double()
    expected = population_second_moment(np.arange(100) / 10)
    second = (drawn.T @ drawn / len(drawn)).numpy()
    assert np.abs(second - expected).max() < 0.01  # standard errors are near 0.0016
    mean = np.exp(-(2.25**2) * (np.arange(100) / 10) ** 2 / 2) / 5
    assert np.abs(drawn.mean(0).numpy() - mean).max() < 0.01
    assert drawn.square().mean().item() == pytest.approx(0.624527, rel=0.005)


@pytest.mark.parametrize("count", [1, 7, 5000])
def test_stratified_signals_are_spread_evenly(count: int) -> None:
    drawn = signals.stratified_sample(count, ["sin", "sin*cos"], 2.25, generator("cpu", count))
    assert drawn.amplitude.shape == (count,)
    for amplitude, multiple in ((1.0, 1), (0.5, 2)):
        r = (drawn.frequency[drawn.amplitude == amplitude] / multiple / 2.25).double().sort().values
        ranks = torch.special.ndtr(r) * len(r)
        assert torch.equal(ranks.floor(), torch.arange(len(r), dtype=torch.float64)), "an interval has none or two"


def test_families_are_equally_likely_and_restricted_to_those_asked_for() -> None:
    drawn = signals.sample(50_000, ["sin", "sin*cos"], 1.0, generator("cpu", 1))
    share = (drawn.amplitude == 0.5).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.01)
    assert set(drawn.amplitude.unique().tolist()) == {0.5, 1.0}
    assert drawn.frequency[drawn.amplitude == 1.0].std().item() == pytest.approx(1.0, abs=0.02)


@given(std=st.floats(0.01, 3.0))
def test_noise_is_white_with_the_given_deviation(std: float) -> None:
    clean = torch.ones(400, 100)
    noise = signals.add_noise(clean, std, generator("cpu", "white")) - clean
    assert noise.std().item() == pytest.approx(std, rel=0.02)
    assert abs(noise.mean().item()) < 0.03 * std
    neighbours = (noise[:, 1:] * noise[:, :-1]).mean().item() / std**2
    assert abs(neighbours) < 5 / math.sqrt(noise.numel())


def test_sinusoids_are_taken_and_split_as_their_rows_are() -> None:
    times = signals.time_grid(50, 0.2)
    drawn = signals.sample(12, NAMES, 2.25, generator("cpu", "take"))
    rows = drawn.evaluate(times)
    assert isinstance(drawn, SignalSet)
    assert len(drawn) == 12
    index = torch.tensor([[3, 0, 3], [11, 5, 1]])
    assert drawn.take(index).evaluate(times).shape == (2, 3, 50)
    torch.testing.assert_close(drawn.take(index).evaluate(times), rows[index])
    parts = drawn.split(5)
    assert [len(part) for part in parts] == [5, 5, 2]
    torch.testing.assert_close(torch.cat([part.evaluate(times) for part in parts]), rows)


def test_rows_are_stored_as_the_compiled_engine_reads_them() -> None:
    drawn = Sinusoids(*(torch.randn(4, 3, 16) for _ in range(3)))
    assert drawn.evaluate(signals.time_grid(50, 0.2)).mT.is_contiguous()


def test_a_source_is_a_function_of_its_arguments() -> None:
    def drawn(source: SinusoidSource) -> list[torch.Tensor]:
        fresh = source.fresh([generator("cpu", "fresh", i) for i in range(2)], 10)
        sets = (source.training_set("cpu"), source.validation_set("cpu"), fresh)
        return [each.evaluate(source.times("cpu")) for each in sets]

    first = drawn(SinusoidSource(train_size=40, val_size=30, signal_length=50))
    assert isinstance(SinusoidSource(), SignalSource)
    assert [len(rows) for rows in first] == [40, 30, 20]
    torch.manual_seed(1)
    again = drawn(SinusoidSource(train_size=40, val_size=30, signal_length=50))
    other = drawn(SinusoidSource(train_size=40, val_size=30, signal_length=50, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert [torch.equal(a, b) for a, b in zip(first, other, strict=True)] == [False, False, True]  # fresh ones have own keys


def test_fresh_signals_of_a_generator_do_not_depend_on_the_others() -> None:
    source, times = SinusoidSource(), signals.time_grid(100, 0.1)
    both = source.fresh([generator("cpu", "fresh", i) for i in range(2)], 10).evaluate(times)
    alone = source.fresh([generator("cpu", "fresh", 1)], 10).evaluate(times)
    torch.testing.assert_close(both[10:], alone)


def test_a_source_knows_its_test_signal_and_its_prior() -> None:
    source = SinusoidSource(["sin"], sigma=1.5, signal_length=30, dt=0.2, test_frequency=2.0)
    times = np.arange(30) * 0.2
    np.testing.assert_allclose(source.test_signal("cpu").numpy(), np.sin(2 * times), atol=1e-6)
    prior = source.prior("cpu")
    assert (list(prior.families), prior.sigma) == (["sin"], 1.5)
    np.testing.assert_allclose(prior.times.numpy(), times, atol=1e-6)


def test_fresh_signals_can_have_another_spread_of_frequencies() -> None:
    keys = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    wide = SinusoidSource(["sin"], sigma=1.0, fresh_sigma=3.0, train_size=4000)
    assert wide.fresh(keys, 4000).frequency.std() == pytest.approx(3.0, rel=0.05)
    assert wide.training_set("cpu").frequency.std() == pytest.approx(1.0, rel=0.05)
    assert wide.validation_set("cpu").frequency.std() == pytest.approx(1.0, rel=0.05)
    narrowing = SinusoidSource(["sin"], sigma=1.0, fresh_sigma=[3.0, 1.0], train_size=4000)
    for progress, sigma in ((0.0, 3.0), (0.25, 2.5), (1.0, 1.0)):
        assert narrowing.fresh(keys, 4000, progress).frequency.std() == pytest.approx(sigma, rel=0.05)
