"""A run that is killed ends as if nothing had happened: a sample; `python tests/kills/matrix.py` kills at every operation."""

import errno
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kills.forks import KILLED, Forks, compile_library
from kills.matrix import CHUNKS, KINDS, Victim

_WRITES = (
    "import os; os.mkdir('a'); f = open('a/b', 'wb', 0); f.write(b'12345678'); os.fsync(f.fileno()); os.rename('a/b', 'a/c')"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return compile_library(tmp_path_factory.mktemp("library"))
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def forks(library: Path) -> Iterator[Forks]:
    with Forks(library, library.parent) as forks:
        yield forks


@pytest.mark.parametrize(
    ("at", "how", "status", "left"),
    [
        (0, "before", 0, {"a/c": 8}),
        (2, "before", KILLED, {}),
        (3, "before", KILLED, {"a/b": 0}),
        (3, "half", KILLED, {"a/b": 4}),
        (5, "before", KILLED, {"a/b": 8}),
        (3, "full", 1, {"a/b": 0}),
        (4, "full", 0, {"a/c": 8}),  # which need no room
    ],
)
def test_a_process_is_stopped_at_an_operation(
    library: Path, tmp_path: Path, at: int, how: str, status: int, left: dict[str, int]
) -> None:
    told = {"FILEOPS_FOLDER": str(tmp_path), "FILEOPS_AT": str(at), "FILEOPS_HOW": how, "LD_PRELOAD": str(library)}
    command = [sys.executable, "-S", "-E", "-c", _WRITES]
    done = subprocess.run(command, cwd=tmp_path, env=told, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    assert {str(file.relative_to(tmp_path)): file.stat().st_size for file in tmp_path.glob("*/*")} == left
    assert (f"[Errno {errno.ENOSPC}]" in done.stderr) == (status == 1)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "engine"), KINDS)
def test_a_run_that_is_killed_anywhere_ends_as_if_nothing_had_happened(
    forks: Forks, tmp_path: Path, model: str, engine: str
) -> None:
    draw = random.Random(seed := random.randrange(10**6))
    print("seed", seed)
    short, long = (Victim(forks, tmp_path / f"{more}", model, engine, more) for more in (False, True))
    assert len(short.undisturbed.operations) > 100
    for stop in draw.sample(short.stops, 4):
        print(stop)
        short.kill(**stop)
    print(chunk := draw.randint(1, CHUNKS))
    long.kill(chunk=chunk)
