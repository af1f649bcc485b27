"""What a sweep's jobs are doing, and how to end them: `wavecoder status`, `wavecoder cancel`."""

import os
import signal
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from wavecoder.runs import results, slurm
from wavecoder.runs.foreign import refuse_links_of_sweep
from wavecoder.runs.limits import SettingError
from wavecoder.runs.plan import Job, short_names
from wavecoder.runs.screen import say, width_of, wrap
from wavecoder.runs.store import State, Store
from wavecoder.runs.tasks import TASKS, Batch, is_locked, is_working, read_batches
from wavecoder.runs.text import plain
from wavecoder.training.files import read_file, write_atomically

_IDS = "slurm_ids.txt"
_RECENT = 600  # seconds over which the pace of a sweep is measured
_SHOWN = 20  # rows of one kind


def slurm_name(folder: Path, batch: Batch) -> str:
    """What Slurm calls the tasks of a batch; its own list of jobs then tells which sweep and which jobs a task has."""
    return f"{folder.name}-{batch.token}"


def note_ids(folder: Path, batch: Batch, ids: Sequence[str]) -> None:
    """Keep Slurm's ids of the tasks of a batch."""
    write_atomically(folder / TASKS / batch.token / _IDS, "\n".join(ids) + "\n")


def queued_jobs(folder: Path, jobs: Collection[Job]) -> dict[str, slurm.QueuedTask]:
    """Those of some jobs that are in Slurm's queue with the same configuration, by name, each with its task.

    Raises:
        SettingError: Slurm does not answer.
    """
    batches = {slurm_name(folder, batch): batch for batch in read_batches(folder) if batch.launcher == "slurm"}
    wanted = {(job.name, job.fingerprint) for job in jobs}
    found = {}
    for task in slurm.queued_tasks() if batches else ():
        if task.name in batches:
            for job in _single_jobs(batches[task.name].tasks[task.number]):
                if (job.name, job.fingerprint) in wanted:
                    found[job.name] = task
    return found


def lost_jobs(folder: Path, incomplete: Collection[Job]) -> dict[str, str]:
    """What became of those jobs that were launched and have neither completed nor failed, and that nothing will still run.

    Args:
        folder: The sweep's.
        incomplete: Jobs that are not completed.
    """
    launched: dict[str, tuple[Batch, int]] = {}
    for batch in read_batches(folder):
        launched |= {job.name: (batch, number) for number, task in enumerate(batch.tasks) for job in _single_jobs(task)}
    open_ones = [job for job in incomplete if job.name in launched]
    queued = queued_jobs(folder, open_ones)
    batches = {batch.token: batch for batch, _ in launched.values() if batch.launcher != "slurm"}
    working = {token for token, batch in batches.items() if is_working(folder, batch)}
    lost = []
    for job in open_ones:
        batch, _ = launched[job.name]
        busy = job.name in queued or batch.token in working or is_locked(folder / job.name / ".lock")
        if not busy and not has_ended(folder / job.name, job, batch.launched):
            lost.append(job.name)
    tasks = {name: _slurm_id(folder, *launched[name]) for name in lost}
    became = slurm.what_became_of(task for task in tasks.values() if task)
    said = {}
    for name, task in tasks.items():
        said[name] = f"its process ended ({launched[name][0].launcher})"
        if task:
            output = os.path.relpath(slurm.output_file(folder, task))
            said[name] = f"Slurm's job {task}: {became.get(task, 'no longer in the queue')}; its output is in {output}"
    return said


def _require_sweep(folder: Path) -> None:
    if not folder.is_dir():
        raise SettingError(f"{folder}: no such folder")
    if not any((folder / name).exists() for name in ("multirun.yaml", TASKS)) and not any(folder.glob(f"*/{results.RESULTS}")):
        raise SettingError(f"{folder}: no sweep's folder; it holds no jobs")
    refuse_links_of_sweep(folder)


