"""One run, or one job of a sweep: started, resumed from its last checkpoint, or left alone because it is complete."""

import logging
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, read_write

from wavecoder.runs import cli, results, resume
from wavecoder.runs.fingerprints import FINGERPRINT, known_fingerprints, name_lost_record, note_fingerprint
from wavecoder.runs.kinds import own_folders, set_aside_wrong_kinds
from wavecoder.runs.limits import SettingError
from wavecoder.runs.locks import LONGEST_WAIT, locked
from wavecoder.runs.process import process_of_jobs
from wavecoder.runs.resolvers import given_overrides, tasks_share_a_run
from wavecoder.training.checkpoints import is_sound
from wavecoder.training.diverged import Diverged
from wavecoder.training.files import ARRAYS, read_arrays, remove_leftovers, rename_damaged, write_atomically

log = logging.getLogger(__name__)

RUN_FOLDERS = ("tb", "figures", results.LAST_CHECKPOINT.parent.name)  # what a run writes into its own folder
TRACEBACK = "traceback.txt"
RUN_FILES = (results.RESULTS, ARRAYS, TRACEBACK, FINGERPRINT)  # and the files beside them

_new_folders: list[Path] = []  # those that Hydra is about to make for a single run, the innermost first


def remember_new_folders(folder: Path | None = None) -> None:
    """Note which folders do not exist before a single run, so that they can be removed if it cannot start; none at first."""
    _new_folders[:] = [path for path in (folder, *folder.parents) if not path.exists()] if folder else []


def train(config: DictConfig) -> float:
    """Train one run, or one job of a sweep: what Hydra and its launchers call.

    Args:
        config: The composed configuration.

    Returns:
        The mean over seeds of the final `val/mse`, for sweepers; NaN if it diverged or failed.

    Raises:
        Exception: In a single run, any error but bad input.
        SystemExit: In a single run, on bad input, if it diverged, or if a file cannot be written: Hydra would say more.
    """
    from wavecoder.runs.run import begin  # torch and Lightning take seconds to import

    try:
        with process_of_jobs():
            value = run_job(config, begin)
        remember_new_folders()  # they have the run's results
        return value
    except (SettingError, OSError) as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # it could not be begun; the others can
            log.error("job %s failed: %s", Path(HydraConfig.get().runtime.output_dir).name, cli.explain(error))
            return float("nan")
        if isinstance(error, OSError):
            cli.leave_failed(error)
        cli.exit_with_error(error)
    except Diverged as error:
        if not is_first_process(config):  # the first speaks for all
            sys.exit(cli.FAILED)
        cli.exit_with_error(error, cli.FAILED)


Work = Callable[[DictConfig], Callable[[Path | None], float]]
"""Makes the objects of a run; what it returns trains from a checkpoint, or the beginning, and returns the sweeper's result."""


