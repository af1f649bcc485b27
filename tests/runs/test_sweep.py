"""Sweeps that are killed, fail or change, and re-running their command."""

import os
import pickle
import random
import re
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import hydra._internal.hydra
import pytest
from conftest import composed
from held import HELD, hold, release
from processes import FAILS, JOB, OWN_NETWORKS, Run, kill, run_command, run_script, start, until
from run_files import completed, made_up_record, metrics, record_of, records, stamps

from wavecoder.runs.checks import CheckSettings
from wavecoder.runs.hooks import hydra_restored, install
from wavecoder.runs.plan import Job
from wavecoder.runs.results import write_results
from wavecoder.runs.sweep import _print_from_thread, _print_progress


def test_what_is_printed_to_lives_until_it_is_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """While another thread puts another stream in its place, as the bar of a job does."""
    flushed: list[str] = []
    other = sys.stdout

    class Replaced:
        def __init__(self) -> None:
            self.text = ""

        def write(self, text: str) -> None:
            self.text += text
            sys.stdout = other

        def flush(self) -> None:
            flushed.append(self.text)

    monkeypatch.setattr(sys, "stdout", Replaced())  # nothing else refers to it
    _print_from_thread("1 of 2 jobs done")
    assert flushed == ["1 of 2 jobs done\n"]


def test_a_named_sweep_runs_only_what_is_missing(run_train: Run, tmp_path: Path) -> None:
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    first = run_train("-m", "sweep=mine", *JOB, "activation=relu,tanh")
    assert (first.returncode, first.stderr) == (0, "")
    assert all("sweep" not in name for name in records(sweep))
    before = {file: file.stat().st_mtime_ns for file in sweep.glob("*/results.json")}
    half_written = sweep / ".multirun.yaml.0123abcd"
    half_written.touch()
    os.utime(half_written, (1, 1))
    again = run_train("-m", "sweep=mine", *JOB, "activation=relu,tanh,gelu")
    assert not half_written.exists()
    assert (again.returncode, again.stderr) == (0, "")
    assert "2 complete, 1 to run" in again.stdout
    assert again.stdout.count("gelu autoencoder 100") == 1
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert "Sweep of 3 jobs" in again.stdout
    assert len((sweep / "summary.csv").read_text().splitlines()) == 4


def test_a_sweep_of_different_engines_says_so_in_one_line(run_train: Run, tmp_path: Path) -> None:
    arguments = ("-m", "sweep=mine", *JOB, "trainer.max_epochs=1", "~callbacks.figures", "engine=pytorch", "latent=1,5")
    alike = run_train(*arguments)
    assert (alike.returncode, alike.stderr) == (0, "")
    assert "different engines" not in alike.stdout
    (folder,) = (tmp_path / "outputs" / "sweeps" / "mine").glob("*latent=1,*")
    write_results(folder, record_of(folder) | {"engine": {"name": "compiled AVX2", "reason": "on another machine"}})
    different = run_train(*arguments)
    (line,) = (line for line in different.stdout.splitlines() if "different engines" in line)
    assert line.startswith("Trained by different engines, which round differently: 1 by ")
    assert {"compiled AVX2", "PyTorch"} == {part.partition(" by ")[2] for part in line.partition(": ")[2].split(", ")}
    rows = (tmp_path / "outputs" / "sweeps" / "mine" / "summary.csv").read_text()
    assert rows.count("compiled AVX2") == rows.count("PyTorch") == 1


def test_only_the_failed_job_is_tried_again(run_train: Run, tmp_path: Path) -> None:
    arguments = ("-m", "sweep=mine", *JOB, f"{FAILS},wavecoder.networks.DeepAutoencoder")
    first, again = (run_train(*arguments, environment=OWN_NETWORKS) for _ in range(2))
    for done in (first, again):
        assert done.returncode == 1
        assert "failed: RuntimeError: out of order\n" in done.stdout
    assert "1 complete, 1 to run" in again.stdout
    statuses = sorted(record["status"] for record in records(tmp_path / "outputs" / "sweeps" / "mine").values())
    assert statuses == ["completed", "failed"]


@pytest.mark.slow
def test_seeds_are_pooled_in_the_table(run_train: Run, tmp_path: Path) -> None:
    done = run_train("-m", "sweep=seeds", *JOB, "trainer.max_epochs=1", "seed=0,2", "activation=tanh,relu")
    assert (done.returncode, done.stderr) == (0, "")
    table = done.stdout[done.stdout.index("Sweep of 4") :]
    assert table.count("2 values") == 2
    assert len((tmp_path / "outputs" / "sweeps" / "seeds" / "summary.csv").read_text().splitlines()) == 3
    every = [record["metrics"]["val/mse"]["per_seed"] for record in records(tmp_path / "outputs" / "sweeps" / "seeds").values()]
    assert [len(values) for values in every] == [2, 2, 2, 2]


