"""Jobs of a sweep as rows of tables, those that differ in their seeds alone as one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from wavecoder.runs.results import ENDED, rank, summarise


def as_rows(jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What tables of all jobs hold: a row for each, with its choices, and its metrics and those of the references."""
    rows = []
    for job in jobs:
        row = {key: job.get(key, "") for key in ("job", "status", "error")} | job["overrides"]
        row |= {key: job[key] for key in ("network", "activation", "latent_dim", "seed", "num_seeds") if key in job}
        row["engine"] = job.get("engine", {}).get("name", "")
        row["seconds"] = job.get("timing", {}).get("fit_seconds", "")
        row |= {"diverged": seeds} if (seeds := " ".join(job.get("diverged", ()))) else {}
        row |= {"dead": seeds} if (seeds := " ".join(map(str, job.get("dead", ())))) else {}
        for metric, summary in job.get("metrics", {}).items():
            row |= {f"{metric} mean": summary["mean"], f"{metric} std": summary["std"]}
        for reference, errors in job.get("references", {}).items():
            row |= {f"{reference} {metric}": error for metric, error in errors.items()}
        rows.append(row)
    return rows


def pool_seeds(jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Make one of all jobs that have ended and differ in nothing but `seed`, with the seeds of all of them."""
    alike: dict[tuple[tuple[str, str], ...], list[Mapping[str, Any]]] = {}
    for job in jobs:
        others = tuple(sorted((key, value) for key, value in job["overrides"].items() if key != "seed"))
        pooled = job["status"] in ENDED and "seed" in job["overrides"]
        alike.setdefault(others if pooled else (("job", job["job"]),), []).append(job)
    return sorted((each for group in alike.values() for each in _pooled(group)), key=rank)


def _pooled(jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    completed = [job for job in jobs if "metrics" in job]
    if len(jobs) == 1 or not completed:  # jobs that were stopped because they diverged have nothing to be shown with
        return list(map(dict, jobs))
    first = dict(completed[0])

    def of_seeds(job: Mapping[str, Any], metric: str) -> list[float | None]:
        return job["metrics"][metric]["per_seed"] if "metrics" in job else [None] * job["num_seeds"]

    shared = [metric for metric in first["metrics"] if all(metric in job["metrics"] for job in completed)]
    values = {metric: [value for job in jobs for value in of_seeds(job, metric)] for metric in shared}
    metrics = {metric: summarise([math.nan if each is None else each for each in every]) for metric, every in values.items()}
    seconds = sum(job["timing"]["fit_seconds"] for job in completed)
    num_seeds = sum(job["num_seeds"] for job in jobs)
    seeds = f"{len(jobs)} values"
    lost = {seed: step for job in jobs for seed, step in job.get("diverged", {}).items()}
    constant = [seed for job in jobs for seed in job.get("dead", ())]
    united = {
        "job": " ".join(job["job"] for job in jobs),
        "overrides": first["overrides"] | {"seed": seeds},
        "seed": seeds,
        "metrics": metrics,
        "num_seeds": num_seeds,
        "timing": first["timing"] | {"fit_seconds": seconds},
    }
    return [first | united | ({"diverged": lost} if lost else {}) | ({"dead": constant} if constant else {})]
