"""All performance targets side by side, in one run: prints a table and writes results.md. `make bench`.

These machines are shared and noisy, so contestants take turns, round after round, and what counts is the median over rounds of
the ratio within a round.
"""

import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import contestants
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
TRAIN = HERE.parent / "src" / "train.py"
ROUNDS, EPOCHS, WIDTH = 5, 3, 150
SEEDS = (1, 32, 64, 128)
PAPER = "activation=identity,relu,sigmoid,tanh,leaky_relu,prelu,gelu"


@dataclass
class Row:
    """One line of the table."""

    what: str
    measured: str
    target: str
    met: bool | None


def median(values: list[float]) -> float:
    """Of an odd or even number of values."""
    return statistics.median(values)


def microseconds(values: list[float]) -> str:
    """The median of seconds, as a table shows it."""
    return f"{median(values) * 1e6:,.0f}"


def steps() -> tuple[list[Row], Table]:
    """Steps of all contestants, in turns."""
    whole: dict[str, list[float]] = {}
    training: dict[str, list[float]] = {}

    def keep(name: str, times: contestants.EpochTimes | list[float] | None) -> None:
        if times is None:
            return  # not installed
        parts = (times, times) if isinstance(times, list) else (times.whole, times.training)
        whole.setdefault(name, []).append(median(parts[0]))
        training.setdefault(name, []).append(median(parts[1]))

    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        keep("bare loop, default Adam", contestants.bare_loop(EPOCHS, fused=False))
        keep("bare loop, fused Adam", contestants.bare_loop(EPOCHS, fused=True))
        keep("stock Lightning", contestants.stock_lightning(EPOCHS))
        for num_seeds in SEEDS:
            keep(f"wavecoder, {num_seeds}", contestants.wavecoder(num_seeds, EPOCHS))
        for num_seeds in (1, 32):
            keep(f"JAX, {num_seeds}", contestants.jax_scan(num_seeds, EPOCHS))
            keep(f"wavecoder, {num_seeds}, PyTorch engine", contestants.wavecoder(num_seeds, EPOCHS, "engine=pytorch"))
        keep("wavecoder, 32, fresh", contestants.wavecoder(32, EPOCHS, "data=fresh"))
        keep("arithmetic limit", [contestants.arithmetic_limit()])
        with busy_processes(1):
            for num_seeds in (1, 32):
                keep(f"JAX, {num_seeds}, beside one busy process", contestants.jax_scan(num_seeds, EPOCHS))
                keep(f"wavecoder, {num_seeds}, beside one busy process", contestants.wavecoder(num_seeds, EPOCHS))
    for num_seeds in (1, 32):  # once: it compiles for half a minute
        compiled = ("engine=pytorch", "engine.torch_compile=true")
        keep(f"wavecoder, {num_seeds}, PyTorch engine, torch.compile", contestants.wavecoder(num_seeds, EPOCHS, *compiled))

    def ratio(slow: str, fast: str, scale: int = 1) -> float:
        if len(whole[fast]) < len(whole[slow]):  # it has no rounds
            return scale * median(whole[slow]) / median(whole[fast])
        return median([scale * a / b for a, b in zip(whole[slow], whole[fast], strict=True)])

    rows = []

    def add(what: str, measured: float, target: float | None = None, least: bool = False) -> None:
        met = None if target is None else measured >= target if least else measured <= target
        wanted = "" if target is None else f"at {'least' if least else 'most'} {target:g}×"
        rows.append(Row(what, f"{measured:.3g}×", wanted, met))

    for peer, target in {"stock Lightning": 60, "bare loop, default Adam": 28}.items():
        for num_seeds in SEEDS[1:]:
            got = ratio(peer, f"wavecoder, {num_seeds}", scale=num_seeds)
            add(f"{num_seeds} seeds, whole fit per seed, against {peer}", got, target if num_seeds == 32 else None, least=True)
        got = ratio(peer, "wavecoder, 32, PyTorch engine", scale=32)
        add(f"32 seeds with the PyTorch engine, against {peer}", got, 8 if peer == "stock Lightning" else None, least=True)
        got = ratio(peer, "wavecoder, 32, PyTorch engine, torch.compile", scale=32)
        add(f"the same with torch.compile, against {peer}", got)
    for num_seeds, quiet, busy in ((32, 0.3, 0.5), (1, 0.45, 0.6)):
        for beside, target in (("", quiet), (", beside one busy process", busy)):
            if f"JAX, {num_seeds}{beside}" in training:
                pairs = zip(training[f"wavecoder, {num_seeds}{beside}"], training[f"JAX, {num_seeds}{beside}"], strict=True)
                seeds = "1 seed" if num_seeds == 1 else f"{num_seeds} seeds"
                add(f"{seeds}, training alone, against JAX{beside}", median([a / b for a, b in pairs]), target)
    add("1 seed, whole fit, against a bare loop with fused Adam", ratio("wavecoder, 1", "bare loop, fused Adam"), 0.15)
    add("the same with the PyTorch engine", ratio("wavecoder, 1, PyTorch engine", "bare loop, fused Adam"))
    pairs = zip(training["wavecoder, 128"], training["arithmetic limit"], strict=True)
    add("128 seeds, training alone, against the arithmetic limit", median([a / b / 128 for a, b in pairs]), 2.3)
    pairs = zip(training["wavecoder, 32, fresh"], training["wavecoder, 32"], strict=True)
    add("signals made fresh for every batch, 32 seeds", median([a / b for a, b in pairs]), 1.1)

    table = Table(title="Microseconds per optimiser step (median of rounds)")
    for heading in ("contestant", "whole fit", "training alone", "whole fit, per seed"):
        table.add_column(heading, justify="left" if heading == "contestant" else "right")
    for name in whole:
        num_seeds = int(name.split(", ")[1]) if name.startswith(("wavecoder", "JAX")) else 1
        each = microseconds([value / num_seeds for value in whole[name]])
        table.add_row(name, microseconds(whole[name]), microseconds(training[name]), each)
    return rows, table


