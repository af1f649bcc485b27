"""What make installs before it does something, without doing it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from processes import ROOT

SOURCES = ("Makefile", "pyproject.toml", "constraints.txt", "constraints-any-torch.txt", "hatch_build.py")
INSTALLS = {
    "train": "--editable .",
    "tensorboard": "--editable .",
    "paper": "'.[joblib]'",
    "test": "'.[dev]'",
    "lint": "'.[dev]'",
}

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What make looks at, with an environment in which nothing is installed yet."""
    for name in SOURCES:
        shutil.copy2(ROOT / name, tmp_path)
    (tmp_path / "src" / "wavecoder" / "engine").mkdir(parents=True)
    (tmp_path / "src" / "wavecoder" / "engine" / "compiled.c").touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    return tmp_path


def installed_for(checkout: Path, target: str) -> list[str]:
    """The commands of pip that a target would run."""
    done = subprocess.run(["make", "--dry-run", target], cwd=checkout, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "pip install" in line]


@pytest.mark.parametrize("target", INSTALLS)
def test_each_target_installs_what_it_needs(checkout: Path, target: str) -> None:
    (command,) = installed_for(checkout, target)
    assert command.endswith(INSTALLS[target])


def test_what_holds_more_serves_for_less(checkout: Path) -> None:
    stamps = [checkout / ".venv" / f".installed-{name}" for name in ("train", "joblib", "dev")]
    for stamp in stamps:
        stamp.touch()
    assert [installed_for(checkout, target) for target in INSTALLS] == [[]] * len(INSTALLS)
    stamps[2].unlink()
    assert installed_for(checkout, "train") == installed_for(checkout, "paper") == []
    assert len(installed_for(checkout, "test")) == 1
    stamps[2].touch()
    later = stamps[2].stat().st_mtime + 10
    os.utime(checkout / "pyproject.toml", (later, later))
    assert all(len(installed_for(checkout, target)) == 1 for target in INSTALLS), "after a change all is installed again"


def test_the_paper_ends_with_one_table(checkout: Path) -> None:
    done = subprocess.run(["make", "--dry-run", "paper"], cwd=checkout, capture_output=True, text=True, check=True)
    sweeps = [line for line in done.stdout.splitlines() if "sweep=paper" in line]
    assert [("table=false" in line) for line in sweeps] == [True] * (len(sweeps) - 1) + [False]
