"""Tasks: what a launcher starts. Each runs some jobs of a sweep one after another in one process.

The tasks that a command launched together are listed in `.tasks/TOKEN/tasks.json` in the sweep's folder; each has a folder beside
it for its log. Launchers call `run_task`, which finds there what it has to do.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from filelock import FileLock, Timeout
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log, run_job
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from wavecoder.runs import job as jobs_module
from wavecoder.runs import results
from wavecoder.runs.cli import explain
from wavecoder.runs.foreign import leads_out
from wavecoder.runs.plan import Composer, Job, short_names
from wavecoder.runs.shapes import BATCH, fits
from wavecoder.runs.stacks import split_stack
from wavecoder.training.files import DamagedError, read_file, write_atomically

TASKS = ".tasks"  # the folder in a sweep's

log = logging.getLogger(__name__)

_locks: dict[str, FileLock] = {}  # of the batches that this process launched, held until it ends


@dataclass(frozen=True)
class Batch:
    """Tasks that were launched together.

    Attributes:
        token: Name of their folder, which no other batch has.
        launcher: What launched them, for example `slurm`.
        host: Where the command ran that launched them.
        pid: The process of that command.
        launched: When, in seconds since 1970.
        hydra_overrides: The choices for Hydra on the command line, which hold for every job.
        tasks: The jobs of each task.
    """

    token: str
    launcher: str
    host: str
    pid: int
    launched: float
    hydra_overrides: tuple[str, ...]
    tasks: tuple[tuple[Job, ...], ...]


def make_tasks(jobs: Sequence[Job], jobs_per_task: int) -> list[tuple[Job, ...]]:
    """Jobs in tasks of so many, the last perhaps of fewer."""
    return [tuple(jobs[first : first + jobs_per_task]) for first in range(0, len(jobs), jobs_per_task)]


def write_batch(folder: Path, config: DictConfig, launcher: str, tasks: Sequence[tuple[Job, ...]]) -> Batch:
    """List tasks that are about to be launched in a sweep's folder."""
    token = f"{datetime.now():%Y%m%d-%H%M%S}-{token_hex(3)}"
    batch = Batch(
        token, launcher, os.uname().nodename, os.getpid(), time.time(), tuple(config.hydra.overrides.hydra), tuple(tasks)
    )
    file = _file(folder, token)
    file.parent.mkdir(parents=True)
    lock = _locks[token] = FileLock(file.parent / ".lock")
    lock.acquire()
    write_atomically(file, json.dumps(asdict(batch)))
    return batch


def is_working(folder: Path, batch: Batch) -> bool:
    """Whether the command that launched a batch still runs, wherever that is."""
    return is_locked(folder / TASKS / batch.token / ".lock")


def is_locked(file: Path) -> bool:
    """Whether a process holds a lock."""
    if file.is_symlink() or not file.is_file():  # nothing is opened that may be elsewhere, or no lock
        return False
    try:
        with FileLock(file, blocking=False):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that cannot be written; who works in it, cannot be seen
        return False


def read_batches(folder: Path) -> Iterator[Batch]:
    """All tasks that were launched for a sweep, the first launched first."""
    for file in sorted(folder.glob(f"{TASKS}/*/tasks.json")):
        try:
            yield _read(file)
        except DamagedError as error:
            log.warning("%s and left out", error)


def remove_batch(folder: Path, batch: Batch) -> None:
    """Forget tasks that were not launched."""
    shutil.rmtree(_file(folder, batch.token).parent)


def task_overrides(batch: Batch) -> list[list[str]]:
    """For each task, the overrides with which a launcher has to start it; the folder of a task has its number."""
    return [
        [f"hydra.sweep.subdir={TASKS}/{batch.token}/{number}", "hydra.output_subdir=null"] for number in range(len(batch.tasks))
    ]


