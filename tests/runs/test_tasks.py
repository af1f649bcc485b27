"""Tasks of several jobs, and jobs that are trained as one ensemble: killed, resumed, divided."""

import json
import os
import shutil
import signal
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from held import HELD, hold, release
from processes import EVERY_EPOCH, FAILS, JOB, OWN_NETWORKS, Run, kill, run_script, start, until
from run_files import completed, metrics, records, stamps

from wavecoder.runs.plan import Job
from wavecoder.runs.tasks import Batch, read_batches
from wavecoder.training.files import read_arrays

PACKED = (*(choice for choice in JOB if choice != EVERY_EPOCH), "callbacks=lean")
ONE_SEED = (*(choice for choice in PACKED if not choice.startswith("num_seeds")), "trainer.max_epochs=1")


@pytest.mark.slow
def test_packed_jobs_are_killed_and_resumed(tmp_path: Path) -> None:
    jobs = ("-m", *PACKED, HELD, "latent=1,5", "activation=relu,tanh,gelu", "hydra/launcher=joblib")
    sweeps = tmp_path / "outputs" / "sweeps"
    whole = run_script("train.py", tmp_path, *jobs, "sweep=whole", environment=OWN_NETWORKS)
    assert (whole.returncode, whole.stderr) == (0, "")
    for wanted in (1, 3):
        hold(sweeps / "killed", after=wanted)
        process = start(tmp_path, *jobs, "sweep=killed", "jobs_per_task=3", environment=OWN_NETWORKS)
        until(lambda wanted=wanted: len(completed(sweeps / "killed")) >= wanted, process)
        kill(process)
    release(sweeps / "killed")
    before = stamps(sweeps / "killed", completed(sweeps / "killed"))
    assert len(before) < 6
    done = run_script("train.py", tmp_path, *jobs, "sweep=killed", "jobs_per_task=3", environment=OWN_NETWORKS)
    assert (done.returncode, done.stderr) == (0, "")
    assert metrics(sweeps / "killed") == metrics(sweeps / "whole")
    assert stamps(sweeps / "killed", before) == before
    assert any(line.startswith("latent=5 activation=gelu: ") for line in whole.stdout.splitlines()), "lines of jobs have names"
    folder = sweeps / "whole" / min(completed(sweeps / "whole"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2 * 100_000, "of two seeds"


@pytest.mark.slow
def test_a_process_that_is_lost_is_replaced(tmp_path: Path) -> None:
    jobs = ("-m", *PACKED, HELD, "sweep=mine", "latent=1,5", "activation=relu,tanh,gelu", "hydra/launcher=joblib")
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    hold(sweep, after=1)
    process = start(tmp_path, *jobs, environment=OWN_NETWORKS, keep=True)

    def running() -> list[int]:
        return [record["place"]["pid"] for record in records(sweep).values() if record["status"] == "unfinished"]

    until(lambda: completed(sweep) and running(), process)
    os.kill(running()[0], signal.SIGKILL)
    release(sweep)
    assert process.wait(240) == 0
    assert "a process was lost: " in (tmp_path / "printed.txt").read_text()
    assert len(completed(sweep)) == 6


@pytest.mark.slow
def test_stacked_seeds_have_folders_as_if_they_had_run_alone(run_train: Run, tmp_path: Path) -> None:
    jobs = (*(choice for choice in JOB if not choice.startswith("num_seeds")), "seed=4,2,3,7", "activation=tanh")
    sweeps = tmp_path / "outputs" / "sweeps"
    for name, stacked in (("alone", "false"), ("stacked", "true")):
        done = run_train("-m", *jobs, f"sweep={name}", f"stack_seeds={stacked}")
        assert (done.returncode, done.stderr) == (0, "")
    alone, stacked_records = records(sweeps / "alone"), records(sweeps / "stacked")
    assert alone.keys() == stacked_records.keys()
    for name, record in stacked_records.items():
        assert {key: record[key] for key in ("seed", "num_seeds", "config_fingerprint", "overrides")} == {
            key: alone[name][key] for key in ("seed", "num_seeds", "config_fingerprint", "overrides")
        }
        for metric, summary in alone[name]["metrics"].items():
            assert record["metrics"][metric]["per_seed"] == pytest.approx(summary["per_seed"], rel=1e-3), metric
        ours, theirs = (read_arrays(sweeps / sweep / name) for sweep in ("stacked", "alone"))
        assert ours is not None
        assert theirs is not None
        assert {key: values.shape for key, values in ours.items()} == {key: values.shape for key, values in theirs.items()}
        checkpoints = [sweeps / sweep / name / "checkpoints" / "last.ckpt" for sweep in ("stacked", "alone")]
        weights, expected = (torch.load(file, weights_only=True) for file in checkpoints)
        for key, values in expected["state_dict"].items():
            torch.testing.assert_close(weights["state_dict"][key], values, rtol=1e-3, atol=1e-4)
        (state,), (other,) = (content["optimizer_states"][0]["state"].values() for content in (weights, expected))
        assert {key: values.shape for key, values in state.items()} == {key: values.shape for key, values in other.items()}
    assert sum("stacked_in" in record for record in stacked_records.values()) == 3, "seed 7 has no neighbour"
    again = run_train("-m", *jobs, "sweep=stacked")
    assert "4 complete, 0 to run" in again.stdout, "without stack_seeds too"


def test_damaged_lists_of_tasks_are_left_out(tmp_path: Path) -> None:
    (tmp_path / ".tasks" / "token").mkdir(parents=True)
    (tmp_path / ".tasks" / "token" / "tasks.json").write_text('{"token": "tok')
    assert list(read_batches(tmp_path)) == []


@pytest.mark.parametrize("name", ["../victim", "/victim", "a/../../victim"])
def test_lists_of_tasks_that_lead_out_of_their_sweep_are_left_out(tmp_path: Path, name: str) -> None:
    (tmp_path / ".tasks" / "token").mkdir(parents=True)
    for job, read in ((Job(name, (), "", ()), 0), (Job("all", (), "", (Job(name, (), "", ()),)), 0), (Job("a/b", (), "", ()), 1)):
        batch = Batch("token", "joblib", "here", 1, 0.0, (), ((job,),))
        (tmp_path / ".tasks" / "token" / "tasks.json").write_text(json.dumps(asdict(batch)))
        assert len(list(read_batches(tmp_path))) == read


def test_an_interrupted_division_is_finished_and_the_ensemble_not_trained_again(run_train: Run, tmp_path: Path) -> None:
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    jobs = ("-m", *ONE_SEED, "seed=0,1,2", "sweep=mine", "stack_seeds=true")
    assert run_train(*jobs).returncode == 0
    before = records(sweep)
    (ensemble,) = (sweep / ".stacks").iterdir()
    stamp = (ensemble / "results.json").stat().st_mtime_ns
    for name in sorted(before)[1:]:  # the command was killed after the first of them
        shutil.rmtree(sweep / name)
    again = run_train(*jobs)
    assert (again.returncode, again.stderr) == (0, "")
    assert "3 complete, 0 to run" in again.stdout
    assert records(sweep) == before
    assert (ensemble / "results.json").stat().st_mtime_ns == stamp


def test_jobs_of_an_ensemble_that_failed_have_its_traceback(run_train: Run, tmp_path: Path) -> None:
    done = run_train("-m", *ONE_SEED, "seed=0,1", "sweep=mine", "stack_seeds=true", FAILS, environment=OWN_NETWORKS)
    assert (done.returncode, done.stderr) == (1, "")
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    assert [record["error"] for record in records(sweep).values()] == ["RuntimeError: out of order"] * 2
    for name in records(sweep):
        assert (sweep / name / "traceback.txt").read_text().endswith("RuntimeError: out of order\n")


def test_what_has_no_effect_in_one_process_is_said(run_train: Run) -> None:
    done = run_train("-m", *ONE_SEED, "latent=1", "jobs_per_task=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "jobs_per_task has no effect with hydra/launcher=basic: this process runs all jobs one after another\n" in done.stdout
