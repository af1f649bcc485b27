"""How many threads a run uses."""

import os

from wavecoder.runs.settings import Settings


def _wanted_threads(settings: Settings) -> int | None:
    """The number of threads that the user has set; None if there is none."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return settings.threads or (int(given) if given.isdigit() and int(given) else None)


def torch_threads(settings: Settings) -> int:
    """One thread for PyTorch's operators, unless told otherwise: several would wait for one another at every operator."""
    return _wanted_threads(settings) or 1


def engine_threads(settings: Settings) -> int:
    """As many threads for the compiled engine as there is independent work for: they meet once a chunk."""
    return min(settings.num_seeds, _wanted_threads(settings) or _cores())


def _cores() -> int:
    """The cores that this process may use; Slurm may have given it fewer than the system would let it have."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(cores, int(given)) if given.isdigit() else cores
