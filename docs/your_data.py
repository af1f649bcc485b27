"""Runs everything on docs/your-data.md in a folder, draws its pictures and prints its table: `python docs/your_data.py FOLDER`.

`--with trainer.max_epochs=2 num_seeds=2` changes all trainings, for a quick look.
"""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import wavecoder
from wavecoder.plots import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION
from wavecoder.runs.load import Trained

DOCS = Path(__file__).parent
_KINDS = [(color, marker) for marker in "o^" for color in (BLUE, VERMILION, GREEN, PURPLE, ORANGE)]  # of ten digits
_SHOWN = slice(34_600, 34_900)  # samples of the recording, and in the marked part of the picture


class Step(NamedTuple):
    """Something on the page that a reader does: a block of Python or a command."""

    is_python: bool
    text: str


def steps(page: str) -> Iterator[Step]:
    """Everything on a page that can be run, in order."""
    for found in re.finditer(r"^```python\n(.*?)^```|^    (wavecoder [^\n]*)$", page, flags=re.MULTILINE | re.DOTALL):
        code, command = found.groups()
        yield Step(True, code) if code else Step(False, command)


def run(step: Step, folder: Path, overrides: list[str]) -> str:
    """Do one step in a folder, and return what it printed."""
    words = ["-c", step.text] if step.is_python else ["-m", *shlex.split(step.text)]
    if words[1:3] == ["wavecoder", "train"]:
        chosen = {override.partition("=")[0] for override in overrides}
        words = [word for word in words if word.partition("=")[0] not in chosen] + overrides
    print(f">>> {step.text}", flush=True)
    done = subprocess.run([sys.executable, *words], cwd=folder, stdout=subprocess.PIPE, text=True, encoding="utf-8", check=True)
    print(done.stdout, flush=True)
    return done.stdout


def table(folder: Path) -> str:
    """The results of the sweeps, as rows of the page's table."""
    lines = []
    for name in ("digits", "pulse"):
        frame = wavecoder.results(folder / "outputs" / "sweeps" / name)
        for _, job in frame.astype({"latent": int}).sort_values("latent").iterrows():
            own, std, svd, pca = (job[column] for column in ("val/mse mean", "val/mse std", "svd val/mse", "pca val/mse"))
            lines.append(f"| {name} | {job['latent']} | {own:.3f} ± {std:.3f} | {svd:.3f} | {pca:.3f} | {own / svd:.2f} |")
    return "\n".join(lines)


def draw_digits(folder: Path) -> Figure:
    """A validation image of each digit with its reconstructions, and the latent of all images."""
    with np.load(folder / "digits.npz") as file:
        x, labels = file["signals"], file["labels"]
    model = wavecoder.load(folder / "outputs" / "digits")
    new, of_new = model.source.validation_set("cpu").unscaled().numpy(), model.source.validation_labels()
    new = new[[int(np.flatnonzero(of_new == digit)[0]) for digit in range(10)]]
    made = {"original": new, "autoencoder": model.reconstruct(new), "SVD": model.references["svd"].reconstruct(new)}
    figure = Figure(figsize=(11, 7.2), layout="constrained")
    images, latent = figure.subfigures(2, 1, height_ratios=[1, 1.25])
    for row, (name, values) in zip(images.subplots(3, 10), made.items(), strict=True):
        for axis, image, original in zip(row, values, new, strict=True):
            axis.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
            axis.set(xticks=[], yticks=[])
            if name != "original":
                axis.set_xlabel(f"{np.square(image - original).mean() / model.scaling.scale**2:.2f}", fontsize=8)
        row[0].set_ylabel(name)
    images.suptitle("Validation images from two numbers each; below, the mean squared error of the scaled values", fontsize=11)
    codes = {f"latent of the autoencoder: val/mse {_error(model, 'autoencoder')}": model.encode(x)}
    basis = model.references["svd"].fitted.basis_.numpy()
    codes[f"coefficients of the SVD: val/mse {_error(model, 'svd')}"] = (x - model.scaling.offset) / model.scaling.scale @ basis
    for axis, (title, points) in zip(latent.subplots(1, 2), codes.items(), strict=True):
        for digit, (color, marker) in enumerate(_KINDS):
            chosen = points[labels == digit]
            axis.scatter(*chosen.T, s=9, color=color, marker=marker, alpha=0.7, linewidths=0, label=str(digit))
        axis.set_title(title, fontsize=10)
    latent.legend(*axis.get_legend_handles_labels(), loc="outside right center", frameon=False, markerscale=2)
    return figure


