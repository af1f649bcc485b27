"""What the driver of a sweep costs, apart from its jobs, which are stubs here: prints a table and writes sweeps.md."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import contestants

HERE = Path(__file__).parent
SIZES = (300, 1_000, 10_000)

# Everything is real but the training function, which writes the record that a run would have written.
DRIVER = """
import sys
from pathlib import Path
from hydra.core.hydra_config import HydraConfig
from wavecoder.runs import cli, job, results

def summary(value):
    return results.summarise([value])

def train(config):
    folder = Path(HydraConfig.get().runtime.output_dir)
    error = 0.04 + 1e-6 * config.seed
    metrics = {f"{name}{ratio}": summary(error) for name in NAMES for ratio in ("", "/over_svd", "/over_bayes")}
    references = {name: dict.fromkeys(NAMES, 0.3) for name in ("svd", "pca", "wiener", "bayes")}
    results.write_results(folder, {
        "status": "completed", "schema": results.SCHEMA, "network": "gelu", "model": "deep", "activation": "gelu",
        "latent_dim": 5, "seed": config.seed, "num_seeds": 1, "metrics": metrics, "references": references,
        "engine": {"name": "none", "reason": "a stub"}, "timing": {"fit_seconds": 1.0, "steps": 1, "signals_per_second": 1.0},
        "config_fingerprint": results.fingerprint(config), "overrides": results.as_choices(HydraConfig.get().overrides.task)})
    return error

NAMES = [f"{kind}/mse{noise}" for kind in ("val", "sine") for noise in ("", "_noise_0.1", "_noise_1.0")]
job.train = train
try:
    cli.train()
finally:
    print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1], file=sys.stderr)
"""


def command(folder: str, size: int) -> tuple[float, float, float, float]:
    """Seconds to the first line, until all is planned, and to the end, and the peak memory in MB, of one command."""
    arguments = ["-m", "sweep=many", f"seed=range(0,{size})", "callbacks=lean", "logger=none"]
    start = time.perf_counter()
    driver = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", DRIVER, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout is not None
    assert driver.stderr is not None
    first = planned = 0.0
    for line in driver.stdout:
        first = first or time.perf_counter() - start
        if " to run in " in line:
            planned = time.perf_counter() - start
    errors = driver.stderr.read().split()
    assert driver.wait() == 0, errors
    return first, planned, time.perf_counter() - start, float(errors[-1]) / 1024


def size_on_disk(folder: Path) -> tuple[float, float]:
    """Files of a job, and their kilobytes; the sweep's own included."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    jobs = sum((path / "results.json").exists() for path in folder.iterdir() if path.is_dir())
    return len(files) / jobs, sum(path.stat().st_size for path in files) / jobs / 1024


def main() -> None:
    """Each size twice: all jobs to run, and all done."""
    lines = [
        "| jobs | first line | planned | whole command, ms a job | again: planned | again: to the end | memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            first, planned, end, memory = command(folder, size)
            _, planned_again, end_again, memory_again = command(folder, size)
            files, kilobytes = size_on_disk(Path(folder, "outputs", "sweeps", "many"))
        each = (end - planned) / size * 1e3
        lines.append(
            f"| {size:,} | {first:.1f} s | {planned:.1f} s | {end:.0f} s, {each:.0f} | {planned_again:.1f} s | {end_again:.1f} s "
            f"| {max(memory, memory_again):.0f} MB |"
        )
        print(lines[-1], f"{files:.1f} files and {kilobytes:.0f} kB a job", flush=True)
    text = "\n".join(["# Results of `python benchmarks/sweeps.py`", "", contestants.machine(), "", *lines, ""])
    (HERE / "sweeps.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
