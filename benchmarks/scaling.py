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
SEEDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BATCHES = (16, 32, 64, 128, 256, 512)
LENGTHS = (50, 100, 200, 400, 800)
SIZES = (5_000, 10_000, 20_000, 40_000, 80_000)


def step(num_seeds: int, *overrides: str, size: int = 6_400) -> float:
    """Median seconds of an optimiser step over the epochs of a fit; the first, which warms up, is left out."""
    times = contestants.wavecoder(num_seeds, 4, f"data.train_size={size}", "data.val_size=64", *overrides)
    return statistics.median(times.training[1:])


def main() -> None:
    """Measure four curves, in turns, and draw the medians."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    measured: dict[str, dict[int, list[float]]] = {"seeds": {}, "batch": {}, "length": {}, "signals": {}}
    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        for num_seeds in SEEDS:
            measured["seeds"].setdefault(num_seeds, []).append(step(num_seeds) * 1e6 / num_seeds)
        for batch in BATCHES:
            seconds = step(32, f"data.batch_size={batch}", size=50 * batch)
            measured["batch"].setdefault(batch, []).append(seconds * 1e6 / 32 / batch)
        for length in LENGTHS:
            measured["length"].setdefault(length, []).append(step(32, f"data.signal_length={length}") * 1e6 / 32)
        for size in SIZES:
            measured["signals"].setdefault(size, []).append(step(1, size=size) * (size // contestants.BATCH))
    curves = {name: {x: statistics.median(ys) for x, ys in curve.items()} for name, curve in measured.items()}

    panels = {
        "seeds": ("seeds at once", "µs a step and seed"),
        "batch": ("signals in a batch, 32 seeds", "µs a signal and seed"),
        "length": ("values of a signal, 32 seeds", "µs a step and seed"),
        "signals": ("signals in an epoch, 1 seed", "seconds an epoch"),
    }
    figure = Figure(figsize=(12, 7), layout="constrained")
    for axis, (name, (x, y)) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        curve = curves[name]
        axis.plot(list(curve), list(curve.values()), "o-", color="#0072B2")
        axis.set(xlabel=x, ylabel=y)
        if name in ("seeds", "batch"):
            axis.set(xscale="log", xticks=list(curve), xticklabels=[f"{value:,}" for value in curve])
            axis.minorticks_off()
        else:  # where a straight line is expected
            axis.xaxis.set_major_formatter("{x:,.0f}")
            axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        print(f"{y} by {x}: " + ", ".join(f"{value:,}: {measure:.3g}" for value, measure in curve.items()))
    figure.suptitle(f"tanh autoencoder, latent 5, through Trainer.fit; {contestants.machine()}", fontsize=10)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
