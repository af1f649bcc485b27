"""Whatever is typed is accepted, or refused in one line that says why, and then nothing is left behind."""

import shlex
import sys
from pathlib import Path

import pytest
from conftest import run_command

sys.path.insert(0, str(Path(__file__).parent))

from in_process import invoke
from invocations import ACCEPTED, REFUSED, generated

WAVECODER = str(Path(sys.executable).with_name("wavecoder"))


def refused() -> list[tuple[list[str], str]]:
    """All commands that are refused, and what their line says."""
    rows = [line.partition(" | ") for line in REFUSED]
    return [(shlex.split(command), says) for command, _, says in rows] + list(generated())


@pytest.mark.slow
@pytest.mark.parametrize("command", ACCEPTED)
def test_what_can_be_used_is_accepted(tmp_path: Path, command: str) -> None:
    ended = invoke(shlex.split(command), tmp_path)
    assert (ended.status, ended.err) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"), refused(), ids=lambda value: " ".join(value)[:60].encode("unicode_escape").decode()
)
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    ended = invoke(arguments, tmp_path)
    assert (ended.status, ended.out, ended.new) == (2, "", []), ended.err
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert len(line) < 2000
    assert line.isprintable()


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [each for each in refused() if each[0][0] != "tensorboard"][5::60], ids=lambda each: str(each[1])
)
def test_a_process_of_its_own_says_the_same(tmp_path: Path, arguments: tuple[list[str], str]) -> None:
    typed, says = arguments
    done = run_command(tmp_path, WAVECODER, *typed)
    (line,) = done.stderr.splitlines()
    assert says in line
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (2, "", [])


def test_there_are_enough() -> None:
    commands = [*ACCEPTED, *(" ".join(arguments) for arguments, _ in refused())]
    assert len(commands) == len(set(commands)) >= 400
