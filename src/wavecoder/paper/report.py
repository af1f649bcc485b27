"""The report of a sweep: report.html, one file that needs no other, and report.md, with the figures in `figures/`.

Everything in it comes from what the jobs left on disk, so that also a sweep that is not complete has one, which names the gaps.
"""

import base64
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median_low
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from numpy import ndarray
from omegaconf import OmegaConf

from wavecoder import plots, results, signals
from wavecoder.callbacks.subspace import LABELS
from wavecoder.claims import ACTIVATIONS, PaperRuns, judge_all, values_of
from wavecoder.settings import SettingError

_HEADLINES = {
    "val/mse": "New signals, clean",
    "val/mse_noise_0.1": "New signals with noise 0.1",
    "val/mse_noise_1.0": "New signals with noise 1",
    "sine/mse_noise_0.1": "The sine with noise 0.1, each of ten copies",
    "sine/mean_mse_noise_0.1": "The sine with noise 0.1, the mean of ten reconstructions",
    "sine/mse_noise_1.0": "The sine with noise 1, each of ten copies",
    "sine/mean_mse_noise_1.0": "The sine with noise 1, the mean of ten reconstructions",
}
_CHOICES = {
    "activation on the latent too": ["model.latent_activation"],
    "biases": ["model.bias"],
    "optimiser, learning rate": ["optimizer._target_", "optimizer.lr"],
    "signals in a batch": ["data.batch_size"],
    "epochs": ["trainer.max_epochs"],
    "loss": ["loss"],
    "standard deviation of noise added while training": ["noise.train"],
    "standard deviation of r": ["data.sigma"],
}
_PLANE = Path("figures", "plane.svg")
_PIXELS = 84  # an inch of a figure in report.html


def write_report(folder: Path) -> Path:
    """Write `report.html`, `report.md` and `figures/` into a sweep's folder and return the path of the first.

    Raises:
        SettingError: There is no such folder, or no job in it.
    """
    if not folder.is_dir():
        raise SettingError(f"{folder}: there is no such folder")
    jobs = results.read_sweep(folder)
    if not jobs:
        raise SettingError(f"{folder}: there are no jobs of a sweep in it")
    completed = sorted((job for job in jobs if job["status"] == "completed"), key=_order)
    networks = [job for job in completed if "subspace" not in job]
    planes = [job for job in completed if (folder / job["job"] / _PLANE).exists()]
    linear = [job for job in completed if "subspace" in job and job not in planes]
    linear.sort(key=lambda job: (job["model"] != "linear_tied", job["latent_dim"], job["job"]))
    runs = PaperRuns([*networks, *linear], folder)
    content = {
        "sweep": folder.name,
        "jobs": completed,
        "failed": [job for job in jobs if job["status"] != "completed"],
        "missing": _missing(runs) if networks else [],
        "seeds": max((job["replicas"] for job in networks), default=0),
        "minutes": sum(job["timing"]["fit_seconds"] for job in completed) / 60,
        "tables": [table for metric in _HEADLINES if (table := _table(networks, metric))],
        "verdicts": judge_all(runs),
        "linear": linear,
        "distances": LABELS,
        "figures": [_keep(folder, *each) for each in _figures(networks, linear, folder)],
        "planes": [_embedded(folder / job["job"] / _PLANE) for job in planes],
        "choices": _choices(networks, folder),
        "commands": [_command(job) for job in completed],
        "versions": completed[0]["versions"] if completed else {},
    }
    templates = Environment(loader=PackageLoader("wavecoder"), autoescape=_is_html, undefined=StrictUndefined, trim_blocks=True)
    templates.filters |= {"number": number, "percent": "{:.0%}".format}
    for kind in ("md", "html"):
        results.write_atomically(folder / f"report.{kind}", templates.get_template(f"report.{kind}.j2").render(content))
    return folder / "report.html"


def _is_html(template: str | None) -> bool:
    return template is not None and template.endswith(".html.j2")


