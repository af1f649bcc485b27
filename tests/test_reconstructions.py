import numpy as np
import pytest

from wavecoder.reconstructions import Panel, draw_reconstructions

TIMES = np.arange(100) / 10
SINE = np.sin(TIMES)
COPIES = SINE + np.random.default_rng(0).normal(size=(10, 100))
OF_EACH, OF_MEAN = np.square(COPIES - SINE).mean(), np.square(COPIES.mean(0) - SINE).mean()


def test_copies_are_drawn_with_their_mean_and_error() -> None:
    [axis] = draw_reconstructions(TIMES, SINE, {"model": Panel(COPIES)}, "A title").axes
    *copies, mean, truth = axis.lines
    np.testing.assert_array_equal([line.get_ydata() for line in copies], COPIES)
    np.testing.assert_array_equal(mean.get_ydata(), COPIES.mean(0))
    np.testing.assert_array_equal(truth.get_ydata(), SINE)
    assert axis.get_title() == f"model\nerror of each copy {OF_EACH:#.3g}"


def test_means_are_drawn_over_the_band_of_all_seeds() -> None:
    means = np.linspace(-1, 1, 101)[:, None] * np.ones(100)
    means = np.vstack([means, np.full(100, np.nan)])  # a seed that diverged
    [axis] = draw_reconstructions(TIMES, SINE, {"model": Panel(COPIES, means=means)}, "A title", copies=False).axes
    mean, _ = axis.lines
    np.testing.assert_array_equal(mean.get_ydata(), COPIES.mean(0))
    [band] = axis.collections
    edges = band.get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([edges.min(), edges.max()], [-0.9, 0.9], atol=0.01)
    assert axis.get_title() == f"model\nerror of the mean {OF_MEAN:#.3g}"


@pytest.mark.parametrize(("error", "heading"), [(0.2, f"0.200 ({OF_MEAN:#.3g})"), (OF_MEAN, f"{OF_MEAN:#.3g}"), (123.4, "123 (")])
def test_the_error_of_the_tables_comes_first_and_that_of_what_is_shown_in_parentheses(error: float, heading: str) -> None:
    [axis] = draw_reconstructions(TIMES, SINE, {"model": Panel(COPIES, float(error))}, "A title", copies=False).axes
    assert f"error of the mean {heading}" in axis.get_title()


@pytest.mark.parametrize("panels", [1, 2, 5])
def test_title_note_and_panels_do_not_overlap(panels: int) -> None:
    note = "Each autoencoder is shown by a seed. " * 5
    figure = draw_reconstructions(TIMES, SINE, {str(number): Panel(COPIES) for number in range(panels)}, "A title", note=note)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    [written] = [text for text in figure.texts if text.get_text().startswith("Each")]
    boxes = [text.get_window_extent() for text in (figure._suptitle, written, figure.axes[0].title)]
    assert all(box.x0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    assert boxes[0].y0 >= boxes[1].y1
    assert boxes[1].y0 >= boxes[2].y1
