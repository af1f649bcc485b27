"""Whatever is typed is accepted, or refused in one line that says why, and then nothing is left behind."""

import shlex
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import run_command

sys.path.insert(0, str(Path(__file__).parent))

from in_process import invoke
from invocations import ACCEPTED, KEYS, REFUSED, generated

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
@pytest.mark.parametrize(("arguments", "says"), refused(), ids=lambda value: ascii(" ".join(value)[:60]))
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    ended = invoke(arguments, tmp_path)
    assert (ended.status, ended.out, ended.new) == (2, "", []), ended.err
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert len(line) < 2000
    assert line.isprintable()


@pytest.mark.slow
def test_an_activation_that_cannot_be_looked_into_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine" / "activation").mkdir(parents=True)
    content = "_target_: torch.jit._script.RecursiveScriptModule\ncpp_module: 3\n"
    (tmp_path / "mine" / "activation" / "script.yaml").write_text(content)
    ended = invoke(["train", "--config-dir", "mine", "activation=script"], tmp_path)
    assert (ended.status, ended.out, ended.new, ended.err.count("\n")) == (2, "", [], 1)
    assert "activation=script: " in ended.err


@pytest.mark.slow
def test_a_warning_of_a_library_is_one_line(tmp_path: Path) -> None:
    short = ("debug=quick", "trainer.max_epochs=1", "~callbacks.figures", "~callbacks.latent_points", "logger=none")
    done = run_command(tmp_path, WAVECODER, "train", *short, "activation._target_=torch.nn.Softmax", "hydra.run.dir=run")
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: Implicit dimension choice for softmax")
    assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "says"), refused()[5::60], ids=lambda value: ascii(" ".join(value)[:60]))
def test_a_process_of_its_own_says_the_same(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = run_command(tmp_path, WAVECODER, *arguments)
    (line,) = done.stderr.splitlines()
    assert says in line
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (2, "", [])


numbers = st.integers().map(str) | st.floats().map(str)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
values = (
    numbers | texts | st.lists(numbers, max_size=3).map(lambda each: f"[{','.join(each)}]") | st.sampled_from(["null", "true"])
)
choices = st.builds("{}{}={}".format, st.sampled_from(["", "+", "++", "~"]), st.sampled_from(KEYS), values)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(choices, min_size=1, max_size=2))
def test_what_nobody_has_thought_of_is_accepted_or_refused_in_one_line(chosen: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ended = invoke(["train", *chosen], Path(folder))
    assert ended.status in (0, 2), ended.err
    assert ended.status == 0 or (ended.err.count("\n"), ended.new) == (1, [])


def test_there_are_enough() -> None:
    commands = [*ACCEPTED, *(" ".join(arguments) for arguments, _ in refused())]
    assert len(commands) == len(set(commands)) >= 400
