"""Sweeps and runs on a real Slurm cluster of two nodes on this machine: jobs lost, preempted, submitted twice."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    EVERY_EPOCH,
    FAILS,
    JOB,
    OWN_NETWORKS,
    ROOT,
    completed,
    kill,
    metrics,
    records,
    run_command,
    run_script,
    start,
)
from filelock import FileLock
from slurm_cluster import Slurm, unavailable_reason
from stopped_search import Search, kill_driver

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]  # one cluster for all

ON_SLURM = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1")
JOBS = ("-m", *JOB, "~callbacks.figures", "trainer.max_epochs=500", "activation=relu,tanh", "latent=1,5")
ONE = (*JOBS[:-2], "activation=tanh", "latent=5")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if reason := unavailable_reason():
        pytest.skip(reason)
    with Slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The metrics of the same jobs without Slurm."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_script("train.py", folder, *JOBS, "sweep=mine", "hydra/launcher=joblib").returncode == 0
    return metrics(folder / "outputs" / "sweeps" / "mine")


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def checkpoints(sweep: Path) -> list[Path]:
    return list(sweep.glob("*/checkpoints/last.ckpt"))


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

    until(hurry, 200)
    return process.wait()


def stamps(sweep: Path, names: list[str]) -> dict[str, int]:
    return {name: (sweep / name / "results.json").stat().st_mtime_ns for name in names}


def test_re_running_the_command_completes_what_a_lost_job_and_a_lost_node_left(
    slurm: Slurm, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    process = start(tmp_path, *JOBS, "sweep=mine", *ON_SLURM, environment=slurm.environment, keep=True)
    until(lambda: len(checkpoints(sweep)) == 4)
    running = [job for job in slurm.jobs() if job["JobState"] == "RUNNING"]
    assert [job["NodeList"] for job in running] == ["n1", "n1", "n2", "n2"]
    cancelled = f"{running[0]['ArrayJobId']}_{running[0]['ArrayTaskId']}"
    slurm.run("scancel", cancelled)
    slurm.kill_node("n2")
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
    assert all(record["timing"]["steps"] == 5000 for record in records(sweep).values())

    known = len(slurm.jobs())
    complete = run_script("train.py", tmp_path, *JOBS, "sweep=mine", *ON_SLURM, environment=slurm.environment)
    assert (complete.returncode, complete.stderr) == (0, "")
    assert "4 complete, 0 to run" in complete.stdout
    assert len(slurm.jobs()) == known, "nothing is submitted that is complete"


def requeued_and_done(slurm: Slurm, process: subprocess.Popen[bytes], place: int, sweep: Path) -> dict[str, Any]:
    """Wait until a job is requeued and then done, and return its record, the only one of its sweep."""
    until(lambda: slurm.jobs()[place]["JobState"] == "PENDING")
    assert ended(slurm, process) == 0
    (record,) = records(sweep).values()
    assert record["timing"]["resumed_at_step"] > 0
    return record


def test_a_preempted_job_is_requeued_and_resumes_to_the_same_numbers(
    slurm: Slurm, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    known = len(slurm.jobs())
    process = start(tmp_path, *ONE, "sweep=mine", *ON_SLURM, environment=slurm.environment)
    until(lambda: checkpoints(sweep))
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
    process = start(tmp_path, *ONE, "sweep=mine", *ON_SLURM, *limit, environment=slurm.environment)
    until(lambda: checkpoints(sweep))
    (job,) = slurm.jobs()[known:]
    slurm.run("scancel", "--signal=STOP", job["JobId"])  # so that it reaches its limit; Slurm wakes it to tell it so
    assert requeued_and_done(slurm, process, known, sweep)["metrics"] in undisturbed.values()


def test_the_command_waits_for_jobs_that_are_queued_and_submits_none_twice(
    slurm: Slurm, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """As after the submitting process was lost and its command re-run while its jobs still ran."""
    one = (*ONE, "sweep=mine", *ON_SLURM)
    known = len(slurm.jobs())
    submitter = start(tmp_path, *one, environment=slurm.environment)
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    until(lambda: checkpoints(sweep))
    kill(submitter)
    (first,) = slurm.jobs()[known:]
    slurm.run("scancel", "--signal=STOP", first["JobId"])
    again = start(tmp_path, *one, environment=slurm.environment, keep=True)
    until(lambda: "0 complete, 1 queued or running, 0 to run" in (tmp_path / "printed.txt").read_text())
    slurm.run("scancel", "--signal=CONT", first["JobId"])
    assert again.wait(120) == 0
    assert len(slurm.jobs()) == known + 1
    (record,) = records(sweep).values()
    assert record["timing"]["resumed_at_step"] == 0
    assert record["place"]["slurm_job"] == first["JobId"]
    assert metrics(sweep).items() <= undisturbed.items()


def test_packed_tasks_are_split_into_arrays_lost_and_resumed(slurm: Slurm, tmp_path: Path) -> None:
    """Of twelve jobs the cluster takes five in an array; two in a task make six tasks in two arrays."""
    short = tuple(choice for choice in JOB if choice != EVERY_EPOCH)
    jobs = ("-m", *short, "callbacks=lean", "trainer.max_epochs=200", "activation=relu,tanh,gelu,prelu,silu,elu", "latent=1,5")
    alone = run_script("train.py", tmp_path, *jobs, "sweep=alone", "hydra/launcher=joblib", "jobs_per_task=6")
    assert (alone.returncode, alone.stderr) == (0, "")
    on_slurm = (*jobs, "sweep=mine", *ON_SLURM, "jobs_per_task=2")
    sweep, known = tmp_path / "outputs" / "sweeps" / "mine", len(slurm.jobs())
    process = start(tmp_path, *on_slurm, environment=slurm.environment, keep=True)
    until(lambda: completed(sweep))
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
    assert ended(slurm, process) == 1
    before = stamps(sweep, completed(sweep))
    again = run_script("train.py", tmp_path, *on_slurm, environment=slurm.environment)
    assert (again.returncode, again.stderr) == (0, "")
    assert stamps(sweep, list(before)) == before
    assert metrics(sweep) == metrics(tmp_path / "outputs" / "sweeps" / "alone")


def test_a_sweep_that_is_left_is_looked_at_and_cancelled(slurm: Slurm, tmp_path: Path) -> None:
    environment, sweep = slurm.environment, tmp_path / "outputs" / "sweeps" / "mine"
    jobs = (*JOBS, "sweep=mine", *ON_SLURM)
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
    until(
        lambda: (
            "queued" not in (shown := run_command(tmp_path, *status, environment=environment).stdout) and " running" not in shown
        )
    )
    shown = run_command(tmp_path, *status, environment=environment)
    assert "CANCELLED" in shown.stdout
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
    process = start(tmp_path, *ONE, "sweep=mine", *ON_SLURM, environment=slurm.environment, keep=True)
    until(lambda: checkpoints(tmp_path / "outputs" / "sweeps" / "mine"))
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    assert "Interrupted; jobs stay in Slurm's queue" in (tmp_path / "printed.txt").read_text()
    assert (tmp_path / "errors.txt").read_text() == ""
    run_command(tmp_path, sys.executable, "-m", "wavecoder", "cancel", "outputs/sweeps/mine", environment=slurm.environment)


def test_tasks_of_a_step_can_be_runs_of_their_own(slurm: Slurm, tmp_path: Path) -> None:
    program = f"{sys.executable} {ROOT / 'src' / 'train.py'} {' '.join(JOB)} ~callbacks.figures seed=$SLURM_PROCID"
    done = subprocess.run(
        ["srun", "--ntasks=2", "bash", "-c", program],
        cwd=tmp_path,
        env=slurm.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    seeds = [json.loads(file.read_text())["seed"] for file in (tmp_path / "outputs" / "runs").glob("*/*/results.json")]
    assert sorted(seeds) == [0, 1]


@pytest.mark.parametrize("cancelled", [False, True], ids=["tasks continue", "tasks are cancelled"])
def test_a_stopped_search_on_slurm_is_resumed_and_reproduced(slurm: Slurm, tmp_path: Path, cancelled: bool) -> None:
    # what is cancelled must still run when the command comes to it
    search = Search(tmp_path, ON_SLURM, epochs=100 if cancelled else 20, environment=slurm.environment)
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
    command = (*JOBS, "trainer.max_epochs=50", "sweep=mine", *ON_SLURM)
    both = [start(tmp_path, *command, environment=slurm.environment) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    submitted = [f"{job['ArrayJobId']}_{job['ArrayTaskId']}" for job in slurm.jobs()[known:]]
    trained = records(tmp_path / "outputs" / "sweeps" / "mine").values()
    assert len(submitted) == 4
    assert sorted(record["place"]["slurm_job"] for record in trained) == sorted(submitted)
    assert all(record["timing"]["resumed_at_step"] == 0 for record in trained)


def test_a_terminal_that_was_slow_submits_nothing_that_another_has_done(slurm: Slurm, tmp_path: Path) -> None:
    command, sweep = (*ONE, "trainer.max_epochs=50", "sweep=mine", *ON_SLURM), tmp_path / "outputs" / "sweeps" / "mine"
    sweep.mkdir(parents=True)
    with FileLock(sweep / ".lock"):  # so that it has found what is to do, and submits nothing
        slow = start(tmp_path, *command, environment=slurm.environment, keep=True)
        until(lambda: "0 complete, 1 to run" in (tmp_path / "printed.txt").read_text())
        slow.send_signal(signal.SIGSTOP)
    done = run_script("train.py", tmp_path, *command, environment=slurm.environment)
    known = len(slurm.jobs())
    slow.send_signal(signal.SIGCONT)
    assert (done.returncode, slow.wait(120)) == (0, 0)
    assert len(slurm.jobs()) == known


def over_two_nodes(slurm: Slurm, folder: Path, *arguments: str) -> str:
    """What one run prints that two nodes share."""
    command = ["srun", "--nodes=2", "--ntasks-per-node=1", sys.executable, str(ROOT / "src" / "train.py")]
    # the nodes' names are known to Slurm alone here
    environment = slurm.environment | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    command += [*JOB, "data.batch_size=32", "trainer=slurm", "trainer.num_nodes=2", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_run_over_two_nodes_has_the_numbers_of_one_process(slurm: Slurm, tmp_path: Path) -> None:
    assert run_script("train.py", tmp_path, *JOB, "data.batch_size=32", "hydra.run.dir=alone").returncode == 0
    over_two_nodes(slurm, tmp_path)
    (file,) = (tmp_path / "outputs").glob("runs/slurm/*/results.json")
    together, alone = json.loads(file.read_text()), json.loads((tmp_path / "alone" / "results.json").read_text())
    assert together["timing"]["steps"] == alone["timing"]["steps"]
    for metric, summary in alone["metrics"].items():
        assert together["metrics"][metric]["per_seed"] == pytest.approx(summary["per_seed"], rel=1e-4)


def test_an_interactive_allocation_is_refused_where_it_would_hang(slurm: Slurm, tmp_path: Path) -> None:
    command = ["salloc", "--nodes=2", "--ntasks-per-node=1", "srun", sys.executable, str(ROOT / "src" / "train.py")]
    command += [*JOB, "data.batch_size=32", "trainer=slurm", "trainer.num_nodes=2"]
    done = subprocess.run(command, cwd=tmp_path, env=slurm.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "error: trainer=slurm: Lightning ignores Slurm in jobs named interactive; give srun --job-name=NAME" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_nodes_agree_on_where_a_run_begins(slurm: Slurm, tmp_path: Path) -> None:
    for epochs in (1, 2):
        printed = over_two_nodes(slurm, tmp_path, "hydra.run.dir=run", f"trainer.max_epochs={epochs}", "~callbacks.figures")
        assert ("its configuration has changed, so it starts from the beginning" in printed) == (epochs == 2)
        timing = json.loads((tmp_path / "run" / "results.json").read_text())["timing"]
        assert (timing["steps"], timing["resumed_at_step"]) == (20 * epochs, 0)
    printed = over_two_nodes(slurm, tmp_path, "hydra.run.dir=run", "trainer.max_epochs=2", "~callbacks.figures")
    assert printed.count("run is complete already, nothing to do") == 2
