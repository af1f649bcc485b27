"""Pictures of signals before and after denoising, and what they keep of them while these pass by, in little memory."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray

from wavecoder.plots import BLACK, SKY, VERMILION

_SPANS = 1_500  # of time in the picture of a recording
_EXAMPLES = 4  # rows in the picture of rows


class RowsBeforeAfter:
    """Some rows before and after, evenly spread."""

    def __init__(self, count: int) -> None:
        self._numbers = sorted({round(position) for position in np.linspace(0, count - 1, _EXAMPLES)})
        self.begin_pass()

    def begin_pass(self) -> None:
        self._before = _Picked(self._numbers)
        self._after = _Picked(self._numbers)

    def take_input(self, block: ndarray) -> None:
        self._before.update(block)

    def take_output(self, block: ndarray) -> None:
        self._after.update(block)

    def figure(self, title: str) -> Figure:
        pairs = zip(self._numbers, self._before.rows, self._after.rows, strict=True)
        return denoised_rows({f"row {number}": np.stack([before, after]) for number, before, after in pairs}, title)


class _Picked:
    def __init__(self, numbers: list[int]) -> None:
        self._numbers = numbers
        self._seen = 0
        self.rows: list[ndarray] = []

    def update(self, block: ndarray) -> None:
        inside = [number - self._seen for number in self._numbers if self._seen <= number < self._seen + len(block)]
        self.rows += [np.array(block[number]) for number in inside]
        self._seen += len(block)


class RecordingBeforeAfter:
    """The range of values in each span of time before and after, and a part where the input is loudest.

    The first pass finds the part, the second one keeps it.
    """

    def __init__(self, length: int, part: int, rate: float | None) -> None:
        self._length = length
        self._part = slice(0, part)
        self._rate = rate
        self._before: _Trace | None = None
        self.begin_pass()

    def begin_pass(self) -> None:
        if self._before is not None and np.isfinite(self._before.ranges).all():  # a pass is over
            size = self._part.stop - self._part.start
            loudest = int(np.abs(self._before.ranges - np.median(self._before.ranges)).max(0).argmax())
            middle = (2 * loudest + 1) * self._length // (2 * self._before.ranges.shape[1])
            start = min(max(0, middle - size // 2), self._length - size)
            self._part = slice(start, start + size)
        self._before = _Trace(self._length, self._part)
        self._after = _Trace(self._length, self._part)

    def take_input(self, block: ndarray) -> None:
        assert self._before is not None
        self._before.update(block)

    def take_output(self, block: ndarray) -> None:
        self._after.update(block)

    def figure(self, title: str) -> Figure:
        assert self._before is not None
        step = 1 / self._rate if self._rate else 1.0
        spans = np.arange(self._before.ranges.shape[1]) * self._length / self._before.ranges.shape[1] * step
        times = np.arange(self._part.start, self._part.stop) * step
        excerpt = np.stack([self._before.part, self._after.part])
        unit = "time, seconds" if self._rate else "sample"
        return denoised_recording(spans, self._before.ranges, self._after.ranges, times, excerpt, unit, title)


class _Trace:
    """A long signal as it passes by.

    Attributes:
        ranges: The smallest and the largest value in each span.
        part: Its samples in a part.
    """

    def __init__(self, length: int, part: slice) -> None:
        self._length = length
        self._part = part
        self._seen = 0
        spans = min(length, _SPANS)
        self.ranges: Float[ndarray, "2 span"] = np.array([[np.inf], [-np.inf]]).repeat(spans, 1)
        self.part = np.zeros(part.stop - part.start)

    def update(self, block: ndarray) -> None:
        positions = np.arange(self._seen, self._seen + len(block))
        spans, starts = np.unique(positions * self.ranges.shape[1] // self._length, return_index=True)
        self.ranges[0, spans] = np.minimum(self.ranges[0, spans], np.minimum.reduceat(block, starts))
        self.ranges[1, spans] = np.maximum(self.ranges[1, spans], np.maximum.reduceat(block, starts))
        first, last = max(self._seen, self._part.start), min(self._seen + len(block), self._part.stop)
        if first < last:
            self.part[first - self._part.start : last - self._part.start] = block[first - self._seen : last - self._seen]
        self._seen += len(block)


def denoised_recording(
    spans: Float[ndarray, " span"],
    before: Float[ndarray, "2 span"],
    after: Float[ndarray, "2 span"],
    times: Float[ndarray, " time"],
    excerpt: Float[ndarray, "2 time"],
    unit: str,
    title: str,
) -> Figure:
    """A long recording before and after denoising: all of it, as the range of values in each span of time, and a part enlarged.

    Args:
        spans: The time at which each span begins.
        before: The smallest and the largest value in each span of the input.
        after: The same of the output.
        times: Times of the samples in the part.
        excerpt: Input and output there.
        unit: Label of the time axes, with the unit.
        title: Title of the figure.
    """
    figure = Figure(figsize=(9.0, 5.4), layout="constrained")
    whole, part = figure.subplots(2, 1)
    for axis, heading in ((whole, "all of it"), (part, "the marked part")):
        _tidy(axis)
        axis.set(xlabel=unit, ylabel="value", title=heading)
    whole.fill_between(spans, *before, color=SKY, step="post", linewidth=0.5, label="input")
    whole.fill_between(spans, *after, color=VERMILION, step="post", linewidth=0.5, label="denoised")
    whole.axvspan(times[0], times[-1], color=BLACK, alpha=0.15, linewidth=0)
    part.plot(times, excerpt[0], color=SKY, linewidth=0.8)
    part.plot(times, excerpt[1], color=VERMILION, linewidth=1.6)
    for axis, ends in ((whole, spans), (part, times)):
        axis.set_xlim(ends[0], ends[-1] if len(ends) > 1 else None)
    figure.suptitle(title)
    figure.legend(*whole.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def denoised_rows(signals: Mapping[str, Float[ndarray, "2 time"]], title: str) -> Figure:
    """Some signals before and after denoising, a panel for each.

    Args:
        signals: Input and output, by the heading of the panel.
        title: Title of the figure.
    """
    columns, rows = min(2, len(signals)), -(-len(signals) // 2)
    figure = Figure(figsize=(4.5 * columns, 2.3 * rows + 0.9), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
    for axis in axes:
        _tidy(axis)
    for axis in axes[len(signals) :]:
        axis.set_visible(False)
    for number, (axis, (heading, (before, after))) in enumerate(zip(axes, signals.items(), strict=False)):
        axis.plot(before, color=SKY, linewidth=0.9, label="input")
        axis.plot(after, color=VERMILION, linewidth=1.6, label="denoised")
        axis.set_title(heading, fontsize=10)
        if number >= len(signals) - 2:
            axis.set_xlabel("sample")
            axis.xaxis.set_tick_params(labelbottom=True)
        if number % 2 == 0:
            axis.set_ylabel("value")
    figure.suptitle(title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _tidy(axis: Axes) -> None:
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
