"""The layout of the package: imports point one way, and heavy ones happen late."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import ROOT

PACKAGE = ROOT / "src" / "wavecoder"
FILES = sorted(PACKAGE.rglob("*.py"))
LAYERS = ["science", "engine", "training", "runs", "paper"]
"""Each may import those before it."""
FRAMEWORKS = {"science": set(), "engine": set(), "training": {"lightning"}, "runs": {"lightning", "hydra", "omegaconf"}}
FRAMEWORKS["paper"] = FRAMEWORKS["runs"]
EXCEPTIONS = {("runs/commands.py", "wavecoder.paper.report")}  # the command line is where everything starts


def layer_of(module: str) -> str:
    """The layer of a module of the package, by its dotted name."""
    part = f"{module}.".split(".")[1]
    return "runs" if part == "__main__" else part if part in LAYERS else "science"  # it is the command line's


def imports_of(file: Path) -> Iterator[tuple[str, bool]]:
    """The modules that a file imports, and whether it does when it is imported itself."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    late = {id(node) for function in ast.walk(tree) if isinstance(function, ast.FunctionDef) for node in ast.walk(function)}
    checked = {id(node) for test in ast.walk(tree) if isinstance(test, ast.If) for node in ast.walk(test)}  # TYPE_CHECKING
    for node in ast.walk(tree):
        at_once = id(node) not in late | checked
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            assert node.module is not None
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name for name in inside if (ROOT / "src" / name.replace(".", "/")).with_suffix(".py").exists()]
            yield from ((name, at_once) for name in found or [node.module])


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_one_way(file: Path) -> None:
    name = str(file.relative_to(PACKAGE))
    layer = layer_of(f"wavecoder.{name.removesuffix('.py').replace('/', '.')}")
    for module, at_once in imports_of(file):
        if (name, module) in EXCEPTIONS:
            assert not at_once, f"{module} is imported late"
        elif module.partition(".")[0] == "wavecoder":
            assert LAYERS.index(layer_of(module)) <= LAYERS.index(layer), f"{layer} imports {module}"
    frameworks = {module.partition(".")[0] for module, _ in imports_of(file)} & FRAMEWORKS["paper"]
    assert frameworks <= FRAMEWORKS[layer], f"{layer} does not import {frameworks - FRAMEWORKS[layer]}"


def test_the_layout_is_read_as_it_is() -> None:
    """The tests above look at something."""
    assert {layer_of(f"wavecoder.{file.relative_to(PACKAGE)}".replace("/", ".")) for file in FILES} == set(LAYERS)
    assert ("wavecoder.runs.results", True) in imports_of(PACKAGE / "runs" / "run.py")
    assert ("lightning", True) in imports_of(PACKAGE / "runs" / "run.py")
    assert ("wavecoder.paper.report", False) in imports_of(PACKAGE / "runs" / "commands.py")
    assert ("matplotlib.figure", False) in imports_of(PACKAGE / "training" / "files.py")


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import wavecoder; dir(wavecoder); wavecoder.__version__", {"torch", "lightning", "hydra", "numpy"}),
        ("import wavecoder; wavecoder.SVD", {"lightning", "hydra", "omegaconf"}),
        ("import wavecoder.engine", {"lightning", "hydra", "omegaconf"}),
        ("import wavecoder.training.fit", {"hydra", "omegaconf"}),
        ("from wavecoder.runs import cli, sweep", {"torch", "lightning", "numpy"}),
        ("from wavecoder.runs import build", {"lightning"}),
        ("import wavecoder; wavecoder.load", {"lightning", "matplotlib"}),
    ],
)
def test_heavy_imports_happen_late(statement: str, absent: set[str]) -> None:
    program = f"import sys; {statement}; print(*{absent!r} & set(sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_files_can_be_read_in_one_sitting() -> None:
    long = {str(file.relative_to(PACKAGE)): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {name: lines for name, lines in long.items() if lines > 320} == {}
