"""Results on disk: summaries over seeds, records of runs, sweeps read back."""

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from run_files import made_up_record

from wavecoder.runs import pooling, results
from wavecoder.runs.store import read_sweep
from wavecoder.training.files import remove_old_leftovers, write_atomically


@given(st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=20))
def test_summary_statistics_equal_numpys(values: list[float]) -> None:
    summary = results.summarise(values)
    assert summary["per_seed"] == values
    expected = [np.mean(values), np.std(values, ddof=1), np.min(values), np.max(values), np.median(values)]
    np.testing.assert_allclose([summary[key] for key in ("mean", "std", "min", "max", "median")], expected, rtol=1e-9, atol=1e-12)


def test_one_seed_has_no_spread() -> None:
    assert results.summarise([0.5]) == {"mean": 0.5, "std": 0.0, "min": 0.5, "max": 0.5, "median": 0.5, "per_seed": [0.5]}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_diverged_seed_leaves_no_statistics(tmp_path: Path, bad: float) -> None:
    diverged = made_up_record([0.1, bad])
    assert diverged["metrics"]["val/mse"]["per_seed"] == [0.1, None]
    assert diverged["metrics"]["val/mse"]["mean"] is None
    results.write_results(tmp_path, diverged)
    json.loads((tmp_path / "results.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "results.json"
    write_atomically(file, "old")

    def no_space(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="no space") as error:
        write_atomically(file, "new", "before")
    assert error.value.filename == str(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_names_are_on_the_disk_when_the_file_before_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[dict[str, str]] = []

    def sync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            synced.append({path.name: path.read_text() for path in tmp_path.iterdir()})

    monkeypatch.setattr("os.fsync", sync)
    for content in "abc":
        write_atomically(tmp_path / "last", content, "before")
    assert synced == [{"last": "a"}, {"last": "b", "before": "a"}, {"last": "c", "before": "b"}]


def test_what_was_half_written_for_a_sweep_is_removed_when_nobody_can_be_writing_it(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks" / "token"
    tasks.mkdir(parents=True)
    old, new = (tmp_path / ".summary.csv.0123abcd", tasks / ".tasks.json.0123abcd"), (tmp_path / ".summary.csv.4567abcd",)
    others = (tmp_path / ".mine", tmp_path / "summary.csv.0123abcd")
    for file in (*old, *new, *others):
        file.touch()
    for file in (*old, *others):
        os.utime(file, (1, 1))
    remove_old_leftovers(tmp_path, "tasks/*")
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted((*new, *others))


def test_fingerprint_follows_what_changes_numbers() -> None:
    config: Any = {
        "seed": 0,
        "optimizer": {"lr": 1e-3, "betas": [0.9, 0.999]},
        "engine": {"name": "auto"},
        "logger": {"save_dir": "/a"},
        "callbacks": {},
    }
    same = {
        "callbacks": {"x": 1},
        "logger": None,
        "optimizer": {"betas": [0.9, 0.999], "lr": 0.001},
        "engine": {"name": "auto"},
        "seed": 0,
    }
    other = [config | {"seed": 1}, config | {"engine": {"name": "pytorch"}}]
    prints = [results.fingerprint(OmegaConf.create(each)) for each in (config, same, *other)]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_a_sweep_is_read_back_best_first_and_gaps_are_named(tmp_path: Path) -> None:
    jobs = {
        "a": made_up_record([0.2]),
        "b": made_up_record([0.1, 0.1]),
        "c": {"status": "failed", "error": "ValueError: no, never"},
        "d": None,
        "e": made_up_record([math.nan]),
    }
    for name, job in jobs.items():
        (tmp_path / name / ".hydra").mkdir(parents=True)
        if job is not None:
            results.write_results(tmp_path / name, job)
    (tmp_path / "notes").mkdir()
    assert [(job["job"], job["status"]) for job in read_sweep(tmp_path)] == [
        ("b", "completed"),
        ("a", "completed"),
        ("e", "completed"),
        ("c", "failed"),
        ("d", "unfinished"),
    ]


def test_a_record_of_an_earlier_version_is_outdated(tmp_path: Path) -> None:
    """The first version wrote no schema number and kept the values of seeds by another name."""
    old = made_up_record([0.1]) | {"config_fingerprint": "f"}
    del old["schema"]
    old["metrics"]["val/mse"]["per_replica"] = old["metrics"]["val/mse"].pop("per_seed")
    for name, record in {"old": old, "new": made_up_record([0.2]), "future": old | {"schema": 99}}.items():
        (tmp_path / name).mkdir()
        results.write_results(tmp_path / name, record)
    sweep = {job["job"]: job for job in read_sweep(tmp_path)}
    assert {name: job["status"] for name, job in sweep.items()} == {"new": "completed", "old": "outdated", "future": "outdated"}
    expected = "written by another version of wavecoder (results.json of schema 1; this version reads 2)"
    assert sweep["old"]["error"] == expected
    results.write_results(tmp_path / "old", {"status": "completed"})
    assert results.read_record(tmp_path / "old")["error"] == expected
    results.write_results(tmp_path / "old", {"status": "completed", "schema": results.SCHEMA})
    assert not results.has_ended(results.read_record(tmp_path / "old"), "f")
    assert "schema 99" in sweep["future"]["error"]
    assert "metrics" not in sweep["old"]
    assert results.engines(list(sweep.values())) == {"PyTorch": 1}


def test_jobs_that_differ_in_their_seed_alone_are_pooled() -> None:
    chosen = [{"seed": "0", "activation": "tanh"}, {"seed": "3", "activation": "tanh"}, {"seed": "0", "activation": "relu"}]
    jobs = [made_up_record([0.1 + n, 0.2 + n]) | {"job": str(n), "overrides": overrides} for n, overrides in enumerate(chosen)]
    pooled = pooling.pool_seeds(jobs)
    assert [job["num_seeds"] for job in pooled] == [4, 2]
    assert pooled[0]["metrics"]["val/mse"]["per_seed"] == [0.1, 0.2, 1.1, 1.2]
    assert pooled[0]["metrics"]["val/mse"]["mean"] == pytest.approx(0.65)
    assert (pooled[0]["seed"], pooled[0]["timing"]["fit_seconds"]) == ("2 values", 3.0)


def test_the_engine_of_a_run_is_noted_when_it_begins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    results.write_results(tmp_path, {"status": "unfinished", "resumes": True})
    for name in ("PyTorch", "PyTorch", "compiled AVX2"):
        results.note_engine(tmp_path, {"name": name, "reason": "for a test"})
        assert results.read_record(tmp_path)["engine"] == {"name": name, "reason": "for a test"}
    expected = "resumed by another engine (compiled AVX2) than before (PyTorch); results agree up to rounding"
    assert caplog.messages == [expected]
