"""Every command of docs/clusters.md is run as the page has it, those for Slurm in test_commands_on_slurm.py.

A line of the page that is neither run nor listed as not run is an error.
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

import pytest
from clusters_page import HERE, LINES, NOT_RUN, RUN, SMALLER, assert_complete, of, quick, run, runs_in
from processes import free_ports, kill, run_command, until
from run_files import completed

pytestmark = pytest.mark.slow
on_results = pytest.mark.xdist_group("results of a sweep")  # one sweep for all


def test_every_line_of_the_page_is_run_or_listed() -> None:
    patterns = [*RUN.values(), *NOT_RUN]
    for line in LINES:
        assert len([pattern for pattern in patterns if re.match(pattern, line)]) == 1, f"run or list it, once: {line}"
    for pattern in patterns:
        assert any(re.match(pattern, line) for line in LINES), f"no line of the page: {pattern}"
    for large in SMALLER:
        assert any(large in line for line in LINES), f"on no line of the page: {large}"


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
        until(lambda: len(runs_shown(port)) >= 2, server)
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