def show_status(folder: Path) -> None:
    """Print what a sweep's jobs are doing: counts, then those that run, wait, failed or were lost, then the best so far.

    Raises:
        SettingError: It is no sweep's folder.
    """
    _require_sweep(folder)
    with Store(folder) as store:
        store.refresh()
        # without the store, those that have not begun are known from the lists of tasks
        asked = launched_jobs(folder) | {name: job for name, (_, job) in store.jobs().items()}
        states, records = store.states(), store.records()
    others = [Job(name, (), state.fingerprint or "") for name, state in states.items() if name not in asked]
    jobs = [*asked.values(), *others]
    now = _states_now(folder, jobs, states)
    for each in records:
        if each["job"] in now and now[each["job"]][0] == "completed" and (lost := results.diverged(each)):
            which = results.diverged_seeds(each)
            now[each["job"]] = ("diverged", ": ".join(said for said in ("" if lost == "diverged" else lost, which) if said))
    counts = Counter(kind for kind, _ in now.values())
    order = ("completed", "diverged", "running", "queued", "failed", "lost", "interrupted", "outdated", "not begun")
    line = ", ".join(f"{counts[kind]:,} {kind}" for kind in order if counts[kind])
    say(Console(), f"{len(jobs):,} jobs: {line}{_time_left(states, counts)}")
    rows = []
    for kind in ("running", "queued", "diverged", "failed", "lost"):
        found = [(kind, name, about) for name, (state, about) in now.items() if state == kind]
        rows += found[:_SHOWN]
        if len(found) > _SHOWN:
            rows.append((kind, f"… and {len(found) - _SHOWN:,} more", ""))
    short = short_names(jobs)
    _print_rows(rows, short)
    measured = [each for each in records if each.get("metrics", {}).get("val/mse", {}).get("mean") is not None]
    if measured:
        best = min(measured, key=results.rank)
        console, line = Console(), "the best so far: {}, val/mse " + f"{best['metrics']['val/mse']['mean']:.4g}"
        whole = line.format(best["job"])
        say(console, whole if len(whole) <= width_of(console) else line.format(short.get(best["job"], best["job"])))


