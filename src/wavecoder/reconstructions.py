"""The figure of the paper's test: reconstructions of noisy copies of a sine."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy import ndarray

from wavecoder.plots import BLACK, SKY, TIME, VERMILION, panel_grid

_LETTERS = 14  # of a note, in an inch
_LINE = 0.18  # height of one of its lines, in inches


@dataclass(frozen=True)
class Panel:
    """What one panel shows.

    Attributes:
        copies: Noisy copies of a signal, or a model's reconstructions of them.
        error: What tables give as their error, where it is a mean over more than these copies; None if it is not.
        means: Of each member of an ensemble the mean over the copies, for a band; None for no band.
    """

    copies: Float[ndarray, "copy time"]
    error: float | None = None
    means: Float[ndarray, "member time"] | None = None


def draw_reconstructions(
    times: Float[ndarray, " time"],
    sine: Float[ndarray, " time"],
    panels: Mapping[str, Panel],
    title: str,
    copies: bool = True,
    note: str = "",
) -> Figure:
    """Noisy copies of a sine or models' reconstructions of them, one panel for each, beside the truth (paper, figures 8 to 14).

    The heading of a panel gives the mean squared error per value that tables give and, in parentheses, that of the copies shown
    if it is another: of each copy if they are shown, or else of their mean.

    Args:
        times: Time grid.
        sine: The true signal.
        panels: What to show in each panel, by its heading.
        title: Title of the figure.
        copies: Whether to show every copy under their mean; otherwise the mean alone, over the band of the members' means.
        note: What is shown, in a smaller font under the title.
    """
    figure, axes = panel_grid(len(panels), 4, 7.0 if len(panels) == 1 else 3.3, 2.5, layout="none", sharex=True, sharey=True)
    for number, (axis, (heading, panel)) in enumerate(zip(axes, panels.items(), strict=True)):
        mean = panel.copies.mean(0)
        if copies:
            lines = axis.plot(times, panel.copies.T, color=SKY, linewidth=0.8, alpha=0.6)
            lines[0].set_label(f"each of {len(panel.copies)} copies")
        elif panel.means is not None and len(panel.means) > 1 and np.isfinite(panel.means).any():
            low, high = np.nanquantile(panel.means, [0.05, 0.95], axis=0)
            axis.fill_between(times, low, high, color=SKY, alpha=0.35, linewidth=0, label="middle 90 % of the seeds' means")
        axis.plot(times, mean, color=VERMILION, linewidth=2, label="their mean" if copies else "mean")
        axis.plot(times, sine, color=BLACK, linewidth=1.2, linestyle="--", label="true signal")
        drawn = float(np.square((panel.copies if copies else mean) - sine).mean())
        axis.set_title(f"{heading}\n{_describe(panel.error, drawn, copies)}", fontsize=10)
        if number >= len(panels) - 4:
            axis.set_xlabel(TIME)
            axis.xaxis.set_tick_params(labelbottom=True)
        if number % 4 == 0:
            axis.set_ylabel("value")
    _lay_out(figure, title, note)
    labelled = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(labelled.values(), labelled.keys(), loc="lower center", ncols=4, frameon=False)
    return figure


def _describe(error: float | None, drawn: float, copies: bool) -> str:
    what, here = "error of each copy" if copies else "error of the mean", _number(drawn)
    return f"{what} {here}" if error is None or _number(error) == here else f"{what} {_number(error)} ({here})"


def _number(error: float) -> str:
    return f"{error:#.3g}".rstrip(".")


def _lay_out(figure: Figure, title: str, note: str) -> None:
    """Set title, note and margins. Every run draws this figure, and finding such margins would take as long as drawing it."""
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(note, round(_LETTERS * width))
    height += _LINE * len(lines)
    figure.set_size_inches(width, height)
    top = 0.95 + _LINE * len(lines)
    figure.subplots_adjust(0.65 / width, 0.95 / height, 1 - 0.15 / width, 1 - top / height, wspace=0.08, hspace=0.6)
    figure.suptitle(title, y=1 - 0.12 / height, va="top")
    figure.text(0.5, 1 - 0.4 / height, "\n".join(lines), ha="center", va="top", fontsize=9, alpha=0.75)
