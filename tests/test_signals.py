import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wavecoder import signals
from wavecoder.signals import FAMILIES, generator

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
    ours = signals.waves(torch.tensor([NAMES.index(name)]), torch.tensor([r]), NAMES).at(times)[0]
    angles = np.float64(r) * np.arange(100) / 10
    np.testing.assert_allclose(ours.numpy(), FORMULAS[name](angles), atol=3e-5)


def test_unknown_family_is_refused() -> None:
    with pytest.raises(KeyError, match="saw"):
        signals.waves(torch.zeros(1, dtype=torch.int64), torch.ones(1), ["saw"])


def test_sampled_signals_have_the_population_moments() -> None:
    times = signals.time_grid(100, 0.1)
    drawn = signals.sample(200_000, NAMES, 2.25, generator("cpu", "moments")).at(times).double()
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
        assert torch.equal(ranks.floor(), torch.arange(len(r), dtype=torch.float64)), "a stretch has none or two"


def test_families_are_equally_likely_and_restricted_to_those_asked_for() -> None:
    drawn = signals.sample(50_000, ["sin", "sin*cos"], 1.0, generator("cpu", 1))
    share = (drawn.amplitude == 0.5).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.01)
    assert set(drawn.amplitude.unique().tolist()) == {0.5, 1.0}
    assert drawn.frequency[drawn.amplitude == 1.0].std().item() == pytest.approx(1.0, abs=0.02)


def test_a_generators_stream_depends_on_its_key_alone() -> None:
    torch.manual_seed(1)
    first = torch.randn(5, generator=generator("cpu", 0, "noise", 3))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(first, torch.randn(5, generator=generator("cpu", 0, "noise", 3)))
    assert torch.equal(state, torch.get_rng_state()), "the global generator was drawn from"
    for other in [(0, "noise", 4), (1, "noise", 3), (0, "order", 3), (0, "noise")]:
        assert not torch.equal(first, torch.randn(5, generator=generator("cpu", *other)))


@given(level=st.floats(0.01, 3.0))
def test_noise_is_white_with_the_given_deviation(level: float) -> None:
    clean = torch.ones(400, 100)
    noise = signals.add_noise(clean, level, generator("cpu", "white")) - clean
    assert noise.std().item() == pytest.approx(level, rel=0.02)
    assert abs(noise.mean().item()) < 0.03 * level
    neighbours = (noise[:, 1:] * noise[:, :-1]).mean().item() / level**2
    assert abs(neighbours) < 5 / math.sqrt(noise.numel())