def run_task(config: DictConfig) -> None:
    """Do the jobs of one task: what launchers call, in another process or on another machine.

    Args:
        config: The configuration of the sweep; which task it is, its `hydra` node says.
    """
    hydra = HydraConfig.get()
    sweep, own = Path(hydra.sweep.dir), Path(hydra.runtime.output_dir)
    batch = _read(_file(sweep, own.parent.name))
    whole = config.copy()
    with read_write(whole), open_dict(whole):
        whole.hydra = hydra
        OmegaConf.set_readonly(whole.hydra, False)
        whole.hydra.overrides.hydra = list(batch.hydra_overrides)
    context = HydraContext(GlobalHydra.instance().config_loader(), Callbacks(whole))
    run_jobs(batch, int(own.name), sweep, Composer(context.config_loader, whole), context)


def run_jobs(batch: Batch, task: int, folder: Path, composer: Composer, context: HydraContext) -> None:
    """Do jobs one after another in this process, as far as they are not done, each as Hydra's own launcher would.

    Args:
        batch: The tasks that were launched together.
        task: Which of them it is. Where there are several, what jobs print begins with what tells them apart.
        folder: The sweep's.
        composer: Composes their configurations.
        context: Hydra's.
    """
    jobs, labels = batch.tasks[task], short_names([job for each in batch.tasks for job in each])
    for number, job in enumerate(jobs):
        if results.has_ended(results.read_record(folder / job.name), job.fingerprint):
            log.info("%s has ended already, nothing to do", job.name)
        else:
            if len(batch.tasks) == 1:
                log.info("%d of %d: %s", number + 1, len(jobs), labels[job.name])
            config = composer.compose(job.overrides)
            _set_folder(config, folder, job.name, number)
            if len(batch.tasks) > 1:
                plain = config.hydra.job_logging.formatters.plain
                plain.format = f"{labels[job.name].replace('%', '%%')}: {plain.format}"
            try:
                run_job(jobs_module.train, config, "hydra.sweep.dir", "hydra.sweep.subdir", context)
            except (OSError, ValueError) as error:  # Hydra itself cannot write into the job's folder
                if not isinstance(error, OSError) and not isinstance(error.__cause__, OSError):
                    raise
                log.error("job %s failed: %s", job.name, explain(error))
            configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        if job.stacked:
            split_stack(folder, job, composer)


def finish_divisions(folder: Path, jobs: Iterable[Job], composer: Composer) -> None:
    """Divide the ensembles of earlier commands whose division was interrupted, so that they are not trained again.

    Args:
        folder: The sweep's.
        jobs: Those that have not ended.
        composer: Composes their configurations.
    """
    wanted = {(job.name, job.fingerprint) for job in jobs}
    for stack in {job for batch in read_batches(folder) for task in batch.tasks for job in task if job.stacked}:
        waits = any((job.name, job.fingerprint) in wanted for job in stack.stacked)
        if waits and results.has_ended(results.read_record(folder / stack.name), stack.fingerprint):
            split_stack(folder, stack, composer)


def _set_folder(config: DictConfig, sweep: Path, name: str, number: int) -> None:
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.sweep.dir, config.hydra.sweep.subdir = str(sweep), name
        config.hydra.job.id = config.hydra.job.num = number


def _file(folder: Path, token: str) -> Path:
    return folder / TASKS / token / "tasks.json"


def _read(file: Path) -> Batch:
    try:
        content = json.loads(read_file(file))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{file}: is damaged") from error
    if not fits(content, BATCH) or content["token"] != file.parent.name:
        raise DamagedError(f"{file}: is damaged")
    tasks = tuple(tuple(map(_job, task)) for task in content.pop("tasks"))
    if outside := [job.name for task in tasks for each in task for job in (each, *each.stacked) if leads_out(job.name)]:
        raise DamagedError(f"{file}: names a job outside of its sweep, {outside[0]}")
    plain = {name: content[name] for name in ("token", "launcher", "host", "pid", "launched")}
    return Batch(**plain, hydra_overrides=tuple(content["hydra_overrides"]), tasks=tasks)


def _job(content: dict[str, Any]) -> Job:
    stacked = tuple(map(_job, content["stacked"]))
    return Job(content["name"], tuple(content["overrides"]), content["fingerprint"], stacked)
