"""Sweeps and runs on a real Slurm cluster of two nodes on this machine: jobs lost, preempted, submitted twice."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import JOB, ROOT, completed, kill, metrics, records, run_script, start
from slurm_cluster import Slurm, unavailable_reason

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


def stamps(sweep: Path, names: list[str]) -> dict[str, int]:
    return {name: (sweep / name / "results.json").stat().st_mtime_ns for name in names}


def test_re_running_the_command_completes_what_a_lost_job_and_a_lost_node_left(
    slurm: Slurm, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    process = start(tmp_path, *JOBS, "sweep=mine", *ON_SLURM, environment=slurm.environment)
    until(lambda: len(checkpoints(sweep)) == 4)
    running = [job for job in slurm.jobs() if job["JobState"] == "RUNNING"]
    assert [job["NodeList"] for job in running] == ["n1", "n1", "n2", "n2"]
    slurm.run("scancel", f"{running[0]['ArrayJobId']}_{running[0]['ArrayTaskId']}")
    slurm.kill_node("n2")
    assert process.wait(120) == 1
    slurm.start_node("n2")
    before = stamps(sweep, completed(sweep))
    assert 1 <= len(before) < 4
    again = run_script("train.py", tmp_path, *JOBS, "sweep=mine", *ON_SLURM, environment=slurm.environment)
    assert (again.returncode, again.stderr) == (0, "")
    assert stamps(sweep, list(before)) == before
    assert metrics(sweep) == undisturbed
    assert all(record["timing"]["steps"] == 5000 for record in records(sweep).values())


def requeued_and_done(slurm: Slurm, process: subprocess.Popen[bytes], place: int, sweep: Path) -> dict[str, Any]:
    """Wait until a job is requeued and then done, and return its record, the only one of its sweep."""
    until(lambda: slurm.jobs()[place]["JobState"] == "PENDING")
    slurm.run("scontrol", "update", f"JobId={slurm.jobs()[place]['JobId']}", "StartTime=now")  # Slurm would wait for two minutes
    assert process.wait(120) == 0
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


def test_a_sweep_submitted_twice_trains_each_job_once(slurm: Slurm, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    """As after the submitting process was lost and its command re-run while its jobs still ran."""
    one = (*ONE, "sweep=mine", *ON_SLURM)
    known = len(slurm.jobs())
    submitter = start(tmp_path, *one, environment=slurm.environment)
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    until(lambda: checkpoints(sweep))
    kill(submitter)
    (first,) = slurm.jobs()[known:]
    slurm.run("scancel", "--signal=STOP", first["JobId"])
    again = start(tmp_path, *one, environment=slurm.environment)
    until(
        lambda: "another process is working on it, waiting" in "".join(log.read_text() for log in sweep.glob(".submitit/*/*.out"))
    )
    slurm.run("scancel", "--signal=CONT", first["JobId"])
    assert again.wait(120) == 0
    (record,) = records(sweep).values()
    assert record["timing"]["resumed_at_step"] == 0
    assert metrics(sweep).items() <= undisturbed.items()


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


def test_nodes_agree_on_where_a_run_begins(slurm: Slurm, tmp_path: Path) -> None:
    for epochs in (1, 2):
        printed = over_two_nodes(slurm, tmp_path, "hydra.run.dir=run", f"trainer.max_epochs={epochs}", "~callbacks.figures")
        assert ("its configuration has changed, so it starts from the beginning" in printed) == (epochs == 2)
        timing = json.loads((tmp_path / "run" / "results.json").read_text())["timing"]
        assert (timing["steps"], timing["resumed_at_step"]) == (20 * epochs, 0)
    printed = over_two_nodes(slurm, tmp_path, "hydra.run.dir=run", "trainer.max_epochs=2", "~callbacks.figures")
    assert printed.count("run is complete already, nothing to do") == 2
