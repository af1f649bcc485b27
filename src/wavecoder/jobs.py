"""One run, or one job of a sweep: from the start, from its last checkpoint, or not again."""

import logging
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, read_write

from wavecoder import commandline, results
from wavecoder.settings import SettingError

log = logging.getLogger(__name__)

LEFT_BY_RUNS = ("tb", "figures", results.LAST_CHECKPOINT.parent.name)  # folders in a run's
TRACEBACK = "traceback.txt"
_LONGEST_WAIT = 600  # seconds, of the other processes for the first

_new_folders: list[Path] = []  # those that Hydra is about to make for a single run, the innermost first


def remember_new_folders(folder: Path) -> None:
    """Note which folders do not exist before a single run, to remove them if it cannot start."""
    _new_folders[:] = [path for path in (folder, *folder.parents) if not path.exists()]


def run_job(config: DictConfig, work: Callable[[DictConfig, Path | None], float]) -> float:
    """Do the work of one run, or of one job of a sweep: from the start, from its last checkpoint, or not again.

    A run is known by its folder and the fingerprint of its configuration. One that is complete is not repeated; one that was
    interrupted goes on from its last checkpoint; if the configuration has changed, what is there is removed and it starts afresh.
    If another process is at the same run, as after the same sweep was sent to a cluster twice, this one waits for it first.

    A run leaves a record also when it fails. A failed job is named at once; the sweep goes on, and the sweeper is told that the
    job's result is not a number.

    Args:
        config: The composed configuration.
        work: Takes the configuration and the checkpoint to go on from, and returns the result for the sweeper.

    Raises:
        Exception: In a single run, whatever went wrong but bad input.
        SystemExit: In a single run, on bad input.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    with _alone_in(folder) if is_first_process() else nullcontext():
        return _run_job(config, work, folder)


def _run_job(config: DictConfig, work: Callable[[DictConfig, Path | None], float], folder: Path) -> float:
    single = HydraConfig.get().mode == RunMode.RUN
    fingerprint = results.fingerprint(config)
    record = results.read_record(folder) if is_first_process() else _record_of_first_process(folder, fingerprint)
    if record["status"] == "completed" and record["config_fingerprint"] == fingerprint:
        log.info("%s is complete already, nothing to do", folder.name)
        mean = record["metrics"]["val/mse"]["mean"]
        return float("nan") if mean is None else float(mean)
    if is_first_process():
        record = _prepare(folder, record.get("config_fingerprint"), fingerprint)
    checkpoint = folder / results.LAST_CHECKPOINT if record["goes_on"] else None
    try:
        with nullcontext() if single else _own_command_line():
            return work(config, checkpoint)
    except Exception as error:
        if not is_first_process():
            raise  # the first process of the run keeps its record
        if single and isinstance(error, SettingError):
            _remove_new_folders()
            commandline.refuse(error)
        kind = "" if isinstance(error, SettingError) else f"{type(error).__name__}: "
        message = kind + " ".join(str(error).split())
        results.write_results(folder, {"status": "failed", "error": message, "config_fingerprint": fingerprint})
        if single:
            raise
        (folder / TRACEBACK).write_text(traceback.format_exc(), encoding="utf-8")
        log.error("job %s failed: %s", folder.name, message)
        return float("nan")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a run's lock, which the system lets go when the process dies, however it dies."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("%s: another process is at it, waiting", folder.name)
        lock.acquire()
    with lock:
        lock.release()  # of the two times it is held now
        yield


def _prepare(folder: Path, before: str | None, fingerprint: str) -> dict[str, Any]:
    """Leave in a run's folder only what belongs to its configuration, and note that it has begun, and from where."""
    (folder / TRACEBACK).unlink(missing_ok=True)
    if before is not None and before != fingerprint:
        log.info("%s: its configuration has changed, so it starts afresh", folder.name)
        # the old record goes last, so that whatever interrupts this, the next try knows what to remove
        (folder / results.ARRAYS).unlink(missing_ok=True)
        for left in LEFT_BY_RUNS:
            shutil.rmtree(folder / left, ignore_errors=True)
    goes_on = before == fingerprint and (folder / results.LAST_CHECKPOINT).exists()
    if goes_on:
        log.info("%s goes on from its last checkpoint", folder.name)
    record = {"status": "unfinished", "config_fingerprint": fingerprint, "goes_on": goes_on, "begun_by": _process_group()}
    results.write_results(folder, record)
    return record


def _record_of_first_process(folder: Path, fingerprint: str) -> dict[str, Any]:
    """What the first process of a run has found, or made of it; the tasks of a Slurm step all begin at once.

    Raises:
        TimeoutError: It has not begun.
    """
    deadline = time.monotonic() + _LONGEST_WAIT
    while time.monotonic() < deadline:
        record = results.read_record(folder)
        complete = record["status"] == "completed" and record["config_fingerprint"] == fingerprint
        if complete or record.get("begun_by") == _process_group():
            return record
        time.sleep(0.2)
    raise TimeoutError(f"{folder}: the first process of the run has not begun in {_LONGEST_WAIT} s")


def _process_group() -> str:
    """What the processes of one run have in common: the step of a Slurm job, and how often that has started."""
    return ".".join(os.environ.get(f"SLURM_{name}", "") for name in ("JOB_ID", "STEP_ID", "RESTART_COUNT"))


@contextmanager
def _own_command_line() -> Iterator[None]:
    """Make the command line that of one job of the sweep while it runs.

    Lightning starts the other processes of a run with the command line and the run's folder of the first, and remembers in the
    environment that it did. In a process that a launcher started, the command line is the launcher's.
    """
    job: Any = HydraConfig.get()
    command, main = sys.argv, sys.modules["__main__"]
    specification = main.__spec__
    folders = [f"--config-dir={source.path}" for source in job.runtime.config_sources if source.provider == "command-line"]
    sys.argv = [str(commandline.TRAIN), f"--config-name={job.job.config_name}", *folders, *job.overrides.task]
    main.__spec__ = None  # or Lightning takes the program for a module
    with read_write(job):
        job.run.dir = job.runtime.output_dir
    environment = dict(os.environ)
    try:
        yield
    finally:
        sys.argv, main.__spec__ = command, specification
        for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            if name not in environment:
                os.environ.pop(name, None)
        import torch.distributed  # imported by the work long ago

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def is_first_process() -> bool:
    """Whether this process is the first of a run, which writes for all."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("SLURM_PROCID", "0") == "0"


def _remove_new_folders() -> None:
    """Remove the folders that were made for a run that never started, and nothing that was there before."""
    for path in _new_folders[:1]:
        shutil.rmtree(path)
    for path in _new_folders[1:]:
        if any(path.iterdir()):
            return  # another run's
        path.rmdir()
