"""A process that has imported all of wavecoder, and forks a child for each command: a run then costs half a second, not five.

Commands can be killed at the n-th operation by which they change files in a folder, or at the n-th chunk of steps; see fileops.c.
"""

import atexit
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

HERE = Path(__file__).parent
KILLED = -signal.SIGKILL


def compile_library(folder: Path) -> Path:
    """The library that counts file operations, compiled into a folder; raises FileNotFoundError without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("cc: no C compiler")
    library = folder / "fileops.so"
    flags = ["-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-U_FORTIFY_SOURCE"]
    subprocess.run([compiler, *flags, "-o", str(library), str(HERE / "fileops.c"), "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Stop:
    """Where a command is stopped.

    Attributes:
        folder: Whose files' operations are counted.
        at: The number of the operation, from 1; 0 for never.
        how: `before` it, at its `half` (of what is written), or `full`: no more room from there on.
        chunk: The number of the chunk of steps before which the process is killed, from 1; 0 for never.
    """

    folder: Path
    at: int = 0
    how: str = "before"
    chunk: int = 0


@dataclass(frozen=True)
class Done:
    """How a command ended.

    Attributes:
        status: Its exit status; `KILLED` if it was.
        printed: All that it printed.
        operations: The operations on files of the folder, as `NAME PATH`, in their order; the last is the one that was stopped.
    """

    status: int
    printed: str
    operations: list[str]


class Forks:
    """The process, while the context lasts: `with Forks(library, folder) as forks: forks.train(…)`.

    Args:
        library: From `compile_library`.
        folder: For files of its own.
    """

    def __init__(self, library: Path, folder: Path) -> None:
        self._folder = folder
        environment = os.environ | {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        command = [sys.executable, str(HERE / "forks.py"), str(library)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, env=environment, text=True, **pipes)  # type: ignore[call-overload]

    def train(self, arguments: Sequence[str], folder: Path, stop: Stop | None = None) -> Done:
        """Run `wavecoder train ARGUMENTS` in a folder."""
        printed, operations = self._folder / "printed.txt", self._folder / "operations.txt"
        operations.unlink(missing_ok=True)
        told = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(stop or Stop(folder)).items()}
        files = {"printed": str(printed), "operations": str(operations)}
        request = {"arguments": list(arguments), "cwd": str(folder), "stop": told} | files
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        log = operations.read_text(errors="replace").splitlines() if operations.exists() else []
        return Done(status, printed.read_text(errors="replace"), log)

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # at whose end it leaves
        self._process.wait(60)


def _serve(library: ctypes.CDLL) -> None:
    """Fork a child for each line of JSON, and answer with its exit status."""
    import tensorboard.backend.event_processing.event_accumulator  # noqa: F401 - the children need not import them again
    from hydra import compose, initialize_config_dir

    from wavecoder.runs import cli, run  # noqa: F401
    from wavecoder.runs.overrides import CONF

    with initialize_config_dir(str(CONF), version_base="1.3"):
        compose("train")  # Hydra then knows its plugins and its grammar
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a process with threads cannot fork safely"
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _work(json.loads(line), library)
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        answers.flush()


def _work(request: dict[str, Any], library: ctypes.CDLL) -> NoReturn:
    """Be the process of one command."""
    from hydra._internal.hydra import Hydra

    from wavecoder.runs import cli

    os.chdir(request["cwd"])
    for stream, file in enumerate((os.devnull, request["printed"], request["printed"])):
        flags = os.O_RDONLY if stream == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if stream == 1 else 0)
        os.dup2(os.open(file, flags), stream)
    stop = request["stop"]
    if stop["chunk"]:
        _kill_at_chunk(stop["chunk"])
    Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign] - it composes the configuration a second time
    log = request["operations"].encode()
    library.fileops_arm(stop["folder"].encode(), ctypes.c_long(stop["at"]), stop["how"].encode(), log)
    sys.argv = ["wavecoder train", *request["arguments"]]
    status: Any = 0
    try:
        cli.train()
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(0 if status is None else int(status))


def _kill_at_chunk(number: int) -> None:
    from wavecoder.training.module import AutoencoderModule

    train, seen = AutoencoderModule.training_step, [0]

    def training_step(self: AutoencoderModule, *arguments: Any) -> Any:
        seen[0] += 1
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return train(self, *arguments)

    AutoencoderModule.training_step = training_step  # type: ignore[method-assign]


if __name__ == "__main__":
    _serve(ctypes.CDLL(sys.argv[1]))
