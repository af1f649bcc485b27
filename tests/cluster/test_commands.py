"""Every command of docs/clusters.md is run as the page has it, on a Slurm cluster and a Ray cluster on this machine.

What makes a command quick is added to it: little data, few epochs, smaller sweeps. A line of the page that is neither run here
nor listed as not run is an error.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from clusters_page import PAGE, code_in_prose, code_lines
from conftest import JOB, completed, free_ports, kill, records, run_command, until
from slurm_cluster import Slurm

pytestmark = pytest.mark.slow
on_slurm = pytest.mark.xdist_group("slurm 2")  # one cluster for all
on_results = pytest.mark.xdist_group("results of a sweep")  # one sweep for all

LINES = list(dict.fromkeys(line.removeprefix("$ ") for line in (*code_lines(PAGE), *code_in_prose(PAGE))))

RUN = {
    "a sweep on Slurm": r"wavecoder train -m (?!.*(trainer=gpu|detach=true)).*hydra/launcher=slurm",
    "a sweep on GPUs": r"wavecoder train -m .*trainer=gpu",
    "a detached sweep": r"wavecoder train -m .*detach=true",
    "its status": r"wavecoder status ",
    "its tasks": r"squeue ",
    "its end": r"wavecoder cancel ",
    "a question to Slurm": r"(sacctmgr|scontrol|sinfo) ",
    "a run over nodes": r"(srun|salloc) .*trainer=slurm",
    "a script": r"sbatch --nodes",
    "runs as tasks": r"srun --ntasks",
    "a sweep on Ray": r"wavecoder train -m .*hydra/launcher=ray$",
    "a Ray cluster": r"ray (start --|status|stop)|wavecoder train -m .*init\.address=",
    "Ray's token": r"ray get-auth-token ",
    "a sweep with joblib": r"wavecoder train -m .*hydra/launcher=joblib$",
    "a report": r"wavecoder report ",
    "a notebook": r"frame",
    "curves": r"tensorboard ",
    "a script for another scheduler": r"#PBS |cd \$PBS_O_WORKDIR |wavecoder train -m .*hydra/launcher=joblib .*n_jobs=",
    "a search": r"wavecoder train (-m experiment=search$|.*experiment=best)",
}
"""What is run, by the test that runs it: a pattern for the beginning of its lines."""

NOT_RUN = {
    r"module |git clone |pip install ": "the environment of the tests is installed; tests/test_wheel.py installs another",
    r"ssh ": "there is no second machine to log in to",
    r"kubectl ": "there is no Kubernetes cluster; tests/test_docs.py compares the manifest with KubeRay's fields",
    r"python benchmarks/": "measures for minutes",
    r"ray start$": "names a command that is run with its options",
    r"\d+ complete, |submitted \d|tasks that wait, |\d+ (of \d+ )?jobs|cancelled \d|checking [\d,]+ jobs": "printed",
    r"(running|queued|lost) +activation=|lost: |the best so far: |no longer in the queue|sbatch refuses": "printed",
    r"outputs/|activation=gelu,latent=5/|results\.json|checkpoints/|\.lock|train\.log|summary\.csv": "files that a sweep leaves",
    r"sweep\.db|\.tasks/|multirun\.yaml": "files that a sweep leaves",
}
"""What is not run, a pattern for the beginning of its lines, and why."""

SMALLER = {
    "activation=relu,tanh,gelu latent=1,5": "activation=relu,tanh latent=5",
    "latent=1,2,3,5": "latent=1,2",
    "--ntasks=4": "--ntasks=2",
    "num_seeds=32": "num_seeds=2",
    "num_seeds=256": "num_seeds=2",
    "range(0,10000)": "range(0,4)",
    "range(0,32)": "range(0,2)",
    "jobs_per_task=50": "jobs_per_task=2",
    "n_jobs=32": "n_jobs=2",
    "experiment=search": "experiment=search hydra.sweeper.n_trials=2",
    "FIRST": "127.0.0.1",
}
ENDLESS = "trainer.max_epochs=1000000 trainer.check_val_every_n_epoch=1000000"
QUICK = " ".join(choice for choice in JOB if not choice.startswith(("num_seeds", "callbacks")))

HERE = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
"""The environment in which the page's commands are typed."""


