"""What `conf/` computes from other values: names of folders, numbers of epochs."""

import hashlib
import os
import re
from collections.abc import Sequence
from datetime import datetime
from secrets import token_hex
from typing import Any

from omegaconf import OmegaConf

_LONGEST_NAME = 120  # characters of a folder's name; file systems allow 255 bytes


def register() -> None:
    """Register the resolvers with OmegaConf."""
    OmegaConf.register_new_resolver("run_folder", run_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("network_name", lambda *, _root_: network_name(_root_), replace=True)
    OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
    OmegaConf.register_new_resolver("epochs", epochs, replace=True)


def run_folder(name: str) -> str:
    """The folder of a single run in `outputs/runs/`: one of its own, which the tasks of a Slurm step share."""
    slurm = os.environ
    if int(slurm.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return f"slurm/{slurm['SLURM_JOB_ID']}.{slurm['SLURM_STEP_ID']}_{name}"
    return f"{datetime.now():%Y-%m-%d/%H-%M-%S}_{name}_{token_hex(3)}"


def sweep_folder(name: str | None) -> str:
    """The folder of a sweep in `outputs/sweeps/`: its name, or one that no other sweep has."""
    return name or f"{datetime.now():%Y-%m-%d/%H-%M-%S}_{token_hex(3)}"


def overridden_keys(overrides: Sequence[str]) -> set[str]:
    """The keys that were set on the command line, for example `model.width` of `+model.width=64`."""
    return {override.partition("=")[0].lstrip("+~") for override in overrides}


def option_name(config: Any, group: str) -> str:
    """What was chosen in a group: the name of the option, or the class's if `_target_` was set on the command line."""
    hydra = config.hydra
    if f"{group}._target_" in overridden_keys(hydra.overrides.task):
        return str(config[group]._target_).rpartition(".")[2]
    return str(hydra.runtime.choices[group])


def network_name(config: Any) -> str:
    """A short name of a network for folders: its activation for the default model, `deep`, and the name of any other model.

    What another model's activation is can only be said if it was chosen, for it need not have one.
    """
    model, activation = (option_name(config, group) for group in ("model", "activation"))
    if model == "deep":
        return activation
    chosen = {"activation", "activation._target_"} & overridden_keys(config.hydra.overrides.task)
    return f"{model}_{activation}" if chosen else model


def folder_name(overrides: str) -> str:
    """The name of a sweep job's folder: its overrides, readable, and the same for the same overrides.

    Quotes are left out and characters that need care in a path are replaced. A name that is too long, or that other overrides
    could lead to as well, ends in a hash.
    """
    unquoted = re.sub(r"['\"]", "", overrides) or "default"
    name = re.sub(r"[\[\](){}]", "", unquoted)
    name = re.sub(r"[^\w=,.+-]+", "-", name).strip("-.")
    if name != unquoted or len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 9]}-{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"
    return name


def epochs(steps: int, signals: int, batch: int) -> int:
    """The number of epochs that comes nearest to a number of optimiser steps, at least one."""
    return max(1, round(steps / max(1, signals // batch)))
