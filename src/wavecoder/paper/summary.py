"""One picture of all results: the error of every seed of every network, and those of the references."""

import re
from collections.abc import Sequence
from statistics import median_low

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from wavecoder.paper.claims import Job, values_of
from wavecoder.paper.tables import label_of, labels_of
from wavecoder.plots import BLACK, BLUE, GREEN, ORANGE, SERIES, VERMILION, panel_grid

_LINES = {"svd": (BLACK, "-"), "pca": (ORANGE, "--"), "wiener": (SERIES[3][0], ":"), "bayes": (GREEN, "-.")}
_MOST_NETWORKS = 24  # of a panel
_ROW = 0.185  # inches


def summary_metrics(jobs: Sequence[Job]) -> list[str]:
    """The errors on new signals that a summary shows: at the least and the largest noise that all jobs measured, or without."""
    shared = [metric for metric in jobs[0]["metrics"] if all(metric in job["metrics"] for job in jobs)] if jobs else []
    noisy = sorted((metric for metric in shared if re.fullmatch(r"val/mse_noise_[\d.e+-]+", metric)), key=noise_of)
    return list(dict.fromkeys([noisy[0], noisy[-1]])) if noisy else [metric for metric in shared if metric == "val/mse"]


def noise_of(metric: str) -> float:
    """The standard deviation of the noise that a metric is measured with."""
    return float(metric.partition("_noise_")[2] or 0)


def heading_of(metric: str) -> str:
    """What a metric of new signals is called beside its value."""
    return f"noise {noise_of(metric):g}" if "_noise_" in metric else "no noise"


def summary(jobs: Sequence[Job], columns: int, width: float) -> Figure | None:
    """Every seed of every network as a point, its median as a stroke, and the references as lines, on logarithmic axes.

    Panels are sizes of the latent and levels of noise. Jobs that differ in their seeds alone share a row.

    Args:
        jobs: Completed jobs, in the order in which they are shown.
        columns: Panels side by side: one or two.
        width: Of the figure, in inches.

    Returns:
        The figure; None if there is nothing to show.
    """
    metrics = summary_metrics(jobs)
    if not metrics:
        return None
    labels = labels_of(jobs, with_seeds=False)
    latents = sorted({job["latent_dim"] for job in jobs})
    columns = min(columns, len(metrics))
    groups = {latent: _rows([job for job in jobs if job["latent_dim"] == latent], labels, metrics[0]) for latent in latents}
    panels = [(latent, metric) for latent in latents for metric in metrics]
    heights = [0.35 + _ROW * len(groups[latent]) for latent, _ in panels[::columns]]
    figure, axes = panel_grid(len(panels), columns, width / columns, 1.0)
    figure.set_size_inches(width, sum(heights) + 0.3 * len(heights) + 0.75)
    grid = axes[0].get_gridspec()
    assert grid is not None
    grid.set_height_ratios(heights)
    for number, (axis, (latent, metric)) in enumerate(zip(axes, panels, strict=True)):
        _panel(axis, groups[latent], metric, 48 if width > 8 else 24)
        axis.set_title(f"latent {latent}, {heading_of(metric)}", fontsize=10, loc="left")
        axis.sharex(axes[[each for _, each in panels].index(metric)])
        if number % columns:
            axis.tick_params(labelleft=False)
        if number >= len(panels) - columns:
            axis.set_xlabel("mean squared error per value of new signals" if width > 8 else "mean squared error per value")
    for axis in axes:  # which otherwise keep the limits of the first of those that share them
        axis.autoscale_view(scaley=False)
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=6 if width > 8 else 3, frameon=False, fontsize=9)
    return figure


def _rows(jobs: Sequence[Job], labels: dict[str, str], metric: str) -> dict[str, list[Job]]:
    """The jobs of each row: the best ones if there are too many."""
    rows: dict[str, list[Job]] = {}
    for job in jobs:
        rows.setdefault(labels[job["job"]], []).append(job)
    if len(rows) <= _MOST_NETWORKS:
        return rows
    middle = {label: np.nanmedian([*_values(each, metric), np.inf]) for label, each in rows.items()}
    kept = sorted(rows, key=middle.__getitem__)[:_MOST_NETWORKS]
    return {label: rows[label] for label in kept}


def _values(jobs: Sequence[Job], metric: str) -> np.ndarray:
    values = np.concatenate([values_of(job, metric) for job in jobs])
    return values[np.isfinite(values)]


def _shortened(label: str, longest: int) -> str:
    """A label without its middle, if it is too long."""
    kept = longest // 2
    return label if len(label) <= longest else f"{label[:kept]}…{label[-kept:]}"


def _panel(axis: Axes, rows: dict[str, list[Job]], metric: str, longest: int) -> None:
    jitter = np.random.default_rng(0)
    for place, jobs in enumerate(rows.values()):
        values = _values(jobs, metric)
        heights = place + jitter.uniform(-0.26, 0.26, len(values)) * (len(values) > 1)
        axis.plot(values, heights, "o", color=BLUE, markersize=3.2, alpha=0.45, markeredgewidth=0, label="a seed")
        if len(values):
            middle = np.median(values)
            axis.plot([middle] * 2, [place - 0.36, place + 0.36], color=VERMILION, linewidth=2, label="median over seeds")
        else:
            axis.text(0.01, place, "diverged", transform=axis.get_yaxis_transform(), va="center", fontsize=8, color=VERMILION)
    jobs = [job for each in rows.values() for job in each]
    known = {name for job in jobs for name, errors in job["references"].items() if metric in errors}
    for name, (color, style) in _LINES.items():
        if name in known and not (name == "wiener" and "bayes" in known):
            error = median_low([job["references"][name][metric] for job in jobs if metric in job["references"].get(name, {})])
            axis.axvline(error, color=color, linestyle=style, linewidth=1.3, label=label_of(name))
    axis.set_yticks(range(len(rows)), [_shortened(label, longest) for label in rows], fontsize=9)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
