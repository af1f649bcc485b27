"""What `conf/` computes from other values: names of folders, numbers of epochs."""

import hashlib
import os
import re
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from pathlib import Path
from secrets import token_hex
from typing import Any

from omegaconf import OmegaConf

from wavecoder.runs.overrides import CONF
from wavecoder.runs.settings import count_processes

_LONGEST_NAME = 120  # bytes of a folder's name; file systems allow 255


def register() -> None:
    """Register the resolvers with OmegaConf."""
    OmegaConf.register_new_resolver("run_folder", run_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("network_name", lambda *, _root_: network_name(_root_), replace=True)
    OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
    OmegaConf.register_new_resolver("epochs", epochs, replace=True)


def run_folder(name: str, devices: object, num_nodes: int) -> str:
    """The folder of a single run in `outputs/runs/`: one of its own, which the tasks of a Slurm step that run it share."""
    slurm = os.environ
    if tasks_share_a_run(devices, num_nodes):
        return f"slurm/{slurm['SLURM_JOB_ID']}.{slurm['SLURM_STEP_ID']}_{name}"
    return f"{datetime.now():%Y-%m-%d/%H-%M-%S}_{name}_{token_hex(3)}"


def tasks_share_a_run(devices: object, num_nodes: int) -> bool:
    """Whether the tasks of a Slurm step share one run, rather than being runs of their own."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and count_processes(devices, num_nodes) > 1


def sweep_folder(name: str | None) -> str:
    """The folder of a sweep in `outputs/sweeps/`: its name, or one that no other sweep has."""
    return name or f"{datetime.now():%Y-%m-%d/%H-%M-%S}_{token_hex(3)}"


def given_overrides(hydra: Any) -> list[str]:
    """The overrides of the command line as they were written: what they refer to, as the run's folder, may not be known.

    Args:
        hydra: The `hydra` node of a configuration.
    """
    overrides: Any = OmegaConf.to_container(hydra.overrides.task)
    return [str(override) for override in overrides]


def overridden_keys(overrides: Iterable[str]) -> set[str]:
    """The keys that were set on the command line, for example `model.width` of `+model.width=64`."""
    return {override.partition("=")[0].lstrip("+~") for override in overrides}


def option_name(config: Any, group: str) -> str:
    """What was chosen in a group: the name of the option, or the class's if another `_target_` was set."""
    if target_is_replaced(config, group):
        return str(config[group]._target_).rpartition(".")[2]
    return str(config.hydra.runtime.choices[group])


def target_is_replaced(config: Any, group: str) -> bool:
    """Whether the `_target_` of a group is not that of the option chosen: the command line or an experiment has set another."""
    own = own_settings(group, str(config.hydra.runtime.choices[group])).get("_target_", config[group]._target_)
    return f"{group}._target_" in overridden_keys(given_overrides(config.hydra)) or config[group]._target_ != own


def set_keys(config: Any, group: str) -> set[str]:
    """The keys of a group that were set on the command line or by an experiment."""
    keys = {key.partition(".")[2] for key in overridden_keys(given_overrides(config.hydra)) if key.startswith(f"{group}.")}
    experiment = config.hydra.runtime.choices.get("experiment")
    for source in config.hydra.runtime.config_sources if experiment else ():
        file = Path(source.path, "experiment", f"{experiment}.yaml")
        if source.schema == "file" and file.exists():
            content: Any = OmegaConf.to_container(OmegaConf.load(file))
            keys |= {str(key) for key in content.get(group) or ()}
    return keys


@cache
def own_settings(group: str, option: str) -> dict[str, Any]:
    """What the file of an option of ours says of its group."""
    file = CONF / group / f"{option}.yaml"
    content: Any = OmegaConf.to_container(OmegaConf.load(file)) if file.exists() else {}
    return dict(content.get(group, content))  # the file of an option may set other groups too


def network_name(config: Any) -> str:
    """A short name of a network for folders: its activation for the default model, `deep`, and the name of any other model.

    What another model's activation is can only be said if it was chosen, for it need not have one.
    """
    model, activation = (option_name(config, group) for group in ("model", "activation"))
    if model == "deep":
        return activation
    chosen = {"activation", "activation._target_"} & overridden_keys(given_overrides(config.hydra))
    return f"{model}_{activation}" if chosen else model


def folder_name(overrides: str) -> str:
    """The name of a sweep job's folder: its overrides, readable, and the same for the same overrides.

    Quotes are left out and characters that need care in a path are replaced. A name that is too long, or that other overrides
    could lead to as well, ends in a hash.
    """
    unquoted = re.sub(r"['\"]", "", overrides) or "default"
    name = re.sub(r"[\[\](){}]", "", unquoted)
    name = re.sub(r"[^\w=,.+-]+", "-", name).strip("-.")
    if name != unquoted or len(name.encode()) > _LONGEST_NAME:
        short = name.encode()[: _LONGEST_NAME - 9].decode(errors="ignore")
        name = f"{short}-{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"
    return name


def epochs(steps: int, signals: int, batch: int) -> int:
    """The number of epochs that comes nearest to a number of optimiser steps, at least one."""
    return max(1, round(steps / max(1, signals // batch)))