def run_job(config: DictConfig, work: Work) -> float:
    """Do the work of one run, or of one job of a sweep, as far as it is not done.

    A run is identified by its folder and the fingerprint of its configuration. A complete one is not repeated; an interrupted one
    is resumed from its last checkpoint; if the configuration has changed, the folder's files are removed and the run starts
    from the beginning. If another process works on the same run, as after a sweep was submitted twice, this one waits for it.

    A failed run is recorded too, and so is one that was ended because it diverged, which is not repeated either. Such a job is
    named at once; the sweep continues, and the sweeper is given NaN as its result.

    Args:
        config: The composed configuration.
        work: Takes the configuration, before anything of an earlier run in the folder is removed.

    Raises:
        SettingError: In a single run, something cannot be made from the configuration; the folders made for it are removed.
        Diverged: In a single run, it has ended because it diverged, now or earlier.
        Exception: In a single run, any other error.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    is_first = is_first_process(config)
    with locked(folder) if is_first else nullcontext(), _one_task(config):
        return _run_job(config, work, folder, is_first)


def _run_job(config: DictConfig, work: Work, folder: Path, is_first: bool) -> float:
    single = HydraConfig.get().mode == RunMode.RUN
    fingerprint = results.fingerprint(config)
    record = results.read_record(folder) if is_first else _record_of_first_process(folder, fingerprint)
    if _has_ended(folder, record, fingerprint):
        if record["status"] == "diverged":
            return _end_diverged(
                folder, Diverged(record["error"], {int(seed): step for seed, step in record["diverged"].items()})
            )
        log.info("%s is complete already, nothing to do", folder.name)
        mean = record["metrics"]["val/mse"]["mean"]
        return float("nan") if mean is None else float(mean)
    if is_first and single:
        resume.refuse_shorter(config, folder, record)
    begun = not is_first
    try:
        with _own_command_line():
            train_from = work(config)
            if is_first:
                if resume.is_extension(config, record):
                    log.info("%s is continued up to epoch %d", folder.name, config.trainer.max_epochs)
                    record |= {"config_fingerprint": fingerprint}
                record, begun = _prepare(folder, record, config, fingerprint), True
            return train_from(folder / results.LAST_CHECKPOINT if record["resumes"] else None)
    except Diverged as error:
        if is_first:
            ended = {"status": "diverged", "error": str(error), "diverged": error.steps}
            seeds = {"seed": config.seed, "num_seeds": config.num_seeds}
            results.write_results(folder, _begun(config, fingerprint) | ended | seeds)
        return _end_diverged(folder, error)
    except Exception as error:
        if not is_first:
            raise  # the first process of the run writes its record
        if single and (isinstance(error, SettingError) or not begun):
            remove_new_folders()
            raise
        kind = "" if isinstance(error, SettingError | OSError) else f"{type(error).__name__}: "
        message = kind + cli.explain(error) if isinstance(error, OSError) else kind + " ".join(str(error).split())
        with suppress(OSError):  # the disk is full, or the folder is gone
            if not begun:
                _prepare(folder, record, config, fingerprint)
            if not single:  # whose traceback is printed
                write_atomically(folder / TRACEBACK, traceback.format_exc())
            results.write_results(folder, _begun(config, fingerprint) | {"status": "failed", "error": message})
        if single:
            raise
        log.error("job %s failed: %s", folder.name, message)
        return float("nan")


def _has_ended(folder: Path, record: dict[str, Any], fingerprint: str) -> bool:
    """Whether a run has ended, and neither its checkpoints nor its arrays are damaged, which then are made again.

    All processes that share a run ask this of the same files: the first changes neither before they train together.
    """
    if not results.has_ended(record, fingerprint):
        return False
    if record["status"] != "completed":
        return True
    last, best = folder / results.LAST_CHECKPOINT, folder / results.BEST_CHECKPOINT
    if best.exists() and not is_sound(best):
        return False
    if not last.exists():
        return True
    return is_sound(last) and (not (folder / ARRAYS).exists() or read_arrays(folder, record["num_seeds"]) is not None)


def _end_diverged(folder: Path, error: Diverged) -> float:
    """End a run that has diverged as its record says: in a sweep it is named, and the sweep continues.

    Raises:
        Diverged: It is a single run.
    """
    if HydraConfig.get().mode == RunMode.RUN:
        raise error
    log.error("job %s diverged: %s", folder.name, error)
    return float("nan")


def _prepare(folder: Path, before: dict[str, Any], config: DictConfig, fingerprint: str) -> dict[str, Any]:
    """Remove files of an earlier configuration from a run's folder, and what is damaged, and record that the run has started."""
    remove_leftovers(folder, RUN_FILES, own_folders(folder, RUN_FOLDERS))
    known = known_fingerprints(folder, before)
    if before.get("damaged"):
        aside = rename_damaged(folder / results.RESULTS)
        log.warning("%s: is set aside as %s, and made again", folder / results.RESULTS, aside)
    elif _has_checkpoint(folder) and fingerprint in known - {before.get("config_fingerprint")}:
        name_lost_record(folder / results.RESULTS)
    set_aside_wrong_kinds(folder, RUN_FILES, RUN_FOLDERS)
    best = folder / results.BEST_CHECKPOINT
    if before["status"] == "completed" and best.exists() and not is_sound(best):
        results.write_results(folder, {"status": "unfinished", "config_fingerprint": before["config_fingerprint"]})
        for checkpoint in (results.LAST_CHECKPOINT, results.PREVIOUS_CHECKPOINT):
            (folder / checkpoint).unlink(missing_ok=True)
        aside = rename_damaged(best)
        log.warning("%s: is damaged; it is set aside as %s, and the run starts from the beginning to make it again", best, aside)
    (folder / TRACEBACK).unlink(missing_ok=True)
    if fingerprint not in known and (known or before.get("damaged")):
        why = "its configuration has changed" if known else "what its checkpoint is of is not known"
        log.info("%s: %s, so it starts from the beginning", folder.name, why)
        # what is left is unfinished from here on; the fingerprint is replaced last, so that an interrupted clean-up is repeated
        results.write_results(folder, {"status": "unfinished", "config_fingerprint": before.get("config_fingerprint", "")})
        for name in (results.LAST_CHECKPOINT, results.PREVIOUS_CHECKPOINT, ARRAYS):
            (folder / name).unlink(missing_ok=True)
        for name in RUN_FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
    resumes = fingerprint in known and _has_checkpoint(folder)
    record = _begun(config, fingerprint) | {"status": "unfinished", "resumes": resumes, "started_by": _process_group()}
    if resumes and "engine" in before:
        record["engine"] = before["engine"]
    note_fingerprint(folder, fingerprint)
    results.write_results(folder, record)
    return record


