"""Commands that are refused before anything is run: a module that touches a file if it is, and experiments of somebody else's."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wavecoder.runs import cli, foreign, targets, typed
from wavecoder.runs.targets import allowing

PAYLOAD = """
from pathlib import Path
from torch import nn

TOUCHED = Path(__file__).with_name("touched")
TOUCHED.touch()

def run(*arguments, **more):
    TOUCHED.touch()

class Net(nn.Module):
    def __init__(self, **more):
        TOUCHED.touch()
"""

Refused = Callable[..., str]


@pytest.fixture
def touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that a module `payload`, which Python finds, touches when it is imported or anything in it is called."""
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "payload.py").write_text(PAYLOAD)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder / "touched"
    sys.modules.pop("payload", None)


@pytest.fixture
def refused(tmp_path: Path, touched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command in this process, in an empty folder, and gives the one line with which it refuses its arguments."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(typed, "_arguments", [])
    monkeypatch.setattr(foreign, "_typed", set())
    monkeypatch.setattr(targets, "_remedy", targets._remedy)
    for name in ("HYDRA_FULL_ERROR", "WAVECODER_ONE_LINE_ERRORS"):
        monkeypatch.setenv(name, "1")

    def refused(*arguments: str, command: Callable[[], None] = cli.train) -> str:
        monkeypatch.setattr(sys, "argv", ["wavecoder", *arguments])
        with pytest.raises(SystemExit) as left, allowing([]):
            command()
        printed = capsys.readouterr()
        assert (left.value.code, printed.out, printed.err.count("\n")) == (2, "", 1)
        assert not touched.exists()
        assert not list(folder.iterdir())
        return printed.err.removeprefix("error: ").rstrip()

    return refused


NOT_ALLOWED = "payload is not an allowed package; allow it with allow_targets=[payload]"
CALLBACK = "hydra.experimental.callback.Callback"


def theirs(folder: Path, content: str) -> list[str]:
    """What chooses an experiment of somebody else's."""
    file = folder / "theirs" / "experiment" / "theirs.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"# @package _global_\n{content}\n")
    return ["--config-dir", str(folder / "theirs"), "experiment=theirs"]
