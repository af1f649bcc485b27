"""What a run leaves behind, and reading many runs back."""

import csv
import hashlib
import io
import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich import box
from rich.table import Table

RESULTS = "results.json"
ARRAYS = "reconstructions.npz"
SUMMARY = "summary.csv"
LAST_CHECKPOINT = Path("checkpoints", "last.ckpt")

REFERENCES = {"svd": "SVD", "pca": "PCA", "wiener": "Wiener", "bayes": "Bayes"}  # what they are called in tables and figures


def summarise(values: Sequence[float]) -> dict[str, Any]:
    """One metric over the replicas: its mean, sample standard deviation (0 for one replica), extremes, median, and each value.

    A replica that diverged has no number, and then neither have the statistics: leaving it out would flatter the others.
    """
    if not all(map(math.isfinite, values)):
        finite = [value if math.isfinite(value) else None for value in values]
        return dict.fromkeys(("mean", "std", "min", "max", "median")) | {"per_replica": finite}
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "min": min(values),
        "max": max(values),
        "median": statistics.median(values),
        "per_replica": list(values),
    }


def fingerprint(config: DictConfig) -> str:
    """A short hash of everything in a configuration that can change a run's numbers."""
    apart = ("hydra", "callbacks", "logger", "sweep")
    kept = {
        str(key): OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in config.items()
        if key not in apart
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of the packages that a run's numbers depend on."""
    return {name: version(name) for name in ("torch", "lightning", "hydra-core", "omegaconf", "numpy")}


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that at any moment either the whole of it is there or nothing new: a temporary file, then a rename."""
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write `results.json` in a run's folder."""
    write_atomically(folder / RESULTS, json.dumps(results, indent=2, allow_nan=False) + "\n")


def write_arrays(folder: Path, arrays: Mapping[str, Any]) -> None:
    """Write NumPy arrays as `reconstructions.npz` in a run's folder."""
    import numpy as np  # only runs need it; what answers --help imports this module too

    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_atomically(folder / ARRAYS, content.getvalue())


def write_figure(folder: Path, name: str, figure: Any) -> None:
    """Write a matplotlib Figure as PNG, for looking at, and as SVG, for printing."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, dict[str, Any]] = {"png": {"dpi": 120}, "svg": {"metadata": {"Date": None}}}
    for kind, options in kinds.items():
        content = io.BytesIO()
        figure.savefig(content, format=kind, **options)
        write_atomically(folder / f"{name}.{kind}", content.getvalue())


def closing_table(results: Mapping[str, Any]) -> Table:
    """The table at the end of a run: every error of the autoencoder next to those of the references."""
    replicas = results["replicas"]
    title = f"{results['activation']} autoencoder, latent {results['latent_dim']}: mean squared error per sample"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("error", no_wrap=True)
    table.add_column("autoencoder" if replicas == 1 else f"mean ± std of {replicas}", justify="right")
    if replicas > 1:
        table.add_column("best", justify="right")
    for name in results["references"]:
        table.add_column(REFERENCES[name], justify="right")
    ratios = {name: f"over_{name}" for name in ("svd", "bayes") if name in results["references"]}
    for name in ratios:
        table.add_column(f"/ {REFERENCES[name]}", justify="right")
    metrics = results["metrics"]
    for metric in next(iter(results["references"].values())):
        summary = metrics[metric]
        row = [_number(summary["mean"], 3)]
        if replicas > 1:
            row = [f"{_number(summary['mean'], 3)} ± {_number(summary['std'], 2)}", _number(summary["min"], 3)]
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


def read_record(folder: Path) -> dict[str, Any]:
    """What `results.json` says; a run that has none yet is unfinished."""
    file = folder / RESULTS
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"status": "unfinished"}
    return record


def read_sweep(folder: Path) -> list[dict[str, Any]]:
    """The results of every job of a sweep, best `val/mse` first; jobs that failed or are not finished come last."""
    folders = sorted(path for path in folder.iterdir() if (path / ".hydra").is_dir() or (path / RESULTS).exists())
    return sorted(({"job": job.name, "overrides": read_overrides(job), **read_record(job)} for job in folders), key=_rank)


def read_overrides(folder: Path) -> dict[str, str]:
    """What was chosen for a run on the command line, as Hydra keeps it in the run's folder."""
    file = folder / ".hydra" / "overrides.yaml"
    chosen = OmegaConf.to_container(OmegaConf.load(file)) if file.exists() else []
    assert isinstance(chosen, list)
    return {key.lstrip("+~"): value.replace("'", "") for key, _, value in (str(each).partition("=") for each in chosen)}


def pool_seeds(jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Make one of all completed jobs that differ in nothing but `seed`, with the replicas of them all."""
    alike: dict[tuple[tuple[str, str], ...], list[Mapping[str, Any]]] = {}
    for job in jobs:
        others = tuple(sorted((key, value) for key, value in job["overrides"].items() if key != "seed"))
        pooled = job["status"] == "completed" and "seed" in job["overrides"]
        alike.setdefault(others if pooled else (("job", job["job"]),), []).append(job)
    return sorted((_pooled(group) for group in alike.values()), key=_rank)


def _pooled(jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = dict(jobs[0])
    if len(jobs) == 1:
        return first
    values = {metric: [value for job in jobs for value in job["metrics"][metric]["per_replica"]] for metric in first["metrics"]}
    metrics = {metric: summarise([math.nan if each is None else each for each in every]) for metric, every in values.items()}
    seconds = sum(job["timing"]["fit_seconds"] for job in jobs)
    replicas = sum(job["replicas"] for job in jobs)
    seeds = f"{len(jobs)} values"
    return first | {
        "job": " ".join(job["job"] for job in jobs),
        "overrides": first["overrides"] | {"seed": seeds},
        "seed": seeds,
        "metrics": metrics,
        "replicas": replicas,
        "timing": first["timing"] | {"fit_seconds": seconds},
    }


def _rank(job: Mapping[str, Any]) -> tuple[bool, float]:
    error = job["metrics"]["val/mse"]["mean"] if "metrics" in job else None
    return ("metrics" not in job, math.inf if error is None else error)


def varied(jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The overrides in which jobs differ."""
    keys = dict.fromkeys(key for job in jobs for key in job["overrides"])
    return [key for key in keys if len({job["overrides"].get(key) for job in jobs}) > 1]


def sweep_table(jobs: Sequence[Mapping[str, Any]]) -> Table:
    """The table at the end of a sweep: a row for each job, seeds pooled, and a column for each override in which they differ."""
    table = Table(title=f"Sweep of {len(jobs)} jobs, best first: mean squared error per sample")
    keys = varied(jobs)
    for key in keys or ["job"]:
        table.add_column(key, overflow="fold")
    table.add_column("status", overflow="fold")
    for heading in ("seconds", "val/mse", "± std", "SVD", "ratio to SVD"):
        table.add_column(heading, justify="right", no_wrap=True)
    for job in pool_seeds(jobs):
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
    """A choice as it stands in a table: numbers that a search drew have more digits than anyone reads."""
    try:
        return choice if len(choice) < 8 else f"{float(choice):.4g}"
    except ValueError:
        return choice


def write_summary(folder: Path, jobs: Sequence[Mapping[str, Any]]) -> Path:
    """Write `summary.csv` in a sweep's folder, a row for each job, seeds pooled, and return its path."""
    rows = []
    for job in pool_seeds(jobs):
        row = {key: job.get(key, "") for key in ("job", "status", "error")} | job["overrides"]
        row |= {key: job[key] for key in ("activation", "latent_dim", "seed", "replicas") if key in job}
        row["seconds"] = job.get("timing", {}).get("fit_seconds", "")
        for metric, summary in job.get("metrics", {}).items():
            row |= {f"{metric} mean": summary["mean"], f"{metric} std": summary["std"]}
        for reference, errors in job.get("references", {}).items():
            row |= {f"{reference} {metric}": error for metric, error in errors.items()}
        rows.append(row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(column for row in rows for column in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path = folder / SUMMARY
    write_atomically(path, text.getvalue())
    return path
