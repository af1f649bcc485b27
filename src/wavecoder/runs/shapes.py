"""What JSON files in runs' folders must look like, so that one that is damaged, or of something else, is noticed."""

import json
import math
from collections.abc import Mapping
from typing import Any

_NUMBER_OR_NONE = (float, None)
_CURVE = [[_NUMBER_OR_NONE]]  # a row for each step, with a value for each member
_SUMMARY = dict.fromkeys(("mean", "std", "min", "max", "median"), _NUMBER_OR_NONE) | {"per_seed": [_NUMBER_OR_NONE]}
_BEGUN = {
    "status": str,
    "config_fingerprint?": (str, None),
    "error?": str,
    "overrides?": {str: str},
    "place?": {"host": str, "pid": int, "slurm_job?": str},
    "origin?": {"finished": str, "machine?": str, "gpu?": str, "commit?": str},
    "file?": str,
    "max_epochs?": (int, None),
    "diverged?": {str: int},
    "dead?": [int],
    "engine?": {"name": str},
    "resumes?": bool,
    "started_by?": str,
}
_DIVERGED = {"error": str, "diverged": {str: int}, "seed": int, "num_seeds": int}
_MEASURED = {
    "network": str,
    "model": str,
    "activation": (str, None),
    "bias": bool,
    "latent_dim": int,
    "noise": {"eval_std": [float], "train_std": (float, [float]), "train_between?": str, "draws?": int},
    "seed": int,
    "num_seeds": int,
    "data_seed?": int,
    "basis?": str,
    "metrics": {"val/mse": _SUMMARY, str: _SUMMARY},
    "references": {str: {str: float}},
    "subspace?": {"steps": [int], "linear/excess": _CURVE, "linear/largest_angle": _CURVE, str: _CURVE},
    "engine": {"name": str},
    "timing": {"fit_seconds": float, "steps": int},
    "versions": {str: str},
}
STATUSES = ("unfinished", "completed", "failed", "diverged", "outdated")
JOB: dict[Any, Any] = {"name": str, "overrides": [str], "fingerprint": str}
"""A job in the list of a batch's tasks."""
BATCH: dict[Any, Any] = {
    "token": str,
    "launcher": str,
    "host": str,
    "pid": int,
    "launched": float,
    "hydra_overrides": [str],
    "tasks": [[JOB | {"stacked": [JOB]}]],
}
"""The list of tasks that were launched together."""


def fits(value: Any, shape: Any) -> bool:
    """Whether a value read from JSON has a shape.

    Args:
        value: Anything.
        shape: A type, where `float` is any finite number; None; a tuple of shapes that are allowed; a list with the shape of each
            entry; or a dictionary of keys that are needed (with a `?` after them: that may be missing) and the shapes of their
            values, the key `str` standing for all others.

    Example:
        >>> fits({"seed": 1, "mean": None}, {"seed": int, "mean": (float, None), "error?": str})
        True
    """
    match shape:
        case tuple():
            return any(fits(value, each) for each in shape)
        case list():
            return isinstance(value, list) and all(fits(each, shape[0]) for each in value)
        case dict():
            return isinstance(value, dict) and _entries_fit(value, shape)
    if shape is None:
        return value is None
    if shape in (int, float):
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        return whole or (shape is float and isinstance(value, float) and math.isfinite(value))
    return isinstance(value, shape)


def _entries_fit(value: Mapping[Any, Any], shape: Mapping[Any, Any]) -> bool:
    named = {key.removesuffix("?"): each for key, each in shape.items() if key is not str}
    needed = {key for key in shape if key is not str and not key.endswith("?")}
    of_others = shape.get(str, object)
    return needed <= value.keys() and all(fits(each, named.get(key, of_others)) for key, each in value.items())


def is_record(content: Any) -> bool:
    """Whether something is the content of a `results.json`: of a run that has begun, or of one that has been measured too."""
    if not fits(content, _BEGUN) or content["status"] not in STATUSES:
        return False
    if not all(seed.isdecimal() for seed in content.get("diverged", ())):
        return False
    if content["status"] == "diverged" and not fits(content, _DIVERGED):
        return False
    try:
        json.dumps(content, ensure_ascii=False).encode()  # half of a character cannot be printed
    except ValueError:
        return False
    if content["status"] != "completed" and "metrics" not in content:
        return True
    if not fits(content, _MEASURED):
        return False
    curves = dict(content.get("subspace", {"steps": []}))
    steps = curves.pop("steps")
    sizes = {len(summary["per_seed"]) for summary in content["metrics"].values()}
    sizes |= {len(row) for curve in curves.values() for row in curve}
    fit = sizes == {content["num_seeds"]} and all(len(curve) == len(steps) for curve in curves.values())
    return fit and curves.keys() <= content["metrics"].keys()
