"""Runs and sweeps under Hydra: settings checked before anything is written, failures named, one table at the end."""

import logging
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, read_write
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from wavecoder import commandline, results
from wavecoder.settings import SettingError, Settings, from_config

log = logging.getLogger(__name__)

_LEFT_BY_RUNS = ("tb", "figures")  # folders in a run's, beside the checkpoints

_new_folders: list[Path] = []  # those that Hydra is about to make for a single run, the innermost first


class CheckSettings(Callback):
    """Refuses settings that cannot be used before Hydra has made a folder, for every job of a sweep before the first runs.

    Hydra turns an exception in a callback into a warning, so these leave the process themselves.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            _check_device(from_config(config))
            folder = Path(config.hydra.run.dir).absolute()
        except (SettingError, OmegaConfBaseException) as error:
            commandline.refuse(error)
        _new_folders[:] = [path for path in (folder, *folder.parents) if not path.exists()]

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        loader = GlobalHydra.instance().config_loader()
        try:
            _check_plugins(config)
            from_config(config)
            for job in _known_jobs(config):
                settings = from_config(loader.load_sweep_config(config, job))
                if _runs_here(config):
                    _check_device(settings)
        except (SettingError, HydraException, OmegaConfBaseException) as error:
            commandline.refuse(error)


_sweep_ended = threading.Event()  # not in the callback, which launchers send to other processes


class SweepProgress(Callback):
    """Says after each job of a sweep how many are done and how long the others will take, wherever they run.

    What counts is what the jobs leave on disk, so that it is the same under every launcher.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        loader = GlobalHydra.instance().config_loader()
        folder = Path(config.hydra.sweep.dir)
        jobs = [folder / loader.load_sweep_config(config, job).hydra.sweep.subdir for job in _known_jobs(config)]
        _sweep_ended.clear()
        threading.Thread(target=_tell_progress, args=(jobs, _sweep_ended), daemon=True).start()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        _sweep_ended.set()


def _tell_progress(jobs: Sequence[Path], end: threading.Event) -> None:
    """Look every second which jobs are done, and print when one more is."""
    started, begun = time.monotonic(), time.time()

    def is_done(folder: Path) -> bool:
        status = results.read_record(folder)["status"]
        return status == "completed" or (status == "failed" and (folder / results.RESULTS).stat().st_mtime > begun)

    before = done = sum(map(is_done, jobs))
    while not end.wait(1.0):
        now = sum(map(is_done, jobs))
        if done < now < len(jobs):
            left = (time.monotonic() - started) / (now - before) * (len(jobs) - now)
            print(f"{now} of {len(jobs)} jobs done, about {_duration(left)} left", flush=True)
        done = now


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _known_jobs(config: DictConfig) -> list[list[str]]:
    """The overrides of every job of a sweep; none if its sweeper chooses jobs as it goes."""
    if config.hydra.sweeper._target_.rpartition(".")[2] != BasicSweeper.__name__:
        return []
    chosen = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    overrides = parser.parse_overrides([*chosen, *config.hydra.overrides.task])
    return [list(job) for job in BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]]


def _runs_here(config: DictConfig) -> bool:
    """Whether the jobs of a sweep run in this process."""
    return str(config.hydra.launcher._target_).endswith("BasicLauncher")


def _check_plugins(config: DictConfig) -> None:
    """Refuse a launcher or a sweeper whose package is not installed."""
    for part in ("launcher", "sweeper"):
        package, _, plugin = ".".join(str(config.hydra[part]._target_).split(".")[:2]).partition(".")
        if package == "hydra_plugins" and (find_spec(package) is None or find_spec(f"{package}.{plugin}") is None):
            raise SettingError(commandline.not_installed(f"hydra/{part}={config.hydra.runtime.choices[f'hydra/{part}']}"))


