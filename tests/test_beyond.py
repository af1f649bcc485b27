"""The experiments beyond the paper, the command that compares them with their targets, and the page about them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import composed
from omegaconf import OmegaConf
from processes import ROOT, Run
from run_files import only_run, record_of

from wavecoder.runs.settings import from_config

sys.path.insert(0, str(ROOT / "benchmarks"))
import beyond
from beyond import EXPERIMENTS


def record(errors: list[float | None], bayes: float = 1.0, minutes: float = 5.0) -> dict[str, Any]:
    """What results.json would hold of a run with these errors everywhere."""
    metrics = {
        target.metric: {"per_seed": errors, "median": sorted(e for e in errors if e is not None)[1]} for target in beyond.TARGETS
    }
    references = {"bayes": dict.fromkeys(metrics, bayes)}
    return {"metrics": metrics, "references": references, "timing": {"fit_seconds": 60 * minutes}}


def rows(records: dict[str, Any]) -> list[tuple[str, ...]]:
    """The table, with the minutes of the records; the errors that the trainings themselves measured do not count."""
    own = {name: each | {"metrics": {}, "references": {}} for name, each in records.items()}
    return list(beyond.rows(own, records))


def test_targets_are_met_by_medians_within_their_time() -> None:
    good = {name: record([0.01, 0.019, 0.5], bayes=0.01) for name in EXPERIMENTS}
    table = rows(good | {beyond.RECIPE: record([0.1, 0.2, 0.3])})
    assert [row[-1] for row in table] == ["yes", "no", "yes", "no", "no", "yes", "yes"]
    assert table[0] == ("denoise_low", "noise 0.1/Bayes", "2", "1.900", "1.000–50.000 (3)", "5.0/20", "yes")
    assert table[6][1:4] == ("clean/recipe", "0.2", "0.095")
    slow = {name: record([0.01, 0.019, 0.5], bayes=0.01, minutes=31.0) for name in EXPERIMENTS}
    assert {row[-1] for row in rows(slow | {beyond.RECIPE: record([0.1, 0.2, 0.3])})} == {"no"}


def test_a_diverged_seed_counts_as_infinitely_far() -> None:
    diverged = {name: record([0.01, None, None, 0.01, 0.01], bayes=0.01) for name in EXPERIMENTS}
    row = rows(diverged | {beyond.RECIPE: record([0.1, 0.2, 0.3])})[0]
    assert row[3:5] == ("1.000", "1.000–inf (5)")


def test_the_page_names_every_experiment_and_its_target() -> None:
    lines = (ROOT / "docs" / "beyond.md").read_text(encoding="utf-8").splitlines()
    for target in beyond.TARGETS:
        (line,) = (line for line in lines if f"experiment={target.experiment}`" in line)
        assert f"{target.minutes} minutes" in line
        said = f"{1 / target.at_most:g} times" if target.unit == "recipe" else f"{target.at_most:g}"
        assert said in line


def test_the_table_of_the_page_is_that_of_the_kept_records() -> None:
    page = (ROOT / "docs" / "beyond.md").read_text(encoding="utf-8")
    for row in (beyond.HEADER, *beyond.kept()):
        assert f"| {' | '.join(row)} |\n" in page


@pytest.mark.parametrize("name", [beyond.RECIPE, *EXPERIMENTS])
def test_kept_evaluations_are_on_signals_that_no_recipe_was_chosen_by(name: str) -> None:
    evaluation = json.loads((beyond.KEPT / f"{name}.{beyond.EVALUATION}").read_text(encoding="utf-8"))
    config = OmegaConf.load(beyond.KEPT / f"{name}.yaml")
    assert evaluation["runs"][0]["data_seed"] == beyond.DATA_SEED != config.data.seed
    assert config.data.val_size == 10_000


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_kept_configurations_say_what_the_experiments_do(experiment: str) -> None:
    kept = OmegaConf.load(beyond.KEPT / f"{experiment}.yaml")
    said = OmegaConf.load(ROOT / "conf" / "experiment" / f"{experiment}.yaml")
    del said["defaults"]
    assert OmegaConf.merge(kept, said) == kept


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiments_have_seeds_and_measure_what_they_aim_at(experiment: str) -> None:
    settings = from_config(composed(f"experiment={experiment}"))
    assert settings.num_seeds >= 3
    levels = {f"val/mse_noise_{std}" for std in settings.noise.eval_std} | {"val/mse"}
    assert {target.metric for target in beyond.TARGETS if target.experiment == experiment} <= levels


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiments_train(experiment: str, run_train: Run, tmp_path: Path) -> None:
    short = ("trainer.max_epochs=1", "data.train_size=2048", "data.val_size=100", "noise.draws=2", "logger=none")
    done = run_train(f"experiment={experiment}", *short)
    assert (done.returncode, done.stderr) == (0, "")
    assert record_of(only_run(tmp_path))["timing"]["steps"] >= 4
