"""What Slurm's accounting says of tasks that have left the queue."""

from pathlib import Path

import pytest

from wavecoder.runs.slurm import what_became_of

ACCOUNTING = """\
7_0|COMPLETED|0:0|n1|None
7_[1-3%2]|CANCELLED by 0|0:0||None
8_0|FAILED|1:0|n2|None
8|CANCELLED by 0|0:0||None
9|TIMEOUT|0:0|n1|None
"""
"""As sacct prints it: of array 7, tasks 1 to 3 were cancelled together before they began, of array 8 each by itself."""


def test_tasks_that_never_began_are_found_with_their_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sacct = tmp_path / "sacct"
    sacct.write_text(f"#!/bin/sh\ncat <<END\n{ACCOUNTING}END\n")
    sacct.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert what_became_of(["7_0", "7_2", "8_0", "8_1", "9", "10_0"]) == {
        "7_0": "COMPLETED on n1",
        "7_2": "CANCELLED by 0",
        "8_0": "FAILED exit code 1:0 on n2",
        "8_1": "CANCELLED by 0",
        "9": "TIMEOUT on n1",
    }
