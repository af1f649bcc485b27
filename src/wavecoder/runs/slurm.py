"""What Slurm is asked and told: which tasks of a sweep it has, what became of others, and new ones."""

import logging
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.types import HydraContext
from omegaconf import DictConfig

from wavecoder.runs.limits import SettingError

# what submitit's executors have in common, in the words of Hydra's launchers; the rest is Slurm's
_COMMON = ("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name", "stderr_to_stdout")
_NEVER = (
    *("PartitionTimeLimit", "PartitionNodeLimit", "PartitionConfig", "BadConstraints", "InvalidAccount", "InvalidQOS"),
    *("DependencyNeverSatisfied", "JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue"),  # until somebody releases it
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class QueuedTask:
    """A task in Slurm's queue.

    Attributes:
        id: Slurm's, for example `12_3`.
        name: The name with which it was submitted, the same for the tasks of an array.
        number: Its index in the array.
        state: For example `PENDING` or `RUNNING`.
        reason: Why it is in this state, in Slurm's words; `None` where there is none.
        nodes: Where it runs.
    """

    id: str
    name: str
    number: int
    state: str
    reason: str
    nodes: str

    @property
    def can_never_run(self) -> bool:
        """Whether Slurm says that it will never start it as it was submitted."""
        return self.state == "PENDING" and (self.reason in _NEVER or self.reason.endswith("PerJobLimit"))


def queued_tasks() -> list[QueuedTask]:
    """All tasks of this user in the queue, pending, running and ending.

    Raises:
        SettingError: Slurm does not answer.
    """
    form = "%F|%K|%j|%T|%r|%N"
    lines = _ask("squeue", "--me", "--noheader", "--array", f"--format={form}").splitlines()
    tasks = []
    for line in lines:
        job, index, *names, state, reason, nodes = line.split("|")
        is_array = index.isdigit()  # which a single task is not
        task, number = (f"{job}_{index}", int(index)) if is_array else (job, 0)
        tasks.append(QueuedTask(task, "|".join(names), number, state, reason, nodes))
    return tasks


def what_became_of(ids: Iterable[str]) -> dict[str, str]:
    """The state in which tasks left the queue, and where and why, by their ids; accounting may know nothing of some."""
    ids = list(ids)
    if not ids:
        return {}
    jobs = ",".join(sorted({each.partition("_")[0] for each in ids}))
    form = "JobID,State,ExitCode,NodeList,Reason"
    try:
        lines = _ask("sacct", "--allocations", "--noheader", "--parsable2", f"--format={form}", f"--jobs={jobs}").splitlines()
    except SettingError:
        return {}  # a cluster without accounting
    found = {}
    for line in lines:
        task, state, code, nodes, reason = line.split("|")
        about = [f"exit code {code}" if code != "0:0" else "", f"on {nodes}" if nodes else "", reason if reason != "None" else ""]
        found[task] = " ".join([state, *(part for part in about if part)])
    # tasks that never began have one record together: 12_[0-3], or 12 where each of them was cancelled by itself
    arrays = {task.partition("_[")[0]: said for task, said in found.items() if "_[" in task or "_" not in task}
    states = {task: found.get(task, arrays.get(task.partition("_")[0])) for task in ids}
    return {task: state for task, state in states.items() if state}


def cancel(ids: Sequence[str]) -> None:
    """Take tasks out of the queue, and end those that run.

    Raises:
        SettingError: Slurm does not answer.
    """
    for first in range(0, len(ids), 500):  # a command line has its limits
        _ask("scancel", *ids[first : first + 500])


def check_answers() -> None:
    """Make sure that there is a Slurm.

    Raises:
        SettingError: None answers.
    """
    _ask("sinfo", "--noheader")


def largest_array() -> int:
    """How many tasks this cluster takes in one array."""
    for line in _ask("scontrol", "show", "config").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "MaxArraySize":
            return max(1, int(value))
    return 1001  # Slurm's default


def submit(
    config: DictConfig, context: HydraContext, name: str, overrides: Sequence[list[str]], function: Callable[[DictConfig], Any]
) -> list[str]:
    """Submit tasks as one array, as Hydra's launcher for Slurm does, and do not wait for them.

    Args:
        config: The sweep's configuration.
        context: Hydra's.
        name: What Slurm calls them.
        overrides: Those of each task.
        function: What each calls.

    Returns:
        Slurm's id of each task.
    """
    import submitit  # which takes a moment

    launcher: Any = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=function, config=config)
    settings = dict(launcher.params) | {"name": name}
    folder, timeouts = settings.pop("submitit_folder"), settings.pop("max_num_timeout")
    executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=timeouts)
    executor.update_parameters(**{key if key in _COMMON else f"slurm_{key}": value for key, value in settings.items()})
    state = Singleton.get_state()
    arguments = [(each, "hydra.sweep.dir", number, name, state) for number, each in enumerate(overrides)]
    try:
        jobs = executor.map_array(launcher, *zip(*arguments, strict=True))
    except submitit.core.utils.FailedJobError as error:
        raise SettingError(f"hydra/launcher=slurm: sbatch refuses: {' '.join(str(error).split())}") from error
    return [job.job_id for job in jobs]


def output_file(folder: Path, task: str) -> Path:
    """Where Slurm writes what a task prints."""
    return folder / ".submitit" / task / f"{task}_0_log.out"


def _ask(*command: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SettingError(f"hydra/launcher=slurm: no Slurm cluster answers here ({error})") from error
    if answer.returncode:
        said = answer.stderr.strip().splitlines() or [f"{command[0]} fails"]
        raise SettingError(f"hydra/launcher=slurm: no Slurm cluster answers here ({said[-1]})")
    return answer.stdout
