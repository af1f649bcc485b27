"""Where the time of a fit goes, by operator and by Lightning's hooks: `python benchmarks/profile_fit.py [NUM_SEEDS]`."""

import logging
import sys
import warnings

import contestants
from lightning.pytorch.profilers import SimpleProfiler
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

SHOWN = 16
EPOCHS = 2


def main() -> None:
    """Profile two epochs twice: once for the hooks, once, slower, for the operators."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    num_seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    steps = EPOCHS * (contestants.SIGNALS // contestants.BATCH)

    hooks = SimpleProfiler()
    contestants.wavecoder(num_seeds, EPOCHS, profiler=hooks)
    with profile(activities=[ProfilerActivity.CPU]) as operators:
        contestants.wavecoder(num_seeds, EPOCHS)

    for title, rows in {
        f"Lightning's hooks and loops, {num_seeds} seeds": [
            (name, sum(durations) * 1e6, len(durations)) for name, durations in hooks.recorded_durations.items()
        ],
        f"operators, {num_seeds} seeds (slower while profiled)": [
            (event.key, event.self_cpu_time_total, event.count) for event in operators.key_averages()
        ],
    }.items():
        table = Table(title=title)
        for heading in ("name", "µs a step", "calls a step"):
            table.add_column(heading, justify="left" if heading == "name" else "right")
        for name, total, calls in sorted(rows, key=lambda row: -row[1])[:SHOWN]:
            table.add_row(name, f"{total / steps:,.1f}", f"{calls / steps:.2f}")
        Console(width=120).print(table)


if __name__ == "__main__":
    main()
