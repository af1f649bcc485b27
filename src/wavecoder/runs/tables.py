"""Tables of results: at the end of a run, at the end of a sweep, and `summary.csv`."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from wavecoder.references import REFERENCES
from wavecoder.runs.pooling import as_rows, pool_seeds
from wavecoder.runs.results import SUMMARY, as_value, dead, diverged, diverged_seeds, problem, varied
from wavecoder.runs.screen import Column, Table
from wavecoder.runs.text import plain
from wavecoder.training.files import write_atomically

_SHOWN = 20  # rows of a table that is printed
# where there is no room for all, the highest go first
_LEFT_OUT = {"pca": 6, "wiener": 5, "best": 4, "seconds": 3, "svd": 2, "bayes": 1}


def print_errors(console: Console, results: Mapping[str, Any], title: str = "") -> None:
    """Print the closing table of a run."""
    closing_table(results, title).print(console)


def closing_table(results: Mapping[str, Any], title: str = "") -> Table:
    """The table at the end of a run: every error of the autoencoder next to those of the references."""
    seeds, metrics, references = results["num_seeds"], results["metrics"], results["references"]
    measured = list(next(iter(references.values())))
    summaries = [metrics[metric] for metric in measured]
    if seeds == 1:
        columns = [_numbers("autoencoder", map(_mean, summaries))]
    else:
        columns = [
            _numbers(f"mean ± std of {seeds}", map(_mean_and_std, summaries)),
            _numbers("best", (number(summary["min"]) for summary in summaries), _LEFT_OUT["best"]),
        ]
    columns += [_of_reference(name, REFERENCES[name].label, errors, measured) for name, errors in references.items()]
    for name in references:
        if REFERENCES[name].show_ratio:
            ratios = (metrics.get(f"{metric}/over_{name}", {}).get("mean") for metric in measured)
            columns.append(_numbers(f"/ {REFERENCES[name].label}", map(number, ratios)))
    title = title or f"{results['network']} autoencoder, latent {results['latent_dim']}: mean squared error per value"
    return Table(title, (Column("error", tuple(measured), is_text=True),), tuple(columns), _missing(references))


def comparison_table(runs: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """The errors of several runs side by side, and those of the references, once where runs have the same.

    Args:
        runs: The results of each run, by the heading of its column.
        title: Title of the table.
    """
    every = [errors for results in runs.values() for errors in results["references"].values()]
    measured = list(dict.fromkeys(metric for errors in every for metric in errors))
    columns = [
        _numbers(heading, (_mean_and_std(results["metrics"].get(metric), "\n") for metric in measured))
        for heading, results in runs.items()
    ]
    names = list(dict.fromkeys(name for results in runs.values() for name in results["references"]))
    for name in names:
        groups: list[tuple[list[str], Mapping[str, float]]] = []  # of runs for which the reference is the same
        for heading, results in runs.items():
            if name not in results["references"]:
                continue
            errors = results["references"][name]
            alike = next((members for members, of_group in groups if of_group == errors), None)
            if alike is None:
                groups.append(([heading], errors))
            else:
                alike.append(heading)
        for members, errors in groups:
            label = REFERENCES[name].label
            heading = label if len(members) == len(runs) else f"{label}\n{' '.join(members)}"
            column = _of_reference(name, heading, errors, measured)
            columns.append(replace(column, left_out=0) if REFERENCES[name].show_ratio else column)
    return Table(title, (Column("error", tuple(measured), is_text=True),), tuple(columns), _missing(names))


def _of_reference(name: str, heading: str, errors: Mapping[str, float], measured: Sequence[str]) -> Column:
    return _numbers(heading, (number(errors.get(metric)) for metric in measured), _LEFT_OUT.get(name, 0))


def _missing(names: Iterable[str]) -> tuple[str, ...]:
    """What has to be said of a reference that is not shown."""
    # Wiener filter and Bayes denoiser are measured on the same noisy signals
    names = set(names)
    return ("No Bayes: the distribution of the signals is not known",) if "wiener" in names and "bayes" not in names else ()


def sweep_table(jobs: Sequence[Mapping[str, Any]]) -> Table:
    """The table at the end of a sweep: a row for each job, seeds pooled, and a column for each override in which they differ.

    Of many jobs it shows the best and those without a result. What is the same for all, as a status of completed, is left out.
    """
    pooled = pool_seeds(jobs)
    good, others = ([job for job in pooled if ("metrics" in job) == measured] for measured in (True, False))
    shown = [*good[:_SHOWN], *others[:_SHOWN]]
    keys = varied(jobs)
    names = [Column(key, tuple(_short(job["overrides"].get(key, "")) for job in shown), is_text=True) for key in keys]
    cells = [cell for column in names for cell in column.cells]
    if 2 * cells.count("") >= len(cells):  # jobs of different kinds, or a single one
        names = [Column("job", tuple(_label(job, keys) for job in shown), is_text=True)]
    columns, notes = [], []
    statuses = [diverged(job) or job["status"] for job in shown]
    if set(statuses) != {"completed"}:
        plain = tuple("" if status == "completed" else status for status in statuses)
        columns.append(Column("status", plain, is_text=True))
    errors = [job["metrics"]["val/mse"] if "metrics" in job else {} for job in shown]
    columns.append(_numbers("val/mse", (number(error.get("mean"), 4) for error in errors)))
    if any(len(error.get("per_seed", ())) > 1 for error in errors):
        spreads = (error["std"] if len(error.get("per_seed", ())) > 1 else None for error in errors)
        columns.append(_numbers("± std", (number(spread, 2) for spread in spreads)))
    ratios = [job.get("metrics", {}).get("val/mse/over_svd", {}).get("mean") for job in shown]
    if any(ratio is not None for ratio in ratios):
        columns.append(_numbers("/ SVD", map(number, ratios)))
    of_svd = [number(job.get("references", {}).get("svd", {}).get("val/mse"), 4) for job in shown]
    if len(same := {each for each in of_svd if each}) == 1 and len(good) > 1:
        notes.append(f"SVD: {same.pop()} in all")
    elif same:
        columns.append(_numbers("SVD", of_svd, _LEFT_OUT["svd"]))
    seconds = (f"{job['timing']['fit_seconds']:.1f}" if "timing" in job else "" for job in shown)
    columns.append(_numbers("seconds", seconds, _LEFT_OUT["seconds"]))
    hidden = len(pooled) - len(shown)
    notes += [f"{hidden:,} more rows are in {SUMMARY}"] if hidden else []
    for job in shown:
        about = [problem(job)] if "error" in job else [diverged_seeds(job), dead(job)]
        notes += [f"{_label(job, keys)}: {said}" for said in about if said]
    title = f"Sweep of {len(jobs):,} jobs, best first: mean squared error per value"
    return Table(title, tuple(names), tuple(columns), tuple(notes))


def _label(job: Mapping[str, Any], keys: Sequence[str]) -> str:
    """What tells a job from others."""
    chosen = [f"{key}={_short(job['overrides'][key])}" for key in keys if key in job["overrides"]]
    return " ".join(chosen) or plain(str(job["job"]))


def closing_line(results: Mapping[str, Any]) -> str:
    """The end of a run in one line."""
    after = f"after {results['timing']['steps']:,} steps in {results['timing']['fit_seconds']:.1f} s"
    if lost := diverged(results):
        seeds = diverged_seeds(results)
        line = f"{lost}{f' ({seeds})' if seeds else ''}: val/mse is not a number"
    else:
        line = f"val/mse {number(results['metrics']['val/mse']['mean'], 4)}"
        if "val/mse/over_svd" in results["metrics"]:
            line += f" = {number(results['metrics']['val/mse/over_svd']['mean'])} × SVD"
    return f"{line} {after}" + (f"; {constant}" if (constant := dead(results)) else "")


def number(value: float | None, digits: int = 3) -> str:
    """A number with some digits, as `0.0410`, `4.28e-06` or `1,740`; nothing for what has none."""
    if value is None:
        return ""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if 10**digits <= abs(rounded) < 1e7 else f"{rounded:#.{digits}g}".rstrip(".")


def _numbers(heading: str, cells: Iterable[str], left_out: int = 0) -> Column:
    return Column(heading, tuple(cells), left_out=left_out)


def _mean(summary: Mapping[str, Any]) -> str:
    return "diverged" if summary["mean"] is None else number(summary["mean"])


def _mean_and_std(summary: Mapping[str, Any] | None, separator: str = " ") -> str:
    if summary is None:
        return ""
    if summary["mean"] is None or len(summary["per_seed"]) == 1:
        return _mean(summary)
    return f"{number(summary['mean'])}{separator}± {number(summary['std'], 2)}"


def _short(choice: str) -> str:
    """A choice as tables show it: a search draws numbers with more digits than anyone reads."""
    try:
        value = float(choice)
    except ValueError:
        return plain(choice)
    return choice if len(choice) < 8 or not math.isfinite(value) else f"{value:.4g}"


def _as_cell(value: object) -> object:
    """A value of summary.csv. Spreadsheets would compute text that begins like a formula; with an apostrophe it stays text."""
    if not isinstance(value, str) or isinstance(as_value(value), float):
        return value
    return f"'{plain(value)}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else plain(value)


def write_summary(folder: Path, jobs: Sequence[Mapping[str, Any]]) -> Path:
    """Write `summary.csv` in a sweep's folder, a row for each job, seeds pooled, and return its path."""
    rows = [{plain(key): _as_cell(value) for key, value in row.items()} for row in as_rows(pool_seeds(jobs))]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(column for row in rows for column in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path = folder / SUMMARY
    write_atomically(path, text.getvalue())
    return path