def _has_checkpoint(folder: Path) -> bool:
    return any(os.path.lexists(folder / name) for name in (results.LAST_CHECKPOINT, results.PREVIOUS_CHECKPOINT))


def _begun(config: DictConfig, fingerprint: str) -> dict[str, Any]:
    """What a record says of any run that has begun."""
    chosen = results.as_choices(given_overrides(HydraConfig.get()))
    epochs = config.trainer.get("max_epochs")
    return {"config_fingerprint": fingerprint, "max_epochs": epochs, "overrides": chosen, "place": results.place()}


def _record_of_first_process(folder: Path, fingerprint: str) -> dict[str, Any]:
    """The record as the first process of a run found or wrote it; the tasks of a Slurm step all begin at once.

    Raises:
        TimeoutError: It has not started.
    """
    deadline = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < deadline:
        record = results.read_record(folder)
        if record.get("started_by") == _process_group() or _has_ended(folder, record, fingerprint):
            return record
        time.sleep(0.2)
    raise TimeoutError(f"{folder}: the first process of the run has not started in {LONGEST_WAIT} s")


def _process_group() -> str:
    """What the processes of one run have in common: the step of a Slurm job, and how often that has started."""
    return ".".join(os.environ.get(f"SLURM_{name}", "") for name in ("JOB_ID", "STEP_ID", "RESTART_COUNT"))


@contextmanager
def _own_command_line() -> Iterator[None]:
    """Make the command line that of this one run while it works.

    Lightning starts the other processes of a run with the command line and the run's folder of the first, and notes in the
    environment that it did. In a sweep the command line is the sweep's, and in a process that a launcher started, the launcher's.
    """
    job: Any = HydraConfig.get()
    command, main = sys.argv, sys.modules["__main__"]
    specification = main.__spec__
    folders = [f"--config-dir={source.path}" for source in job.runtime.config_sources if source.provider == "command-line"]
    sys.argv = ["wavecoder", "train", f"--config-name={job.job.config_name}", *folders, *given_overrides(job)]
    main.__spec__ = find_spec("wavecoder.__main__")  # Lightning then starts `python -m wavecoder.__main__` with these arguments
    with read_write(job):
        job.run.dir = job.runtime.output_dir
    environment = dict(os.environ)
    try:
        yield
    finally:
        sys.argv, main.__spec__ = command, specification
        for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS"):
            if name not in environment:
                os.environ.pop(name, None)
        import torch.distributed  # imported by the work long ago

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def is_first_process(config: DictConfig) -> bool:
    """Whether this process is the first of a run, which writes for all. Tasks of a Slurm step may be runs of their own."""
    shared = tasks_share_a_run(config.trainer.get("devices"), config.trainer.get("num_nodes", 1))
    return os.environ.get("LOCAL_RANK", "0") == "0" and (not shared or os.environ.get("SLURM_PROCID", "0") == "0")


@contextmanager
def _one_task(config: DictConfig) -> Iterator[None]:
    """Make this the first task of a Slurm step while it works on a run of its own; Lightning lets the first alone write."""
    number = os.environ.get("SLURM_PROCID", "0")
    if number == "0" or not is_first_process(config):
        yield
        return
    os.environ["SLURM_PROCID"] = "0"
    try:
        yield
    finally:
        os.environ["SLURM_PROCID"] = number


def remove_new_folders() -> None:
    """Remove the folders that were made for a run that never started, and nothing that was there before."""
    if not _new_folders or not _new_folders[0].exists():
        return
    shutil.rmtree(_new_folders[0])
    for path in _new_folders[1:]:
        if any(path.iterdir()):
            return  # another run's
        path.rmdir()