@pytest.mark.slow
def test_a_sweep_killed_five_times_ends_as_if_it_never_was(tmp_path: Path) -> None:
    jobs = ("-m", *JOB, HELD, "~callbacks.figures", "latent=1,5", "activation=relu,tanh,gelu,prelu,sigmoid,identity")
    assert run_script("train.py", tmp_path, *jobs, "sweep=whole", environment=OWN_NETWORKS).returncode == 0
    source = random.Random(0)
    sweeps = tmp_path / "outputs" / "sweeps"
    for _ in range(5):
        before = stamps(sweeps / "killed", completed(sweeps / "killed"))
        hold(sweeps / "killed", after=len(before) + 2)  # at most ten jobs of twelve are complete in the end
        process = start(tmp_path, *jobs, "sweep=killed", environment=OWN_NETWORKS)
        until(lambda before=before: len(completed(sweeps / "killed")) > len(before), process)
        time.sleep(source.uniform(0, 1))  # anywhere in a job
        kill(process)
        assert stamps(sweeps / "killed", before) == before
    release(sweeps / "killed")
    done = run_script("train.py", tmp_path, *jobs, "sweep=killed", environment=OWN_NETWORKS)
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
    until(lambda: records(sweeps / "beside"), process)
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
    extra = choice.partition("=")[2]
    install = f"in the repository: pip install -c constraints.txt '.[{extra}]'"
    assert done.stderr == f"error: {choice}: needs wavecoder's extra {extra}; {install}\n"
    assert not (tmp_path / "outputs").exists()


def test_a_cluster_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "slurm.conf").touch()
    nowhere = {"SLURM_CONF": str(tmp_path / "slurm.conf")}
    done = run_script("train.py", tmp_path, "-m", "hydra/launcher=slurm", "latent=1,5", environment=nowhere)
    assert done.returncode == 2
    assert re.fullmatch(r"error: hydra/launcher=slurm: no Slurm cluster answers here \(.+\)\n", done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["slurm.conf"]


@pytest.mark.slow
def test_what_others_left_in_a_sweep_is_not_the_commands_failure(run_train: Run, tmp_path: Path) -> None:
    short = (*JOB, "trainer.max_epochs=1", "~callbacks.figures", "sweep=mine", "latent=1")
    assert run_train("-m", *short, FAILS, environment=OWN_NETWORKS).returncode == 1
    done = run_train("-m", *short)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Sweep of 2 jobs" in done.stdout
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    assert len(list(sweep.glob("*/traceback.txt"))) == 1


def test_progress_counts_only_what_has_the_wanted_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / str(number) for number in range(4)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        write_results(folder, made_up_record([0.1]) | {"config_fingerprint": "old" if number else "new"})
    last = folders[-1]
    steps = iter([(), *((folder,) for folder in folders[1:])])

    class End(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            for folder in (step := next(steps, None)) or ():
                record = {"status": "failed"} if folder == last else made_up_record([0.1])
                write_results(folder, record | {"config_fingerprint": "new"})
            return step is None

    _print_progress(tmp_path, [Job(folder.name, (), "new") for folder in folders], End())
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
        error = record_of(tmp_path / "alone")["metrics"]["val/mse"]["mean"]
        assert together["metrics"]["val/mse"]["mean"] == pytest.approx(error, rel=1e-4)


def test_what_hydra_pickles_can_be_pickled() -> None:
    for overrides in ((), ("experiment=search",)):
        config = composed(*overrides)
        with hydra_restored():
            install()
            (checks, *_) = pickle.loads(cloudpickle.dumps(hydra._internal.hydra.Callbacks(config))).callbacks
        assert isinstance(checks, CheckSettings)


def test_jobs_of_one_process_leave_no_threads(tmp_path: Path) -> None:
    program = (
        "import threading; from wavecoder.runs import cli\ntry:\n    cli.train()\nfinally:\n    print(threading.active_count())"
    )
    short = ("debug=quick", "data.train_size=128", "data.val_size=64", "~callbacks.figures")
    counts = []
    for seeds in ("0", "0,1,2,3"):
        done = run_command(tmp_path, sys.executable, "-c", program, "-m", *short, f"seed={seeds}")
        assert (done.returncode, done.stderr) == (0, "")
        counts.append(int(done.stdout.splitlines()[-1]))
    assert counts[0] == counts[1]
