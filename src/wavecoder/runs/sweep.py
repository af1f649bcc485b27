"""Runs and sweeps as a whole: settings checked before anything is written, progress, one table at the end."""

import logging
import os
import subprocess
import threading
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from wavecoder.runs import cli, results
from wavecoder.runs.job import RUN_FOLDERS, is_first_process, remember_new_folders
from wavecoder.runs.settings import SettingError, Settings, from_config

log = logging.getLogger(__name__)


class CheckSettings(Callback):
    """Refuses settings that cannot be used before Hydra has made a folder, for every job of a sweep before the first runs.

    Hydra turns an exception in a callback into a warning, so these leave the process themselves.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            settings = from_config(config)
            folder = Path(config.hydra.run.dir).absolute()
            if is_first_process():  # the others of a sweep's job have its settings too
                _check_single_run(config, settings, folder)
            _check_device(settings)
            _check_training(config, settings, here=True)
        except (SettingError, OmegaConfBaseException) as error:
            cli.exit_with_error(error)
        remember_new_folders(folder)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        loader = GlobalHydra.instance().config_loader()
        try:
            _check_plugins(config)
            from_config(config)
            _check_jobs(config)
            _check_cluster(config)
            for job in _known_jobs(config):
                composed = loader.load_sweep_config(config, job)
                settings = from_config(composed)
                here = _runs_here(config)
                if here:
                    _check_device(settings)
                _check_training(composed, settings, here)
        except (SettingError, HydraException, OmegaConfBaseException) as error:
            cli.exit_with_error(error)


_sweep_ended = threading.Event()  # not an attribute of the callback, which launchers pickle


class SweepProgress(Callback):
    """Prints after each job of a sweep how many are done and how long the others will take.

    It reads the jobs' records on disk, so that it is the same under every launcher.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        loader = GlobalHydra.instance().config_loader()
        wanted = [results.fingerprint(loader.load_sweep_config(config, job)) for job in _known_jobs(config)]
        jobs = dict(zip(_job_folders(config), wanted, strict=True))
        _sweep_ended.clear()
        threading.Thread(target=_print_progress, args=(jobs, _sweep_ended), daemon=True).start()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        _sweep_ended.set()


def _print_progress(jobs: Mapping[Path, str], end: threading.Event) -> None:
    """Check every second which jobs are done, and print when the number has risen.

    Args:
        jobs: The fingerprint that each folder's configuration has.
        end: When to stop.
    """
    started = time.monotonic()
    failed_before = {folder: _changed(folder) for folder in jobs if results.read_record(folder)["status"] == "failed"}

    def is_done(folder: Path, fingerprint: str) -> bool:
        record = results.read_record(folder)
        if record.get("config_fingerprint") != fingerprint:
            return False
        if record["status"] == "failed":
            return failed_before.get(folder) != _changed(folder)
        return bool(record["status"] == "completed")

    before = done = sum(is_done(*job) for job in jobs.items())
    while not end.wait(1.0):
        now = sum(is_done(*job) for job in jobs.items())
        if done < now < len(jobs):
            left = (time.monotonic() - started) / (now - before) * (len(jobs) - now)
            print(f"{now} of {len(jobs)} jobs done, about {_duration(left)} left", flush=True)
        done = now


def _changed(folder: Path) -> int:
    return (folder / results.RESULTS).stat().st_mtime_ns


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _has_known_jobs(config: DictConfig) -> bool:
    """Whether a sweep's jobs are known before it runs; other sweepers than Hydra's own choose them as they go."""
    return bool(config.hydra.sweeper._target_.rpartition(".")[2] == BasicSweeper.__name__)


def _known_jobs(config: DictConfig) -> list[list[str]]:
    """The overrides of every job of a sweep, as far as they are known before it runs."""
    if not _has_known_jobs(config):
        return []
    chosen = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    overrides = parser.parse_overrides([*chosen, *config.hydra.overrides.task])
    return [list(job) for job in BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]]


def _job_folders(config: DictConfig) -> list[Path]:
    """The folders of these jobs."""
    loader = GlobalHydra.instance().config_loader()
    subfolders = [loader.load_sweep_config(config, job).hydra.sweep.subdir for job in _known_jobs(config)]
    return [Path(config.hydra.sweep.dir, subfolder) for subfolder in subfolders]


