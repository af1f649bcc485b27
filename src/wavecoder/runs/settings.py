"""The settings of a run: their types, and limits that need no heavy import.

The values and their one-line meanings are in `conf/`. Hydra merges the configuration into these classes, so an unknown key or a
wrong type is refused while it composes; `from_config` then checks the values. What is an argument of some class (`_target_`) is
checked by that class.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Optional, TypeAlias

from omegaconf import MISSING, DictConfig, OmegaConf, open_dict, read_write

from wavecoder.families import FAMILIES
from wavecoder.runs.limits import is_number, is_positive, is_whole, require, require_choice, require_flags

if TYPE_CHECKING:  # what is null in conf/data/file.yaml is filled in by `from_config`
    FromFile: TypeAlias = int
    FloatFromFile: TypeAlias = float
    Flag: TypeAlias = bool
else:  # as OmegaConf reads it, in all its versions
    Flag = Any  # of a bool it would make true of 3
    FromFile = Optional[int]  # noqa: UP045
    FloatFromFile = Optional[float]  # noqa: UP045

OF_SWEEPS = ("sweep", "jobs_per_task", "stack_seeds", "detach", "table", "allow_targets")
"""Settings of a command as a whole, which no job of a sweep has, and which are no part of what a run is."""


_POSITIVE = ("max_epochs", "num_nodes", "check_val_every_n_epoch", "accumulate_grad_batches", "log_every_n_steps")
_COUNTS = dict.fromkeys(_POSITIVE, 1) | {"num_sanity_val_steps": -1}  # of the trainer: the least that each can be; -1 for all


@dataclass
class LatentSettings:
    """conf/latent"""

    dim: int = MISSING

    def __post_init__(self) -> None:
        require(self.dim >= 1, "latent.dim", self.dim, "at least 1")


@dataclass
class NoiseSettings:
    """conf/noise"""

    eval_std: list[float] = MISSING
    train_std: Any = MISSING  # a number, or two
    train_between: str = "uniform"  # as in runs before there was a choice
    copies: int = MISSING
    draws: int = 1  # as in runs before there was a choice

    def __post_init__(self) -> None:
        for std in self.eval_std:
            require(is_positive(std), "noise.eval_std", self.eval_std, "numbers above 0 (noise=none for no noise)")
        require(len(set(self.eval_std)) == len(self.eval_std), "noise.eval_std", self.eval_std, "different from one another")
        require(self.copies >= 1, "noise.copies", self.copies, "at least 1")
        require(self.draws >= 1, "noise.draws", self.draws, "at least 1")
        require_choice("noise.train_between", self.train_between)
        self._check_training()

    def _check_training(self) -> None:
        given = self.train_std if isinstance(self.train_std, list) else [self.train_std]
        fits = len(given) in (1, 2) and all(is_number(std) and 0 <= std < math.inf for std in given)
        fits &= isinstance(self.train_std, list) == (len(given) == 2)
        require(fits, "noise.train_std", self.train_std, "a number, 0 or more, or two, as [0.1,1.0]")
        if len(given) == 1 or self.train_between == "schedule":
            return
        least = "the first below the second" + (" and above 0" if self.train_between == "log_uniform" else "")
        ordered = given[0] < given[1] and (given[0] > 0 or self.train_between == "uniform")
        require(ordered, "noise.train_std", self.train_std, f"two numbers, {least}, for noise.train_between={self.train_between}")


@dataclass
class DataSettings:
    """conf/data"""

    seed: int = MISSING
    train_size: FromFile = MISSING
    val_size: FromFile = MISSING
    batch_size: FromFile = MISSING
    fresh: Flag = MISSING
    signal_length: FromFile = MISSING
    dt: FloatFromFile = MISSING
    per_seed: Flag = False  # as in runs before there was a choice
    # of sinusoids
    families: Optional[list[str]] = None  # noqa: UP045
    sigma: Optional[float] = None  # noqa: UP045
    fresh_sigma: Any = None  # a number, or two
    test_frequency: Optional[float] = None  # noqa: UP045
    # of files
    path: Optional[str] = None  # noqa: UP045
    key: Optional[str] = None  # noqa: UP045
    labels: Optional[str] = None  # noqa: UP045
    scaling: str = "none"

    def __post_init__(self) -> None:
        for name, least in {"seed": 0, "train_size": 1, "val_size": 1, "batch_size": 1, "signal_length": 2}.items():
            value = getattr(self, name)
            require(is_whole(value, least), f"data.{name}", value, f"at least {least}")
        require(is_positive(self.dt), "data.dt", self.dt, "above 0")
        require_choice("data.scaling", self.scaling)
        require_flags(self, "data.", "fresh", "per_seed")
        if self.path is None:
            self._check_sinusoids()
        else:
            self._check_file()

    def _check_sinusoids(self) -> None:
        for name, value in {"key": self.key, "labels": self.labels}.items():
            require(value is None, f"data.{name}", value, "left alone: only files have it (data=file)")
        require(self.scaling == "none", "data.scaling", self.scaling, "none for sinusoids; files have others (data=file)")
        require(is_positive(self.sigma), "data.sigma", self.sigma, "above 0")
        given = self.fresh_sigma if isinstance(self.fresh_sigma, list) and len(self.fresh_sigma) == 2 else [self.fresh_sigma]
        wider = self.fresh_sigma is None or (self.fresh and all(map(is_positive, given)))
        allowed = "null, or with data.fresh=true a number above 0 or two, as [3.0,2.25]"
        require(wider, "data.fresh_sigma", self.fresh_sigma, allowed)
        known = self.test_frequency is not None and math.isfinite(self.test_frequency)
        require(known, "data.test_frequency", self.test_frequency, "a finite number")
        families = self.families or []
        require(len(families) > 0, "data.families", self.families, f"at least one of {', '.join(FAMILIES)}")
        for family in families:
            require(family in FAMILIES, "data.families", family, f"among {', '.join(FAMILIES)}")
        require(len(set(families)) == len(families), "data.families", families, "different from one another")

    def _check_file(self) -> None:
        for name in ("families", "sigma", "fresh_sigma", "test_frequency"):
            value = getattr(self, name)
            require(value is None, f"data.{name}", value, "left alone: it is for sinusoids, not for signals of a file")
        require(not self.fresh, "data.fresh", "true", "false: there are no new signals in a file")
        require(not self.per_seed, "data.per_seed", "true", "false: a file has one training set, for all seeds")


@dataclass
class EngineSettings:
    """conf/engine"""

    name: str = MISSING
    steps_per_execution: Optional[int] = None  # noqa: UP045
    torch_compile: Flag = MISSING

    def __post_init__(self) -> None:
        require_choice("engine.name", self.name)
        require_flags(self, "engine.", "torch_compile")
        steps = self.steps_per_execution
        require(steps is None or steps >= 1, "engine.steps_per_execution", steps, "at least 1, or null")


@dataclass
class Settings:
    """conf/train.yaml

    Groups without a class of their own here have the arguments of the class in their `_target_`.
    """

    seed: int = MISSING
    num_seeds: int = MISSING
    basis: str = MISSING
    extend: Flag = False
    on_divergence: str = "auto"
    threads: Optional[int] = None  # noqa: UP045 - OmegaConf reads this spelling in all its versions
    sweep: Optional[str] = None  # noqa: UP045
    jobs_per_task: int = 1
    stack_seeds: Flag = False
    detach: Flag = False
    table: Flag = True
    allow_targets: list[str] = field(default_factory=list)
    activation: dict[str, Any] = MISSING
    latent: LatentSettings = MISSING
    noise: NoiseSettings = MISSING
    data: DataSettings = MISSING
    model: dict[str, Any] = MISSING
    loss: dict[str, Any] = MISSING
    engine: EngineSettings = MISSING
    optimizer: dict[str, Any] = MISSING
    scheduler: dict[str, Any] = MISSING
    trainer: dict[str, Any] = MISSING
    callbacks: dict[str, Any] = MISSING
    logger: dict[str, Any] = MISSING

    def __post_init__(self) -> None:
        require(self.num_seeds >= 1, "num_seeds", self.num_seeds, "at least 1")
        require(self.num_seeds < 2**63, "num_seeds", self.num_seeds, "below 2 to the power of 63")
        require(0 <= self.seed < 2**63 - self.num_seeds, "seed", self.seed, "0 or more; all below 2 to the power of 63")
        named = self.sweep is None or re.fullmatch(r"\w[\w.-]*", self.sweep) is not None
        require(named, "sweep", self.sweep, "letters, digits, and ._- after the first")
        require(self.jobs_per_task >= 1, "jobs_per_task", self.jobs_per_task, "at least 1")
        require_flags(self, "", "extend", "stack_seeds", "detach", "table")
        require_choice("basis", self.basis)
        require_choice("on_divergence", self.on_divergence)
        known = self.data.path is None or self.basis == "fitted"
        require(known, "basis", self.basis, "fitted: the distribution of the signals in a file is not known")
        few = self.threads is None or 1 <= self.threads <= 1024  # many more than there are cores
        require(few, "threads", self.threads, "at least 1, or null; at most 1024")
        compressed = f"below data.signal_length={self.data.signal_length}, or nothing is compressed"
        require(self.latent.dim < self.data.signal_length, "latent.dim", self.latent.dim, compressed)
        if "lr" in self.optimizer:
            require(is_positive(self.optimizer["lr"]), "optimizer.lr", self.optimizer["lr"], "a number above 0")
        self._check_trainer()
        allowed = f"at most data.train_size={self.data.train_size}"
        if self.accumulate > 1:
            allowed += f" over trainer.accumulate_grad_batches={self.accumulate}"
        require(self.data.batch_size * self.accumulate <= self.data.train_size, "data.batch_size", self.data.batch_size, allowed)

    @property
    def accumulate(self) -> int:
        """Batches whose gradients are averaged in an optimiser step."""
        return int(self.trainer.get("accumulate_grad_batches", 1))

    @property
    def processes(self) -> int:
        """How many processes share a run, as far as the settings say."""
        return count_processes(self.trainer.get("devices", 1), self.trainer.get("num_nodes", 1))

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.data.train_size // (self.data.batch_size * self.accumulate) * int(self.trainer.get("max_epochs", 1))

    def _check_trainer(self) -> None:
        given = self.trainer.get
        for key, least in _COUNTS.items():
            require(is_whole(given(key, 1), least), f"trainer.{key}", given(key), f"a whole number, at least {least}")
        require(given("devices") != 0, "trainer.devices", 0, "at least 1")
        require(
            given("max_steps", -1) == -1, "trainer.max_steps", given("max_steps"), "-1, or not set; trainer.max_epochs counts"
        )
        for key in ("limit_train_batches", "overfit_batches", "fast_dev_run", "val_check_interval"):
            counted = "data.train_size, trainer.max_epochs and trainer.check_val_every_n_epoch count"
            require(given(key) is None, f"trainer.{key}", given(key), f"left alone: it counts chunks of steps; {counted}")
        for key in ("min_epochs", "min_steps"):
            require(given(key) is None, f"trainer.{key}", given(key), "left alone: trainer.max_epochs counts")
        for key in ("limit_val_batches", "limit_test_batches", "limit_predict_batches"):
            require(given(key) is None, f"trainer.{key}", given(key), "left alone: all of data.val_size is measured")
        require_choice("trainer.precision", given("precision", "32-true"))
        require_choice("trainer.gradient_clip_algorithm", given("gradient_clip_algorithm", "norm"))
        clip = given("gradient_clip_val")
        if clip is not None:
            require(is_positive(clip), "trainer.gradient_clip_val", clip, "a number above 0")


def count_processes(devices: object, num_nodes: int) -> int:
    """How many processes Lightning starts for so many devices on each node, as far as the setting says."""
    return (devices if isinstance(devices, int) else 1) * num_nodes


def from_config(config: DictConfig, of_file: Mapping[str, Any] | None = None) -> Settings:
    """The checked settings of a composed configuration.

    What is null for signals of a file follows from the file, whose path is made absolute.

    Args:
        config: The composed configuration.
        of_file: What a checkpoint says of the file, which then need not be there.

    Raises:
        SettingError: A setting is out of its limits.
    """
    from wavecoder.runs import values  # which imports this module

    plain = config.copy()
    with read_write(plain), open_dict(plain):
        plain.pop("hydra", None)
        values.refuse_left_out(plain, [each.name for each in fields(Settings) if each.default is MISSING])
        # these are for others to read, and may refer to the run's folder or its length, which need not be known yet
        plain.callbacks, plain.logger, plain.scheduler = {}, {}, {}
    values.refuse_unknown_keys(plain, Settings)
    values.refuse_unfit_references(plain, Settings)
    if plain.data.path is not None or (plain.data.families is None and plain.data.sigma is None):
        from wavecoder.runs.file_settings import fill_from_file  # NumPy

        fill_from_file(plain, OmegaConf.select(config, "hydra.runtime.cwd"), of_file)
    settings = OmegaConf.to_object(plain)
    assert isinstance(settings, Settings)
    values.refuse_unfit_numbers(config)
    return settings
