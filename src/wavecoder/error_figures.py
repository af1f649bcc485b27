"""A figure of errors over frequency and family: how networks do on and off the distribution of their training."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy import ndarray

from wavecoder.plots import BLACK, SERIES, family_formula, panel_grid


def frequency_figure(
    r: Float[ndarray, " r"],
    errors: Mapping[str, Mapping[str, Float[ndarray, "member r"]]],
    trained: Sequence[str],
    own_sigma: float,
    sigma: float,
    title: str,
) -> Figure:
    """How errors depend on a signal's frequency and family, on and off the distribution of the training.

    A panel for each family, with the median over members and their range; and one with the means over frequencies, which count
    as often as they are drawn.

    Args:
        r: Frequencies, in ascending order.
        errors: By family and model, the error of every member at every frequency.
        trained: The families of the training.
        own_sigma: Standard deviation of r in the run's own validation signals, in radians per unit of time.
        sigma: That of the means.
        title: Title of the figure.
    """
    figure, axes = panel_grid(len(errors) + 1, 3, 3.9, 2.9)
    every = np.concatenate([values.ravel() for of_models in errors.values() for values in of_models.values()])
    every = every[np.isfinite(every)]  # some seeds may have diverged
    lowest, highest = np.percentile(every, 1) / 2, np.max(every) * 2  # some single signals are no problem for the SVD
    for axis, (family, of_models) in zip(axes, errors.items(), strict=False):
        axis.axvspan(-2 * own_sigma, 2 * own_sigma, color=BLACK, alpha=0.06, linewidth=0)
        for (label, values), (color, style) in zip(of_models.items(), SERIES, strict=False):
            axis.plot(r, np.median(values, axis=0), color=color, linestyle=style, linewidth=1.3, label=label)
            axis.fill_between(r, values.min(0), values.max(0), color=color, alpha=0.2, linewidth=0)
        axis.set_title(family_formula(family) + ("" if family in trained else " (not in training)"), fontsize=10)
        axis.set(xlabel="frequency r", yscale="log", xlim=(r[0], r[-1]), ylim=(lowest, highest))
    weights = np.exp(-np.square(r / sigma) / 2) * np.gradient(r)
    for group, of_models in enumerate(errors.values()):
        for number, (values, (color, _), marker) in enumerate(zip(of_models.values(), SERIES, "osDv^<>", strict=False)):
            means = values @ weights / weights.sum()
            place = group + 0.15 * (number - (len(of_models) - 1) / 2)
            axes[-1].plot([place] * len(means), means, marker, color=color, markersize=4, alpha=0.7)
    names = [family_formula(family) + ("" if family in trained else "*") for family in errors]
    axes[-1].set_xticks(range(len(errors)), names, rotation=30, ha="right", rotation_mode="anchor", fontsize=8)
    axes[-1].set_yscale("log")
    axes[-1].set_title(
        f"mean over r with σ = {sigma:g}" + (", * not in training" if set(errors) - set(trained) else ""), fontsize=10
    )
    for axis in axes[::3]:
        axis.set_ylabel("mean squared error per value")
    span = Patch(color=BLACK, alpha=0.06, label=f"r within 2σ of the run's validation signals, σ = {own_sigma:g}")
    figure.legend(handles=[*axes[0].get_legend_handles_labels()[0], span], loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(title)
    return figure


def noise_figure(levels: Float[ndarray, " level"], errors: Mapping[str, Float[ndarray, "member level"]], title: str) -> Figure:
    """How errors on noisy signals depend on the level of the noise: medians over members, and their range.

    Args:
        levels: Standard deviations of the noise.
        errors: By model, the error of every member at every level.
        title: Title of the figure.
    """
    figure, (axis,) = panel_grid(1, 1, 6.4, 4.0)
    for (label, values), (color, style) in zip(errors.items(), SERIES, strict=False):
        axis.plot(levels, np.median(values, axis=0), color=color, linestyle=style, label=label)
        axis.fill_between(levels, values.min(0), values.max(0), color=color, alpha=0.2, linewidth=0)
    axis.set(xlabel="standard deviation of the noise", ylabel="mean squared error per value", xscale="log", yscale="log")
    axis.set_xticks(ticks := [0.05, 0.1, 0.2, 0.5, 1.0, 2.0], [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    figure.legend(loc="outside lower center", ncols=len(errors), frameon=False)
    figure.suptitle(title)
    return figure
