import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from rich.console import Console

from wavecoder.runs import results


def record(val: list[float], status: str = "completed") -> dict[str, Any]:
    return {
        "status": status,
        "activation": "tanh",
        "latent_dim": 5,
        "seed": 0,
        "num_seeds": len(val),
        "metrics": {
            "val/mse": results.summarise(val),
            "val/mse/over_svd": results.summarise([value / 0.3 for value in val]),
        },
        "references": {"svd": {"val/mse": 0.3}, "pca": {"val/mse": 0.29}},
        "timing": {"fit_seconds": 1.5, "steps": 10, "signals_per_second": 100.0},
    }


def text_of(table: Any) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(table)
    return console.export_text()


@given(st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=20))
def test_summary_statistics_equal_numpys(values: list[float]) -> None:
    summary = results.summarise(values)
    assert summary["per_seed"] == values
    expected = [np.mean(values), np.std(values, ddof=1), np.min(values), np.max(values), np.median(values)]
    np.testing.assert_allclose([summary[key] for key in ("mean", "std", "min", "max", "median")], expected, rtol=1e-9, atol=1e-12)


def test_one_replica_has_no_spread() -> None:
    assert results.summarise([0.5]) == {"mean": 0.5, "std": 0.0, "min": 0.5, "max": 0.5, "median": 0.5, "per_seed": [0.5]}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_diverged_replica_leaves_no_statistics(tmp_path: Path, bad: float) -> None:
    diverged = record([0.1, bad])
    assert diverged["metrics"]["val/mse"]["per_seed"] == [0.1, None]
    assert diverged["metrics"]["val/mse"]["mean"] is None
    results.write_results(tmp_path, diverged)
    json.loads((tmp_path / "results.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert "diverged" in text_of(results.closing_table(diverged))
    assert "diverged" in results.closing_line(diverged)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "results.json"
    results.write_atomically(file, "old")

    def no_space(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="no space"):
        results.write_atomically(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_fingerprint_follows_what_changes_numbers() -> None:
    config: Any = {"seed": 0, "optimizer": {"lr": 1e-3, "betas": [0.9, 0.999]}, "logger": {"save_dir": "/a"}, "callbacks": {}}
    same = {"callbacks": {"x": 1}, "logger": None, "optimizer": {"betas": [0.9, 0.999], "lr": 0.001}, "seed": 0}
    prints = [results.fingerprint(OmegaConf.create(each)) for each in (config, same, config | {"seed": 1})]
    assert prints[0] == prints[1] != prints[2]


def test_closing_table_puts_the_autoencoder_beside_the_references() -> None:
    many = text_of(results.closing_table(record([0.1, 0.2])))
    for expected in ("0.15 ± 0.071", "SVD", "PCA", "0.3", "0.29", "best", "/ SVD", "0.5"):
        assert expected in many
    assert "±" not in text_of(results.closing_table(record([0.1])))


def test_a_sweep_is_read_back_best_first_and_gaps_are_named(tmp_path: Path) -> None:
    jobs = {
        "a": record([0.2]),
        "b": record([0.1, 0.1]),
        "c": {"status": "failed", "error": "ValueError: no, never"},
        "d": None,
        "e": record([math.nan]),
    }
    for name, job in jobs.items():
        (tmp_path / name / ".hydra").mkdir(parents=True)
        if job is not None:
            results.write_results(tmp_path / name, job)
    (tmp_path / "notes").mkdir()
    sweep = results.read_sweep(tmp_path)
    assert [(job["job"], job["status"]) for job in sweep] == [
        ("b", "completed"),
        ("a", "completed"),
        ("e", "completed"),
        ("c", "failed"),
        ("d", "unfinished"),
    ]
    shown = text_of(results.sweep_table(sweep))
    for expected in ("5 jobs", "failed: ValueError: no, never", "unfinished", "diverged", "0.667"):
        assert expected in shown
    with results.write_summary(tmp_path, sweep).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["job"] for row in rows] == ["b", "a", "e", "c", "d"]
    assert float(rows[0]["val/mse mean"]) == 0.1
    assert float(rows[0]["svd val/mse"]) == 0.3
    assert rows[3]["error"] == "ValueError: no, never"
    assert rows[4]["val/mse mean"] == ""


def test_the_table_has_a_column_for_each_override_in_which_jobs_differ() -> None:
    chosen = [{"activation": "tanh", "debug": "quick", "optimizer.lr": "0.00123456789"}, {"activation": "relu", "debug": "quick"}]
    jobs = [record([0.1]) | {"job": str(number), "overrides": overrides} for number, overrides in enumerate(chosen)]
    assert results.varied(jobs) == ["activation", "optimizer.lr"]
    shown = text_of(results.sweep_table(jobs))
    for expected in ("activation", "tanh", "optimizer.lr", "0.001235"):
        assert expected in shown
    assert "quick" not in shown