MOMENTS = """
import sys, time
from wavecoder import PCA, SVD, SinusoidSource, generator, moments_of
count = int(sys.argv[1])
source = SinusoidSource()
def stream():
    for first in range(0, count, 8192):
        yield source.fresh([generator("cpu", first)], min(8192, count - first)).evaluate(source.times("cpu"))
start = time.perf_counter()
moments = moments_of(stream())
for reference in (SVD(5), PCA(5)):
    reference.fit(moments)
print(count / (time.perf_counter() - start))
"""


# The kernel's own high-water mark of this program: what getrusage gives can be that of the process that started it.
PEAK = """
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def run_apart(program: str, *arguments: str) -> tuple[str, float]:
    """What a program prints last, and its peak memory in MB, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", program + PEAK, *arguments]
    *printed, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return printed[-1] if printed else "", float(peak) / 1024


def moments() -> list[Row]:
    """Throughput and memory of the references' fit."""
    small, large = (run_apart(MOMENTS, str(count)) for count in (100_000, 10_000_000))
    extra, rate = large[1] - small[1], float(large[0])
    return [
        Row("SVD and PCA fitted to 10 million signals: speed", f"{rate / 1e6:.2f} million/s", "at least 1", rate >= 1e6),
        Row("the same: memory over that of 100 thousand", f"{extra:+.0f} MB", "within 50 MB", extra <= 50),
    ]


def answers() -> list[Row]:
    """How long the command line takes for what trains nothing."""
    rows = []
    for arguments in (["--help"], ["--cfg", "job"], ["latent.dim=0"]):
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, str(TRAIN), *arguments], capture_output=True, check=False)
            taken.append(time.perf_counter() - start)
        seconds = median(taken)
        rows.append(Row(f"train.py {' '.join(arguments)}", f"{seconds:.2f} s", "about 1 s", seconds <= 1.3))
    return rows


