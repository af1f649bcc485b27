"""Tables of results: at the end of a run, at the end of a sweep, and `summary.csv`."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from wavecoder.references import REFERENCES
from wavecoder.runs.results import as_rows, pool_seeds, varied
from wavecoder.training.files import write_atomically

SUMMARY = "summary.csv"
_SHOWN = 20  # rows of a table that is printed


def print_errors(console: Console, results: Mapping[str, Any], title: str = "") -> None:
    """Print the closing table of a run, or where it would not fit a narrower one."""
    table = closing_table(results, title)
    if table_width(table) > console.width:
        table = comparison_table({"autoencoder": results}, console.width, title or str(table.title))
    console.print(table)


def table_width(table: Table) -> int:
    """The columns of a console that a table needs."""
    return Console(width=10_000).measure(table).maximum


def comparison_table(runs: Mapping[str, Mapping[str, Any]], width: int, title: str) -> Table:
    """The errors of several runs side by side, and those of the references, once where runs have the same.

    Args:
        runs: The results of each run, by the heading of its column.
        width: The columns of the console. In a narrow one only those references are shown whose ratios matter.
        title: Title of the table.
    """
    names = list(dict.fromkeys(name for results in runs.values() for name in results["references"]))
    table = _comparison(runs, names, title)
    table.caption = _missing(names)
    if table_width(table) > width and (left_out := [name for name in names if not REFERENCES[name].show_ratio]):
        table = _comparison(runs, [name for name in names if name not in left_out], title)
        table.caption = f"a wider table shows {', '.join(REFERENCES[name].label for name in left_out)} too"
    return table


def _missing(names: Sequence[str]) -> str | None:
    """What has to be said of a reference that is not shown."""
    # Wiener filter and Bayes denoiser are measured on the same noisy signals
    return "no Bayes: the distribution of the signals is not known" if "wiener" in names and "bayes" not in names else None


def _comparison(runs: Mapping[str, Mapping[str, Any]], names: Sequence[str], title: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("error", no_wrap=True)
    for heading in runs:
        table.add_column(heading, justify="right", no_wrap=True)
    references: list[Mapping[str, float]] = []
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
            table.add_column(
                label if len(members) == len(runs) else f"{label}\n{' '.join(members)}", justify="right", no_wrap=True
            )
            references.append(errors)
    metrics = dict.fromkeys(metric for results in runs.values() for errors in results["references"].values() for metric in errors)
    for metric in metrics:
        cells = [_mean_and_std(results["metrics"].get(metric), results["num_seeds"]) for results in runs.values()]
        table.add_row(metric, *cells, *(_number(errors[metric], 3) if metric in errors else "" for errors in references))
    return table


def _mean_and_std(summary: Mapping[str, Any] | None, num_seeds: int) -> str:
    if summary is None:
        return ""
    spread = f"\n± {_number(summary['std'], 2)}" if num_seeds > 1 and summary["std"] is not None else ""
    return _number(summary["mean"], 3) + spread


def closing_table(results: Mapping[str, Any], title: str = "") -> Table:
    """The table at the end of a run: every error of the autoencoder next to those of the references."""
    seeds, names = results["num_seeds"], list(results["references"])
    title = title or f"{results['network']} autoencoder, latent {results['latent_dim']}: mean squared error per value"
    table = Table(title=title, caption=_missing(names), box=box.SIMPLE_HEAD)
    table.add_column("error", no_wrap=True)
    table.add_column("autoencoder" if seeds == 1 else f"mean ± std of {seeds}", justify="right")
    if seeds > 1:
        table.add_column("best", justify="right")
    for name in names:
        table.add_column(REFERENCES[name].label, justify="right")
    ratios = {name: f"over_{name}" for name in names if REFERENCES[name].show_ratio}
    for name in ratios:
        table.add_column(f"/ {REFERENCES[name].label}", justify="right")
    metrics = results["metrics"]
    for metric in next(iter(results["references"].values())):
        summary = metrics[metric]
        row = [_number(summary["mean"], 3)]
        if seeds > 1:
            spread = "" if summary["std"] is None else f" ± {_number(summary['std'], 2)}"
            row = [f"{_number(summary['mean'], 3)}{spread}", _number(summary["min"], 3)]
        row += [_number(errors[metric], 3) if metric in errors else "" for errors in results["references"].values()]
        for key in ratios.values():
            ratio = metrics.get(f"{metric}/{key}")
            row.append(_number(ratio["mean"], 3) if ratio else "")
        table.add_row(metric, *row)
    return table


def closing_line(results: Mapping[str, Any]) -> str:
    """The end of a run in one line."""
    line = f"val/mse {_number(results['metrics']['val/mse']['mean'])}"
    if "val/mse/over_svd" in results["metrics"]:
        line += f" = {_number(results['metrics']['val/mse/over_svd']['mean'], 3)} × SVD"
    return f"{line} after {results['timing']['steps']:,} steps in {results['timing']['fit_seconds']:.1f} s"


def _number(value: float | None, digits: int = 4) -> str:
    return "diverged" if value is None else f"{value:.{digits}g}"


def sweep_table(jobs: Sequence[Mapping[str, Any]]) -> Table:
    """The table at the end of a sweep: a row for each job, seeds pooled, and a column for each override in which they differ.

    Of many jobs it shows the best and those without a result.
    """
    pooled = pool_seeds(jobs)
    good, others = ([job for job in pooled if ("metrics" in job) == measured] for measured in (True, False))
    hidden = max(0, len(good) - _SHOWN) + max(0, len(others) - _SHOWN)
    caption = f"{hidden:,} more rows are in {SUMMARY}" if hidden else None
    table = Table(title=f"Sweep of {len(jobs):,} jobs, best first: mean squared error per value", caption=caption)
    keys = varied(jobs)
    for key in keys or ["job"]:
        table.add_column(key, overflow="fold")
    table.add_column("status", overflow="fold")
    for heading in ("seconds", "val/mse", "± std", "SVD", "ratio to SVD"):
        table.add_column(heading, justify="right", no_wrap=True)
    for job in (*good[:_SHOWN], *others[:_SHOWN]):
        choices = [_short(job["overrides"].get(key, "")) for key in keys] or [job["job"]]
        if job["status"] != "completed":
            table.add_row(*choices, f"{job['status']}: {job['error']}" if "error" in job else job["status"])
            continue
        error, ratio = job["metrics"]["val/mse"], job["metrics"].get("val/mse/over_svd")
        numbers = [f"{job['timing']['fit_seconds']:.1f}", _number(error["mean"]), _number(error["std"], 2)]
        if ratio is not None:
            numbers += [_number(job["references"]["svd"]["val/mse"]), _number(ratio["mean"], 3)]
        table.add_row(*choices, job["status"], *numbers)
    return table


def _short(choice: str) -> str:
    """A choice as tables show it: a search draws numbers with more digits than anyone reads."""
    try:
        return choice if len(choice) < 8 else f"{float(choice):.4g}"
    except ValueError:
        return choice


def write_summary(folder: Path, jobs: Sequence[Mapping[str, Any]]) -> Path:
    """Write `summary.csv` in a sweep's folder, a row for each job, seeds pooled, and return its path."""
    rows = as_rows(pool_seeds(jobs))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(column for row in rows for column in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path = folder / SUMMARY
    write_atomically(path, text.getvalue())
    return path
