"""Searches with Optuna that can be stopped and resumed, and end with an experiment file of the best network."""

import hashlib
import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from optuna.trial import TrialState
from rich.console import Console

from wavecoder.runs import cli, results, typed
from wavecoder.runs.foreign import refuse_links_of_sweep
from wavecoder.runs.hydra_files import read_config
from wavecoder.runs.kinds import set_aside_wrong_kinds
from wavecoder.runs.limits import SettingError
from wavecoder.runs.overrides import quote_whole_numbers
from wavecoder.runs.plan import Job
from wavecoder.runs.resolvers import given_overrides
from wavecoder.runs.screen import say
from wavecoder.runs.status import slurm_name
from wavecoder.runs.store import read_sweep
from wavecoder.runs.sweep import conclude
from wavecoder.runs.tasks import TASKS, write_batch
from wavecoder.training.files import remove_old_leftovers, write_atomically

BEST = Path("experiment", "best.yaml")

_NOT_CHOSEN = ("experiment", "debug", "callbacks", "logger")  # groups that are not part of a network


_locks: dict[Path, FileLock] = {}  # held until the process ends; not in the callback, which launchers pickle


class ResumeSearch(Callback):
    """Makes the same command resume a search, and writes the best network as an experiment.

    Hydra's sweeper for Optuna keeps trials in its storage, but it counts from the beginning, repeats the choices of its sampler's
    seed, and leaves trials that were interrupted as if they still ran. Here those are the first to be tried again, with the same
    parameters and so in the same folders.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # of its queue of trials
        folder = Path(config.hydra.sweep.dir)
        try:
            refuse_links_of_sweep(folder, [path.name for path in folder.glob("[!.]*") if path.is_dir()])
            folder.mkdir(parents=True, exist_ok=True)
            lock = _locks[folder] = FileLock(folder / ".lock")
            lock.acquire(blocking=False)
            set_aside_wrong_kinds(folder, (results.SUMMARY,), (TASKS, BEST.parent.name))
            made, left = _resume(config)
        except Timeout:
            cli.exit_with_error(SettingError(f"sweep={config.sweep}: another process works on this search"))
        except Exception as error:  # which Hydra would make a warning
            cli.exit_with_error(error)
        typed.note_folder("hydra.sweep.dir", folder)
        remove_old_leftovers(folder, f"{TASKS}/*", str(BEST.parent))
        batch = write_batch(folder, config, config.hydra.runtime.choices["hydra/launcher"], [])  # so that it can be cancelled
        with read_write(config), open_dict(config):
            if batch.launcher == "slurm":
                config.hydra.launcher.name = slurm_name(folder, batch)
            config.hydra.sweeper.n_trials = left
            if config.hydra.sweeper.sampler.get("seed") is not None:
                config.hydra.sweeper.sampler.seed += made

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        jobs = read_sweep(folder)
        if jobs and jobs[0]["status"] == "completed":
            _write_best(folder, jobs[0])
        asked = [job for job in jobs if job["status"] != "diverged"]  # which a search finds out about choices
        conclude(folder, [Job(job["job"], (), job.get("config_fingerprint", "")) for job in asked], config.table)


def _write_best(folder: Path, best: dict[str, Any]) -> None:
    from wavecoder.runs import tables  # imports torch

    line, command = tables.closing_line(best), f"--config-dir {os.path.relpath(folder)} experiment={BEST.stem}"
    file = folder / BEST
    file.parent.mkdir(exist_ok=True)
    head = f"# @package _global_\n# The best network of a search: {line}\n# {command}\n"
    write_atomically(file, head + _experiment(folder / best["job"]))
    say(Console(), f"The best: {line}, written as an experiment: {command}")


def _resume(config: DictConfig) -> tuple[int, int]:
    """Put interrupted trials of a study into its queue; how many trials it has made, and how many are left to make.

    Raises:
        SettingError: What the study has seen was made with other settings.
    """
    sweeper, fingerprint = config.hydra.sweeper, f"{results.fingerprint(config)} {_space(config)}"
    study = optuna.create_study(
        storage=sweeper.storage, study_name=sweeper.study_name, direction=sweeper.direction, load_if_exists=True
    )
    if study.user_attrs.setdefault("config_fingerprint", fingerprint) != fingerprint:
        raise SettingError(f"sweep={config.sweep}: is a search with other settings; they are not mixed, choose another name")
    study.set_user_attr("config_fingerprint", fingerprint)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.set_user_attr(f"interrupted {trial.number}", True)
        study.enqueue_trial(trial.params)
    done = [trial for trial in study.trials if f"interrupted {trial.number}" not in study.user_attrs]
    done = [trial for trial in done if trial.state in (TrialState.COMPLETE, TrialState.FAIL)]
    return len(study.trials), max(0, sweeper.n_trials - len(done))


def _space(config: DictConfig) -> str:
    """A short hash of what a search chooses from."""
    overrides = OverridesParser.create().parse_overrides(given_overrides(config.hydra))
    given = {override.key_or_group: str(override.input_line) for override in overrides if override.is_sweep_override()}
    space = {str(key): str(value) for key, value in (config.hydra.sweeper.params or {}).items()} | given
    return hashlib.sha256(json.dumps([space, str(config.hydra.sweeper.direction)], sort_keys=True).encode()).hexdigest()[:16]


def _experiment(job: Path) -> str:
    """What a job chose that is not the default, as YAML: groups first, then keys."""
    loader = GlobalHydra.instance().config_loader()
    hydra = read_config(job, "hydra").hydra

    def composed(overrides: list[str]) -> DictConfig:
        return loader.load_configuration(hydra.job.config_name, overrides, run_mode=RunMode.RUN)

    default = composed([]).hydra.runtime.choices
    groups = {
        group: option
        for group, option in hydra.runtime.choices.items()
        if option != default.get(group) and "/" not in group and group not in _NOT_CHOSEN
    }
    chosen = OmegaConf.to_container(read_config(job))
    base = OmegaConf.to_container(composed([quote_whole_numbers(f"{key}={value}") for key, value in groups.items()]))
    assert isinstance(chosen, dict)
    assert isinstance(base, dict)
    for apart in ("callbacks", "logger", "sweep"):
        chosen.pop(apart)
    defaults = {"defaults": [{f"override /{group}": option} for group, option in groups.items()]} if groups else {}
    return OmegaConf.to_yaml(OmegaConf.create(defaults | _changes(base, chosen)))


def _changes(base: dict[Any, Any], chosen: dict[Any, Any]) -> dict[Any, Any]:
    """The entries of one nested dictionary that another lacks or has with another value."""
    changes = {}
    for key, value in chosen.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            value = _changes(base[key], value)
            if value:
                changes[key] = value
        elif key not in base or value != base[key]:
            changes[key] = value
    return changes
