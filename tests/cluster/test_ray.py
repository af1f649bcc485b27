"""A sweep on a real Ray cluster on this machine, with a worker and then the whole sweep killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from held import HELD, hold, release
from processes import JOB, OWN_NETWORKS, free_ports, kill, run_script, start, until
from run_files import checkpoints, completed, metrics, records, stamps
from stopped_search import Search, kill_driver

pytestmark = pytest.mark.slow

JOBS = ("-m", *JOB, HELD, "~callbacks.figures", "activation=relu,tanh,gelu", "sweep=mine")


@pytest.fixture
def ray() -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a cluster and the environment in which to use it."""
    folder = Path(tempfile.mkdtemp(prefix="ray."))  # its sockets' paths must be short
    (port,) = free_ports(1)
    environment = OWN_NETWORKS | {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": str(folder), "PYTHONWARNINGS": "ignore"}
    options = {
        "node-ip-address": "127.0.0.1",
        "port": port,
        "num-cpus": 2,
        "include-dashboard": "false",
        "temp-dir": folder,
        "object-store-memory": 80_000_000,
    }
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--disable-usage-stats"]
    with (folder / "cluster.log").open("wb") as log:
        cluster = subprocess.Popen(
            [*command, *(f"--{key}={value}" for key, value in options.items())],
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    until(lambda: "Ray runtime started" in (folder / "cluster.log").read_text(), cluster)
    yield f"127.0.0.1:{port}", environment
    kill(cluster)
    for process in _processes(str(folder)):
        os.kill(process, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _processes(mark: str, title: str = "") -> list[int]:
    """Processes with a mark in their environment and a title that begins so."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes() and (process / "cmdline").read_text().startswith(title):
                found.append(int(process.name))
        except OSError:
            pass  # it has just ended
    return found


def test_killed_workers_and_a_killed_sweep_change_no_number(ray: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environment = ray
    whole = tmp_path / "whole"
    whole.mkdir()
    assert run_script("train.py", whole, *JOBS, environment=OWN_NETWORKS).returncode == 0

    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    on_ray = (*JOBS, "hydra/launcher=ray", f"hydra.launcher.ray.init.address={address}")
    hold(sweep)
    process = start(tmp_path, *on_ray, environment=environment)
    until(lambda: checkpoints(sweep), process)
    for worker in _processes(environment["RAY_TMPDIR"], "ray::_run_job"):
        os.kill(worker, signal.SIGKILL)  # Ray starts its job again
    hold(sweep, after=1)
    until(lambda: completed(sweep), process)
    kill(process)
    release(sweep)
    before = stamps(sweep, completed(sweep))
    again = run_script("train.py", tmp_path, *on_ray, environment=environment)
    assert again.returncode == 0, again.stderr
    assert stamps(sweep, before) == before
    assert metrics(sweep) == metrics(whole / "outputs" / "sweeps" / "mine")
    assert any(record["timing"]["resumed_at_step"] > 0 for record in records(sweep).values())
    assert "Sweep of 3 jobs" in again.stdout


def test_a_stopped_search_on_ray_is_resumed_and_reproduced(ray: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environment = ray
    search = Search(tmp_path, ("hydra/launcher=ray", f"hydra.launcher.ray.init.address={address}"), environment=environment)
    kill_driver(search.start_until_the_middle())
    search.resume()
    search.reproduce_best()


def test_an_address_at_which_nobody_answers_is_one_line(tmp_path: Path) -> None:
    done = run_script(
        "train.py", tmp_path, *JOBS, "hydra/launcher=ray", "hydra.launcher.ray.init.address=127.0.0.1:9", environment=OWN_NETWORKS
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: hydra.launcher.ray.init.address=127.0.0.1:9: nothing answers there (")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()


def test_an_address_that_takes_a_connection_and_says_nothing_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        done = run_script(
            "train.py",
            tmp_path,
            *JOBS,
            "hydra/launcher=ray",
            f"hydra.launcher.ray.init.address={address}",
            environment=OWN_NETWORKS,
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: hydra.launcher.ray.init.address={address}: no Ray cluster answers there (")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()
