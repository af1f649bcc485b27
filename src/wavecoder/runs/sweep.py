"""A sweep from the command to its table: planned, checked, launched as far as it is not done, followed, summed up."""

import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import track

from wavecoder.runs import cli, results, slurm, typed
from wavecoder.runs.checks import check_jobs, runs_here
from wavecoder.runs.foreign import refuse_links_of_sweep
from wavecoder.runs.kinds import set_aside_wrong_kinds
from wavecoder.runs.limits import SettingError
from wavecoder.runs.plan import STACKS, Composer, Job, job_overrides, make_job, shared_seeds, stack_seeds
from wavecoder.runs.screen import say
from wavecoder.runs.status import duration, has_ended, lost_jobs, note_ids, queued_jobs, slurm_name
from wavecoder.runs.store import State, Store, read_sweep
from wavecoder.runs.tasks import (
    TASKS,
    finish_divisions,
    make_tasks,
    remove_batch,
    run_jobs,
    run_task,
    task_overrides,
    write_batch,
)
from wavecoder.runs.text import plain
from wavecoder.training.files import remove_old_leftovers, write_atomically

_ASK_EVERY = 3  # seconds between two looks at Slurm's queue
_MANY = 50  # jobs that take more than a moment to check
_EMPTY_LOOKS = 4  # at the queue, after which what is not there is lost
_PATIENCE = 600  # seconds that Slurm may take to answer again, as while it is restarted
_NEVER_AFTER = 20  # seconds after which a task that can never run is not waited for

log = logging.getLogger(__name__)


def run_sweep(config: DictConfig, context: HydraContext, arguments: Sequence[str]) -> None:
    """Run those jobs of a sweep that are not done, and end with the table of all.

    Leaves with status 1 if a job that was asked for is not completed in the end.

    Args:
        config: The sweep's configuration, with its `hydra` node.
        context: Hydra's.
        arguments: What is swept.

    Raises:
        SettingError: A job cannot be run as it is; nothing was written.
    """
    since, folder, composer = time.time(), Path(config.hydra.sweep.dir), Composer(context.config_loader, config)
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    jobs = _plan(folder, composer, job_overrides(arguments, context.config_loader))
    missing = _without(folder, jobs, results.ENDED)
    refuse_links_of_sweep(folder, [job.name for job in missing])
    finish_divisions(folder, missing, composer)
    missing = _without(folder, jobs, results.ENDED)
    on_slurm = str(config.hydra.launcher._target_).endswith(".SlurmLauncher")
    queued = queued_jobs(folder, missing) if on_slurm and folder.exists() else {}
    new = [job for job in missing if job.name not in queued]
    if config.stack_seeds:
        new = stack_seeds(new, composer)
        refuse_links_of_sweep(folder, [job.name for job in new if job.stacked])
    check_jobs(new, composer, runs_here(config))

    typed.note_folder("hydra.sweep.dir", folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [each.name for job in new for each in (job, *job.stacked)]
    set_aside_wrong_kinds(folder, ("multirun.yaml", results.SUMMARY), (TASKS, STACKS, *written))
    remove_old_leftovers(folder, f"{TASKS}/*")
    write_atomically(folder / "multirun.yaml", OmegaConf.to_yaml(config))
    with Store(folder) as store:
        store.remember({job: composer.key(job.overrides) for job in jobs})
    for line in shared_seeds(jobs, composer):
        say(Console(), line)
    waiting = f"{len(queued)} queued or running, " if queued else ""
    lost = len(_without(folder, jobs, ("completed",))) - len(missing)
    complete = f"{len(jobs) - len(missing) - lost} complete, " + (f"{lost} diverged, " if lost else "")
    print(f"{complete}{waiting}{len(missing) - len(queued)} to run in {os.path.relpath(folder)}", flush=True)
    try:
        with _progress(folder, jobs, name_failed=on_slurm):
            if on_slurm:
                _run_on_slurm(config, context, folder, new, missing, since)
            elif new:
                _run_here(config, context, folder, new, composer)
        if not config.detach:
            conclude(folder, jobs, config.table)
    except OSError as error:  # the sweep's own files cannot be written
        cli.leave_failed(error)


def _plan(folder: Path, composer: Composer, overrides: Sequence[tuple[str, ...]]) -> list[Job]:
    """The jobs of a sweep, composing only those that no earlier command has asked for in the same words."""
    if len(overrides) > _MANY:
        print(f"checking {len(overrides):,} jobs…", flush=True)
    wanted: dict[str, tuple[str, ...]] = {}
    for chosen in overrides:
        name = composer.name(chosen)
        if name in wanted:
            raise SettingError(f"-m: {name} stands for more than one job; choices must differ")
        wanted[name] = chosen
    if not wanted:
        raise SettingError("-m: the choices leave no job to run")
    with Store(folder) as store:
        known = store.jobs()
    console, jobs = Console(stderr=True), []
    bar = track(wanted.items(), "checking", console=console, transient=True, disable=not console.is_terminal)
    for name, chosen in bar:
        key, job = known.get(name, ("", None))
        jobs.append(job if job is not None and key == composer.key(chosen) else make_job(composer, chosen))
    return jobs


def _without(folder: Path, jobs: Iterable[Job], statuses: Container[str]) -> list[Job]:
    """Those of some jobs that have none of some statuses with the configuration that was asked for."""
    with Store(folder) as store:
        store.refresh()
        states = store.states()
    found = [(job, states.get(job.name, State())) for job in jobs]
    return [job for job, state in found if not (state.status in statuses and state.fingerprint == job.fingerprint)]


def _run_here(config: DictConfig, context: HydraContext, folder: Path, jobs: Sequence[Job], composer: Composer) -> None:
    """Run jobs in this process, or by a launcher that waits for them. What was lost is run again, as long as that helps."""
    launcher_name = config.hydra.runtime.choices["hydra/launcher"]
    if launcher_name == "basic":
        if config.jobs_per_task > 1:
            print("jobs_per_task has no effect with hydra/launcher=basic: this process runs all jobs one after another")
        run_jobs(write_batch(folder, config, launcher_name, [tuple(jobs)]), 0, folder, composer, context)
        return
    left = jobs
    while left:
        batch = write_batch(folder, config, launcher_name, make_tasks(left, config.jobs_per_task))
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=run_task, config=config)
        try:
            for task in launcher.launch(task_overrides(batch), initial_job_idx=0):
                _ = task.return_value  # which raises what went wrong
        except Exception as error:
            if type(error).__name__ not in cli.LOST_JOBS:
                raise
            before, left = len(left), [job for job in left if not _is_settled(folder, job, batch.launched)]
            log.error("a process was lost: %s", cli.lost_job(error))
            if len(left) == before:
                return  # named at the end
        else:
            return