def _order(job: Mapping[str, Any]) -> tuple[Any, ...]:
    """The paper's order."""
    numbers = [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", job["job"])]
    return (ACTIVATIONS.index(job["activation"]), job["latent_dim"], numbers)


def number(value: float | None) -> str:
    """Three significant digits, as people write them."""
    if value is None or not np.isfinite(value):
        return "–"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}·10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def _labels(jobs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A short name for each job: its activation, unless another with the same latent has it too."""
    names = {job["job"]: job["activation"] + ("" if job["bias"] else ", no bias") for job in jobs}
    used = Counter((names[job["job"]], job["latent_dim"]) for job in jobs)
    return {job["job"]: names[job["job"]] if used[names[job["job"]], job["latent_dim"]] == 1 else job["job"] for job in jobs}


def _table(jobs: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any] | None:
    """One metric of all models: for each size of the latent the median over seeds, the range, and ratios to the references."""
    jobs = [job for job in jobs if metric in job["metrics"]]
    if not jobs:
        return None
    labels = _labels(jobs)
    latents = sorted({job["latent_dim"] for job in jobs})
    names = [name for name in results.REFERENCES if any(metric in job["references"].get(name, {}) for job in jobs)]
    ratios = [name for name in names if name != "wiener"]
    rows: dict[str, dict[int, dict[str, Any]]] = {}
    for job in jobs:
        summary = job["metrics"][metric]
        cell = {"job": job["job"], **{kind: summary[kind] for kind in ("median", "min", "max")}}
        cell["over"] = {name: _over(summary["median"], job["references"].get(name, {}).get(metric)) for name in ratios}
        rows.setdefault(labels[job["job"]], {})[job["latent_dim"]] = cell
    for latent in latents:
        there = [row[latent] for row in rows.values() if latent in row and row[latent]["median"] is not None]
        for cell in there:
            cell["best"] = cell["median"] == min(other["median"] for other in there)
    for name in names:
        fitted = {latent: [job["references"] for job in jobs if job["latent_dim"] == latent] for latent in latents}
        fitted = {latent: [each for each in all_jobs if metric in each.get(name, {})] for latent, all_jobs in fitted.items()}
        cells = {latent: _reference_cell(each, metric, name, ratios) for latent, each in fitted.items() if each}
        rows[results.REFERENCES[name]] = cells
    return {"metric": metric, "title": _HEADLINES[metric], "latents": latents, "ratios": ratios, "rows": rows}


def _over(error: float | None, reference: float | None) -> float | None:
    return None if error is None or reference is None else error / reference


def _reference_cell(
    fitted: Sequence[Mapping[str, Mapping[str, float]]], metric: str, name: str, ratios: Sequence[str]
) -> dict[str, Any]:
    """A reference's error; its range, if the jobs have different training or validation signals."""
    errors = [references[name][metric] for references in fitted]
    over = {
        other: median_low([references[name][metric] / references[other][metric] for references in fitted]) for other in ratios
    }
    return {"reference": name, "median": median_low(errors), "min": min(errors), "max": max(errors), "over": over}


def _missing(runs: PaperRuns) -> list[str]:
    """Which of the paper's fourteen networks are not there."""
    missing = []
    for latent in (1, 5):
        there = runs.activations(latent)
        if gaps := [activation for activation in ACTIVATIONS if activation not in there]:
            missing.append(f"latent {latent}: {', '.join(gaps)}")
    return missing


def _figures(
    networks: Sequence[Mapping[str, Any]], linear: Sequence[Mapping[str, Any]], folder: Path
) -> Iterator[tuple[str, Figure]]:
    """The paper's figures and ours, as far as there are runs to draw them from."""
    networks = [job for job in networks if job["bias"]]  # as the paper's are
    labels = _labels(networks)
    drawn = {job["job"]: arrays for job in networks if (arrays := _arrays(folder / job["job"])) is not None}
    if drawn:
        any_run = next(iter(drawn.values()))
        times, sine = any_run["times"], any_run["sine"]
        yield "figure_06_samples", plots.sampled_signal(times, sine)
        yield "figure_07_families", plots.families(times, _families(times), 1.0)
        for name, level in (("figure_08_noise_0.1", "0.1"), ("figure_13_noise_1", "1.0")):
            if f"noisy_{level}" in any_run:
                panel = {f"sin(t) with noise {level}": any_run[f"noisy_{level}"]}
                yield name, plots.reconstructions(times, sine, panel, "Noisy copies of the sine")
    experiments = {"09": (1, "0.1", True), "10": (1, "0.1", False), "11": (5, "0.1", True), "12": (5, "0.1", False)}
    experiments |= {"14": (5, "1.0", False), "14_copies": (5, "1.0", True)}
    for name, (latent, level, copies) in experiments.items():
        panels = {}
        for job in networks:
            arrays = drawn.get(job["job"])
            if job["latent_dim"] == latent and arrays is not None and f"autoencoder_{level}" in arrays:
                panels[labels[job["job"]]] = arrays[f"autoencoder_{level}"][arrays["shown"]]
                svd = arrays.get(f"svd_{level}")
        if panels:
            panels |= {"SVD": svd} if svd is not None else {}
            what = "Reconstructions of the ten copies" if copies else "Means of the ten reconstructions"
            title = f"{what}: latent {latent}, noise {float(level):g}"
            yield f"figure_{name}_latent_{latent}", plots.reconstructions(times, sine, panels, title, copies)
    for job in networks:
        arrays = drawn.get(job["job"])
        if arrays is not None and "latent" in arrays:
            shown = arrays["shown"]
            curves = dict(zip(signals.FAMILIES, arrays["latent"][shown], strict=False))
            decoded = dict(zip(arrays["decoded_z"][shown].tolist(), arrays["decoded"][shown], strict=True))
            figure = plots.latent_curves(arrays["latent_r"], curves, times, decoded, f"{labels[job['job']]}: the latent")
            yield f"latent_{labels[job['job']]}", figure
    yield from _convergence([job for job in linear if job["model"] == "linear_tied"])
    yield from _dependence(networks)


def _arrays(folder: Path) -> dict[str, ndarray] | None:
    file = folder / results.ARRAYS
    if not file.exists():
        return None
    with np.load(file) as content:
        return dict(content)


def _families(times: ndarray) -> dict[str, ndarray]:
    names = list(signals.FAMILIES)
    waves = signals.waves(torch.arange(len(names)), torch.ones(len(names)), names)
    return dict(zip(names, waves.at(torch.from_numpy(times)).numpy(), strict=True))


def _convergence(tied: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Figure]]:
    """Tied linear autoencoders on their way to the SVD, one curve for each size of the latent."""
    if not tied:
        return
    steps = tied[0]["subspace"]["steps"]
    curves = {
        LABELS[name]: {
            f"latent {job['latent_dim']}": np.median(job["subspace"][name], axis=1)
            for job in tied
            if job["subspace"]["steps"] == steps
        }
        for name in ("linear/excess", "linear/largest_angle", "linear/gram_error")
    }
    yield "theorem", plots.convergence(steps, curves, "Tied linear autoencoders on their way to the SVD, medians over seeds")


