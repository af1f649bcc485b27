"""The tables of a report: every error of the networks beside those of the references."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median_low
from typing import Any

from wavecoder.paper.claims import ACTIVATIONS, Job
from wavecoder.references import REFERENCES
from wavecoder.runs.results import varied

Cell = dict[str, Any]
SEEDS = ("seed", "data.seed")
_IN_NETWORK = ("activation", "model", "model.bias", "latent", "latent.dim", "sweep")
"""Settings that the name of a network or the size of its latent says already."""


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """The jobs in the paper's order of activations, and after its networks all others by name; then by size of the latent."""

    def place(job: Job) -> tuple[Any, ...]:
        papers = job["model"] == "deep" and job["activation"] in ACTIVATIONS
        network = (ACTIVATIONS.index(job["activation"]), "") if papers else (len(ACTIVATIONS), job["network"])
        return *network, job["latent_dim"], [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", job["job"])]

    return sorted(jobs, key=place)


def labels_of(jobs: Sequence[Job], with_seeds: bool = True) -> dict[str, str]:
    """A short name for each job: its network, and what else distinguishes it from jobs with that network and size of the latent.

    Args:
        jobs: The jobs.
        with_seeds: Whether seeds are told apart; otherwise jobs that differ in nothing else have the same name.
    """
    alike: dict[tuple[str, int], list[Job]] = {}
    for job in jobs:
        alike.setdefault((job["network"] + (", no bias" if _lacks_bias(job) else ""), job["latent_dim"]), []).append(job)
    labels = {}
    for (network, _), group in alike.items():
        keys = [key for key in varied(group) if key not in _IN_NETWORK and (with_seeds or key not in SEEDS)]
        for job in group:
            choices = [f"{key}={job['overrides'][key]}" for key in keys if key in job["overrides"]]
            labels[job["job"]] = ", ".join([network, *choices])
    used = Counter((labels[job["job"]], job["latent_dim"]) for job in jobs)
    unclear = [job for job in jobs if with_seeds and used[labels[job["job"]], job["latent_dim"]] > 1]
    return labels | {job["job"]: job["job"] for job in unclear}


def _lacks_bias(job: Job) -> bool:
    return job["model"] == "deep" and not job["bias"]


def as_in_the_paper(jobs: Sequence[Job]) -> list[Job]:
    """The jobs without those deep networks without biases that the sweep also has with biases, as the paper's have."""
    with_bias = {(job["network"], job["latent_dim"]) for job in jobs if not _lacks_bias(job)}
    return [job for job in jobs if not _lacks_bias(job) or (job["network"], job["latent_dim"]) not in with_bias]


def describe_references(jobs: Iterable[Job]) -> dict[str, str]:
    """The label of every reference that was measured, with the first words of its class's docstring."""
    described = {}
    for name in order_references({name for job in jobs for name in job["references"]}):
        docstring = (REFERENCES[name].__doc__ or "") if name in REFERENCES else ""
        described[label_of(name)] = docstring.strip().partition("\n")[0].partition(":")[0].rstrip(".")
    return described


def order_references(references: set[str]) -> list[str]:
    """Names of references as `REFERENCES` orders them, then those that are not imported."""
    return [name for name in REFERENCES if name in references] + sorted(references - set(REFERENCES))


def label_of(reference: str) -> str:
    """What a reference is called."""
    return REFERENCES[reference].label if reference in REFERENCES else reference


def _heading(metric: str) -> tuple[tuple[bool, float, bool], str] | None:
    """Where a metric's table belongs among the others, and its title; None if it has no table."""
    match = re.fullmatch(r"(val|sine)/(mean_)?mse(?:_noise_([\d.e+-]+))?", metric)
    if match is None:
        return None
    signals, mean, noise = match.groups()
    title = "New signals" if signals == "val" else "The sine"
    title += f" with noise {float(noise):g}" if noise else ", clean"
    if signals == "sine":
        title += ", the mean of its reconstructed copies" if mean else ", each of its copies"
    return (signals == "sine", float(noise or 0), mean is not None), title


def title_of(metric: str) -> str:
    """What a table of a metric is called; the metric itself if it has none."""
    heading = _heading(metric)
    return heading[1] if heading else metric


def make_tables(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """A table for each metric of new signals and of the test sine, see `_table`."""
    headings = {metric: heading for job in jobs for metric in job["metrics"] if (heading := _heading(metric))}
    return [_table(jobs, metric, headings[metric][1]) for metric in sorted(headings, key=headings.__getitem__)]


def _table(jobs: Sequence[Job], metric: str, title: str) -> dict[str, Any]:
    """One metric of all models: for each size of the latent the median over seeds, the range, and ratios to the references."""
    jobs = [job for job in jobs if metric in job["metrics"]]
    labels = labels_of(jobs)
    latents = sorted({job["latent_dim"] for job in jobs})
    references = order_references({name for job in jobs for name, errors in job["references"].items() if metric in errors})
    rows: dict[str, dict[int, Cell]] = {}
    for job in jobs:
        summary = job["metrics"][metric]
        cell = {"job": job["job"], **{kind: summary[kind] for kind in ("median", "min", "max")}}
        cell["over"] = {name: _over(summary["median"], job["references"].get(name, {}).get(metric)) for name in references}
        rows.setdefault(labels[job["job"]], {})[job["latent_dim"]] = cell
    for latent in latents:
        cells = [row[latent] for row in rows.values() if latent in row]
        best = min((cell["median"] for cell in cells if cell["median"] is not None), default=None)
        for cell in cells:
            cell["best"] = best is not None and cell["median"] == best
    of_references = [(label_of(name), _reference_cells(jobs, metric, name, references)) for name in references]
    ratios = {name: label_of(name) for name in references}
    return {"metric": metric, "title": title, "latents": latents, "ratios": ratios, "rows": [*rows.items(), *of_references]}


def _over(error: float | None, reference: float | None) -> float | None:
    return error / reference if error is not None and reference else None


def _reference_cells(jobs: Sequence[Job], metric: str, name: str, references: Sequence[str]) -> dict[int, Cell]:
    """A reference's error for each size of the latent; its range, if the jobs have different training or validation signals."""
    measured: dict[int, list[dict[str, float]]] = {}
    for job in jobs:
        errors = {other: job["references"][other][metric] for other in references if metric in job["references"].get(other, {})}
        if name in errors:
            measured.setdefault(job["latent_dim"], []).append(errors)
    cells = {}
    for latent, each in measured.items():
        own = [errors[name] for errors in each]
        ratios = {other: [ratio for errors in each if (ratio := _over(errors[name], errors.get(other)))] for other in references}
        over = {other: median_low(values) if values else None for other, values in ratios.items()}
        summary = {"median": median_low(own), "min": min(own), "max": max(own)}
        cells[latent] = {"reference": name, **summary, "over": over, "best": False}
    return cells
