"""What a picture of signals before and after denoising keeps of them while they pass by, in little memory."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy import ndarray

from wavecoder import plots

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
        return plots.denoised_rows({f"row {number}": np.stack([before, after]) for number, before, after in pairs}, title)


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
        if self._before is not None:
            size = self._part.stop - self._part.start
            loudest = int(np.ptp(self._before.ranges, axis=0).argmax())
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
        return plots.denoised_recording(spans, self._before.ranges, self._after.ranges, times, excerpt, unit, title)


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
