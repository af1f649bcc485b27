"""Tables and sentences in terminals of any width."""

import shlex
from pathlib import Path

import pytest

from wavecoder.runs import typed
from wavecoder.runs.screen import Column, Table, command_lines, wrap

NUMBERS = Column("val/mse", ("0.123", "12,300"))


def test_columns_are_left_out_in_a_fixed_order() -> None:
    columns = (NUMBERS, Column("a", ("1" * 8, "2"), left_out=1), Column("b", ("3" * 8, "4"), left_out=2))
    table = Table("title", (Column("name", ("x", "y"), is_text=True),), columns, ("a note",))
    assert table.lines() == [
        *("title", "", "name  val/mse         a         b", "─" * 33, "x       0.123  11111111  33333333"),
        *("y      12,300         2         4", "", "a note"),
    ]
    for width, gone in {32: "b", 22: "a, b"}.items():
        lines = table.lines(width)
        assert lines[-1] == f"Left out for lack of room: {gone}" or " ".join(lines[-2:]).endswith(f"room: {gone}")
        assert all(len(line) <= width for line in lines)
        assert "12,300" in lines[5]


def test_columns_that_must_stay_are_continued_below() -> None:
    columns = tuple(Column(name, ("0.123", "0.456")) for name in "abcdef")
    lines = Table("", (Column("name", ("x", "y"), is_text=True),), columns).lines(20)
    assert max(map(len, lines)) <= 20
    assert [line.split()[0] for line in lines if line and "─" not in line] == ["name", "x", "y"] * 3


def test_long_names_stand_at_the_end_in_whole_words() -> None:
    names = (Column("model", ("a_network_with_a_long_name", "b"), is_text=True), Column("latent", ("1", "22"), is_text=True))
    lines = Table("", names, (NUMBERS,)).lines(36)
    assert [line.split() for line in lines if "=" in line] == [
        ["0.123", "model=a_network_with_a_long_name"],
        ["latent=1"],
        ["12,300", "model=b", "latent=22"],
    ]


@pytest.mark.parametrize("width", [30, 80, 1000])
def test_lines_are_broken_between_words_alone(width: int) -> None:
    text = "a sentence with a/path/that-has/no-spaces-and/is-long.txt and the rest of it, which is short"
    assert " ".join(wrap(text, width)) == text
    words = ["python", "src/train.py", "data.families=[sin, cos]", "a" * 40, "--key", "noisy"]
    copied = "\n".join(command_lines(words, width))
    assert shlex.split(copied.replace("\\\n", "")) == words, "as a shell reads it"


def test_commands_are_called_as_this_one_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("train.py", "report.py"):
        (tmp_path / name).touch()
    monkeypatch.setattr(typed, "_arguments", ["train.py", "-m", "latent=1,5", "data.families=[sin, cos]"])
    monkeypatch.setattr(typed, "_resumed_by", [])
    assert typed.program("report")[1:] == ["report.py"]
    assert Path(typed.program("status")[0]).name == "wavecoder"
    assert typed.interrupted() == "Interrupted before anything was begun"
    typed.note_folder("hydra.sweep.dir", tmp_path / "outputs" / "x")
    assert typed.interrupted().endswith("train.py -m latent=1,5 'data.families=[sin, cos]' hydra.sweep.dir=outputs/x")
    typed.remember(["train.py", "-m", "sweep=mine"])
    assert typed.interrupted() == "Interrupted; the same command resumes it"
