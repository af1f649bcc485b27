"""What runs and sweeps leave in their folders, as tests read it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wavecoder.runs.results import SCHEMA, summarise


def made_up_record(val: list[float]) -> dict[str, Any]:
    """The record of a completed run with these `val/mse`, one for each seed."""
    return {
        "status": "completed",
        "schema": SCHEMA,
        "network": "tanh",
        "model": "deep",
        "activation": "tanh",
        "bias": True,
        "latent_dim": 5,
        "noise": {"eval_std": [0.1], "train_std": 0.0, "draws": 1},
        "seed": 0,
        "num_seeds": len(val),
        "metrics": {"val/mse": summarise(val), "val/mse/over_svd": summarise([value / 0.3 for value in val])},
        "references": {"svd": {"val/mse": 0.3}, "pca": {"val/mse": 0.29}},
        "engine": {"name": "PyTorch", "reason": "for a test"},
        "timing": {"fit_seconds": 1.5, "steps": 10, "signals_per_second": 100.0},
        "versions": {},
    }


def records(sweep: Path) -> dict[str, dict[str, Any]]:
    return {file.parent.name: json.loads(file.read_text()) for file in sweep.glob("*/results.json")}


def record_of(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run / "results.json").read_text())
    return record


def only_run(folder: Path) -> Path:
    """The folder of the only single run that was started in a folder."""
    (run,) = (folder / "outputs" / "runs").glob("*/*")
    return run


def metrics(sweep: Path) -> dict[str, Any]:
    return {name: record["metrics"] for name, record in records(sweep).items()}


def checkpoints(sweep: Path) -> list[Path]:
    return list(sweep.glob("*/checkpoints/last.ckpt"))


def stamps(sweep: Path, names: Iterable[str]) -> dict[str, int]:
    """When the records of some jobs were written."""
    return {name: (sweep / name / "results.json").stat().st_mtime_ns for name in names}


def completed(sweep: Path) -> list[str]:
    return [name for name, record in records(sweep).items() if record["status"] == "completed"]
