import math
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavecoder.references import population_moments
from wavecoder.signals import SinusoidSource, add_noise
from wavecoder.windows import SignalStatistics, excess_error, overlap_add

SOURCE = SinusoidSource(train_size=2000)
SIGNALS = SOURCE.training_set("cpu").evaluate(SOURCE.times("cpu"))
SECOND_MOMENT = population_moments(SOURCE.prior("cpu")).second_moment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sent_through(blocks: Iterable[Tensor], signal_length: int, function=lambda windows: windows) -> Tensor:
    return torch.cat(list(overlap_add(blocks, signal_length, function)), -1)


@settings(max_examples=150, deadline=None)
@given(
    length=st.integers(1, 400),
    signal_length=st.integers(1, 120),
    block=st.integers(1, 500),
    rows=st.sampled_from([(), (3,), (2, 2)]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_the_identity_gives_back_what_it_is_given(
    length: int, signal_length: int, block: int, rows: tuple[int, ...], dtype: torch.dtype
) -> None:
    x = 2 * torch.rand(*rows, length, generator=generator(), dtype=dtype) - 1
    back = sent_through(x.split(block, -1), signal_length)
    assert back.dtype == dtype
    assert back.shape == x.shape
    assert (back - x).abs().max() < 1e-6


@pytest.mark.parametrize("signal_length", [2, 7, 100])
def test_windows_are_added_as_the_formula_says(signal_length: int) -> None:
    """Against a loop over windows, with a function under which windows disagree about their samples."""
    x, hop = np.random.default_rng(0).normal(size=351), signal_length // 2
    hann = np.sin(np.pi * (np.arange(signal_length) + 0.5) / signal_length) ** 2
    starts = sorted({*range(0, len(x) - signal_length + 1, hop), len(x) - signal_length})
    sums, weights = np.zeros(len(x)), np.zeros(len(x))
    for start in starts:
        window = x[start : start + signal_length]
        sums[start : start + signal_length] += hann * (window * window.max())
        weights[start : start + signal_length] += hann
    result = sent_through(torch.from_numpy(x).split(40), signal_length, lambda rows: rows * rows.amax(1, keepdim=True))
    np.testing.assert_allclose(result, sums / weights, atol=1e-12)


def test_signals_shorter_than_a_window_are_reflected() -> None:
    seen: list[Tensor] = []

    def keep(windows: Tensor) -> Tensor:
        seen.append(windows)
        return windows

    assert sent_through([torch.tensor([1.0, 2.0]), torch.tensor([3.0])], 8, keep).tolist() == [1, 2, 3]
    assert seen[0].tolist() == [[1, 2, 3, 2, 1, 2, 3, 2]]
    assert list(overlap_add([], 8, keep)) == []
    assert list(overlap_add([torch.empty(0)], 8, keep)) == []


def test_the_ends_are_as_good_as_the_middle() -> None:
    """Every window has true samples only, so what is exact for such windows is exact everywhere."""
    t = torch.arange(1130, dtype=torch.float64) * 0.1
    x = torch.sin(t + 1)[None]
    basis = torch.linalg.qr(torch.stack([torch.sin(t[:100]), torch.cos(t[:100])], 1)).Q
    result = sent_through(x.split(200, -1), 100, lambda windows: windows @ basis @ basis.T)
    assert (result - x).abs().max() < 1e-6


def test_blocks_and_results_flow() -> None:
    """Memory is flat: after any block only the last window or two is held back."""
    taken = given_out = 0

    def blocks() -> Iterable[Tensor]:
        nonlocal taken
        for _ in range(50):
            taken += 30
            yield torch.ones(30)

    for part in overlap_add(blocks(), 100, lambda windows: windows):
        given_out += len(part)
        assert taken - given_out <= 150 + 30
    assert given_out == taken


def statistics_of(signals: Tensor, long: bool) -> SignalStatistics:
    statistics = SignalStatistics(SECOND_MOMENT)
    if long:

        def take(windows: Tensor) -> Tensor:
            statistics.update(windows)
            return windows

        sent_through(signals.split(5000), 100, take)
    else:
        statistics.update(signals)
    return statistics


RECORDINGS = {
    "sine": torch.sin(torch.arange(20_000) * 0.1),
    "slow and soft": 0.3 * torch.cos(torch.arange(20_000) * 0.03),
    "two": torch.sin(torch.arange(20_000) * 0.1) + torch.cos(torch.arange(20_000) * 0.23),
}


@pytest.mark.parametrize("std", [0.05, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("level", [False, True])
def test_the_noise_is_found(std: float, level: bool) -> None:
    rows = statistics_of(add_noise(SIGNALS, std, generator()), long=False)
    assert rows.noise_std(level) == pytest.approx(std, rel=0.02)
    for name, recording in RECORDINGS.items():
        found = statistics_of(add_noise(recording, std, generator()), long=True).noise_std(level)
        assert found == pytest.approx(std, rel=0.06), name


def test_clean_signals_have_no_noise() -> None:
    for level in (False, True):
        assert statistics_of(SIGNALS, long=False).noise_std(level) == 0
        for recording in (*RECORDINGS.values(), torch.zeros(500), torch.ones(500)):
            assert statistics_of(recording, long=True).noise_std(level) == 0


def test_a_strange_signal_is_not_noise() -> None:
    """A sine of a frequency that the training signals never have."""
    fast = torch.sin(torch.arange(20_000) * 1.0)
    assert statistics_of(fast, long=True).noise_std() == 0
    assert statistics_of(add_noise(fast, 0.3, generator()), long=True).noise_std() == pytest.approx(0.3, rel=0.06)


def test_the_likelihood_is_that_of_the_model() -> None:
    """Against the density of a multivariate normal distribution."""
    y = add_noise(SIGNALS[:40], 0.3, generator()).double()
    stds = torch.linspace(0.25, 0.35, 101, dtype=torch.float64)
    likelihoods = [
        torch.distributions.MultivariateNormal(
            torch.zeros(100, dtype=torch.float64), SECOND_MOMENT + std**2 * torch.eye(100, dtype=torch.float64)
        )
        .log_prob(y)
        .sum()
        for std in stds
    ]
    best = stds[int(torch.stack(likelihoods).argmax())].item()
    assert statistics_of(y, long=False).noise_std() == pytest.approx(best, abs=0.002)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 40.0])
def test_the_level_matches_the_power_of_the_training_signals(factor: float) -> None:
    noisy = add_noise(SIGNALS, 0.5, generator()) * factor
    statistics = statistics_of(noisy, long=False)
    assert statistics.noise_std(level=True) == pytest.approx(0.5 * factor, rel=0.02)
    assert statistics.level(0.5 * factor) * factor == pytest.approx(1, rel=0.02)
    assert statistics.power == pytest.approx(noisy.square().mean().item(), rel=1e-5)


def test_the_level_of_silence_and_of_mere_noise_stays_finite() -> None:
    assert statistics_of(torch.zeros(300), long=True).level(0.0) == 1
    noise = statistics_of(torch.randn(20_000, generator=generator()), long=True)
    assert noise.level(noise.noise_std(level=True)) < 5


def test_examples_are_spread_evenly_over_any_number_of_windows() -> None:
    statistics = SignalStatistics(torch.eye(1000, dtype=torch.float64))
    for number in range(900):
        statistics.update(torch.full((7, 1000), float(number)))
    values = statistics.examples[:, 0]
    assert 100 <= len(values) <= 200
    assert torch.equal(values, values.sort().values)
    assert values[0] == 0
    assert values[-1] > 880
    assert (values.diff() - values.diff().mean()).abs().max() < 5


def test_excess_is_what_noise_does_not_explain() -> None:
    """With a projection all of it is known: its error on clean signals."""
    vectors = torch.linalg.eigh(SECOND_MOMENT).eigenvectors[:, -5:].float()

    def project(windows: Tensor) -> Tensor:
        return windows @ vectors @ vectors.T

    error = (project(SIGNALS) - SIGNALS).square().mean().item()
    clean = excess_error(SIGNALS, project, torch.zeros(len(SIGNALS), 1), generator(1))
    assert clean.error == pytest.approx(error)
    assert clean.passed == 0
    for std in (0.1, 1.0):
        excess = excess_error(add_noise(SIGNALS, std, generator(2)), project, torch.full((len(SIGNALS), 1), std), generator(3))
        assert abs(excess.error - error) < 4 * excess.uncertainty
        assert excess.uncertainty < 0.02
        assert excess.passed == pytest.approx(5 * std**2 / 100, rel=0.1)
    assert math.isinf(excess_error(SIGNALS[:1], project, torch.ones(1, 1), generator()).uncertainty)
