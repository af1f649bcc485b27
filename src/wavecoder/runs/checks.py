"""Settings that cannot be used are refused before anything is written, of runs and of every job of a sweep."""

import logging
import os
import re
import socket
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wavecoder.runs import cli, results, resume, slurm, typed
from wavecoder.runs.arguments import check_hydra, check_objects
from wavecoder.runs.fingerprints import FINGERPRINT
from wavecoder.runs.foreign import check_trusted, refuse_links
from wavecoder.runs.job import RUN_FOLDERS, is_first_process, remember_new_folders
from wavecoder.runs.limits import SettingError, as_typed
from wavecoder.runs.plan import Composer, Job
from wavecoder.runs.resolvers import given_overrides, tasks_share_a_run
from wavecoder.runs.settings import OF_SWEEPS, Settings, from_config
from wavecoder.runs.targets import resolve

_OWN_SWEEPER = "basic"  # it takes the place of Hydra's
_RAY_ANSWERS_IN = 20  # seconds
_UNKNOWN_FILE = {"signal_length": 2**31, "dt": 1.0, "train_size": 2**31, "val_size": 1, "batch_size": 2**10}
"""Stands for a file that the jobs of a sweep read, each perhaps another one, in a check of what they have in common."""


class CheckSettings(Callback):
    """Refuses settings that cannot be used before Hydra has made a folder.

    It is no part of the configuration, which could leave it out: `hooks` puts it before the callbacks that are.

    The jobs of a sweep are checked by `run_sweep`, which knows them. Hydra turns an exception in a callback into a warning, so
    these leave the process themselves.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with _errors_end_the_process():
            check_run(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with _errors_end_the_process():
            check_trusted(config)
            _check_plugins(config)
            check_hydra(config)
            own = config.hydra.runtime.choices["hydra/sweeper"] == _OWN_SWEEPER
            settings = from_config(config, _UNKNOWN_FILE if own and config.data.sigma is None else None)
            _check_launcher(config, settings)
            if settings.extend:
                raise SettingError("extend=true: is for a single run; jobs of a sweep are as long as its command says")
            _check_one_sweep(config)


@contextmanager
def _errors_end_the_process() -> Iterator[None]:
    try:
        yield
    except (SettingError, HydraException, OmegaConfBaseException, OSError) as error:
        cli.exit_with_error(error)
    except Exception:  # a bug, which Hydra would turn into a warning, and then train
        traceback.print_exc()
        sys.exit(cli.FAILED)


def check_run(config: DictConfig) -> None:
    """Refuse a single run with settings that cannot be used, and note which folders it is about to make.

    Args:
        config: Its composed configuration with its `hydra` node.

    Raises:
        SettingError: A setting cannot be used.
        OmegaConfBaseException: A value is missing, or of another type.
    """
    check_trusted(config)
    check_hydra(config)
    settings = from_config(config)
    if not config.hydra.run.dir:
        raise SettingError("hydra.run.dir=: must name a folder")
    folder = Path(config.hydra.run.dir).absolute()
    check_folder("hydra.run.dir", folder)
    is_first = is_first_process(config)
    if is_first:  # the others of a sweep's job have its settings too
        _check_single_run(config, settings, folder)
    resume.check(config, settings, folder)  # by all, or the others would wait for a first one that has left
    _check_device(settings)
    _check_interactive(config)
    _check_training(config, settings, here=True)
    _check_objects_made(config, settings, folder)
    if is_first:
        remember_new_folders(folder)
    typed.note_folder("hydra.run.dir", folder)


def check_jobs(jobs: Iterable[Job], composer: Composer, here: bool) -> None:
    """Refuse a sweep in which some job has settings that cannot be used. Jobs that differ in their seeds alone are checked once.

    Args:
        jobs: Those that are to be run.
        composer: Composes their configurations.
        here: Whether they run on this machine.

    Raises:
        SettingError: A setting cannot be used.
    """
    checked: set[tuple[str, ...]] = set()
    made: list[list[Any]] = []  # what the trainer, the callbacks and the logger were made from
    jobs = list(jobs)
    for job in jobs:
        alike = tuple(override for override in job.overrides if not re.fullmatch(r"(data\.)?seed=\d+", override))
        if alike in checked:
            continue
        config = composer.compose(job.overrides)
        check_trusted(config)
        settings = from_config(config)
        if here:
            _check_device(settings)
        _check_training(config, settings, here, min(_jobs_at_a_time(config), len(jobs)))
        objects: list[Any] = [OmegaConf.to_container(config[group]) for group in ("trainer", "callbacks", "logger")]
        objects += [settings.noise, settings.data.signal_length, settings.latent.dim]
        if here and objects not in made:
            _check_objects_made(config, settings, Path(config.hydra.sweep.dir, job.name).absolute())
            made.append(objects)
        checked.add(alike)


def _jobs_at_a_time(config: DictConfig) -> int:
    """How many jobs a launcher runs on this machine side by side."""
    jobs = config.hydra.launcher.get("n_jobs", 1)  # joblib's; negative numbers count from the cores
    return jobs if isinstance(jobs, int) and jobs > 0 else max(1, (os.cpu_count() or 1) + 1 + int(jobs or 0))


def runs_here(config: DictConfig) -> bool:
    """Whether the jobs of a sweep run on this machine."""
    return str(config.hydra.launcher._target_).endswith(("BasicLauncher", "JoblibLauncher"))


def _check_single_run(config: DictConfig, settings: Settings, folder: Path) -> None:
    """Refuse for a single run what only sweeps have, and a folder with contents that a run would mistake for its own."""
    given = {"sweep": settings.sweep, "jobs_per_task": settings.jobs_per_task != 1, "detach": settings.detach}
    given |= {"stack_seeds": settings.stack_seeds, "table": not settings.table}
    for key, value in given.items():
        if value:
            raise SettingError(f"{key}={as_typed(config[key])}: is for a sweep, which needs -m")
    launcher = config.hydra.runtime.choices["hydra/launcher"]
    if launcher != "basic":
        raise SettingError(f"hydra/launcher={launcher}: is for the jobs of a sweep, which needs -m")
    refuse_links(folder)
    found = [name for name in RUN_FOLDERS if (folder / name).exists()]
    if found and not any((folder / name).exists() for name in (results.RESULTS, FINGERPRINT)):
        raise SettingError(
            f"hydra.run.dir={config.hydra.run.dir}: holds {', '.join(found)} that no run has written; choose another folder"
        )


def _check_one_sweep(config: DictConfig) -> None:
    """Refuse settings of a whole sweep that are themselves swept."""
    parser = OverridesParser.create()
    for argument in given_overrides(config.hydra):
        override = parser.parse_override(argument)
        if override.key_or_group in OF_SWEEPS and override.is_sweep_override():
            raise SettingError(f"{argument}: must be one value, for all jobs")


def _check_plugins(config: DictConfig) -> None:
    """Refuse a launcher or a sweeper whose package is not installed, or that is none."""
    for part in ("launcher", "sweeper"):
        target = str(config.hydra[part]._target_)
        package, _, plugin = ".".join(target.split(".")[:2]).partition(".")
        if package == "hydra_plugins" and (find_spec(package) is None or find_spec(f"{package}.{plugin}") is None):
            raise SettingError(cli.not_installed(f"hydra/{part}={config.hydra.runtime.choices[f'hydra/{part}']}"))
        resolve(f"hydra.{part}", target)  # Hydra does so when there are folders already


def _check_launcher(config: DictConfig, settings: Settings) -> None:
    """Refuse a launcher that does not answer, or that cannot do what is asked."""
    launcher = config.hydra.runtime.choices["hydra/launcher"]
    if launcher == "slurm":
        slurm.check_answers()
    elif settings.detach:
        raise SettingError(f"detach=true: hydra/launcher={launcher} cannot; jobs live on without the command on slurm alone")
    if launcher == "ray":
        _check_ray(config.hydra.launcher.ray.init.get("address"))
    if config.hydra.runtime.choices["hydra/sweeper"] != _OWN_SWEEPER:
        for key, plain in {"jobs_per_task": 1, "detach": False, "stack_seeds": False}.items():
            if config[key] != plain:
                value, allowed = as_typed(config[key]), as_typed(plain)
                raise SettingError(f"{key}={value}: must be {allowed} in a search, which chooses its jobs as it goes")


def _check_ray(address: str | None) -> None:
    """Refuse an address at which nothing listens, or something that is not Ray: Ray itself would try for many minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # a cluster that is made here, or found by Ray
    setting = f"hydra.launcher.ray.init.address={address}"
    try:
        socket.create_connection((host, int(port)), timeout=_RAY_ANSWERS_IN).close()
    except OSError as error:
        raise SettingError(f"{setting}: nothing answers there ({error})") from error
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return  # Ray's own certificates would be needed to ask more

    import grpc  # type: ignore[import-untyped]  # which Ray's clusters speak, and the servers of its client

    with grpc.insecure_channel(f"{host}:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:  # Ray uses no proxy either
        try:
            grpc.channel_ready_future(channel).result(timeout=_RAY_ANSWERS_IN)
        except grpc.FutureTimeoutError:
            raise SettingError(f"{setting}: no Ray cluster answers there (for {_RAY_ANSWERS_IN} s)") from None


def _check_device(settings: Settings) -> None:
    if settings.trainer.get("accelerator") not in ("gpu", "cuda"):
        return
    import torch  # only if a GPU is asked for: importing it takes seconds

    if not torch.cuda.is_available():
        raise SettingError("trainer.accelerator=gpu: there is no GPU that PyTorch can use here; trainer=cpu always works")


def _check_interactive(config: DictConfig) -> None:
    """Refuse a run over several tasks of an interactive allocation: Lightning ignores Slurm there, and each task would wait."""
    name = os.environ.get("SLURM_JOB_NAME", "")
    if tasks_share_a_run(config.trainer.get("devices"), config.trainer.get("num_nodes", 1)) and name in ("bash", "interactive"):
        raise SettingError(
            f"trainer=slurm: Lightning ignores Slurm in jobs named {name}; give srun --job-name=NAME, or sbatch the command"
        )


def _check_training(config: DictConfig, settings: Settings, here: bool, beside: int = 1) -> None:
    check_objects(config)
    from wavecoder.runs.training_checks import check_training  # torch: only after all that is checked without it

    with warnings.catch_warnings(action="ignore"):  # they come again in the run
        check_training(config, settings, here, beside)


def _check_objects_made(config: DictConfig, settings: Settings, folder: Path) -> None:
    """Refuse a trainer, callbacks and a logger that cannot be made, or that want to write where nothing can be written."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)  # Lightning, if there is none when it is imported, makes one of its own
    from wavecoder.runs.trainer_checks import check_trainer  # Lightning, which the run needs anyway

    root.removeHandler(handler)
    for setting, other in check_trainer(config, settings, folder):
        if not other.is_relative_to(folder):
            check_folder(setting, other)


def check_folder(setting: str, folder: Path) -> None:
    """Refuse a folder that cannot be made, or in which nothing can be written.

    Args:
        setting: What chooses it.
        folder: It, absolute.

    Raises:
        SettingError: It cannot.
    """
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        name = max((part.encode() for part in folder.parts), key=len)
        if len(name) > os.pathconf(there, "PC_NAME_MAX") or len(os.fsencode(folder)) > os.pathconf(there, "PC_PATH_MAX") - 256:
            raise SettingError(f"{setting}={folder}: must have shorter names, as file systems allow")
        with TemporaryFile(prefix=".wavecoder-", dir=there):  # it has no name, so that a killed process leaves nothing
            pass
    except (OSError, ValueError) as error:
        raise SettingError(f"{setting}={folder}: cannot be made: {getattr(error, 'strerror', None) or error}") from error
