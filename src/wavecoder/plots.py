"""Figures: data in, a matplotlib Figure out. No global state, so they can be made in any thread."""

from collections.abc import Mapping

from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

# Okabe & Ito's palette (2008), which colour-blind readers can tell apart.
_TRUTH, _COPY, _MEAN = "black", "#56B4E9", "#D55E00"


def sine_reconstructions(
    times: Float[Tensor, " time"],
    sine: Float[Tensor, " time"],
    panels: Mapping[str, Float[Tensor, "copy time"]],
    title: str,
) -> Figure:
    """Noisy copies of a sine and their reconstructions, one panel for each, with the mean of the copies and the truth.

    Args:
        times: Time grid.
        sine: The true signal.
        panels: What to show in each panel, by its heading: the noisy copies themselves, or a model's reconstructions.
        title: Title of the figure.
    """
    figure = Figure(figsize=(4.2 * len(panels), 3.8), layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axis, (heading, copies) in zip(axes, panels.items(), strict=True):
        lines = axis.plot(times, copies.T, color=_COPY, linewidth=0.8, alpha=0.6)
        lines[0].set_label(f"each of {len(copies)} copies")
        axis.plot(times, copies.mean(0), color=_MEAN, linewidth=2, label="their mean")
        axis.plot(times, sine, color=_TRUTH, linewidth=1.2, linestyle="--", label="true signal")
        error = (copies.mean(0) - sine).square().mean().item()
        axis.set_title(f"{heading}\nerror of the mean {error:.2g}", fontsize=11)
        axis.set_xlabel("time")
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("value")
    figure.suptitle(title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure
