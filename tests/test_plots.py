import numpy as np
import pytest
from matplotlib.figure import Figure

from wavecoder import plots, signals
from wavecoder.error_figures import frequency_figure, noise_figure
from wavecoder.reconstructions import Panel, draw_reconstructions

TIMES = np.arange(100) / 10
SINE = np.sin(TIMES)
ERRORS = {"autoencoder": np.stack([1 + SINE**2, np.full(100, np.nan)]), "SVD": 0.1 + SINE[None] ** 2}
COPIES = SINE + np.random.default_rng(0).normal(size=(10, 100))
LATENT = {
    "latent_r": TIMES,
    "families": np.array(list(signals.FAMILIES)),
    "latent": np.stack([[SINE] * len(signals.FAMILIES)]),
    "times": TIMES,
    "decoded_z": np.array([[0.1, 0.2]]),
    "decoded": np.stack([[SINE, -SINE]]),
}

FIGURES = {
    "reconstructions": draw_reconstructions(TIMES, SINE, {f"model {number}": Panel(COPIES) for number in range(8)}, "eight"),
    "sampled_signal": plots.sampled_signal(TIMES, SINE),
    "families": plots.families(TIMES, dict.fromkeys(signals.FAMILIES, SINE), 1.0),
    "latent_curves": plots.latent_curves(LATENT, 0, "latent"),
    "plane": plots.plane(np.eye(3), np.eye(3)[:, :2], np.eye(3)[:2], "plane"),
    "convergence": plots.convergence([1, 2], {"error": {"a": np.array([1.0, 1e-3]), "b": np.array([0.5, 1e-4])}}, "going down"),
    "frequency": frequency_figure(TIMES - 5, {"sin": ERRORS, "cos": ERRORS}, ["sin"], 1.0, 2.0, "errors"),
    "noise": noise_figure(np.array([0.1, 1.0]), {"autoencoder": np.ones((3, 2)), "Bayes": np.array([[0.5, 0.9]])}, "errors"),
    "dependence": plots.dependence("rate", ["1", "2"], {"val/mse": [np.ones(3), np.ones(3) / 2]}, {"SVD": 0.3}, "a title"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_panel_says_what_its_axes_are(name: str) -> None:
    figure: Figure = FIGURES[name]
    figure.draw_without_rendering()
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert any(axis.get_xlabel() for axis in shown)
    assert any(axis.get_ylabel() for axis in shown)
    assert figure.get_suptitle() or shown[0].get_title()


def test_scales_follow_the_values() -> None:
    flat = plots.convergence([1, 2], {"angle": {"": np.array([80.0, 85.0])}}, "flat")
    assert flat.axes[0].get_yscale() == "linear"
    assert FIGURES["convergence"].axes[0].get_yscale() == "log"


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("kind", ["none", "few", "texts", "numbers", "many texts"])
def test_the_latent_is_drawn_for_every_size_and_kind_of_labels(size: int, kind: str) -> None:
    draws = np.random.default_rng(0)
    labels = {
        "none": None,
        "few": draws.integers(0, 10, 60),
        "texts": np.array(["a", "b", "c"] * 20),
        "numbers": draws.standard_normal(60),
        "many texts": np.array([f"name {number}" for number in range(60)]),
    }[kind]
    figure = plots.latent_points(draws.standard_normal((60, size)), labels, "The latent")
    axis = figure.axes[0]
    figure.draw_without_rendering()
    drawn = sum(len(points.get_offsets()) for points in axis.collections) or sum(bar.get_height() for bar in axis.patches)
    assert drawn == 60
    if kind in ("few", "texts"):
        shown = [text.get_text() for text in (axis.get_yticklabels() if size == 1 else figure.legends[0].get_texts())]
        assert shown == [str(each) for each in np.unique(labels)]


def test_reconstructions_are_drawn_with_their_errors() -> None:
    signals = np.ones((3, 5))
    figure = plots.examples(np.arange(5.0), signals, {"autoencoder": 3 * signals}, np.array([1.0, 2.0, 4.0]), "Signals")
    assert [axis.get_title() for axis in figure.axes if axis.get_visible()] == [f"autoencoder {e}" for e in ("4", "1", "0.25")]
