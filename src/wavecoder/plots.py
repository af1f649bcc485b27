"""Figures: arrays in, a matplotlib Figure out. No global state, so they can be made in any thread.

Colours are Okabe & Ito's (2008), which colour-blind readers can tell apart; where print may lose them, line styles differ too.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = "black", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
SERIES = [(BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (PURPLE, ":"), (ORANGE, "-"), (SKY, "--"), (BLACK, "-.")]
_MADE = [(VERMILION, "-"), (BLUE, "--"), (GREEN, "-.")]  # by the autoencoder, by references
_MOST_KINDS = 20  # labels that are told apart by colour and marker
TIME = "time t"  # in the paper's unit, which has no name


def panel_grid(
    count: int, columns: int, width: float, height: float, layout: Any = "constrained", **shared: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in rows of at most `columns`."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.9), layout=layout)
    axes = list(figure.subplots(rows, columns, squeeze=False, **shared).flat)
    for axis in axes[count:]:
        axis.set_visible(False)
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[:count]


def examples(
    times: Float[ndarray, " time"],
    signals: Float[ndarray, "signal time"],
    series: Mapping[str, Float[ndarray, "signal time"]],
    scale: Float[ndarray, " signal"],
    title: str,
) -> Figure:
    """Signals, one panel for each, and their reconstructions over them, with the mean squared error per value of each.

    Args:
        times: Time grid.
        signals: The signals.
        series: The reconstructions, by what made them.
        scale: The scale of each signal: errors are those of the scaled signals, which the networks saw.
        title: Title of the figure.
    """
    figure, axes = panel_grid(len(signals), 4, 3.3, 2.3, sharex=True)
    for number, (axis, signal) in enumerate(zip(axes, signals, strict=True)):
        axis.plot(times, signal, color=BLACK, linewidth=2.6, alpha=0.3, label="signal")
        for (name, made), (color, style) in zip(series.items(), _MADE, strict=False):
            axis.plot(times, made[number], color=color, linestyle=style, linewidth=1.3, label=name)
        errors = {name: np.square((made[number] - signal) / scale[number]).mean() for name, made in series.items()}
        axis.set_title("   ".join(f"{name} {error:.2g}" for name, error in errors.items()), fontsize=8.5)
        if number >= len(signals) - 4:
            axis.set_xlabel(TIME)
            axis.xaxis.set_tick_params(labelbottom=True)
        if number % 4 == 0:
            axis.set_ylabel("value")
    of_scaled = "" if (scale == 1).all() else " of the scaled signals"
    figure.suptitle(f"{title}, with the mean squared errors per value{of_scaled}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=1 + len(series), frameon=False)
    return figure


def latent_points(latent: Float[ndarray, "signal latent"], labels: ndarray | None, title: str) -> Figure:
    """Where signals lie in the latent, coloured by their labels.

    A latent of one value is drawn as a strip of points for each label, or as a histogram; one of two as points; of a larger one
    the first two principal components.

    Args:
        latent: The latent of each signal.
        labels: Numbers or texts, one for each signal; None if there are none.
        title: Title of the figure.
    """
    figure, (axis,) = panel_grid(1, 1, 6.4, 4.4)
    names = ["latent z"] if latent.shape[1] == 1 else ["latent value 1", "latent value 2"]
    if latent.shape[1] > 2:
        centred = latent - latent.mean(0)
        powers, directions = np.linalg.eigh(centred.T @ centred)  # ascending
        latent = centred @ directions[:, :-3:-1]
        shares = powers[::-1] / max(powers.sum(), np.finfo(float).tiny)
        names = [f"principal component {n + 1} of the latent ({shares[n]:.0%} of its variance)" for n in range(2)]
    kinds = [] if labels is None else np.unique(labels).tolist()
    is_grouped = 0 < len(kinds) <= _MOST_KINDS
    size = 14 if len(latent) < 500 else 7
    if labels is not None and len(kinds) > _MOST_KINDS and labels.dtype.kind in "iuf":
        across = labels if latent.shape[1] == 1 else latent[:, 1]
        points = axis.scatter(latent[:, 0], across, s=size, c=labels, cmap="cividis", linewidths=0)
        figure.colorbar(points, ax=axis, label="label")
        names = [*names, "label"][:2]
    elif latent.shape[1] == 1 and not is_grouped:
        axis.hist(latent[:, 0], bins=min(60, max(10, len(latent) // 15)), color=SKY)
        names = [*names, "signals"]
    else:
        if latent.shape[1] == 1:  # a strip for each label
            places = np.searchsorted(kinds, labels)  # type: ignore[arg-type]
            latent = np.stack([latent[:, 0], places + np.random.default_rng(0).uniform(-0.3, 0.3, len(latent))], axis=1)
            axis.set_yticks(range(len(kinds)), [str(kind) for kind in kinds])
            names = [*names, "label"]
        groups = {str(kind): latent[labels == kind] for kind in kinds} if is_grouped else {"": latent}
        for number, (name, points) in enumerate(groups.items()):
            color, marker = SERIES[number % len(SERIES)][0], "o^sD"[number // len(SERIES) % 4]
            axis.scatter(points[:, 0], points[:, 1], s=size, color=color, marker=marker, alpha=0.75, linewidths=0, label=name)
    axis.set(xlabel=names[0], ylabel=names[1])
    figure.suptitle(title)
    if is_grouped and names[1] != "label":
        figure.legend(
            *axis.get_legend_handles_labels(), loc="outside right center", frameon=False, title="label", markerscale=1.5
        )
    return figure


def sampled_signal(times: Float[ndarray, " time"], sine: Float[ndarray, " time"]) -> Figure:
    """A continuous signal and its samples (paper, figure 6)."""
    figure, (axis,) = panel_grid(1, 1, 7.0, 2.6)
    fine = np.linspace(times[0], times[-1], 10 * len(times))
    axis.plot(fine, np.interp(fine, times, sine), color=SKY, linewidth=1.5, label="signal sin(t)")
    axis.plot(times, sine, ".", color=VERMILION, markersize=4, label=f"its {len(times)} samples")
    axis.set(xlabel=TIME, ylabel="value", title="A signal and its samples")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def families(times: Float[ndarray, " time"], signals: Mapping[str, Float[ndarray, " time"]], r: float) -> Figure:
    """One signal of each family (paper, figure 7)."""
    figure, (axis,) = panel_grid(1, 1, 7.0, 3.0)
    for (name, values), (color, style) in zip(signals.items(), SERIES, strict=False):
        axis.plot(times, values, color=color, linestyle=style, label=family_formula(name))
    axis.set(xlabel=TIME, ylabel="value", title=f"The families of signals at r = {r:g}")
    figure.legend(loc="outside lower center", ncols=len(signals), frameon=False, fontsize=9)
    return figure


def family_formula(name: str) -> str:
    """A family as a formula, where its name is one of those sums and products: `sin*cos` is sin rt · cos rt."""
    signs = {"sin": "sin rt", "cos": "cos rt", "+": " + ", "-": " − ", "*": " · "}
    parts = re.split(r"([-+*])", name)
    return "".join(signs[part] for part in parts) if set(parts) <= set(signs) else name


def latent_curves(arrays: Mapping[str, Any], shown: int, title: str) -> Figure:
    """A one-dimensional latent: where each family's signals land in it, and what the decoder draws along it.

    Args:
        arrays: `latent_r`, `[r]`, frequencies; `families`, names; `latent`, `[member, family, r]`; `times`, `[time]`;
            `decoded_z`, `[member, z]`, some latents; `decoded`, `[member, z, time]`, what the decoder makes of them.
        shown: The member that is shown.
        title: Title of the figure.
    """
    latents = zip(arrays["families"].tolist(), arrays["latent"][shown], strict=True)
    drawn = list(zip(arrays["decoded_z"][shown].tolist(), arrays["decoded"][shown], strict=True))
    figure, (left, right) = panel_grid(2, 2, 5.0, 3.2)
    for (name, values), (color, _) in zip(latents, SERIES, strict=False):  # points: a latent may jump between frequencies
        left.plot(arrays["latent_r"], values, ".", color=color, markersize=2.5, label=family_formula(name))
    left.set(xlabel="frequency r, radians per unit of time", ylabel="latent z", title="the latent of every signal")
    left.legend(frameon=False, fontsize=8, markerscale=3, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    for (z, values), color in zip(drawn, colormaps["cividis"](np.linspace(0, 0.92, len(drawn))), strict=True):
        right.plot(arrays["times"], values, color=color, linewidth=1.6, label=f"z = {z:.2g}")
    right.set(xlabel=TIME, ylabel="value", title="what the decoder draws as z moves")
    right.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(title)
    return figure


def plane(
    signals: Float[ndarray, "signal 3"],
    basis: Float[ndarray, "3 2"],
    weight: Float[ndarray, "2 3"],
    title: str,
) -> Figure:
    """Signals of three values, the plane of their left singular vectors U₂, and a tied autoencoder's (paper 2.1, figure 3).

    Args:
        signals: The points.
        basis: The left singular vectors.
        weight: The autoencoder's matrix W, whose rows should span the same plane.
        title: Title of the figure.
    """
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axis: Any = figure.add_subplot(projection="3d")
    reach = 1.15 * np.abs(signals @ basis).max()
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * reach @ basis.T
    axis.plot_trisurf(*corners.T, triangles=[[0, 1, 2], [0, 2, 3]], color=SKY, alpha=0.25)
    points = signals @ weight.T @ weight
    for number, (signal, point) in enumerate(zip(signals, points, strict=True)):
        axis.plot(*np.stack([signal, point]).T, color=BLACK, linewidth=0.8, linestyle=":")
        axis.plot(*signal[:, None], "o", color=BLUE, label="signal" if number == 0 else None)
        axis.plot(*point[:, None], "s", color=VERMILION, label="its reconstruction W\u1d40W x" if number == 0 else None)
    for vectors, color, style, label in ((basis.T, BLACK, "-", "U\u2082"), (weight, VERMILION, "--", "rows of W")):
        for number, vector in enumerate(vectors):
            axis.plot(
                *np.stack([0 * vector, vector]).T, color=color, linestyle=style, linewidth=2, label=None if number else label
            )
    axis.set(xlabel="value 1", ylabel="value 2", zlabel="value 3", title=title)
    axis.view_init(elev=18, azim=-50)
    axis.set_box_aspect((1, 1, 1), zoom=0.88)
    axis.locator_params(nbins=5)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def convergence(steps: Sequence[int], curves: Mapping[str, Mapping[str, Float[ndarray, " step"]]], title: str) -> Figure:
    """Quantities that go to zero while a network trains, on logarithmic axes.

    Args:
        steps: Optimiser steps.
        curves: For each panel, by its label with unit, the values of each series by its name.
        title: Title of the figure.
    """
    figure, axes = panel_grid(len(curves), 3 if len(curves) == 3 else 2, 4.2, 3.0)
    for axis, (label, series) in zip(axes, curves.items(), strict=True):
        for number, (name, values) in enumerate(series.items()):
            color = colormaps["cividis"](0.92 * number / max(1, len(series) - 1))
            axis.plot(steps, values, color=color, linewidth=1.4, label=name)
        lowest, highest = (function([function(values) for values in series.values()]) for function in (np.min, np.max))
        axis.set(xlabel="optimiser step", ylabel=label, yscale="log" if highest > 10 * lowest > 0 else "linear")
    figure.suptitle(title)
    if len(next(iter(curves.values()))) > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def dependence(
    label: str,
    choices: Sequence[str],
    series: Mapping[str, Sequence[Float[ndarray, " _"]]],
    lines: Mapping[str, float],
    title: str,
) -> Figure:
    """How errors depend on one setting: the median over members, and their range.

    Args:
        label: Name of the setting.
        choices: Its values, in order.
        series: By the name of the error, for each value the errors of all members.
        lines: Errors that do not depend on the setting, by name.
        title: Title of the figure.
    """
    figure, (axis,) = panel_grid(1, 1, 6.4, 3.4)
    places = np.arange(len(choices))
    for (name, errors), (color, style) in zip(series.items(), SERIES, strict=False):
        middles, lows, highs = (np.array([kind(each) for each in errors]) for kind in (np.median, np.min, np.max))
        axis.plot(places, middles, color=color, linestyle=style, marker="o", label=name)
        axis.fill_between(places, lows, highs, color=color, alpha=0.15, linewidth=0)
    for (name, error), color in zip(lines.items(), (BLACK, ORANGE), strict=False):
        axis.axhline(error, color=color, linestyle=":", label=name)
    axis.set_xticks(places, choices)
    axis.set(xlabel=label, ylabel="mean squared error per value", yscale="log", title=title)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure
