"""docs/extending.md: every diff is applied to a copy of the repository and every command is run."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import ROOT

QUICK = ("debug=quick", "data.train_size=640", "data.val_size=64", "logger=none")
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = {section.splitlines()[0]: section for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}


def blocks(section: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", SECTIONS[section], flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_every_diff_applies() -> None:
    for section in SECTIONS:
        for diff in blocks(section, "diff"):
            subprocess.run(["git", "apply", "--check", "-"], input=diff, cwd=ROOT, text=True, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_the_diffs_of_a_section_do_what_it_says(section: str, checkout: Path) -> None:
    diffs = blocks(section, "diff")
    assert diffs
    for diff in diffs:
        subprocess.run(["git", "apply", "-"], input=diff, cwd=checkout, text=True, check=True)
    for console in blocks(section, "console"):
        lines = console.splitlines()
        commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        printed = "".join(run(command, checkout) for command in commands)
        for line in (line for line in lines if not line.startswith("$ ")):
            assert squeezed(line) in squeezed(printed)


def run(command: str, folder: Path) -> str:
    """What a command prints, with settings that make it quick."""
    arguments = shlex.split(command)
    environment = dict(word.split("=", 1) for word in arguments[: arguments.index("python")])
    script, *overrides = arguments[arguments.index("python") + 1 :]
    done = subprocess.run(
        [sys.executable, script, *overrides, *QUICK],
        cwd=folder,
        env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), command
    return done.stdout


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_an_activation_is_one_file_of_one_line_and_everything_else_one_place() -> None:
    diffs = {section: "".join(blocks(section, "diff")) for section in SECTIONS}
    added = {section: re.findall(r"^\+\+\+ b/(.*)$", diff, flags=re.MULTILINE) for section, diff in diffs.items()}
    assert added["An activation"] == ["conf/activation/hardswish.yaml"]
    assert len(re.findall(r"^\+[^+]", diffs["An activation"], flags=re.MULTILINE)) == 1
    assert added["A network"] == ["my_networks.py", "conf/model/normalised.yaml"]
    for section in ("A loss", "A reference", "A family of signals"):
        assert len(added[section]) == 1
        assert len(re.findall(r"^@@", diffs[section], flags=re.MULTILINE)) == 1
