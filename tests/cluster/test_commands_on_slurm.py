"""Every command of docs/clusters.md that needs Slurm is run as the page has it, on a cluster on this machine."""

import re
import sys
from pathlib import Path

import pytest
import torch
from clusters_page import ENDLESS, assert_complete, of, quick, run, runs_in
from processes import run_command, until
from run_files import records
from slurm_cluster import Slurm

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm 2")]


@pytest.fixture
def login(slurm: Slurm, tmp_path: Path) -> dict[str, str]:
    """The environment on a node from which jobs are submitted, with a stand-in for the command `module`."""
    module = tmp_path / "bin" / "module"
    module.parent.mkdir()
    module.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/modules.txt\n')
    module.chmod(0o755)
    # the nodes' names are known to Slurm alone here
    return slurm.environment | {
        "PATH": f"{module.parent}:{Path(sys.executable).parent}:{slurm.environment['PATH']}",
        "MASTER_ADDR": "127.0.0.1",
    }


@pytest.mark.parametrize("command", of("a sweep on Slurm"))
def test_sweeps_on_slurm(command: str, login: dict[str, str], tmp_path: Path) -> None:
    assert_complete(run(tmp_path, command, login), tmp_path)
    if "module load" in command:
        assert (tmp_path / "modules.txt").read_text().splitlines() == ["load python/3.11"] * 2


@pytest.mark.parametrize("command", of("a sweep on GPUs"))
def test_sweeps_on_gpus(command: str, slurm: Slurm, login: dict[str, str], tmp_path: Path) -> None:
    """Slurm gives each task a GPU. Where there is none in truth, each job says so in a line."""
    known = len(slurm.jobs())
    done = run_command(tmp_path, "bash", "-c", quick(command), environment=login)
    tasks = slurm.jobs()[known:]
    assert len(tasks) == 2
    assert all(task["TresPerNode"].startswith("gres:gpu:") for task in tasks)
    errors = [record.get("error") for record in records(tmp_path / "outputs" / "sweeps" / "gpu").values()]
    if torch.cuda.is_available():
        assert (done.returncode, errors) == (0, [None, None])
        return
    assert (done.returncode, done.stderr) == (1, "")
    assert errors == ["trainer: No supported gpu backend found!"] * 2
    failed = [line for line in done.stdout.splitlines() if line.startswith("failed: ")]
    assert [line.endswith(f": {error}") for line, error in zip(failed, errors, strict=True)] == [True, True]


def test_a_detached_sweep_is_looked_at_and_cancelled(slurm: Slurm, login: dict[str, str], tmp_path: Path) -> None:
    (detached,), (status,), (tasks,), (cancel,) = map(of, ("a detached sweep", "its status", "its tasks", "its end"))
    # however fast the machine, no job is complete when it is cancelled
    assert "0 complete, 2 to run in outputs/sweeps/mine" in run(tmp_path, f"{detached} {ENDLESS}", login).stdout
    assert run(tmp_path, status, login).stdout.startswith("2 jobs: ")
    assert " mine-" in run(tmp_path, tasks, login).stdout
    printed = run(tmp_path, cancel, login).stdout
    assert re.match(r"cancelled \d tasks on Slurm, and 0 commands on this machine; the sweep's command resumes it", printed)
    until(lambda: not slurm.run("squeue", "--noheader"))
    # Slurm's accounting follows its queue later
    until(lambda: run(tmp_path, status, login).stdout.count("CANCELLED") == 2)
    assert run(tmp_path, status, login).stdout.startswith("2 jobs: 2 lost\n")


@pytest.mark.parametrize("command", of("a question to Slurm"))
def test_questions_to_slurm(command: str, login: dict[str, str], tmp_path: Path) -> None:
    shown = run(tmp_path, command, login).stdout
    (word,) = (word for part, word in {"qos": "MaxSubmit", "MaxArray": "= 5\n", "%G": "gpu:a100:1"}.items() if part in command)
    assert word in shown


@pytest.mark.parametrize("command", of("a run over nodes"))
def test_runs_over_nodes(command: str, login: dict[str, str], tmp_path: Path) -> None:
    run(tmp_path, command, login)
    (record,) = runs_in(tmp_path)
    assert (record["status"], record["num_seeds"]) == ("completed", 2)


def test_a_run_over_nodes_in_a_script(slurm: Slurm, login: dict[str, str], tmp_path: Path) -> None:
    (submit,), (line, _) = of("a script"), of("a run over nodes")
    (tmp_path / "script").write_text(f"#!/bin/bash\n{quick(line)}\n")
    run(tmp_path, f"{submit} script", login)
    until(lambda: not slurm.run("squeue", "--noheader"))
    (record,) = runs_in(tmp_path)
    assert record["status"] == "completed"


@pytest.mark.parametrize("command", of("runs as tasks"))
def test_runs_as_tasks(command: str, login: dict[str, str], tmp_path: Path) -> None:
    run(tmp_path, command, login)
    assert sorted(record["seed"] for record in runs_in(tmp_path)) == [0, 1]