def of(kind: str) -> list[str]:
    return [line for line in LINES if re.match(RUN[kind], line)]


def quick(line: str) -> str:
    """A line of the page with what makes it quick."""
    for large, small in SMALLER.items():
        line = line.replace(large, small)
    figures = "" if "callbacks=lean" in line else " ~callbacks.figures"
    return re.sub(r"wavecoder train( -m| --config-dir \S+)?", rf"\g<0> {QUICK}{figures}", line)


def run(folder: Path, line: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Type a line in a folder; its exit status must be 0."""
    done = run_command(folder, "bash", "-c", quick(line), environment=environment or HERE)
    assert done.returncode == 0, f"{quick(line)}\n{done.stdout}{done.stderr}"
    return done


def assert_complete(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    """A sweep has begun with nothing and completed all its jobs."""
    assert done.stderr == ""
    (sweep,) = (folder / "outputs" / "sweeps").iterdir()
    planned = re.search(r"^0 complete, (\d+) to run in outputs/sweeps/\w+$", done.stdout, flags=re.MULTILINE)
    assert len(completed(sweep)) == len(records(sweep)) == (int(planned[1]) if planned else 2)  # a search plans none


def runs_in(folder: Path) -> list[dict[str, Any]]:
    """The records of the runs in a folder."""
    return [json.loads(file.read_text()) for file in (folder / "outputs" / "runs").rglob("results.json")]


def test_every_line_of_the_page_is_run_or_listed() -> None:
    patterns = [*RUN.values(), *NOT_RUN]
    for line in LINES:
        assert len([pattern for pattern in patterns if re.match(pattern, line)]) == 1, f"run or list it, once: {line}"
    for pattern in patterns:
        assert any(re.match(pattern, line) for line in LINES), f"no line of the page: {pattern}"
    for large in SMALLER:
        assert any(large in line for line in LINES), f"on no line of the page: {large}"


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


@on_slurm
@pytest.mark.parametrize("command", of("a sweep on Slurm"))
def test_sweeps_on_slurm(command: str, login: dict[str, str], tmp_path: Path) -> None:
    assert_complete(run(tmp_path, command, login), tmp_path)
    if "module load" in command:
        assert (tmp_path / "modules.txt").read_text().splitlines() == ["load python/3.11"] * 2


@on_slurm
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


@on_slurm
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


@on_slurm
@pytest.mark.parametrize("command", of("a question to Slurm"))
def test_questions_to_slurm(command: str, login: dict[str, str], tmp_path: Path) -> None:
    shown = run(tmp_path, command, login).stdout
    (word,) = (word for part, word in {"qos": "MaxSubmit", "MaxArray": "= 5\n", "%G": "gpu:a100:1"}.items() if part in command)
    assert word in shown


@on_slurm
@pytest.mark.parametrize("command", of("a run over nodes"))
def test_runs_over_nodes(command: str, login: dict[str, str], tmp_path: Path) -> None:
    run(tmp_path, command, login)
    (record,) = runs_in(tmp_path)
    assert (record["status"], record["num_seeds"]) == ("completed", 2)


@on_slurm
def test_a_run_over_nodes_in_a_script(slurm: Slurm, login: dict[str, str], tmp_path: Path) -> None:
    (submit,), (line, _) = of("a script"), of("a run over nodes")
    (tmp_path / "script").write_text(f"#!/bin/bash\n{quick(line)}\n")
    run(tmp_path, f"{submit} script", login)
    until(lambda: not slurm.run("squeue", "--noheader"))
    (record,) = runs_in(tmp_path)
    assert record["status"] == "completed"


@on_slurm
@pytest.mark.parametrize("command", of("runs as tasks"))
def test_runs_as_tasks(command: str, login: dict[str, str], tmp_path: Path) -> None:
    run(tmp_path, command, login)
    assert sorted(record["seed"] for record in runs_in(tmp_path)) == [0, 1]


@pytest.fixture
def machine() -> Iterator[tuple[list[str], dict[str, str]]]:
    """What a command begins with that is to see no other process and no other port of this machine, and its environment.

    `ray stop` ends all Ray clusters that it sees, those of other tests too, and the page's port may be taken.
    """
    enter = [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--net",
        "bash",
        "-c",
        'ip link set lo up && eval "$0"',
    ]
    try:
        subprocess.run([*enter, "true"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"unshare and ip, as root: {getattr(error, 'stderr', error)}")
    folder = tempfile.mkdtemp(prefix="ray.")  # its sockets' paths must be short
    yield enter, HERE | {"RAY_TMPDIR": folder, "HOME": folder, "RAY_DISABLE_USAGE_STATS": "1", "PYTHONWARNINGS": "ignore"}
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("command", of("a sweep on Ray"))
def test_a_sweep_on_ray(command: str, machine: tuple[list[str], dict[str, str]], tmp_path: Path) -> None:
    enter, environment = machine
    done = run_command(tmp_path, *enter, quick(command), environment=environment)
    assert done.returncode == 0, done.stderr
    assert len(completed(tmp_path / "outputs" / "sweeps" / "mine")) == 2


def test_a_ray_cluster(machine: tuple[list[str], dict[str, str]], tmp_path: Path) -> None:
    """All commands in their order, the first machine and another one being this machine."""
    enter, environment = machine
    lines = [quick(line) for line in of("a Ray cluster")]
    (status,) = (line for line in lines if line.startswith("ray status"))
    lines.insert(lines.index(status), f"until [ $({status.partition('#')[0]} | grep -c ' node_') = 2 ]; do sleep 0.2; done")
    done = run_command(tmp_path, *enter, "\n".join(["set -ex", *lines]), environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(completed(tmp_path / "outputs" / "sweeps" / "mine")) == 2
    assert "Stopped all " in done.stdout


@pytest.mark.parametrize("command", of("Ray's token"))
def test_the_token_of_ray(command: str, tmp_path: Path) -> None:
    run(tmp_path, command, HERE | {"HOME": str(tmp_path)})
    assert (tmp_path / ".ray" / "auth_token").read_text()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the page's sweep with joblib was run."""
    folder = tmp_path_factory.mktemp("results")
    (command,) = of("a sweep with joblib")
    done = run(folder, command + " logger=tensorboard")
    assert_complete(done, folder)
    return folder


@on_results
def test_a_report(results: Path) -> None:
    (command,) = of("a report")
    assert run(results, command).stdout.startswith("The report is outputs/sweeps/mine/")


@on_results
def test_a_notebook(results: Path) -> None:
    program = "\n".join(["import wavecoder", *of("a notebook")[:-1], f"print({of('a notebook')[-1]})"])
    done = run_command(results, sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:3]] == ["relu", "tanh"]


