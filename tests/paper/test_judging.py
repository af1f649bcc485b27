import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from wavecoder.paper.judging import WORDS, Claim, Verdict, bootstrap, judge, wilson, worst_of


def test_the_bootstrap_is_scipys() -> None:
    values = np.random.default_rng(1).lognormal(size=32)
    theirs = scipy.stats.bootstrap((values,), np.median, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    np.testing.assert_allclose(bootstrap(values), theirs, rtol=0.05)


def test_few_values_have_no_interval() -> None:
    """The range of five would be too narrow for 95 %: all lie on one side of the median with a probability of 2 / 2^5 = 6 %."""
    assert np.isnan(bootstrap(np.arange(5.0))).all()
    assert np.isfinite(bootstrap(np.arange(6.0))).all()


@settings(deadline=None)
@given(trials=st.integers(1, 300), share=st.floats(0, 1))
def test_the_interval_of_a_fraction_is_scipys(trials: int, share: float) -> None:
    successes = round(share * trials)
    theirs = scipy.stats.binomtest(successes, trials).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(successes, trials), (theirs.low, theirs.high), atol=1e-7)


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [
        (32, 32, "holds"),
        (31, 32, "holds"),
        (30, 32, "holds in most seeds"),
        (27, 32, "holds in most seeds"),  # 84 %
        (20, 32, "holds in some seeds"),
        (16, 32, "holds in some seeds"),
        (4, 32, "holds in few seeds"),  # 12 %
        (2, 32, "holds in few seeds"),
        (1, 32, "does not hold"),
        (0, 32, "does not hold"),
        (8, 8, "holds"),
        (3, 8, "holds in some seeds"),  # 38 %
        (4, 4, "holds"),
        (3, 3, "undecided"),
        (0, 1, "undecided"),
        (1, 2, "holds in some seeds"),
    ],
)
def test_the_word_follows_the_fraction_and_its_interval(successes: int, trials: int, expected: str) -> None:
    assert judge(np.arange(trials) < successes) == expected


@given(trials=st.integers(1, 100), fewer=st.integers(0, 100), more=st.integers(0, 100))
def test_more_seeds_never_make_a_worse_word(trials: int, fewer: int, more: int) -> None:
    low, high = sorted((min(fewer, trials), min(more, trials)))
    worse, better = (judge(np.arange(trials) < successes) for successes in (low, high))
    if "undecided" not in (worse, better):
        assert list(WORDS).index(better) <= list(WORDS).index(worse)


def test_a_claim_has_the_word_of_its_worst_part() -> None:
    def part(name: str, word: str, fraction: float = 1.0, is_papers: bool = True) -> Verdict:
        return Verdict(name, "a claim", "a criterion", word=word, fraction=fraction, is_papers=is_papers)

    parts = [part("a", "holds"), part("b", "holds in most seeds", 0.8), part("c", "holds in most seeds", 0.7)]
    parts.append(part("d", "does not hold", 0.0, is_papers=False))
    claim = Claim("C9", "a claim", parts)
    assert (claim.worst.name, claim.word) == ("c", "holds in most seeds")
    assert Claim("C9", "a claim", [*parts, part("e", "cannot be judged", float("nan"))]).worst.name == "e"


def test_the_worst_of_several_is_named_unless_all_hold() -> None:
    holds = {"one": np.array([True, True]), "two": np.array([True, False])}
    assert worst_of(holds) == "two: 50 % of seeds"
    assert worst_of({"one": holds["one"]}) == ""
