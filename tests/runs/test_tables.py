"""Tables at the end of runs and sweeps, and `summary.csv`."""

import csv
import math
from pathlib import Path
from typing import Any

from conftest import made_up_record
from rich.console import Console

from wavecoder.runs import results, tables


def text_of(table: Any) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(table)
    return console.export_text()


def test_closing_table_puts_the_autoencoder_beside_the_references() -> None:
    many = text_of(tables.closing_table(made_up_record([0.1, 0.2])))
    for expected in ("tanh autoencoder, latent 5", "0.15 ± 0.071", "SVD", "PCA", "0.3", "0.29", "best", "/ SVD", "0.5"):
        assert expected in many
    assert "±" not in text_of(tables.closing_table(made_up_record([0.1])))
    assert tables.closing_line(made_up_record([0.15])) == "val/mse 0.15 = 0.5 × SVD after 10 steps in 1.5 s"


def test_a_diverged_seed_is_named_in_place_of_a_number() -> None:
    diverged = made_up_record([0.1, math.nan])
    assert "diverged" in text_of(tables.closing_table(diverged))
    assert "diverged" in tables.closing_line(diverged)


def test_a_sweep_has_a_row_for_each_job_and_its_gaps_are_named(tmp_path: Path) -> None:
    jobs = [
        made_up_record([0.1, 0.1]) | {"job": "b"},
        made_up_record([0.2]) | {"job": "a"},
        made_up_record([math.nan]) | {"job": "e"},
        {"job": "c", "status": "failed", "error": "ValueError: no, never"},
        {"job": "d", "status": "unfinished"},
        {"job": "f", "status": "outdated", "error": "written by another version"},
    ]
    sweep = [job | {"overrides": {}} for job in jobs]
    shown = text_of(tables.sweep_table(sweep))
    for expected in ("6 jobs", "failed: ValueError: no, never", "unfinished", "diverged", "0.667", "outdated: written by"):
        assert expected in shown
    with tables.write_summary(tmp_path, sweep).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["job"] for row in rows] == ["b", "a", "e", "c", "d", "f"]
    assert float(rows[0]["val/mse mean"]) == 0.1
    assert float(rows[0]["svd val/mse"]) == 0.3
    assert (rows[0]["network"], rows[0]["engine"], rows[0]["num_seeds"]) == ("tanh", "PyTorch", "2")
    assert rows[3]["error"] == "ValueError: no, never"
    assert rows[4]["val/mse mean"] == ""


def test_the_table_has_a_column_for_each_override_in_which_jobs_differ() -> None:
    chosen = [{"activation": "tanh", "debug": "quick", "optimizer.lr": "0.00123456789"}, {"activation": "relu", "debug": "quick"}]
    jobs = [made_up_record([0.1]) | {"job": str(number), "overrides": overrides} for number, overrides in enumerate(chosen)]
    assert results.varied(jobs) == ["activation", "optimizer.lr"]
    shown = text_of(tables.sweep_table(jobs))
    for expected in ("activation", "tanh", "optimizer.lr", "0.001235"):
        assert expected in shown
    assert "quick" not in shown


def test_the_table_of_many_jobs_shows_the_best_and_the_failed() -> None:
    jobs = [
        made_up_record([0.1 + number / 100]) | {"job": f"{number}", "overrides": {"model.width": f"{number}"}}
        for number in range(50)
    ]
    jobs += [{"job": "bad", "status": "failed", "error": "ValueError: no", "overrides": {"model.width": "-1"}}]
    text = text_of(tables.sweep_table(jobs))
    assert "Sweep of 51 jobs" in text
    assert "failed: ValueError: no" in text
    assert "30 more rows are in summary.csv" in text
    assert len(text.splitlines()) < 32


def test_the_closing_table_says_why_there_is_no_bayes() -> None:
    record = made_up_record([0.3]) | {"references": {"svd": {"val/mse": 0.3}, "wiener": {"val/mse_noise_0.1": 0.2}}}
    record["metrics"]["val/mse_noise_0.1"] = record["metrics"]["val/mse"]
    assert tables.closing_table(record).caption == "no Bayes: the distribution of the signals is not known"
    record["references"]["bayes"] = {"val/mse_noise_0.1": 0.1}
    assert tables.closing_table(record).caption is None
