import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy import ndarray

from wavecoder.before_after import RecordingBeforeAfter, RowsBeforeAfter


def check_labels(figure: Figure) -> None:
    figure.draw_without_rendering()
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert any(axis.get_xlabel() for axis in shown)
    assert any(axis.get_ylabel() for axis in shown)
    assert figure.get_suptitle()


def sent(kept: RecordingBeforeAfter | RowsBeforeAfter, values: ndarray, block: int) -> None:
    """Twice, as a denoiser does; the output is half of the input and comes in other blocks."""
    for _ in range(2):
        kept.begin_pass()
        for start in range(0, len(values), block):
            kept.take_input(values[start : start + block])
        for start in range(0, len(values), 2 * block):
            kept.take_output(values[start : start + 2 * block] / 2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("length", "block"), [(10_007, 64), (10_007, 20_000), (900, 7), (30, 30), (1, 1)])
def test_the_range_of_each_span_and_the_loudest_part_are_kept(length: int, block: int) -> None:
    values = np.random.default_rng(0).normal(size=length)
    values[length * 2 // 3] = 50.0
    kept = RecordingBeforeAfter(length, min(length, 400), 100.0)
    sent(kept, values, block)
    figure = kept.figure("a recording")
    check_labels(figure)
    whole, part = figure.axes
    assert whole.get_xlabel() == "time, seconds"
    spans = np.arange(length) * min(length, 1500) // length
    lows, highs = (np.array([extreme(values[spans == span]) for span in range(spans[-1] + 1)]) for extreme in (np.min, np.max))
    assert kept._before is not None
    np.testing.assert_array_equal(kept._before.ranges, [lows, highs])
    np.testing.assert_array_equal(kept._after.ranges, np.stack([lows, highs]) / 2)
    before, after = (line.get_ydata() for line in part.lines)
    assert len(before) == min(length, 400)
    assert before.max() == 50
    np.testing.assert_array_equal(after, before / 2)


@pytest.mark.parametrize(("count", "shown"), [(1, [0]), (3, [0, 1, 2]), (10, [0, 3, 6, 9])])
def test_rows_that_are_shown_are_spread_evenly(count: int, shown: list[int]) -> None:
    rows = np.random.default_rng(0).normal(size=(count, 20))
    kept = RowsBeforeAfter(count)
    sent(kept, rows, 2)
    figure = kept.figure("rows")
    check_labels(figure)
    axes = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in axes] == [f"row {number}" for number in shown]
    for axis, number in zip(axes, shown, strict=True):
        np.testing.assert_array_equal(axis.lines[0].get_ydata(), rows[number])
        np.testing.assert_array_equal(axis.lines[1].get_ydata(), rows[number] / 2)
