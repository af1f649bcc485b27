"""Sweeps that are killed, fail or change, and the same command again."""

import json
import os
import random
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from conftest import JOB, Run, completed, kill, metrics, records, run_script, start, wait_for

from wavecoder.runs.results import write_results
from wavecoder.runs.sweep import _tell_progress


def test_a_killed_run_goes_on_to_the_same_numbers(run_train: Run, tmp_path: Path) -> None:
    linear = ("experiment=theorem", "latent=2", "trainer.max_epochs=40")
    assert run_train(*JOB, *linear, "hydra.run.dir=whole").returncode == 0
    process = start(tmp_path, *JOB, *linear, "hydra.run.dir=killed")
    wait_for(tmp_path / "killed" / "checkpoints" / "last.ckpt", process)
    kill(process)
    assert json.loads((tmp_path / "killed" / "results.json").read_text())["status"] == "unfinished"
    done = run_train(*JOB, *linear, "hydra.run.dir=killed")
    assert (done.returncode, done.stderr) == (0, "")
    assert "killed goes on from its last checkpoint" in done.stdout
    whole, killed = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "killed"))
    assert 0 < killed["timing"]["resumed_at_step"] < killed["timing"]["steps"] == whole["timing"]["steps"]
    for part in ("metrics", "references", "subspace", "config_fingerprint"):
        assert killed[part] == whole[part], part


def test_a_named_sweep_runs_only_what_is_missing(run_train: Run, tmp_path: Path) -> None:
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    first = run_train("-m", "sweep=mine", *JOB, "activation=relu,tanh")
    assert (first.returncode, first.stderr) == (0, "")
    assert all("sweep" not in name for name in records(sweep))
    before = {file: file.stat().st_mtime_ns for file in sweep.glob("*/results.json")}
    again = run_train("-m", "sweep=mine", *JOB, "activation=relu,tanh,gelu")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.count("is complete already, nothing to do") == 2
    assert again.stdout.count("gelu autoencoder 100") == 1
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert "Sweep of 3 jobs" in again.stdout
    assert len((sweep / "summary.csv").read_text().splitlines()) == 4


def test_a_changed_configuration_is_never_mixed_with_the_old(run_train: Run, tmp_path: Path) -> None:
    for epochs in (2, 3):
        done = run_train(*JOB, f"trainer.max_epochs={epochs}", "hydra.run.dir=run")
        assert (done.returncode, done.stderr) == (0, "")
    assert "run: its configuration has changed, so it starts afresh" in done.stdout
    assert (
        json.loads((tmp_path / "run" / "results.json").read_text())["timing"] | {"resumed_at_step": 0, "steps": 30}
        == json.loads((tmp_path / "run" / "results.json").read_text())["timing"]
    )


def test_only_the_failed_job_is_tried_again(run_train: Run, tmp_path: Path) -> None:
    arguments = ("-m", "sweep=mine", *JOB, "optimizer.betas=[0.9,9],[0.9,0.99]")
    first, again = run_train(*arguments), run_train(*arguments)
    for done in (first, again):
        assert done.returncode == 1
        assert "failed: optimizer or scheduler: Invalid beta parameter at index 1: 9\n" in done.stdout
    assert again.stdout.count("is complete already") == 1
    statuses = sorted(record["status"] for record in records(tmp_path / "outputs" / "sweeps" / "mine").values())
    assert statuses == ["completed", "failed"]


def test_seeds_are_pooled_in_the_table(run_train: Run, tmp_path: Path) -> None:
    done = run_train("-m", "sweep=seeds", *JOB, "trainer.max_epochs=1", "seed=0,2", "activation=tanh,relu")
    assert (done.returncode, done.stderr) == (0, "")
    table = done.stdout[done.stdout.index("Sweep of 4") :]
    assert table.count("2 values") == 2
    assert len((tmp_path / "outputs" / "sweeps" / "seeds" / "summary.csv").read_text().splitlines()) == 3
    every = [
        record["metrics"]["val/mse"]["per_seed"] for record in records(tmp_path / "outputs" / "sweeps" / "seeds").values()
    ]
    assert [len(values) for values in every] == [2, 2, 2, 2]


@pytest.mark.slow
def test_a_sweep_killed_five_times_ends_as_if_it_never_was(tmp_path: Path) -> None:
    jobs = ("-m", *JOB, "~callbacks.figures", "latent=1,5", "activation=relu,tanh,gelu,prelu,sigmoid,identity")
    assert run_script("train.py", tmp_path, *jobs, "sweep=whole").returncode == 0
    source = random.Random(0)
    sweeps = tmp_path / "outputs" / "sweeps"
    for _ in range(5):
        finished = {name for name, record in records(sweeps / "killed").items() if record["status"] == "completed"}
        stamps = {name: (sweeps / "killed" / name / "results.json").stat().st_mtime_ns for name in finished}
        process = start(tmp_path, *jobs, "sweep=killed")
        deadline = time.monotonic() + 60
        while len(completed(sweeps / "killed")) <= len(finished) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(source.uniform(0, 1))
        kill(process)
        assert {name: (sweeps / "killed" / name / "results.json").stat().st_mtime_ns for name in finished} == stamps
    done = run_script("train.py", tmp_path, *jobs, "sweep=killed")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(metrics(sweeps / "whole")) == 12
    assert metrics(sweeps / "killed") == metrics(sweeps / "whole")
    for record in records(sweeps / "killed").values():
        assert record["timing"]["steps"] == 60