def _check_device(settings: Settings) -> None:
    if settings.trainer.get("accelerator") not in ("gpu", "cuda"):
        return
    import torch  # only who asks for a GPU waits for it

    if not torch.cuda.is_available():
        raise SettingError("trainer.accelerator=gpu: there is no GPU that PyTorch can use here; trainer=cpu always works")


class SweepSummary(Callback):
    """Prints the table of a sweep's jobs and writes `summary.csv`; a failed job makes the exit status non-zero."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        jobs = results.read_sweep(folder)
        console = Console()
        if not console.is_terminal:
            console.width = 140
        console.print(results.sweep_table(jobs))
        console.print(f"Summary: {os.path.relpath(results.write_summary(folder, jobs))}", soft_wrap=True, highlight=False)
        if not jobs or any(job["status"] != "completed" for job in jobs):
            raise SystemExit(commandline.FAILED)


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
    with _alone_in(folder) if _is_first_process() else nullcontext():
        return _run_job(config, work, folder)


def _run_job(config: DictConfig, work: Callable[[DictConfig, Path | None], float], folder: Path) -> float:
    single = HydraConfig.get().mode == RunMode.RUN
    fingerprint = results.fingerprint(config)
    record = results.read_record(folder)
    if record["status"] == "completed" and record["config_fingerprint"] == fingerprint:
        log.info("%s is complete already, nothing to do", folder.name)
        mean = record["metrics"]["val/mse"]["mean"]
        return float("nan") if mean is None else float(mean)
    if _is_first_process():
        _prepare(folder, record.get("config_fingerprint"), fingerprint)
    checkpoint = folder / results.LAST_CHECKPOINT
    try:
        with nullcontext() if single else _own_command_line():
            return work(config, checkpoint if checkpoint.exists() else None)
    except Exception as error:
        if not _is_first_process():
            raise  # the first process of the run keeps its record
        if single and isinstance(error, SettingError):
            _remove_new_folders()
            commandline.refuse(error)
        kind = "" if isinstance(error, SettingError) else f"{type(error).__name__}: "
        message = kind + " ".join(str(error).split())
        results.write_results(folder, {"status": "failed", "error": message, "config_fingerprint": fingerprint})
        if single:
            raise
        (folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
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


def _prepare(folder: Path, before: str | None, fingerprint: str) -> None:
    """Leave in a run's folder only what belongs to its configuration, and note that it has begun."""
    if before != fingerprint:
        if before is not None:
            log.info("%s: its configuration has changed, so it starts afresh", folder.name)
        (folder / results.RESULTS).unlink(missing_ok=True)
        for left in (*_LEFT_BY_RUNS, (folder / results.LAST_CHECKPOINT).parent.name):
            shutil.rmtree(folder / left, ignore_errors=True)
    elif (folder / results.LAST_CHECKPOINT).exists():
        log.info("%s goes on from its last checkpoint", folder.name)
    results.write_results(folder, {"status": "unfinished", "config_fingerprint": fingerprint})


@contextmanager
def _own_command_line() -> Iterator[None]:
    """Make the command line that of one job of the sweep while it runs.

    Lightning starts the other processes of a run with the command line and the run's folder of the first, and remembers in the
    environment that it did.
    """
    job: Any = HydraConfig.get()
    whole = sys.argv
    sys.argv = [whole[0], *job.overrides.task]
    with read_write(job):
        job.run.dir = job.runtime.output_dir
    environment = dict(os.environ)
    try:
        yield
    finally:
        sys.argv = whole
        for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            if name not in environment:
                os.environ.pop(name, None)
        import torch.distributed  # imported by the work long ago

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _is_first_process() -> bool:
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("SLURM_PROCID", "0") == "0"


def _remove_new_folders() -> None:
    """Remove the folders that were made for a run that never started, and nothing that was there before."""
    for path in _new_folders[:1]:
        shutil.rmtree(path)
    for path in _new_folders[1:]:
        if any(path.iterdir()):
            return  # another run's
        path.rmdir()