def _error(model: Trained, name: str) -> str:
    results = model.results
    if name == "autoencoder":
        return f"{results['metrics']['val/mse']['per_seed'][model.seed - model.seeds[0]]:.2f}"
    return f"{results['references'][name]['val/mse']:.2f}"


def draw_pulse(folder: Path) -> Figure:
    """Validation windows of the pulse, from the best to the worst, with their reconstructions."""
    model = wavecoder.load(folder / "outputs" / "pulse")
    x = model.source.validation_set("cpu").unscaled().numpy()
    made = {"autoencoder": model.reconstruct(x), "SVD": model.references["svd"].reconstruct(x)}
    errors = {name: np.square(values - x).mean(1) / x.var(1) for name, values in made.items()}
    order = errors["autoencoder"].argsort()
    chosen = order[(np.array([0.05, 0.25, 0.5, 0.75, 0.95, 1]) * (len(order) - 1)).astype(int)]
    figure = Figure(figsize=(11, 5), layout="constrained")
    times = np.arange(model.signal_length) * model.dt
    for axis, number in zip(figure.subplots(2, 3, sharex=True).flat, chosen, strict=True):
        _plain(axis)
        axis.plot(times, x[number], color="0.7", linewidth=4, label="window of the recording")
        axis.plot(times, made["SVD"][number], color=BLUE, linewidth=1.3, linestyle="--", label="SVD, rank 3")
        axis.plot(times, made["autoencoder"][number], color=VERMILION, linewidth=1.6, label="autoencoder, latent 3")
        axis.set_title("   ".join(f"{name} {error[number]:.2g}" for name, error in errors.items()), fontsize=9)
    for axis in figure.axes[3:]:
        axis.set_xlabel("seconds")
    figure.suptitle(
        "Validation windows, from one of the best to the very worst; errors as parts of the variance",
        fontsize=11,
    )
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_denoised(folder: Path) -> Figure:
    """A part of the recording before noise, with it, and denoised."""
    clean, noisy, denoised = (pd.read_csv(folder / f"{name}.csv").iloc[_SHOWN, 0] for name in ("pulse", "noisy", "clean"))
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    axis = figure.subplots()
    _plain(axis)
    times = np.arange(_SHOWN.start, _SHOWN.stop) / 100
    axis.plot(times, noisy, color=SKY, linewidth=0.8, label="with noise")
    axis.plot(times, clean, color="0.35", linewidth=3, alpha=0.5, label="recorded")
    axis.plot(times, denoised, color=VERMILION, linewidth=1.6, label="denoised")
    axis.set(xlabel="seconds", ylabel="sensor")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def denoising_errors(folder: Path) -> str:
    """Root mean square errors over the whole recording, and by windows against the Wiener filter."""
    clean, noisy, denoised = (pd.read_csv(folder / f"{name}.csv").iloc[:, 0].to_numpy() for name in ("pulse", "noisy", "clean"))
    model = wavecoder.load(folder / "outputs" / "denoiser", seed="mean")
    whole = len(clean) // model.signal_length * model.signal_length
    x, y = (values[:whole].reshape(-1, model.signal_length) for values in (clean, noisy))
    found = {"noise": y, "network": model.denoise(y, noise=100), "Wiener": model.references["wiener"].reconstruct(y, noise=100)}
    windows = ", ".join(f"{name} {np.square(values - x).mean() ** 0.5:.1f}" for name, values in found.items())
    return f"recording: {np.square(denoised - clean).mean() ** 0.5:.1f}; windows by themselves: {windows}"


def _plain(axis: Axes) -> None:
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


PICTURES = {"digits": draw_digits, "pulse": draw_pulse, "denoised": draw_denoised}


def main() -> None:
    """Run the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="an empty folder")
    parser.add_argument("--pictures", type=Path, default=DOCS, help="where the pictures go (default: docs)")
    parser.add_argument("--with", nargs="+", default=[], dest="overrides", metavar="KEY=VALUE", help="for all trainings")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for step in steps((DOCS / "your-data.md").read_text(encoding="utf-8")):
        run(step, given.folder, given.overrides)
    for name, draw in PICTURES.items():
        draw(given.folder).savefig(given.pictures / f"your-data-{name}.png", dpi=80)
    print(table(given.folder), denoising_errors(given.folder), sep="\n")


if __name__ == "__main__":
    main()