@pytest.mark.slow
def test_jobs_side_by_side_have_the_numbers_of_jobs_in_turn(run_train: Run, tmp_path: Path) -> None:
    jobs = ("-m", *JOB, "latent=1,5")
    assert run_train(*jobs, "sweep=alone").returncode == 0
    process = start(tmp_path, *jobs, "sweep=beside", "hydra/launcher=joblib")
    sweeps = tmp_path / "outputs" / "sweeps"
    deadline = time.monotonic() + 60
    while not records(sweeps / "beside"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    kill(process)
    done = run_train(*jobs, "sweep=beside", "hydra/launcher=joblib")
    assert (done.returncode, done.stderr) == (0, "")
    assert metrics(sweeps / "beside") == metrics(sweeps / "alone")
    assert "Sweep of 2 jobs" in done.stdout


@pytest.mark.parametrize(
    "choice", ["hydra/launcher=joblib", "hydra/launcher=slurm", "hydra/launcher=ray", "hydra/sweeper=optuna"]
)
def test_a_plugin_that_is_not_installed_is_one_line(tmp_path: Path, choice: str) -> None:
    """Hides Hydra's plugins from the interpreter, as where they were never installed."""
    (tmp_path / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\nfind = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, *rest: None if name.startswith('hydra_plugins') else find(name, *rest)\n"
    )
    done = run_script("train.py", tmp_path, "-m", choice, "latent=1,5", environment={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2
    install = f"pip install -c constraints.txt '.[{choice.partition('=')[2]}]'"
    assert done.stderr == f"error: {choice}: is not installed; {install}\n"
    assert not (tmp_path / "outputs").exists()


def test_a_cluster_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "slurm.conf").touch()
    nowhere = {"SLURM_CONF": str(tmp_path / "slurm.conf")}
    done = run_script("train.py", tmp_path, "-m", "hydra/launcher=slurm", "latent=1,5", environment=nowhere)
    assert done.returncode == 2
    assert re.fullmatch(r"error: hydra/launcher=slurm: no Slurm cluster answers here \(.+\)\n", done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["slurm.conf"]


def test_a_process_that_dies_ends_the_run(tmp_path: Path) -> None:
    process = start(tmp_path, *JOB, "trainer=ddp_cpu", "trainer.max_epochs=500", "hydra.run.dir=run")
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", process)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    assert process.wait(60) != 0
    kill(process)


def test_a_folder_of_something_else_is_left_alone(run_train: Run, tmp_path: Path) -> None:
    (tmp_path / "mine" / "figures").mkdir(parents=True)
    (tmp_path / "mine" / "figures" / "thesis.png").write_text("mine")
    done = run_train(*JOB, "hydra.run.dir=mine")
    said = "error: hydra.run.dir=mine: has figures of something else; choose another folder\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "figures", "thesis.png"]


def test_what_others_left_in_a_sweep_is_not_the_commands_failure(run_train: Run, tmp_path: Path) -> None:
    short = (*JOB, "trainer.max_epochs=1", "~callbacks.figures", "sweep=mine", "latent=1")
    assert run_train("-m", *short, "optimizer.betas=[0.9,9]").returncode == 1
    done = run_train("-m", *short, "optimizer.betas=[0.9,0.99]")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Sweep of 2 jobs" in done.stdout
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    assert len(list(sweep.glob("*/traceback.txt"))) == 1


def test_progress_counts_only_what_has_the_wanted_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = {tmp_path / str(number): "new" for number in range(4)}
    for number, folder in enumerate(folders):
        folder.mkdir()
        write_results(folder, {"status": "completed", "config_fingerprint": "old" if number else "new"})
    last = list(folders)[-1]
    steps = iter([(), *((folder,) for folder in list(folders)[1:])])

    class End(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            for folder in (step := next(steps, None)) or ():
                status = "failed" if folder == last else "completed"
                write_results(folder, {"status": status, "config_fingerprint": "new"})
            return step is None

    _tell_progress(folders, End())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["2 of 4 jobs done", "3 of 4 jobs done"]


@pytest.mark.slow
def test_a_sweep_over_processes_with_a_configuration_of_ones_own(run_train: Run, tmp_path: Path) -> None:
    own = tmp_path / "own" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\noptimizer:\n  lr: 0.002\n")
    arguments = ("--config-dir=own", *JOB, "~callbacks.figures", "experiment=mine", "latent=5")
    assert run_train(*arguments, "hydra.run.dir=alone").returncode == 0
    for launcher in ("basic", "joblib"):
        done = run_train("-m", *arguments, "trainer=ddp_cpu", f"hydra/launcher={launcher}", f"sweep={launcher}")
        assert (done.returncode, done.stderr) == (0, ""), launcher
        (together,) = records(tmp_path / "outputs" / "sweeps" / launcher).values()
        alone = json.loads((tmp_path / "alone" / "results.json").read_text())
        error = alone["metrics"]["val/mse"]["mean"]
        assert together["metrics"]["val/mse"]["mean"] == pytest.approx(error, rel=1e-4)