EMPTY_RUN = """
import lightning as L, torch
from torch.utils.data import DataLoader, TensorDataset
class Nothing(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).sum()
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())
quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
L.Trainer(accelerator="cpu", max_epochs=1, **quiet).fit(Nothing(), DataLoader(TensorDataset(torch.zeros(4, 1))))
"""
DEFAULT_RUN = """
import os, runpy, sys
script, folder = sys.argv[1:]
sys.path.insert(0, os.path.dirname(script))
sys.argv = [script, f"hydra.run.dir={folder}"]
runpy.run_path(script, run_name="__main__")
"""


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Other processes that use all the time they get."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def default_runs(count: int = 1) -> float:
    """Seconds from the start to the end of default runs started together, no variable set."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command, quiet = [sys.executable, str(TRAIN)], {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        runs = [subprocess.Popen(command, cwd=folder, env=environment, **quiet) for _ in range(count)]  # type: ignore[call-overload]
        assert all(run.wait() == 0 for run in runs)
        return time.perf_counter() - start


def first_result() -> float:
    """Seconds from the start of a default run to the first error that it prints."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with subprocess.Popen([sys.executable, str(TRAIN)], cwd=folder, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            next(line for line in run.stdout if "val/mse" in line)
            seconds = time.perf_counter() - start
            run.stdout.read()
        return seconds


def whole_runs() -> list[Row]:
    """The default run alone, beside busy processes, and three at once."""
    first, alone, busy, three = [], [], [], []
    for _ in range(5):
        first.append(first_result())
        alone.append(default_runs())
        with busy_processes(2 * (os.cpu_count() or 1)):
            busy.append(default_runs())
        three.append(default_runs(3))
    seconds = median(alone)
    beside, together = (median([a / b for a, b in zip(times, alone, strict=True)]) for times in (busy, three))
    return [
        Row("python src/train.py from start to its first result, of epoch 3", f"{median(first):.1f} s", "", None),
        Row("the same from start to prompt", f"{seconds:.1f} s", "at most 7 s", seconds <= 7),
        Row("the same beside two busy processes per core, against quiet", f"{beside:.2f}×", "at most 4×", beside <= 4),
        Row("three default runs side by side, against one", f"{together:.2f}×", "at most 2.5×", together <= 2.5),
    ]


def memory() -> list[Row]:
    """Peak memory of the whole default run over one of Lightning with nothing to do, which imports nothing of ours."""
    empty = run_apart(EMPTY_RUN)[1]
    with tempfile.TemporaryDirectory() as folder:
        default = run_apart(DEFAULT_RUN, str(TRAIN), folder)[1]
    extra = default - empty
    return [Row(f"peak memory over an empty Lightning run's {empty:.0f} MB", f"{extra:+.0f} MB", "at most +150 MB", extra <= 150)]


def sweeps() -> list[Row]:
    """The paper's 14 networks as a sweep of single runs: one job after another with all cores, and side by side with joblib."""
    sweep = [sys.executable, str(TRAIN), "-m", PAPER, "latent=1,5"]
    ratios = []
    for _ in range(2):
        taken = []
        for launcher in ("basic", "joblib"):
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                subprocess.run([*sweep, f"hydra/launcher={launcher}"], cwd=folder, capture_output=True, check=True)
                taken.append(time.perf_counter() - start)
        print(f"14 jobs: {taken[0]:.0f} s one after another, {taken[1]:.0f} s side by side", file=sys.stderr)
        ratios.append(taken[0] / taken[1])
    got = median(ratios)
    return [Row("a sweep of 14 jobs with joblib against one after another", f"{got:.2f}× as fast", "at least 1.6×", got >= 1.6)]


def main() -> None:
    """Measure everything, print it, and keep it."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    groups: list[Callable[[], list[Row]]] = [whole_runs, moments, answers, memory, sweeps]
    rows, times = steps()
    for group in groups:
        rows += group()
    table = Table(title="Targets")
    for heading in ("what", "measured", "target", "met"):
        table.add_column(heading)
    for row in rows:
        table.add_row(row.what, row.measured, row.target, "" if row.met is None else "yes" if row.met else "NO")
    Console(width=WIDTH).print(times, table)
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(times, table)
    text = f"# Results of `make bench`\n\n{contestants.machine()}\n\n```\n{console.export_text()}```\n"
    (HERE / "results.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
