"""docs/tour.ipynb: runs from a fresh folder, uses public names alone, and holds nothing of the machine that executed it."""

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from processes import ROOT

import wavecoder

FILE = ROOT / "docs" / "tour.ipynb"
NOTEBOOK: Any = nbformat.read(FILE, as_version=4)
CODE = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]


def test_it_is_short_and_executed() -> None:
    assert 8 <= len(CODE) <= 12
    assert [cell.execution_count for cell in CODE] == list(range(1, len(CODE) + 1)), "from the beginning, in order"
    assert sum("image/png" in output.get("data", {}) for cell in CODE for output in cell.outputs) >= 5
    assert FILE.stat().st_size < 600_000
    nbformat.validate(NOTEBOOK)


def test_no_cell_failed_or_warned() -> None:
    outputs = [output for cell in CODE for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]


def test_it_holds_no_absolute_paths() -> None:
    text = re.sub(r'"image/png": "[^"]*"', "", FILE.read_text(encoding="utf-8"))
    assert re.findall(r"(?:/home|/root|/tmp|/usr|/Users|/opt|/work|[A-Z]:\\\\)[/\w.-]*", text) == []


def test_its_code_uses_public_names_of_wavecoder_alone() -> None:
    used = set()
    for cell in CODE:
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "wavecoder":
                used.add(node.attr)
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("wavecoder")
            if isinstance(node, ast.Import):
                assert not [alias.name for alias in node.names if alias.name.startswith("wavecoder.")]
    assert {"train", "load", "SVD", "SinusoidSource"} <= used <= set(wavecoder.__all__)


@pytest.mark.slow
def test_it_runs_without_an_error(tmp_path: Path) -> None:
    notebook = nbformat.from_dict(NOTEBOOK)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    progress = [text for output in outputs if (text := output.get("data", {}).get("text/plain", "")).startswith("epoch ")]
    assert [text.split()[1] for text in progress] == ["30/30"], "one line that has changed"
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]
