"""Sweeps on a real Slurm cluster of two nodes on this machine: left, looked at, cancelled, sent twice, stopped and resumed."""

import os
import signal
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from held import hold, release
from processes import FAILS, JOB, OWN_NETWORKS, run_command, run_script, start, until
from run_files import checkpoints, records
from slurm_cluster import JOBS, ON_SLURM, ONE, Slurm
from stopped_search import Search, kill_driver

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm 1")]


def test_a_sweep_that_is_left_is_looked_at_and_cancelled(slurm: Slurm, tmp_path: Path) -> None:
    environment, sweep = slurm.environment, tmp_path / "outputs" / "sweeps" / "mine"
    jobs = (*JOBS, "sweep=mine", *ON_SLURM)
    hold(sweep)
    left = run_script("train.py", tmp_path, *jobs, "detach=true", environment=environment)
    assert (left.returncode, left.stderr) == (0, "")
    assert "submitted 4 tasks as Slurm's job" in left.stdout
    assert "wavecoder status outputs/sweeps/mine" in left.stdout
    until(lambda: checkpoints(sweep))
    status, cancel = ((sys.executable, "-m", "wavecoder", name, "outputs/sweeps/mine") for name in ("status", "cancel"))
    shown = run_command(tmp_path, *status, environment=environment)
    assert shown.stdout.startswith("4 jobs: ")
    assert "running" in shown.stdout
    assert "Slurm's job" in shown.stdout
    cancelled = run_command(tmp_path, *cancel, environment=environment)
    assert cancelled.stdout.startswith("cancelled ")
    until(lambda: not slurm.run("squeue", "--noheader"))
    # accounting follows the queue later
    until(lambda: run_command(tmp_path, *status, environment=environment).stdout.count("CANCELLED") == 4)
    release(sweep)
    again = run_script("train.py", tmp_path, *jobs, environment=environment)
    assert (again.returncode, again.stderr) == (0, "")
    assert run_command(tmp_path, *status, environment=environment).stdout.startswith("4 jobs: 4 completed\nthe best so far: ")


def test_a_job_that_fails_is_named_at_once(slurm: Slurm, tmp_path: Path) -> None:
    jobs = ("-m", *JOB, f"{FAILS},wavecoder.networks.DeepAutoencoder", "sweep=mine", *ON_SLURM)
    done = run_script("train.py", tmp_path, *jobs, environment=slurm.environment | OWN_NETWORKS)
    assert (done.returncode, done.stderr) == (1, "")
    before_table = done.stdout[: done.stdout.index("Sweep of 2 jobs")].splitlines()
    (line,) = (line for line in before_table if line.startswith("failed: "))
    assert line.endswith(": RuntimeError: out of order")


def test_what_can_never_run_is_said_and_not_waited_for(slurm: Slurm, tmp_path: Path) -> None:
    long = run_script(
        "train.py", tmp_path, *ONE, "sweep=mine", *ON_SLURM, "hydra.launcher.timeout_min=600", environment=slurm.environment
    )
    assert long.returncode == 1
    assert "tasks that wait, and Slurm's reason: 1 (PartitionTimeLimit)" in long.stdout
    assert "none of them can run as it was submitted; `wavecoder cancel outputs/sweeps/mine`" in long.stdout
    cancelled = run_command(
        tmp_path, sys.executable, "-m", "wavecoder", "cancel", "outputs/sweeps/mine", environment=slurm.environment
    )
    assert cancelled.stdout.startswith("cancelled 1 tasks on Slurm")


def test_an_interrupted_command_leaves_its_jobs_and_says_how_to_end_them(slurm: Slurm, tmp_path: Path) -> None:
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    hold(sweep)
    process = start(tmp_path, *ONE, "sweep=mine", *ON_SLURM, environment=slurm.environment, keep=True)
    until(lambda: checkpoints(sweep), process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(240) == 130
    assert "Interrupted; jobs stay in Slurm's queue" in (tmp_path / "printed.txt").read_text()
    assert (tmp_path / "errors.txt").read_text() == ""
    run_command(tmp_path, sys.executable, "-m", "wavecoder", "cancel", "outputs/sweeps/mine", environment=slurm.environment)


@pytest.mark.parametrize("cancelled", [False, True], ids=["tasks continue", "tasks are cancelled"])
def test_a_stopped_search_on_slurm_is_resumed_and_reproduced(slurm: Slurm, tmp_path: Path, cancelled: bool) -> None:
    search = Search(tmp_path, ON_SLURM, environment=slurm.environment)
    kill_driver(search.start_until_the_middle())
    if cancelled:
        command = (sys.executable, "-m", "wavecoder", "cancel", "outputs/sweeps/search")
        done = run_command(tmp_path, *command, environment=slurm.environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert "cancelled 0 tasks" not in done.stdout
    assert search.resume().stderr == ""
    search.reproduce_best()


def test_two_terminals_that_send_the_same_sweep_submit_each_job_once(slurm: Slurm, tmp_path: Path) -> None:
    known = len(slurm.jobs())
    command = (*JOBS, "sweep=mine", *ON_SLURM)
    both = [start(tmp_path, *command, environment=slurm.environment) for _ in range(2)]
    assert [process.wait(240) for process in both] == [0, 0]
    submitted = [f"{job['ArrayJobId']}_{job['ArrayTaskId']}" for job in slurm.jobs()[known:]]
    trained = records(tmp_path / "outputs" / "sweeps" / "mine").values()
    assert len(submitted) == 4
    assert sorted(record["place"]["slurm_job"] for record in trained) == sorted(submitted)
    assert all(record["timing"]["resumed_at_step"] == 0 for record in trained)


def test_a_terminal_that_was_slow_submits_nothing_that_another_has_done(slurm: Slurm, tmp_path: Path) -> None:
    command, sweep = (*ONE, "sweep=mine", *ON_SLURM), tmp_path / "outputs" / "sweeps" / "mine"
    sweep.mkdir(parents=True)
    with FileLock(sweep / ".lock"):  # so that it has found what is to do, and submits nothing
        slow = start(tmp_path, *command, environment=slurm.environment, keep=True)
        until(lambda: "0 complete, 1 to run" in (tmp_path / "printed.txt").read_text(), slow)
        slow.send_signal(signal.SIGSTOP)
    done = run_script("train.py", tmp_path, *command, environment=slurm.environment)
    known = len(slurm.jobs())
    slow.send_signal(signal.SIGCONT)
    assert (done.returncode, slow.wait(240)) == (0, 0)
    assert len(slurm.jobs()) == known
