"""How the time of a step grows, as curves: draws docs/scaling.png and prints the numbers. `make scaling`."""

import logging
import statistics
import sys
import warnings
from pathlib import Path

import contestants
from matplotlib.figure import Figure

PICTURE = Path(__file__).parents[1] / "docs" / "scaling.png"
ROUNDS = 3
SEEDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
BATCHES = (16, 32, 64, 128, 256, 512)
LENGTHS = (50, 100, 200, 400, 800)
WIDTHS = (12, 25, 50, 100, 200, 400)


def step(num_seeds: int, *overrides: str, size: int = 6_400) -> float:
    """Median seconds of an optimiser step over the epochs of a fit; the first, which warms up, is left out."""
    times = contestants.wavecoder(num_seeds, 3, f"data.train_size={size}", "data.val_size=64", "~callbacks.best", *overrides)
    return statistics.median(times.training[1:])


def main() -> None:
    """Measure four curves, in turns, and draw the medians."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    measured: dict[str, dict[int, list[float]]] = {"seeds": {}, "batch": {}, "length": {}, "width": {}}
    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        for num_seeds in SEEDS:
            size = max(128, min(6_400, 64 * 12_800 // num_seeds))
            measured["seeds"].setdefault(num_seeds, []).append(step(num_seeds, size=size) * 1e6 / num_seeds)
        for batch in BATCHES:
            seconds = step(32, f"data.batch_size={batch}", size=50 * batch)
            measured["batch"].setdefault(batch, []).append(seconds * 1e6 / 32 / batch)
        for length in LENGTHS:
            measured["length"].setdefault(length, []).append(step(32, f"data.signal_length={length}") * 1e6 / 32)
        for width in WIDTHS:
            widths = f"model.widths=[{width},{width // 2},{width // 4}]"
            measured["width"].setdefault(width, []).append(step(32, widths) * 1e6 / 32)
    curves = {name: {x: statistics.median(ys) for x, ys in curve.items()} for name, curve in measured.items()}

    panels = {
        "seeds": ("seeds at once", "µs a step and seed"),
        "batch": ("signals in a batch, 32 seeds", "µs a signal and seed"),
        "length": ("values of a signal, 32 seeds", "µs a step and seed"),
        "width": ("width of the first layer, 32 seeds", "µs a step and seed"),
    }
    figure = Figure(figsize=(12, 7), layout="constrained")
    for axis, (name, (x, y)) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        curve = curves[name]
        axis.plot(list(curve), list(curve.values()), "o-", color="#0072B2")
        axis.set(xlabel=x, ylabel=y)
        if name == "length":  # where a straight line is expected
            axis.set_xlim(left=0)
        else:
            shown = list(curve)[:: 2 if len(curve) > 8 else 1]
            axis.set(xscale="log", xticks=shown, xticklabels=[f"{value:,}" for value in shown])
            axis.minorticks_off()
        if name == "width":  # where the work grows with the square
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        print(f"{y} by {x}: " + ", ".join(f"{value:,}: {measure:.3g}" for value, measure in curve.items()))
    figure.suptitle(f"tanh autoencoder, latent 5, through Trainer.fit; {contestants.machine()}", fontsize=10)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
