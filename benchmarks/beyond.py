"""How close autoencoders come to the best possible: trains five experiments, prints target and reached, writes docs/beyond.

    python benchmarks/beyond.py             # all
    python benchmarks/beyond.py same_size   # some

Errors are those that `wavecoder evaluate` measures on new signals, by which no recipe was chosen. Of each run, docs/beyond gets
record, evaluation and configuration, and of some a figure.

Each experiment is a run in outputs/beyond: re-running this command resumes what was interrupted, and keeps what is complete.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
RUNS, KEPT = ROOT / "outputs" / "beyond", ROOT / "docs" / "beyond"
RECIPE = "paper_recipe"  # what same_size is compared with: the same network, trained as in the paper
ARGUMENTS = {RECIPE: ["num_seeds=8", "noise=low", "data.val_size=10000"]}
DATA_SEED = 2024  # of the signals that are evaluated
EVALUATION = "evaluation.json"
FIGURES = {"denoise_low": "error_frequency_noise_0.1", "denoise_any": "error_noise", "one_dimensional": "latent"}
Records = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Target:
    """An error that an experiment shall reach, as a median over its seeds.

    Attributes:
        experiment: The file in conf/experiment.
        minutes: How long the training may take.
        metric: The error.
        at_most: The greatest that is allowed, as a multiple of `unit`.
        unit: `Bayes`, `recipe` for the paper's, or nothing.
    """

    experiment: str
    minutes: int
    metric: str
    at_most: float
    unit: str = ""

    def scale(self, evaluated: Records) -> float:
        """The error that counts as 1."""
        if self.unit == "Bayes":
            return float(evaluated[self.experiment]["references"]["bayes"][self.metric])
        return float(evaluated[RECIPE]["metrics"][self.metric]["median"]) if self.unit else 1.0


TARGETS = (
    Target("denoise_low", 20, "val/mse_noise_0.1", 2.0, "Bayes"),
    Target("denoise_high", 20, "val/mse_noise_1.0", 1.1, "Bayes"),
    Target("denoise_any", 30, "val/mse_noise_0.1", 3.0, "Bayes"),
    Target("denoise_any", 30, "val/mse_noise_0.3", 1.5, "Bayes"),
    Target("denoise_any", 30, "val/mse_noise_1.0", 1.2, "Bayes"),
    Target("one_dimensional", 20, "val/mse", 0.02),
    Target("same_size", 10, "val/mse", 0.2, "recipe"),
)
HEADER = ("experiment", "error", "target", "median", "range (seeds)", "min.", "met")


EXPERIMENTS = tuple(dict.fromkeys(target.experiment for target in TARGETS))


def rows(records: Records, evaluated: Records) -> Iterator[tuple[str, ...]]:
    """The table: each target, what was reached over the seeds, in how many minutes of how many, and whether it is met.

    Args:
        records: What `results.json` holds, by experiment.
        evaluated: What `evaluation.json` holds of the run, by experiment.
    """
    for target in (each for each in TARGETS if each.experiment in records):
        scale = target.scale(evaluated)
        errors = evaluated[target.experiment]["metrics"][target.metric]["per_seed"]
        reached = [error_or_infinity(error) / scale for error in errors]
        median, minutes = statistics.median(reached), records[target.experiment]["timing"]["fit_seconds"] / 60
        met = median <= target.at_most and minutes <= target.minutes
        error = target.metric.removeprefix("val/mse").replace("_noise_", "noise ") or "clean"
        seeds = f"{_number(min(reached))}–{_number(max(reached))} ({len(reached)})"
        limits = (f"{target.at_most:g}", _number(median), seeds, f"{minutes:.1f}/{target.minutes}")
        yield (target.experiment, f"{error}/{target.unit}" if target.unit else error, *limits, "yes" if met else "no")


def _number(value: float) -> str:
    return f"{value:.3f}" if value >= 0.1 else f"{value:.2g}"


def error_or_infinity(error: float | None) -> float:
    """An error; that of a diverged seed, which is null, is infinite."""
    return float("inf") if error is None else error


def run(command: str, *arguments: str | Path) -> None:
    """Run one of wavecoder's commands, and end where it fails."""
    done = subprocess.run([sys.executable, ROOT / "src" / f"{command}.py", *arguments], cwd=ROOT)
    if done.returncode:
        sys.exit(done.returncode)


def kept(experiments: Iterable[str] = EXPERIMENTS) -> list[tuple[str, ...]]:
    """The table of what is in docs/beyond."""
    names = [RECIPE, *experiments]
    records = {name: json.loads((KEPT / f"{name}.json").read_text(encoding="utf-8")) for name in names}
    evaluated = {name: json.loads((KEPT / f"{name}.{EVALUATION}").read_text(encoding="utf-8"))["runs"][0] for name in names}
    return list(rows(records, evaluated))


def keep(name: str) -> None:
    """Evaluate a run, and copy what docs/beyond has of it."""
    with tempfile.TemporaryDirectory() as folder:
        run("evaluate", RUNS / name, f"--data-seed={DATA_SEED}", "--output", folder)
        evaluation = json.loads((Path(folder) / EVALUATION).read_text(encoding="utf-8"))
        evaluation["runs"][0]["folder"] = str((RUNS / name).relative_to(ROOT))  # not where the checkout lies
        (KEPT / f"{name}.{EVALUATION}").write_text(json.dumps(evaluation, indent=2) + "\n", encoding="utf-8")
        if name in FIGURES:
            shutil.copy(Path(folder) / "figures" / f"{FIGURES[name]}.png", KEPT / f"{name}.png")
    shutil.copy(RUNS / name / "results.json", KEPT / f"{name}.json")
    shutil.copy(RUNS / name / ".hydra" / "config.yaml", KEPT / f"{name}.yaml")


def main() -> None:
    """Train, evaluate, keep, print."""
    parser = argparse.ArgumentParser(description="Train what docs/beyond.md is about and compare it with its targets.")
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=f"among {', '.join(EXPERIMENTS)}; without any, all")
    experiments = parser.parse_args().experiments or EXPERIMENTS
    if unknown := set(experiments) - set(EXPERIMENTS):
        parser.error(f"{', '.join(sorted(unknown))}: must be among {', '.join(EXPERIMENTS)}")
    names = [RECIPE, *experiments]
    for name in names:
        run("train", *ARGUMENTS.get(name, [f"experiment={name}"]), f"hydra.run.dir={RUNS / name}")
    KEPT.mkdir(exist_ok=True)
    for name in names:
        keep(name)
    table = Table(*HEADER, title="Beyond the paper", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for row in kept(experiments):
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