def _runs_here(config: DictConfig) -> bool:
    """Whether the jobs of a sweep run on this machine."""
    return str(config.hydra.launcher._target_).endswith(("BasicLauncher", "JoblibLauncher"))


def _check_single_run(config: DictConfig, settings: Settings, folder: Path) -> None:
    """Refuse for a single run what only sweeps have, and a folder with contents that a run would mistake for its own."""
    if settings.sweep is not None:
        raise SettingError(f"sweep={settings.sweep}: is the name of a sweep, which needs -m")
    launcher = config.hydra.runtime.choices["hydra/launcher"]
    if launcher != "basic":
        raise SettingError(f"hydra/launcher={launcher}: is for the jobs of a sweep, which needs -m")
    found = [name for name in RUN_FOLDERS if (folder / name).exists()]
    if found and not (folder / results.RESULTS).exists():
        raise SettingError(
            f"hydra.run.dir={config.hydra.run.dir}: holds {', '.join(found)} that no run has written; choose another folder"
        )


def _check_jobs(config: DictConfig) -> None:
    """Refuse a sweep of no jobs, of the same job twice, or of several names."""
    parser = OverridesParser.create()
    for argument in config.hydra.overrides.task:
        override = parser.parse_override(argument)
        if override.key_or_group == "sweep" and override.is_sweep_override():
            raise SettingError(f"{argument}: must be one name, for all jobs")
    if not _has_known_jobs(config):
        return
    folders = _job_folders(config)
    if not folders:
        raise SettingError("-m: the choices leave no job to run")
    if twice := next((folder for folder in folders if folders.count(folder) > 1), None):
        raise SettingError(f"-m: {twice.name} stands for more than one job; choices must differ")


def _check_plugins(config: DictConfig) -> None:
    """Refuse a launcher or a sweeper whose package is not installed."""
    for part in ("launcher", "sweeper"):
        package, _, plugin = ".".join(str(config.hydra[part]._target_).split(".")[:2]).partition(".")
        if package == "hydra_plugins" and (find_spec(package) is None or find_spec(f"{package}.{plugin}") is None):
            raise SettingError(cli.not_installed(f"hydra/{part}={config.hydra.runtime.choices[f'hydra/{part}']}"))


def _check_cluster(config: DictConfig) -> None:
    """Refuse to submit jobs where no Slurm answers, before anything is written."""
    if not str(config.hydra.launcher._target_).endswith(".SlurmLauncher"):
        return
    try:
        answer = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SettingError(f"hydra/launcher=slurm: no Slurm cluster answers here ({error})") from error
    if answer.returncode:
        said = answer.stderr.strip().splitlines() or ["sinfo fails"]
        raise SettingError(f"hydra/launcher=slurm: no Slurm cluster answers here ({said[-1]})")


def _check_device(settings: Settings) -> None:
    if settings.trainer.get("accelerator") not in ("gpu", "cuda"):
        return
    import torch  # only if a GPU is asked for: importing it takes seconds

    if not torch.cuda.is_available():
        raise SettingError("trainer.accelerator=gpu: there is no GPU that PyTorch can use here; trainer=cpu always works")


def _check_training(config: DictConfig, settings: Settings, here: bool) -> None:
    from wavecoder.runs.build import check_training  # torch: only after all that is checked without it

    check_training(config, settings, here)


class SweepSummary(Callback):
    """Prints the table of a sweep's jobs and writes `summary.csv`; a failed job makes the exit status non-zero.

    The table has all jobs in the sweep's folder; the status depends on those that this command asked for.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from wavecoder.runs import tables  # imports torch

        folder = Path(config.hydra.sweep.dir)
        jobs = results.read_sweep(folder)
        console = Console()
        if not console.is_terminal:
            console.width = 140
        console.print(tables.sweep_table(jobs))
        if len(engines := results.engines(jobs)) > 1:
            counts = ", ".join(f"{count} by {name}" for name, count in engines.items())
            console.print(f"Trained by different engines, which round differently: {counts}", soft_wrap=True, highlight=False)
        console.print(f"Summary: {os.path.relpath(tables.write_summary(folder, jobs))}", soft_wrap=True, highlight=False)
        asked = {path.name for path in _job_folders(config)} or {job["job"] for job in jobs}
        completed = {job["job"] for job in jobs if job["status"] == "completed"}
        if not asked or asked - completed:
            raise SystemExit(cli.FAILED)
