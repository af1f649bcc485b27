from pathlib import Path
from typing import Any

import pytest

from wavecoder.paper.provenance import chance_of, command_of


@pytest.mark.parametrize(
    ("changes", "fresh"),
    [({"fresh": True}, True), ({"fresh": False}, False), ({"overrides": {"data": "fresh"}}, True), ({"overrides": {}}, False)],
)
def test_signals_are_fresh_by_the_record_of_a_run(changes: dict[str, Any], fresh: bool) -> None:
    """An experiment may have chosen them, which no override says; records of earlier versions do not say it either."""
    job = {
        "overrides": {"experiment": "denoising"},
        "num_seeds": 2,
        "per_seed": False,
        "noise": {},
        "metrics": {},
        "references": {},
        "engine": {"name": "torch"},
    }
    said = " ".join(chance_of([job | changes]))
    assert ("new training signals in every batch" in said) == fresh
    assert ("share training set and noise" in said) == (not fresh)


def test_the_command_of_a_job_allows_the_packages_that_it_names(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    targets = "{model: {_target_: mine.Net}, loss: {_target_: torch.nn.MSELoss}, callbacks: {a: {_target_: ours.callbacks.A}}}"
    for name, content in {"overrides": "[seed=1]\n", "config": f"{targets}\n", "hydra": "{hydra: {verbose: false}}\n"}.items():
        (tmp_path / ".hydra" / f"{name}.yaml").write_text(content)
    assert command_of(tmp_path, None) == "wavecoder train seed=1 'allow_targets=[mine,ours]'"
