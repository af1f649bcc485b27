"""Sweeps on a real Slurm cluster of two nodes on this machine: jobs and nodes lost, preempted, out of time, requeued."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from held import HELD, hold, release
from processes import EVERY_EPOCH, JOB, OWN_NETWORKS, kill, run_script, start, until
from run_files import checkpoints, completed, metrics, records, stamps
from slurm_cluster import JOBS, ON_SLURM, ONE, Slurm

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm 1")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The metrics of the same jobs without Slurm."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_script("train.py", folder, *JOBS, "sweep=mine", "hydra/launcher=joblib", environment=OWN_NETWORKS).returncode == 0
    return metrics(folder / "outputs" / "sweeps" / "mine")


def ended(slurm: Slurm, process: subprocess.Popen[bytes]) -> int:
    """The status of a process in its end. What Slurm has requeued begins soon; it would wait for two minutes."""
    seen: dict[str, float] = {}

    def hurry() -> bool:
        for job in slurm.jobs():
            waits = (job["JobState"], job["Reason"]) == ("PENDING", "BeginTime")
            # not before the node is rid of the processes of its first start
            if waits and time.monotonic() - seen.setdefault(job["JobId"], time.monotonic()) > 10:
                slurm.run("scontrol", "update", f"JobId={job['JobId']}", "StartTime=now", check=False)
        return process.poll() is not None

    until(hurry)
    return process.wait()


def test_re_running_the_command_completes_what_a_lost_job_and_a_lost_node_left(
    slurm: Slurm, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    hold(sweep)
    process = start(tmp_path, *JOBS, "sweep=mine", *ON_SLURM, environment=slurm.environment, keep=True)
    until(lambda: len(checkpoints(sweep)) == 4)
    running = sorted((job for job in slurm.jobs() if job["JobState"] == "RUNNING"), key=lambda job: job["NodeList"])
    assert [job["NodeList"] for job in running] == ["n1", "n1", "n2", "n2"]
    cancelled = f"{running[0]['ArrayJobId']}_{running[0]['ArrayTaskId']}"
    slurm.run("scancel", cancelled)
    # Slurm first tells it that it ends, and a job that is released then may complete
    until(lambda: cancelled not in slurm.run("squeue", "--noheader", "--array", "--format=%F_%K").split(), process)
    slurm.kill_node("n2")
    release(sweep)
    assert ended(slurm, process) == 1
    printed, errors = (tmp_path / "printed.txt").read_text(), (tmp_path / "errors.txt").read_text().splitlines()
    assert "Sweep of 4 jobs" in printed, "the table comes all the same"
    assert (sweep / "summary.csv").exists()
    lost = [line for line in errors if line.startswith("lost: ")]
    assert len(lost) == len(errors) == 4 - len(completed(sweep)), "those of the lost node were requeued by Slurm, or are named"
    (one,) = (line for line in lost if f"Slurm's job {cancelled}: CANCELLED" in line)
    assert Path(tmp_path, one.rpartition("its output is in ")[2]).exists()
    slurm.start_node("n2")
    before = stamps(sweep, completed(sweep))
    assert len(before) < 4
    again = run_script("train.py", tmp_path, *JOBS, "sweep=mine", *ON_SLURM, environment=slurm.environment)
    assert (again.returncode, again.stderr) == (0, "")
    assert stamps(sweep, list(before)) == before
    assert metrics(sweep) == undisturbed
    assert all(record["timing"]["steps"] == 60 for record in records(sweep).values())

    known = len(slurm.jobs())
    complete = run_script("train.py", tmp_path, *JOBS, "sweep=mine", *ON_SLURM, environment=slurm.environment)
    assert (complete.returncode, complete.stderr) == (0, "")
    assert "4 complete, 0 to run" in complete.stdout
    assert len(slurm.jobs()) == known, "nothing is submitted that is complete"


def requeued_and_done(slurm: Slurm, process: subprocess.Popen[bytes], place: int, sweep: Path) -> dict[str, Any]:
    """Wait until a held job is requeued and then done, and return its record, the only one of its sweep."""
    until(lambda: slurm.jobs()[place]["JobState"] == "PENDING", process)
    until(lambda: not slurm.processes(f"SLURM_JOB_ID={slurm.jobs()[place]['JobId']}"), process)  # those of its first start
    release(sweep)
    assert ended(slurm, process) == 0
    (record,) = records(sweep).values()
    assert record["timing"]["resumed_at_step"] > 0
    return record


def test_a_preempted_job_is_requeued_and_resumes_to_the_same_numbers(
    slurm: Slurm, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    known = len(slurm.jobs())
    hold(sweep)
    process = start(tmp_path, *ONE, "sweep=mine", *ON_SLURM, environment=slurm.environment)
    until(lambda: checkpoints(sweep), process)
    (job,) = slurm.jobs()[known:]
    slurm.run("scancel", "--signal=TERM", job["JobId"])  # what Slurm sends first to a job that it preempts
    slurm.run("scancel", "--signal=USR2", job["JobId"])  # what submitit asked for before the end
    assert requeued_and_done(slurm, process, known, sweep)["metrics"] in undisturbed.values()


def test_a_job_that_reaches_its_time_limit_is_requeued_and_resumes_to_the_same_numbers(
    slurm: Slurm, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    known = len(slurm.jobs())
    limit = ("hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=1")  # a minute is the least that Slurm knows
    hold(sweep)
    process = start(tmp_path, *ONE, "sweep=mine", *ON_SLURM, *limit, environment=slurm.environment)
    until(lambda: checkpoints(sweep), process)
    (job,) = slurm.jobs()[known:]
    slurm.run("scancel", "--signal=STOP", job["JobId"])  # so that it reaches its limit; Slurm wakes it to tell it so
    assert requeued_and_done(slurm, process, known, sweep)["metrics"] in undisturbed.values()


def test_the_command_waits_for_jobs_that_are_queued_and_submits_none_twice(
    slurm: Slurm, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """As after the submitting process was lost and its command re-run while its jobs still ran."""
    one = (*ONE, "sweep=mine", *ON_SLURM)
    known = len(slurm.jobs())
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    hold(sweep)
    submitter = start(tmp_path, *one, environment=slurm.environment)
    until(lambda: checkpoints(sweep), submitter)
    kill(submitter)
    (first,) = slurm.jobs()[known:]
    again = start(tmp_path, *one, environment=slurm.environment, keep=True)
    until(lambda: "0 complete, 1 queued or running, 0 to run" in (tmp_path / "printed.txt").read_text(), again)
    release(sweep)
    assert again.wait(240) == 0
    assert len(slurm.jobs()) == known + 1
    (record,) = records(sweep).values()
    assert record["timing"]["resumed_at_step"] == 0
    assert record["place"]["slurm_job"] == first["JobId"]
    assert metrics(sweep).items() <= undisturbed.items()


def test_packed_tasks_are_split_into_arrays_lost_and_resumed(slurm: Slurm, tmp_path: Path) -> None:
    """Of twelve jobs the cluster takes five in an array; two in a task make six tasks in two arrays."""
    short = tuple(choice for choice in JOB if choice != EVERY_EPOCH)
    jobs = ("-m", *short, "callbacks=lean", HELD, "activation=relu,tanh,gelu,prelu,silu,elu", "latent=1,5")
    alone = run_script(
        "train.py", tmp_path, *jobs, "sweep=alone", "hydra/launcher=joblib", "jobs_per_task=6", environment=OWN_NETWORKS
    )
    assert (alone.returncode, alone.stderr) == (0, "")
    on_slurm = (*jobs, "sweep=mine", *ON_SLURM, "jobs_per_task=2")
    sweep, known = tmp_path / "outputs" / "sweeps" / "mine", len(slurm.jobs())
    hold(sweep, after=1)
    process = start(tmp_path, *on_slurm, environment=slurm.environment, keep=True)
    until(lambda: completed(sweep), process)
    submitted = slurm.jobs()[known:]
    assert (
        len({job["ArrayJobId"] for job in submitted if "ArrayJobId" in job}) + sum("ArrayJobId" not in job for job in submitted)
        == 2
    )
    assert {job["JobName"].partition("-")[0] for job in submitted} == {"mine"}
    running = [job for job in slurm.jobs()[known:] if job["JobState"] == "RUNNING"]
    for process_id in (each for job in running for each in slurm.processes(f"SLURM_JOB_ID={job['JobId']}")):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)
    release(sweep)
    assert ended(slurm, process) == 1
    before = stamps(sweep, completed(sweep))
    again = run_script("train.py", tmp_path, *on_slurm, environment=slurm.environment)
    assert (again.returncode, again.stderr) == (0, "")
    assert stamps(sweep, list(before)) == before
    assert metrics(sweep) == metrics(tmp_path / "outputs" / "sweeps" / "alone")