def _print_rows(rows: Sequence[tuple[str, str, str]], short: Mapping[str, str]) -> None:
    """Print jobs, each with what it does and what there is to say about it, in one line or, in a narrow terminal, in several."""
    console = Console()
    width, widths = width_of(console), [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    lines = [plain(f"{kind:{widths[0]}}  {name:{widths[1]}}  {about}".rstrip()) for kind, name, about in rows]
    if max(map(len, lines), default=0) > width:
        lines, indent = [], " " * (widths[0] + 2)
        for kind, name, about in rows:
            shown = name if len(indent) + len(name) <= width else short.get(name, name)
            lines += wrap(f"{kind:{widths[0]}}  {shown}", width, indent)
            lines += wrap(indent + about, width, indent) if about else []
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _states_now(folder: Path, jobs: Sequence[Job], states: dict[str, State]) -> dict[str, tuple[str, str]]:
    """For each job, what it is doing, and what there is to say about it."""
    current = {job.name: _current(states.get(job.name, State()), job) for job in jobs}
    open_ones = [job for job in jobs if current[job.name] not in results.ENDED]
    queued: dict[str, slurm.QueuedTask] = {}
    lost: dict[str, str] = {}
    trouble = ""
    works_in = {name: at for name, at in _folders_of_work(folder).items() if current.get(name, "completed") not in results.ENDED}
    locked = {at for at in {job.name for job in open_ones} | set(works_in.values()) if is_locked(folder / at / ".lock")}
    try:
        queued, lost = queued_jobs(folder, open_ones), lost_jobs(folder, open_ones)
    except SettingError as error:
        trouble = str(error)
    now: dict[str, tuple[str, str]] = {}
    for job in jobs:
        status, task = current[job.name], queued.get(job.name)
        at = job.name if job.name in locked else works_in.get(job.name, job.name)
        if status == "completed":
            now[job.name] = (status, "")
        elif task and task.state == "PENDING":
            now[job.name] = ("queued", f"Slurm's job {task.id} ({task.reason})")
        elif at in locked:
            now[job.name] = ("running", _where(results.read_record(folder / at)))
        elif task:
            now[job.name] = ("queued", f"Slurm's job {task.id} on {task.nodes} has not come to it")
        elif job.name in lost:
            now[job.name] = ("lost", lost[job.name])
        elif status in ("failed", "outdated", "diverged"):
            now[job.name] = (status, results.read_record(folder / job.name).get("error", ""))
        else:
            now[job.name] = ("interrupted" if status == "unfinished" else "not begun", trouble)
    return now


def _current(state: State, job: Job) -> str:
    """The status of a job with the configuration that was asked for; a record of another one says nothing of it."""
    return state.status if state.fingerprint == job.fingerprint or state.status == "outdated" else "not begun"


def cancel_sweep(folder: Path) -> None:
    """End a sweep's jobs: those on Slurm, and on this machine the commands that run others.

    Raises:
        SettingError: It is no sweep's folder, or Slurm does not answer.
    """
    _require_sweep(folder)
    batches = list(read_batches(folder))
    ended = [batch.pid for batch in batches if _ends(folder, batch)]
    names = {slurm_name(folder, batch) for batch in batches if batch.launcher == "slurm"}
    tasks = [task.id for task in slurm.queued_tasks() if task.name in names] if names else []
    if tasks:
        slurm.cancel(tasks)
    print(f"cancelled {len(tasks)} tasks on Slurm, and {len(ended)} commands on this machine; the sweep's command resumes it")


def _ends(folder: Path, batch: Batch) -> bool:
    """End the command that launched a batch, if it runs on this machine."""
    if batch.host != os.uname().nodename or not is_working(folder, batch):
        return False
    for kind in (signal.SIGINT, signal.SIGTERM):  # a command in the background of a script does not hear the first
        with suppress(ProcessLookupError):
            os.kill(batch.pid, kind)
        deadline = time.monotonic() + 10
        while is_working(folder, batch) and time.monotonic() < deadline:
            time.sleep(0.1)
        if not is_working(folder, batch):
            break
    return True


def launched_jobs(folder: Path) -> dict[str, Job]:
    """All jobs that were ever launched for a sweep, by name, as they were last."""
    return {job.name: job for batch in read_batches(folder) for task in batch.tasks for job in _single_jobs(task)}


def _folders_of_work(folder: Path) -> dict[str, str]:
    """Where in the sweep's folder each job was launched last: in its own, or in that of the ensemble that it is a member of."""
    tasks = [task for batch in read_batches(folder) for task in batch.tasks]
    return {member.name: job.name for task in tasks for job in task for member in job.stacked or (job,)}


def _single_jobs(task: Sequence[Job]) -> list[Job]:
    return [member for job in task for member in job.stacked or (job,)]


def _slurm_id(folder: Path, batch: Batch, number: int) -> str | None:
    try:
        return read_file(folder / TASKS / batch.token / _IDS).decode().split()[number]
    except (OSError, ValueError, IndexError):  # there is no such file, or it was cut
        return None


def has_ended(folder: Path, job: Job, since: float) -> bool:
    """Whether a job has completed or diverged, or has failed since some time, with the configuration that it has now."""
    record = results.read_record(folder)
    if record.get("config_fingerprint") != job.fingerprint:
        return False
    failed = record["status"] == "failed" and (folder / results.RESULTS).stat().st_mtime >= since
    return failed or record["status"] in results.ENDED


def _where(record: dict[str, Any]) -> str:
    place = record.get("place", {})
    job = f", Slurm's job {place['slurm_job']}" if "slurm_job" in place else ""
    return f"process {place['pid']} on {place['host']}{job}" if place else ""


def _time_left(states: dict[str, State], counts: Counter[str]) -> str:
    """How long the open jobs will take at the pace of the last minutes."""
    times = sorted(state.modified for state in states.values() if state.status == "completed")
    recent = [each for each in times if each > time.time() - _RECENT]
    left = sum(counts[kind] for kind in ("running", "queued", "not begun", "interrupted"))
    if len(recent) < 2 or not left or not counts["running"] + counts["queued"]:
        return ""
    return f"; about {duration((recent[-1] - recent[0]) / (len(recent) - 1) * left)} left"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"
