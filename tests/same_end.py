"""Whether two runs have ended in the same state, to the bit: weights, optimiser, metrics, and TensorBoard's curves."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from wavecoder.runs.results import BEST_CHECKPOINT, LAST_CHECKPOINT, read_record
from wavecoder.training.files import read_arrays

_OWN = re.compile("/seconds$|/current_score$|^/session/curves/sizes/")  # what differs: times, and what Lightning never reads back
_MEASURED = ("status", "network", "metrics", "references", "subspace", "num_seeds", "engine", "config_fingerprint")


def assert_same_end(run: Path, other: Path) -> None:
    """Compare all that a run leaves but for times; the message of an assertion says what differs."""
    records = [read_record(folder) for folder in (run, other)]
    for part in _MEASURED:
        assert records[0].get(part) == records[1].get(part), f"results.json: {part}"
    for name in (LAST_CHECKPOINT, BEST_CHECKPOINT):
        states = [_checkpoint(folder, name) for folder in (run, other)]
        assert states[0].keys() == states[1].keys(), (name, states[0].keys() ^ states[1].keys())
        for key, value in states[0].items():
            assert _same(value, states[1][key]), f"{name}: {key}: {value} {states[1][key]}"
    arrays = [read_arrays(folder) or {} for folder in (run, other)]
    assert arrays[0].keys() == arrays[1].keys()
    assert all((arrays[0][key] == arrays[1][key]).all() for key in arrays[0])
    assert curves(run) == curves(other)
    for tag, points in curves(run).items():
        assert len({step for step, _ in points}) == len(points), f"{tag} has points twice"


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The points of all curves, by folder and tag, in the order of their steps; a point that is there twice is twice in it."""
    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted((run / "tb").glob("*/events*")):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                for number in value.tensor.float_val:
                    found.setdefault(f"{file.parent.name}: {value.tag}", []).append((event.step, number))
    return {tag: sorted(points) for tag, points in found.items()}


def temporary(run: Path) -> list[str]:
    """Files that a complete run has no use for, relative to its folder."""
    names = (path.relative_to(run) for path in run.rglob("*"))
    hidden = re.compile(r"\.(?!hydra$|lock$|fingerprint$)|previous\.ckpt|.*\.damaged")
    return sorted(str(name) for name in names if hidden.match(name.name))


def _checkpoint(run: Path, name: Path) -> dict[str, Any]:
    """The leaves of a checkpoint, by path, without times; the run's own folder is left out of names."""
    if not (run / name).exists():
        return {}
    leaves = _leaves(torch.load(run / name, map_location="cpu", weights_only=True))
    kept = ((key.replace(str(run), ""), value) for key, value in leaves if not _OWN.search(key))
    return {key: value.replace(str(run), "") if isinstance(value, str) else value for key, value in kept}


def _leaves(value: Any, path: str = "") -> Any:
    if isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, each in items:
            yield from _leaves(each, f"{path}/{key}")
    else:
        yield path, value


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.dtype == other.dtype and torch.equal(value.nan_to_num(), other.nan_to_num())
    return bool(value == other)
