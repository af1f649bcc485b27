"""Running the scripts and commands as a user does, and what processes need."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import forked

ROOT = Path(__file__).parents[1]

OWN_NETWORKS = {"PYTHONPATH": str(ROOT / "tests"), "WAVECODER_ALLOW_TARGETS": "own_networks,held"}
"""The environment in which commands find the networks of own_networks.py, and may use them."""

FAILS = "model._target_=own_networks.FailsWhenTrained"
"""A choice with which a run fails in its first step, where it finds `OWN_NETWORKS`."""

EVERY_EPOCH = "callbacks.last.every_seconds=0"
"""A choice with which a run can resume after every epoch."""

JOB = (
    "debug=quick",
    "logger=none",
    "data.train_size=640",
    "data.val_size=64",
    "trainer.max_epochs=6",
    "num_seeds=2",
    EVERY_EPOCH,
)
"""A run of six epochs of ten steps, in a second or two."""


Run = Callable[..., subprocess.CompletedProcess[str]]


def run_script(
    script: str, folder: Path, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python src/SCRIPT ARGUMENTS` in a folder and return what it printed and its exit status."""
    return run_command(folder, sys.executable, str(ROOT / "src" / script), *last_choices(arguments), environment=environment)


def last_choices(arguments: Iterable[str]) -> list[str]:
    """Arguments in which a later choice takes the place of an earlier one, which the command line would refuse."""
    latest: dict[str, str] = {}
    for number, argument in enumerate(arguments):
        key, assigns, _ = argument.partition("=")
        latest[key.lstrip("+") if assigns and not argument.startswith("-") else str(number)] = argument
    return list(latest.values())


def run_command(
    folder: Path, *command: str, environment: dict[str, str] | None = None, timeout: float = 280
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder and return what it printed and its exit status."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {})
    if forked.can_run(command, environment):
        return forked.run(command, folder, environment, timeout)
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def start(
    folder: Path, *arguments: str, environment: dict[str, str] | None = None, keep: bool = False
) -> subprocess.Popen[bytes]:
    """Start `python src/train.py` in a process group of its own, so that all it starts can be killed with it.

    If `keep`, what it prints is kept in printed.txt and errors.txt in the folder.
    """
    command = [sys.executable, str(ROOT / "src" / "train.py"), *last_choices(arguments)]
    threads = os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {})
    outputs = [folder / "printed.txt", folder / "errors.txt"] if keep else [Path(os.devnull), None]
    out, err = (file.open("wb") if file else None for file in outputs)
    return subprocess.Popen(command, cwd=folder, env=threads, stdout=out, stderr=err, start_new_session=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def until(condition: Callable[[], object], process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait for something that is sure to come, however slow the machine; if `process` is given, it must not end before."""
    deadline = time.monotonic() + 240
    while not condition():
        assert process is None or process.poll() is None, "it ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens, none of which the system gives to a client."""
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        while len(sockets) < count:
            each = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                each.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
                sockets.append(each)
        return [each.getsockname()[1] for each in sockets]