def _dependence(networks: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Figure]]:
    """Errors against what the sweep varied beside activation and latent, if it did."""
    for latent in sorted({job["latent_dim"] for job in networks}):
        for activation in ACTIVATIONS:
            jobs = [job for job in networks if (job["activation"], job["latent_dim"]) == (activation, latent)]
            keys = sorted(set(results.varied(jobs)) - {"activation", "latent", "latent.dim"})
            if len(jobs) < 3 or not keys:
                continue
            choices = {job["job"]: ", ".join(job["overrides"][key] for key in keys if key in job["overrides"]) for job in jobs}
            jobs.sort(key=lambda job: _natural(choices[job["job"]]))
            metrics = [metric for metric in ("train/mse", "val/mse", "val/mse_noise_0.1") if metric in jobs[0]["metrics"]]
            series = {metric: [values_of(job, metric) for job in jobs] for metric in metrics}
            lines = {"SVD, val/mse": jobs[0]["references"]["svd"]["val/mse"]} if "svd" in jobs[0]["references"] else {}
            title = f"{activation} autoencoder, latent {latent}"
            names = [choices[job["job"]] for job in jobs]
            yield f"dependence_{activation}_latent_{latent}", plots.dependence(", ".join(keys), names, series, lines, title)


def _natural(choice: str) -> tuple[bool, float, str]:
    first = choice.split(",")[0]
    try:
        return (False, float(first), choice)
    except ValueError:
        return (True, len(choice), choice)


def _keep(folder: Path, name: str, figure: Figure) -> dict[str, Any]:
    """Write a figure as PNG and SVG; for the report its name and title, and an address that holds the picture itself."""
    results.write_figure(folder / "figures", name, figure)
    title = figure.get_suptitle() or figure.axes[0].get_title()
    width = round(figure.get_figwidth() * _PIXELS)
    return {"name": name, "title": title, "width": width, "picture": _embedded(folder / "figures" / f"{name}.svg")}


def _embedded(picture: Path) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(picture.read_bytes()).decode()


def _choices(jobs: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, str]:
    """What the paper leaves open and the jobs chose; several choices if they differ."""
    chosen: dict[str, set[str]] = {name: set() for name in _CHOICES}
    for job in jobs:
        file = folder / job["job"] / ".hydra" / "config.yaml"
        if file.exists():
            config = OmegaConf.load(file)
            for name, keys in _CHOICES.items():
                chosen[name].add(", ".join(str(OmegaConf.select(config, key)) for key in keys))
    return {name: " / ".join(sorted(values)) for name, values in chosen.items() if values}


def _command(job: Mapping[str, Any]) -> str:
    """How to run a job again by itself."""
    return shlex.join(["python", "src/train.py", *(f"{key}={value}" for key, value in job["overrides"].items())])
