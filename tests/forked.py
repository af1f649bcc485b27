"""Commands in processes that are forked from one which has imported all that a run needs, so that each saves these seconds.

What a command reads, writes, prints and returns is what it would be by itself. How late it imports what, and what it does in the
first moments of a process, is not tested so; nor are commands that start other processes.
"""

import atexit
import gc
import json
import os
import runpy
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

_SRC = Path(__file__).parents[1] / "src"
_OF_OTHER_PROCESSES = ("launcher=", "ddp", "slurm", "sweeper=optuna", "tensorboard", "cancel", "-sc")
_ENVIRONMENT = {"OMP_NUM_THREADS", "PYTHONPATH", "COLUMNS"}  # what is read when it is needed, not when a process begins


def can_run(command: Sequence[str], environment: dict[str, str]) -> bool:
    """Whether a command is one of ours that starts no other process, and its environment is not read by what is imported."""
    ours = command[0] == sys.executable and (Path(command[1]).parent == _SRC or list(command[1:3]) == ["-m", "wavecoder"])
    alone = not any(part in word for word in command for part in _OF_OTHER_PROCESSES)
    changed = {key for key in environment.keys() | os.environ.keys() if environment.get(key) != os.environ.get(key)}
    return ours and alone and changed <= _ENVIRONMENT and environment["OMP_NUM_THREADS"] == "1"


def run(command: Sequence[str], folder: Path, environment: dict[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, as `subprocess.run` would."""
    with TemporaryDirectory() as outputs:
        files = [Path(outputs, name) for name in ("out", "err")]
        request = {
            "command": list(command[1:]),
            "folder": str(folder),
            "environment": environment,
            "outputs": list(map(str, files)),
        }
        server = _server()
        pid = _ask(server, request)["pid"]
        timer = threading.Timer(timeout, os.kill, [pid, 9])
        timer.start()
        status = _answer(server)["status"]
        timer.cancel()
        out, err = (file.read_text(encoding="utf-8") for file in files)
    return subprocess.CompletedProcess(command, status, out, err)


@cache
def _server() -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    atexit.register(server.communicate)  # which ends it
    return server


def _ask(server: subprocess.Popen[str], request: dict[str, Any]) -> Any:
    assert server.stdin is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return _answer(server)


def _answer(server: subprocess.Popen[str]) -> Any:
    assert server.stdout is not None
    return json.loads(server.stdout.readline())


def _serve(answers: TextIO) -> None:
    import wavecoder.paper.report
    import wavecoder.runs.cli
    import wavecoder.runs.run
    import wavecoder.runs.sweep  # noqa: F401

    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _work(**request)
        print(json.dumps({"pid": pid}), file=answers, flush=True)
        print(json.dumps({"status": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}), file=answers, flush=True)


def _work(command: list[str], folder: str, environment: dict[str, str], outputs: list[str]) -> None:
    """Be the process of a command from here on."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, output in enumerate(outputs, 1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", encoding="utf-8"), os.fdopen(2, "w", encoding="utf-8")
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(":") if path]
    status = 0
    try:
        if command[0] == "-m":
            sys.argv = command[1:]
            sys.path.insert(0, folder)
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = command
            sys.path.insert(0, str(Path(command[0]).parent))
            runpy.run_path(command[0], run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    kept = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is printed by imports is no answer
    sys.path[0] = str(_SRC)
    _serve(kept)
