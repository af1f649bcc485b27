"""Names of settings that do not exist: what was meant."""

from collections.abc import Iterable
from difflib import get_close_matches

RENAMED = {
    "replicas": "num_seeds",
    "data.samples": "data.signal_length",
    "data.step": "data.dt",
    "data.steps_per_chunk": "engine.steps_per_execution",
    "noise.levels": "noise.eval_std",
    "noise.train": "noise.train_std",
    "activation.name": "activation._target_",
    "activation.slope": "activation.negative_slope (leaky_relu) or activation.init (prelu)",
    "model.name": "model._target_",
}
"""Settings of earlier versions, and what they are called now."""


def no_such_setting(full_key: str, known: Iterable[str], what: str = "no such setting") -> str:
    """What to say of a setting that does not exist: the one that was meant, as far as that can be guessed, or those there are."""
    if full_key in RENAMED:
        return f"is now called {RENAMED[full_key]}"
    known = sorted(known)
    prefix, _, key = full_key.rpartition(".")
    if near := get_close_matches(key, known, n=1, cutoff=0.7):
        return f"{what}; did you mean {f'{prefix}.' if prefix else ''}{near[0]}?"
    return f"{what}; there are {', '.join(known)}" if known else what
