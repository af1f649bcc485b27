"""Draws the README's pictures: `python docs/pictures.py [NAME …]`; `make pictures` draws those of all pages.

Where a picture shows trained networks they are trained here, in outputs/pictures, unless they are there already.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import wavecoder
from wavecoder.plots import BLACK, BLUE, GREEN, SKY, VERMILION, panel_grid

DOCS = Path(__file__).parent
ROOT = DOCS.parent
OUTPUTS = ROOT / "outputs" / "pictures"
NOISE = 0.5  # standard deviation in the README's picture
DRAWS = 1000  # of the noise, over which its errors are means
WIDTH = 10.0  # inches of pictures that are shown at 800 pixels

CONTESTANTS = {
    "stock Lightning": "stock Lightning",
    "bare loop, default Adam": "a plain PyTorch loop",
    "JAX, 1": "JAX, one compiled scan an epoch",
    "wavecoder, 1": "wavecoder, 1 network",
    "wavecoder, 32": "wavecoder, 32 networks at once",
}
"""What the picture of speed shows, by the names in benchmarks/results.md."""


def readme() -> Figure:
    """Two noisy signals, and what an autoencoder, the SVD and the Bayes denoiser make of them."""
    model = wavecoder.train(OUTPUTS / "denoising", experiment="denoising", num_seeds=8)
    times = np.arange(model.signal_length) * model.dt
    clean = np.stack([np.sin(times), np.sin(2.7 * times) - np.cos(2.7 * times)])[:, None]
    noisy = clean + NOISE * np.random.default_rng(0).standard_normal((2, DRAWS, model.signal_length))
    size = model.latent_dim
    made = {
        f"noise of {NOISE:g}": (noisy, SKY),
        f"autoencoder, latent {size}": (model.denoise(noisy), VERMILION),
        f"SVD, rank {size}": (model.references["svd"].reconstruct(noisy, noise=NOISE), BLUE),
        "Bayes, the best possible": (model.references["bayes"].reconstruct(noisy, noise=NOISE), GREEN),
    }
    figure, axes = panel_grid(8, 4, WIDTH / 4, 1.75, sharex=True, sharey="row")
    for column, (name, (signals, color)) in enumerate(made.items()):
        for row, axis in enumerate(axes[column::4]):
            axis.plot(times, clean[row, 0], color=BLACK, linewidth=3, alpha=0.25)
            axis.plot(times, signals[row, 0], color=color, linewidth=0.9 if color == SKY else 1.7)
            error = np.format_float_positional(np.square(signals[row] - clean[row]).mean(), 2, fractional=False)
            axis.set_title(f"{name}\nmean error {error}" if row == 0 else f"mean error {error}", fontsize=11)
            axis.set_xticks([0, 5, 10])
    for axis, formula in zip(axes[::4], ("sin t", "sin 2.7t − cos 2.7t"), strict=True):
        axis.set_ylabel(formula, fontsize=11)
    for axis in axes[4:]:
        axis.set_xlabel("time t")
    return figure


def speed() -> Figure:
    """The time of an optimiser step and network, from benchmarks/results.md."""
    text = (ROOT / "benchmarks" / "results.md").read_text(encoding="utf-8")
    rows = {name.strip(): per_seed for name, per_seed in re.findall(r"^│ ([^│]+)│[^│]+│[^│]+│ +([\d,]+) │$", text, re.MULTILINE)}
    machine = text.splitlines()[2].partition(", compiled")[0]
    times = {label: int(rows[name].replace(",", "")) for name, label in CONTESTANTS.items()}
    figure, (axis,) = panel_grid(1, 1, WIDTH, 1.7)
    own = [label.startswith("wavecoder") for label in times]
    bars = axis.barh(list(times), list(times.values()), color=[VERMILION if each else SKY for each in own], height=0.7)
    axis.bar_label(bars, [f"{time:,} µs" for time in times.values()], padding=5, fontsize=11)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.tick_params(labelsize=11)
    axis.set_xlabel(f"microseconds per optimiser step and network, less is better ({machine})", fontsize=10)
    axis.margins(x=0.1)
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {"readme": readme, "speed": speed}


def main() -> None:
    """Draw the pictures that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(PICTURES), help=f"{' '.join(PICTURES)} (default: all)")
    parser.add_argument("--folder", type=Path, default=DOCS, help="where they go (default: docs)")
    given = parser.parse_args()
    for name in given.names:
        PICTURES[name]().savefig(given.folder / f"{name}.png", dpi=160)


if __name__ == "__main__":
    main()