def _is_settled(folder: Path, job: Job, since: float) -> bool:
    """Whether a job, or each of a stack, has completed, or has failed since some time."""
    return all(has_ended(folder / each.name, each, since) for each in job.stacked or (job,))


def _run_on_slurm(
    config: DictConfig, context: HydraContext, folder: Path, new: Sequence[Job], asked: Sequence[Job], since: float
) -> None:
    """Submit jobs in arrays as large as the cluster takes, and wait until none of those asked for is in its queue."""
    with FileLock(folder / ".lock"):  # another command for the same sweep may have submitted some, and they may have ended
        queued = queued_jobs(folder, asked)
        left = [job for job in new if not {each.name for each in job.stacked or (job,)} & queued.keys()]
        _submit(config, context, folder, [job for job in left if not _is_settled(folder, job, since)])
    if config.detach:
        print(f"`wavecoder status {os.path.relpath(folder)}` shows what becomes of them, and the same command again the table")
        return
    try:
        _wait_for_slurm(folder, asked)
    except KeyboardInterrupt:
        place = os.path.relpath(folder)
        print(f"\nInterrupted; jobs stay in Slurm's queue: the same command waits again, `wavecoder cancel {place}` ends them")
        raise SystemExit(cli.INTERRUPTED) from None


def _submit(config: DictConfig, context: HydraContext, folder: Path, jobs: Sequence[Job]) -> None:
    largest, tasks = slurm.largest_array() if jobs else 1, make_tasks(jobs, config.jobs_per_task)
    for first in range(0, len(tasks), largest):
        batch = write_batch(folder, config, "slurm", tasks[first : first + largest])
        try:
            ids = slurm.submit(config, context, slurm_name(folder, batch), task_overrides(batch), run_task)
        except SettingError:
            remove_batch(folder, batch)
            raise
        note_ids(folder, batch, ids)
        print(f"submitted {len(ids)} tasks as Slurm's job {ids[0].partition('_')[0]}", flush=True)