def runs_shown(port: int) -> list[str]:
    """The runs that TensorBoard shows at a port; none as long as it does not answer."""
    try:
        with urllib.request.urlopen(f"http://localhost:{port}/data/runs", timeout=20) as answer:
            runs: list[str] = json.load(answer)
    except OSError:
        return []
    return runs


@on_results
def test_curves(results: Path) -> None:
    (command,) = of("curves")
    (port,) = free_ports(1)
    line = command.replace("6006", str(port))  # which may be taken
    with (results / "tensorboard.log").open("wb") as log:
        server = subprocess.Popen(
            ["bash", "-c", line], cwd=results, env=os.environ | HERE, stdout=log, stderr=log, start_new_session=True
        )
    try:
        until(lambda: len(runs_shown(port)) == 2, server)
        os.killpg(server.pid, signal.SIGINT)
        server.wait(240)
    finally:
        kill(server)


def test_a_script_for_another_scheduler(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    script = "\n".join(map(quick, of("a script for another scheduler")))
    done = run_command(tmp_path, "bash", "-ec", script, environment={"PBS_O_WORKDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert_complete(done, tmp_path)


def test_a_search_and_its_best_network(tmp_path: Path) -> None:
    search, best = of("a search")
    assert_complete(run(tmp_path, search), tmp_path)
    run(tmp_path, best)
    (record,) = runs_in(tmp_path)
    assert record["status"] == "completed"
