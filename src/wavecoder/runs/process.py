"""What a process that trains jobs sets for itself: what libraries may say in it, and when garbage is collected."""

import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from wavecoder.runs.text import plain


@contextmanager
def process_of_jobs() -> Iterator[None]:
    """Train one job in a process of a command or a launcher: warnings are a line each, and what a sweep's job has made is freed.

    The collector runs so rarely that memory would grow from job to job. What was imported before the first one is set apart, so
    that collecting takes a few milliseconds.
    """
    format_before, warnings.formatwarning = warnings.formatwarning, _in_one_line
    warnings.filterwarnings("once", category=UserWarning, append=True)
    is_one_of_many = HydraConfig.get().mode == RunMode.MULTIRUN
    if is_one_of_many and not gc.get_freeze_count():
        gc.freeze()
    try:
        yield
    finally:
        warnings.formatwarning = format_before
        if is_one_of_many:
            gc.collect()


def _in_one_line(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """A warning without the lines of code that it is from."""
    return f"warning: {plain(' '.join(str(message).split()))}\n"


def silence_libraries() -> None:
    """Silence, by name, what libraries print in every normal run."""
    # which accelerators exist and are used (our own first line says it), and tips about other products
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.accelerators.cuda").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.utilities.distributed").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # a run that is resumed
    # on the login node of a cluster, where single processes are as welcome as elsewhere
    warnings.filterwarnings("ignore", message=".*srun. command is available on your system but is not used")
    # Lightning 2.6 asks PyTorch for a class that its later versions deprecate
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
