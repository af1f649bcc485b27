"""Tables at the end of runs and sweeps, and `summary.csv`."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
from run_files import made_up_record

from wavecoder.runs import results, tables
from wavecoder.runs.screen import Table


def text_of(table: Table, width: int = 160) -> str:
    return "\n".join(table.lines(width))


def test_closing_table_puts_the_autoencoder_beside_the_references() -> None:
    many = text_of(tables.closing_table(made_up_record([0.1, 0.2])))
    for expected in ("tanh autoencoder, latent 5", "0.150 ± 0.071", "SVD", "PCA", "0.300", "0.290", "best", "/ SVD", "0.500"):
        assert expected in many
    assert "±" not in text_of(tables.closing_table(made_up_record([0.1])))
    assert tables.closing_line(made_up_record([0.15])) == "val/mse 0.1500 = 0.500 × SVD after 10 steps in 1.5 s"


def test_a_diverged_seed_is_named_in_place_of_a_number() -> None:
    diverged = made_up_record([0.1, math.nan])
    assert "diverged" in text_of(tables.closing_table(diverged))
    assert tables.closing_line(diverged) == "1 of 2 seeds diverged: val/mse is not a number after 10 steps in 1.5 s"
    assert tables.closing_line(made_up_record([math.nan])).startswith("diverged: val/mse is not a number after")
    shown = text_of(tables.sweep_table([diverged | {"job": "a", "overrides": {}}]))
    assert "1 of 2 seeds diverged" in shown
    assert "completed" not in shown


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


def test_choices_and_errors_in_brackets_are_shown_as_they_are() -> None:
    jobs = [
        made_up_record([0.1]) | {"job": "a", "overrides": {"data.families": "[sin]"}},
        {"job": "b", "status": "failed", "error": "ValueError: [cos] is [/none]", "overrides": {"data.families": "[cos]"}},
    ]
    shown = text_of(tables.sweep_table(jobs))
    assert "[sin]" in shown
    assert "failed: ValueError: [cos] is [/none]" in shown


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
    assert tables.closing_table(record).notes == ("No Bayes: the distribution of the signals is not known",)
    record["references"]["bayes"] = {"val/mse_noise_0.1": 0.1}
    assert tables.closing_table(record).notes == ()


def test_numbers_have_the_same_digits_and_no_exponents_that_nobody_needs() -> None:
    wanted = {0.041: "0.0410", 1.0: "1.00", 555.2: "555", 1744.0: "1,740", 4.28e-6: "4.28e-06", 3.2e13: "3.20e+13", 0.0: "0.00"}
    assert {value: tables.number(value) for value in wanted} == wanted
    assert tables.number(None) == ""


def whole_record(seeds: int) -> dict[str, Any]:
    """A record with all metrics and references of a run, whose numbers are as wide as they get."""
    record = made_up_record([0.123456 + number / 1e4 for number in range(seeds)])
    levels = [f"{kind}_noise_{std}" for kind in ("val/mse", "sine/mse", "sine/mean_mse") for std in ("0.1", "1.0")]
    summary = record["metrics"]["val/mse"]
    record["metrics"] = {f"{name}{ratio}": summary for name in ("train/mse", "val/mse", *levels) for ratio in ("", "/over_svd")}
    record["metrics"] |= {f"{name}/over_bayes": results.summarise([1234567.0]) for name in levels}
    errors = dict.fromkeys(("train/mse", "val/mse", *levels), 1.23e-5)
    record["references"] = {"svd": errors, "pca": errors} | {name: dict.fromkeys(levels, 1.23e-5) for name in ("wiener", "bayes")}
    return record


@pytest.mark.parametrize("seeds", [1, 32])
@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_closing_table_fits_and_says_what_it_leaves_out(width: int, seeds: int) -> None:
    lines = tables.closing_table(whole_record(seeds)).lines(width)
    assert max(map(len, lines)) <= width
    head = next(line for line in lines if line.startswith("error"))
    for kept in (f"mean ± std of {seeds}" if seeds > 1 else "autoencoder", "SVD", "/ SVD", "/ Bayes"):
        assert kept in head
    rows = [line for line in lines if line.startswith("sine/")]
    assert len(rows) == 4
    assert all(len(row) == len(rows[0]) for row in rows), "numbers are aligned to the right, and whole"
    assert ("Left out for lack of room: " in lines[-1]) == (width == 80 or (width, seeds) == (100, 32))
    assert "PCA" in head or "PCA" in lines[-1]


LONG = {"model._target_": "own_networks.ResidualAutoencoder", "model.widths": "[200,100,50,25,10]", "data.families": "[sin,cos]"}


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("long", [False, True])
def test_the_table_of_a_sweep_fits_with_whole_words_and_numbers(width: int, long: bool) -> None:
    jobs = []
    for number, activation in enumerate(("tanh", "leaky_relu")):
        chosen = {"activation": activation, "latent": f"{number}"} | (LONG if long else {})
        chosen |= {"optimizer.lr": f"0.00{number + 1}", "model.bias": f"{number}"} if long else {}
        chosen |= {key: f"{value}{number}" for key, value in LONG.items()} if long else {}
        jobs.append(made_up_record([0.123456, 0.2]) | {"job": activation, "overrides": chosen})
    jobs.append(
        {"job": "x", "status": "failed", "error": "ValueError: no " * 20, "overrides": jobs[0]["overrides"] | {"latent": "9"}}
    )
    lines = tables.sweep_table(jobs).lines(width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for job in jobs:
        for value in job["overrides"].values():
            assert value in text.replace("=", " ").split(), "a choice is whole"
    for number in ("0.1617", "0.054", "0.539", "failed"):
        assert number in text.split()
    assert "failed: ValueError: no ValueError: no" in text


def test_what_is_the_same_for_all_jobs_is_no_column() -> None:
    jobs = [made_up_record([value]) | {"job": f"{value}", "overrides": {"activation": f"a{value}"}} for value in (0.1, 0.2)]
    head, notes = tables.sweep_table(jobs).columns, tables.sweep_table(jobs).notes
    assert [column.heading for column in head] == ["val/mse", "/ SVD", "seconds"], "one seed has no spread; all are completed"
    assert notes == ("SVD: 0.3000 in all",)
    jobs[1] |= made_up_record([0.2, 0.3]) | {"references": {"svd": {"val/mse": 0.4}}}
    assert [column.heading for column in tables.sweep_table(jobs).columns] == ["val/mse", "± std", "/ SVD", "SVD", "seconds"]