def _wait_for_slurm(folder: Path, asked: Sequence[Job]) -> None:
    """Wait as long as Slurm has a task that can run, and say what it says of those that wait."""
    said, silent_since, never_since, empty, since = "", 0.0, 0.0, 0, time.time()
    while True:
        now = time.monotonic()
        try:
            tasks = set(queued_jobs(folder, asked).values())
            silent_since = 0.0
        except SettingError:  # it is being restarted, perhaps
            silent_since = silent_since or now
            if now - silent_since > _PATIENCE:
                raise
            time.sleep(_ASK_EVERY)
            continue
        # a task that is requeued is not in the queue for a moment
        empty = 0 if tasks else empty + 1
        if empty == _EMPTY_LOOKS or (empty and all(_is_settled(folder, job, since) for job in asked)):
            return
        reasons = Counter(task.reason for task in tasks if task.state == "PENDING")
        text = ", ".join(f"{count} ({reason})" for reason, count in sorted(reasons.items()) if reason not in ("None", "Priority"))
        if text and text != said:
            print(f"tasks that wait, and Slurm's reason: {text}", flush=True)
        said = text
        never_since = (never_since or now) if tasks and all(task.can_never_run for task in tasks) else 0.0
        if never_since and now - never_since > _NEVER_AFTER:
            remedy = f"`wavecoder cancel {os.path.relpath(folder)}`, then change what Slurm names"
            print(f"none of them can run as it was submitted; {remedy}")
            return
        time.sleep(_ASK_EVERY)


@contextmanager
def _progress(folder: Path, jobs: Sequence[Job], name_failed: bool) -> Iterator[None]:
    """Print while a sweep runs how many jobs are done, read from their records, so that it is the same under every launcher.

    Those that failed or diverged are named if they do it where nobody sees.
    """
    end = threading.Event()
    thread = threading.Thread(target=_print_progress, args=(folder, jobs, end, name_failed), daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _print_progress(folder: Path, jobs: Sequence[Job], end: threading.Event, name_failed: bool = False) -> None:
    """Look every second, or less often if that takes long, which jobs are done, and print when the number has risen."""
    started, pause, named = time.time(), 1.0, set[str]()
    with Store(folder) as store:

        def count_done() -> int:
            store.refresh()
            states = store.states()
            found = [states.get(job.name, State()) for job in jobs]
            pairs = zip(jobs, found, strict=True)
            wrong = {
                job.name: state.status
                for job, state in pairs
                if state.status in ("failed", "diverged") and state.modified >= started
            }
            for name in wrong.keys() - named if name_failed else ():
                _print_from_thread(f"{wrong[name]}: {name}: {results.read_record(folder / name).get('error')}")
            named.update(wrong)
            return len(wrong) + sum(
                job.name not in wrong and state.status in results.ENDED and state.fingerprint == job.fingerprint
                for state, job in zip(found, jobs, strict=True)
            )

        before = done = count_done()
        while not end.wait(pause):
            looked = time.monotonic()
            now = count_done()
            pause = max(1.0, 20 * (time.monotonic() - looked))
            if done < now < len(jobs):
                left = (time.time() - started) / (now - before) * (len(jobs) - now)
                _print_from_thread(f"{now} of {len(jobs)} jobs done, about {duration(left)} left")
            done = now
        if name_failed:
            count_done()  # names those that failed after the last look


def _print_from_thread(text: str) -> None:
    # without `file`, print() holds no reference to sys.stdout, which the bar of a job replaces meanwhile in another thread
    print(plain(text), file=sys.stdout, flush=True)


def conclude(folder: Path, asked: Sequence[Job], table: bool = True) -> None:
    """Print the table of a sweep's jobs, name those that were lost, and write `summary.csv`.

    Leaves with status 1 if one of those asked for is not completed.

    Args:
        folder: The sweep's.
        asked: The jobs that the command asked for.
        table: Whether the table is printed, and what can be done with the results.
    """
    from wavecoder.runs import tables  # imports torch

    wanted = {job.name: job.fingerprint for job in asked}
    jobs = [each for each in read_sweep(folder) if wanted.get(each["job"]) in (None, each.get("config_fingerprint"))]
    if table:
        console = Console()
        console.print()
        tables.sweep_table(jobs).print(console)
        if len(engines := results.engines(jobs)) > 1:
            counts = ", ".join(f"{count} by {name}" for name, count in engines.items())
            say(console, f"Trained by different engines, which round differently: {counts}")
    summary = tables.write_summary(folder, jobs)
    if table:
        say(console, f"Summary: {os.path.relpath(summary)}")
        typed.print_next_of_sweep(folder)
    incomplete = _without(folder, asked, ("completed",))
    try:
        for name, why in lost_jobs(folder, incomplete).items():
            print(plain(f"lost: {name}: {why}"), file=sys.stderr)
    except SettingError as error:
        print(f"what became of incomplete jobs is not known: {error}", file=sys.stderr)
    if incomplete:
        raise SystemExit(cli.FAILED)
