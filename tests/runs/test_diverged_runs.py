"""Runs and jobs whose training goes wrong, as users see them."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import composed
from processes import Run, run_command, run_script
from run_files import made_up_record, record_of, records

import wavecoder
from wavecoder.runs import pooling, results, tables
from wavecoder.runs.limits import SettingError
from wavecoder.training.diverged import Diverged

DIVERGES: dict[str, Any] = {
    "debug": "quick",
    "logger": "none",
    "activation": "identity",
    "optimizer": "sgd",
    "optimizer.lr": 3.0,
    "data.train_size": 640,
    "data.val_size": 64,
    "trainer.max_epochs": 6,
    "callbacks.last.every_seconds": 0.0,
    "~callbacks.figures": None,
}
"""Gradient descent in steps that are too long: every seed diverges in the second epoch of ten steps."""

ARGUMENTS = [key if value is None else f"{key}={value}" for key, value in DIVERGES.items()]


@pytest.mark.slow
def test_a_run_that_is_stopped_is_recorded_as_diverged_and_not_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Diverged, match=r"^seed 1 diverged at step 1\d: its loss was (nan|inf)$") as raised:
        wavecoder.train(folder, **DIVERGES | {"seed": 1})
    record, message = record_of(folder), str(raised.value)
    step = record["diverged"]["1"]
    assert (record["status"], record["error"], 10 <= step < 20) == ("diverged", message, True)
    last = folder / results.LAST_CHECKPOINT
    before = last.stat().st_mtime_ns, (folder / results.RESULTS).stat().st_mtime_ns
    with pytest.raises(Diverged, match=re.escape(message)):
        wavecoder.train(folder, **DIVERGES | {"seed": 1})
    assert before == (last.stat().st_mtime_ns, (folder / results.RESULTS).stat().st_mtime_ns)
    with pytest.raises(SettingError, match=rf"the run is diverged \({re.escape(message)}\); must be completed"):
        wavecoder.load(folder)


def test_the_choice_counts_in_the_fingerprint_where_it_is_made() -> None:
    config = composed("num_seeds=2")
    plain = results.fingerprint(config)
    assert results.fingerprint(config, without="on_divergence") == plain, "runs of before there was a choice keep theirs"
    others = [results.fingerprint(composed("num_seeds=2", f"on_divergence={choice}")) for choice in ("freeze", "stop")]
    assert len({plain, *others}) == 3


def some_diverged() -> dict[str, Any]:
    """The record of four seeds, of which one diverged and one is dead."""
    return made_up_record([0.1, np.nan, 0.2, 0.6]) | {"diverged": {"1": 1240}, "dead": [3]}


def test_seeds_are_named_in_the_line_at_the_end_and_in_tables() -> None:
    job = some_diverged() | {"job": "a", "overrides": {"seed": "0"}}
    wanted = (
        "1 of 4 seeds diverged (seed 1 at step 1,240): val/mse is not a number after 10 steps in 1.5 s; 1 of 4 seeds are dead: 3"
    )
    assert tables.closing_line(job) == wanted
    shown = "\n".join(tables.sweep_table([job]).lines(160))
    assert "1 of 4 seeds diverged" in shown
    assert "seed 1 at step 1,240" in shown
    assert "1 of 4 seeds are dead: 3" in shown
    (row,) = pooling.as_rows([job])
    assert (row["diverged"], row["dead"]) == ("1", "3")
    single = made_up_record([0.6]) | {"dead": [0]}
    assert tables.closing_line(single).endswith("; dead: its output is the same for every signal")


def test_a_stopped_job_spoils_the_mean_over_the_seeds_it_belongs_to() -> None:
    """As one of an ensemble does: leaving it out would flatter the others."""
    jobs = [made_up_record([0.1 * (seed + 1)]) | {"seed": seed} for seed in range(2)]
    jobs.append({"status": "diverged", "error": "seed 2 diverged at step 5", "diverged": {"2": 5}, "seed": 2, "num_seeds": 1})
    for seed, job in enumerate(jobs):
        job |= {"job": f"job {seed}", "overrides": {"seed": str(seed)}}
    (pooled,) = pooling.pool_seeds(jobs)
    assert (pooled["num_seeds"], pooled["metrics"]["val/mse"]["mean"], pooled["diverged"]) == (3, None, {"2": 5})
    assert results.diverged(pooled) == "1 of 3 seeds diverged"
    assert [job["job"] for job in pooling.pool_seeds(jobs[2:])] == ["job 2"]


@pytest.mark.slow
@pytest.mark.parametrize("stacked", [False, True])
def test_a_sweep_goes_on_without_diverged_jobs_and_does_not_repeat_them(run_train: Run, tmp_path: Path, stacked: bool) -> None:
    swept = ("-m", "sweep=mine", *ARGUMENTS, "seed=0,1", "optimizer.lr=0.1,3", f"stack_seeds={str(stacked).lower()}")
    swept = tuple(each for each in swept if each != "optimizer.lr=3.0")
    done, folder = run_train(*swept), tmp_path / "outputs" / "sweeps" / "mine"
    assert (done.returncode, done.stderr) == (1, "")
    of_jobs = {(each["seed"], each["overrides"]["optimizer.lr"]): each for each in records(folder).values()}
    assert {key: each["status"] for key, each in of_jobs.items()} == {
        (0, "0.1"): "completed",
        (1, "0.1"): "completed",
        (0, "3"): "diverged",
        (1, "3"): "diverged",
    }
    for seed in (0, 1):
        assert list(of_jobs[seed, "3"]["diverged"]) == [str(seed)]
        assert f"seed {seed} diverged at step 1" in done.stdout
    again = run_train(*swept)
    assert (again.returncode, again.stderr) == (1, "")
    assert again.stdout.startswith("2 complete, 2 diverged, 0 to run")
    status = run_command(tmp_path, sys.executable, "-m", "wavecoder", "status", str(folder))
    assert status.stdout.startswith("4 jobs: 2 completed, 2 diverged\n")
    report = run_script("report.py", tmp_path, str(folder))
    assert report.returncode == 0, report.stderr
    assert "seed 1 diverged at step 1" in (folder / "report.md").read_text()


@pytest.mark.slow
def test_a_run_ends_with_status_1_and_one_line(run_train: Run, tmp_path: Path) -> None:
    cases = {
        "stop": (r"seed \d diverged at step 1\d: its loss was \w+", ("trainer=ddp_cpu", "trainer.devices=2")),
        "auto": ("all 2 seeds diverged: seed 0 at step 1.*", ()),
    }
    for choice, (line, processes) in cases.items():
        done = run_train(*ARGUMENTS, "num_seeds=2", f"on_divergence={choice}", *processes, f"hydra.run.dir={choice}")
        assert done.returncode == 1, done.stdout
        assert re.fullmatch(f"error: {line}\n", done.stderr), done.stderr
        assert record_of(tmp_path / choice)["status"] == "diverged"
