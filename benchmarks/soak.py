"""Whether a long run and a long sweep stay as they are: memory, threads, open files, time. Prints a table and writes soak.md.

One run of 2,000 short epochs, each with a validation, curves and a checkpoint; a sweep of 300 jobs in one process; and one of 100
jobs that draw figures, which take most of their time. After each epoch, or job, the process looks at itself. The first fifth,
in which caches fill, is left out of the slopes.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contestants
import numpy as np

HERE = Path(__file__).parent
EPOCHS, JOBS, WITH_FIGURES = 2_000, 300, 100
_SHORT = ("data.train_size=128", "data.batch_size=16", "data.val_size=64", "noise.draws=2", "num_seeds=2", "model.widths=[20,10]")


class Samples:
    """What this process takes, again and again, as lines of JSON."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("w")
        self._last = time.perf_counter()

    def take(self) -> None:
        """Write a line: memory in kB, threads, open files, and milliseconds since the line before."""
        now = time.perf_counter()
        fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        files = len(list(Path("/proc/self/fd").iterdir()))
        sample = [int(fields["VmRSS"].split()[0]), int(fields["Threads"]), files, 1e3 * (now - self._last)]
        print(json.dumps(sample), file=self._file, flush=True)
        self._last = time.perf_counter()


def _after(owner: Any, name: str, act: Callable[[], None]) -> None:
    """Let something happen after each call of a function."""
    function = getattr(owner, name)

    def call(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        act()
        return result

    setattr(owner, name, call)


def work(samples: str, *arguments: str) -> None:
    """Be the process that is looked at."""
    from wavecoder.runs import cli, job
    from wavecoder.training.callbacks.checkpoint import LastCheckpoint

    sampled = Samples(Path(samples))
    if "-m" in arguments:
        _after(job, "run_job", sampled.take)
    else:
        _after(LastCheckpoint, "on_train_epoch_end", sampled.take)
    sys.argv = ["wavecoder train", *arguments]
    cli.train()


def measure(folder: Path, *arguments: str) -> np.ndarray:
    """The samples of one command, `[sample, quantity]`."""
    file = folder / "samples.txt"
    command = [sys.executable, str(Path(__file__).absolute()), str(file), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.array([json.loads(line) for line in file.read_text().splitlines()])


def describe(samples: np.ndarray, unit: str) -> list[str]:
    """A row for each quantity: at the end of the first fifth, at the end, and how it grows from one to the other."""
    first = len(samples) // 5
    kept, steps = samples[first:], np.arange(len(samples) - first)
    rows = []
    for name, what, values, digits in zip(
        ("resident memory", "threads", "open files", f"time per {unit}"), ("kB", "", "", "ms"), kept.T, (0, 0, 0, 1), strict=True
    ):
        part = len(values) // 5
        begin, end = (float(np.median(each)) for each in (values[:part], values[-part:]))
        slope = np.polyfit(steps, values, 1)[0] * 1000
        shown = [f"{value:,.{digits}f} {what}".strip() for value in (begin, end)]
        rows.append(
            f"| {name} | {shown[0]} | {shown[1]} | {slope:+,.{digits + 1}f} {what} per 1,000 {unit}s |".replace("  ", " ")
        )
    return rows


def table(samples: np.ndarray, what: str, unit: str) -> list[str]:
    """The lines of one command."""
    seconds = samples[:, 3].sum() / 1000
    head = f"{what}, in {seconds:.0f} s: medians of the second fifth and of the last, and the slope between."
    return [head, "", "| | second fifth | last fifth | slope |", "|---|---|---|---|", *describe(samples, unit), ""]


def main(epochs: int, jobs: int, with_figures: int) -> None:
    """All of them, and soak.md."""
    sweep = ("-m", "sweep=soak", "trainer.max_epochs=2", *_SHORT)
    run = ("hydra.run.dir=run", f"trainer.max_epochs={epochs}", "callbacks.last.every_seconds=0", *_SHORT)
    commands = {
        f"One run of {epochs:,} epochs": ("epoch", run),
        f"One process with {jobs:,} jobs": ("job", (*sweep, f"seed=range(0,{jobs})", "~callbacks.figures")),
        f"One process with {with_figures:,} jobs that draw figures": ("job", (*sweep, f"seed=range(0,{with_figures})")),
    }
    lines: list[str] = []
    for what, (unit, command) in commands.items():
        with tempfile.TemporaryDirectory() as folder:
            made = table(measure(Path(folder), *command), what, unit)
        print("\n".join(made), flush=True)
        lines += made
    text = "\n".join(["# Results of `python benchmarks/soak.py`", "", contestants.machine(), "", *lines])
    (HERE / "soak.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(*sys.argv[1:])
    else:
        main(EPOCHS, JOBS, WITH_FIGURES)
