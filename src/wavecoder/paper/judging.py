"""How seeds become a verdict.

The paper shows one training of each network. Here every claim is judged in every seed, and the verdict says in how many it holds,
with the interval of that fraction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

HOLDS = "holds"
CANNOT_BE_JUDGED = "cannot be judged"
WORDS = {
    HOLDS: "in at least 95 % of seeds, and the interval of that fraction is above one half",
    "holds in most seeds": "the interval of the fraction is above one half",
    "undecided": "in all seeds or in none, but they are so few that the interval includes one half",
    "holds in some seeds": "the interval of the fraction includes one half",
    "holds in few seeds": "the interval of the fraction is below one half",
    "does not hold": "in at most 5 % of seeds, and the interval of that fraction is below one half",
}
"""The words of a verdict and what each means, from the best to the worst; `judge` chooses one."""
_ALL, _HALF, _NONE = 0.95, 0.5, 0.05  # fractions of seeds
_LEAST_VALUES = 6  # that have an interval of their median
_Z = 1.959964  # the 97.5 % quantile of the normal distribution

Values = Float[ndarray, " member"]
Holds = Bool[ndarray, " member"]


@dataclass(frozen=True)
class Verdict:
    """What the results say about one claim, or one part of it.

    Attributes:
        name: C1a and so on.
        claim: What the paper says.
        criterion: The condition under which the claim holds in a seed.
        statistic: What `values` are.
        values: The quantity that the criterion looks at, in each seed; NaN where training diverged.
        value: Their median over the seeds that did not diverge.
        interval: Its 95 % bootstrap interval over seeds, see `bootstrap`.
        fraction: The fraction of seeds in which the claim holds.
        fraction_interval: Its 95 % interval, see `wilson`.
        seeds: How many seeds there are; 0 if the claim cannot be judged.
        word: One of `WORDS`, or `CANNOT_BE_JUDGED`.
        worst: What the claim rests on, if it is about several models or latents and holds for some of them less often than for
            others: which of them is the worst and in how many seeds it holds, for example "sigmoid: 81 % of seeds"; or empty.
        is_papers: Whether the paper says it; false for what we add to explain a claim.
        evidence: Other numbers that explain it, in sentences.
    """

    name: str
    claim: str
    criterion: str
    statistic: str = ""
    values: Sequence[float] = ()
    value: float = float("nan")
    interval: tuple[float, float] = (float("nan"), float("nan"))
    fraction: float = float("nan")
    fraction_interval: tuple[float, float] = (float("nan"), float("nan"))
    seeds: int = 0
    word: str = CANNOT_BE_JUDGED
    worst: str = ""
    is_papers: bool = True
    evidence: Sequence[str] = ()


@dataclass(frozen=True)
class Claim:
    """A claim of the paper with the verdicts on its parts.

    Attributes:
        name: C1 to C8.
        claim: What the paper says, in one sentence.
        parts: The verdicts, at least one.
    """

    name: str
    claim: str
    parts: Sequence[Verdict]

    @property
    def worst(self) -> Verdict:
        """The part with the worst verdict, of those that the paper claims: the verdict on the whole claim."""
        order = [CANNOT_BE_JUDGED, *reversed(WORDS)]
        return min((part for part in self.parts if part.is_papers), key=lambda part: (order.index(part.word), part.fraction))

    @property
    def word(self) -> str:
        """The word of the worst part."""
        return self.worst.word


def bootstrap(values: Values) -> tuple[float, float]:
    """A 95 % percentile interval of the median over seeds (Efron 1979), the same at every call; NaN for fewer than six values.

    Even the whole range of n values covers their distribution's median with a probability of 1 - 2^(1 - n) alone, for five 94 %.
    """
    if len(values) < _LEAST_VALUES:
        return float("nan"), float("nan")
    source = np.random.default_rng(0)
    medians = np.median(source.choice(values, (4000, len(values))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(low), float(high)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """A 95 % interval of a fraction of independent trials (Wilson 1927), good for few trials too (Brown, Cai & DasGupta 2001).

    A bootstrap would give no width to a fraction of 0 or 1.
    """
    fraction, spread = successes / trials, _Z**2 / trials
    middle = (fraction + spread / 2) / (1 + spread)
    half = np.sqrt(spread * fraction * (1 - fraction) + spread**2 / 4) / (1 + spread)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return (0.0 if successes == 0 else float(low)), (1.0 if successes == trials else float(high))


def judge(holds: Holds) -> str:
    """The word of `WORDS` for a claim, from whether it holds in each seed."""
    fraction, (low, high) = holds.mean(), wilson(int(holds.sum()), len(holds))
    if low > _HALF:
        return HOLDS if fraction >= _ALL else "holds in most seeds"
    if high < _HALF:
        return "does not hold" if fraction <= _NONE else "holds in few seeds"
    return "holds in some seeds" if 0 < fraction < 1 else "undecided"


def percent(fraction: float) -> str:
    """A fraction as people write it: 84 %; a dash if there is none."""
    return f"{100 * fraction:.0f} %" if np.isfinite(fraction) else "–"


def share(holds: Holds) -> str:
    """In how many seeds something holds, as a phrase."""
    return f"{percent(float(holds.mean()))} of seeds"


def worst_of(holds: Mapping[str, Holds]) -> str:
    """Of several, the one for which something holds in the fewest seeds, and in how many; empty if there is no such seed."""
    name = min(holds, key=lambda name: holds[name].mean())
    return "" if holds[name].all() else f"{name}: {share(holds[name])}"


def make_verdict(
    name: str,
    claim: str,
    criterion: str,
    statistic: str,
    values: Values,
    holds: Holds,
    evidence: Sequence[str] = (),
    worst: str = "",
    is_papers: bool = True,
) -> Verdict:
    """A verdict with its fraction, median and intervals.

    Args:
        name: See `Verdict`, like the others.
        claim: What the paper says.
        criterion: The condition under which it holds in a seed.
        statistic: What `values` are.
        values: The quantity that the criterion looks at, in each seed; NaN where training diverged.
        holds: Whether the claim holds in each seed; false where training diverged.
        evidence: Other numbers, in sentences.
        worst: The worst of several models or latents, see `worst_of`.
        is_papers: Whether the paper says it.
    """
    finite = values[np.isfinite(values)]
    value, interval = (float(np.median(finite)), bootstrap(finite)) if len(finite) else (float("nan"), (float("nan"),) * 2)
    fraction, seeds = float(holds.mean()), len(holds)
    return Verdict(
        name,
        claim,
        criterion,
        statistic,
        values=tuple(values.tolist()),
        value=value,
        interval=interval,
        fraction=fraction,
        fraction_interval=wilson(int(holds.sum()), seeds),
        seeds=seeds,
        word=judge(holds),
        worst=worst,
        is_papers=is_papers,
        evidence=evidence,
    )
