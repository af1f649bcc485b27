"""Every setting of a run, typed and checked where it is defined.

The values and their one-line meanings stand in `conf/`; here are their types and limits. Hydra merges the configuration into
these classes, so an unknown key or a wrong type is refused while it composes; `from_config` then builds them, and a value out of
its limits raises `SettingError`. Nothing heavy is imported: a mistake is answered in a second.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, Optional

from omegaconf import MISSING, DictConfig, OmegaConf, open_dict, read_write

ACTIVATIONS = ("identity", "relu", "sigmoid", "tanh", "leaky_relu", "prelu", "gelu")
FAMILIES = ("sin", "cos", "sin+cos", "sin-cos", "sin*cos")
MODELS = ("deep", "linear_tied")
LOSSES = ("mse", "l1", "huber")
BASES = ("fitted", "population")


class SettingError(ValueError):
    """A setting that cannot be used. Its message is one line: the setting, the value given, what is allowed."""


def _require(holds: bool, setting: str, value: object, allowed: str) -> None:
    if not holds:
        raise SettingError(f"{setting}={value}: must be {allowed}")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


@dataclass
class ActivationSettings:
    """conf/activation"""

    name: str = MISSING
    slope: Optional[float] = None  # noqa: UP045 - OmegaConf reads this spelling in all its versions

    def __post_init__(self) -> None:
        _require(self.name in ACTIVATIONS, "activation.name", self.name, f"one of {', '.join(ACTIVATIONS)}")
        if self.name in ("leaky_relu", "prelu"):
            given = self.slope is not None and math.isfinite(self.slope)
            _require(given, "activation.slope", self.slope, f"a number for {self.name}")


@dataclass
class LatentSettings:
    """conf/latent"""

    dim: int = MISSING

    def __post_init__(self) -> None:
        _require(self.dim >= 1, "latent.dim", self.dim, "at least 1")


@dataclass
class NoiseSettings:
    """conf/noise"""

    levels: list[float] = MISSING
    copies: int = MISSING
    train: float = MISSING

    def __post_init__(self) -> None:
        for level in self.levels:
            _require(_is_positive(level), "noise.levels", self.levels, "numbers above 0 (noise=none for no noise)")
        _require(len(set(self.levels)) == len(self.levels), "noise.levels", self.levels, "different from one another")
        _require(self.copies >= 1, "noise.copies", self.copies, "at least 1")
        _require(0 <= self.train < math.inf, "noise.train", self.train, "0 or more")


@dataclass
class DataSettings:
    """conf/data"""

    seed: int = MISSING
    train_size: int = MISSING
    val_size: int = MISSING
    batch_size: int = MISSING
    fresh: bool = MISSING
    families: list[str] = MISSING
    sigma: float = MISSING
    samples: int = MISSING
    step: float = MISSING
    test_frequency: float = MISSING
    steps_per_chunk: int = MISSING

    def __post_init__(self) -> None:
        for name, least in {
            "seed": 0,
            "train_size": 1,
            "val_size": 1,
            "batch_size": 1,
            "samples": 2,
            "steps_per_chunk": 1,
        }.items():
            _require(getattr(self, name) >= least, f"data.{name}", getattr(self, name), f"at least {least}")
        for name in ("sigma", "step"):
            _require(_is_positive(getattr(self, name)), f"data.{name}", getattr(self, name), "above 0")
        _require(math.isfinite(self.test_frequency), "data.test_frequency", self.test_frequency, "a finite number")
        _require(len(self.families) > 0, "data.families", self.families, f"at least one of {', '.join(FAMILIES)}")
        for family in self.families:
            _require(family in FAMILIES, "data.families", family, f"among {', '.join(FAMILIES)}")
        _require(len(set(self.families)) == len(self.families), "data.families", self.families, "different from one another")
        _require(
            self.batch_size <= self.train_size,
            "data.batch_size",
            self.batch_size,
            f"at most data.train_size={self.train_size}",
        )


@dataclass
class ModelSettings:
    """conf/model"""

    name: str = MISSING
    widths: list[int] = MISSING
    bias: bool = MISSING
    latent_activation: bool = MISSING

    def __post_init__(self) -> None:
        _require(self.name in MODELS, "model.name", self.name, f"one of {', '.join(MODELS)}")
        _require(all(width >= 1 for width in self.widths), "model.widths", self.widths, "at least 1 each")
        if self.name == "linear_tied":
            _require(not self.widths, "model.widths", self.widths, "[] with model=linear_tied, which has no hidden layers")


@dataclass
class Settings:
    """conf/train.yaml

    The settings of the optimiser, the scheduler, the trainer, the callbacks and the logger are arguments of classes that check
    them; only those that the library itself uses are looked at here.
    """

    seed: int = MISSING
    replicas: int = MISSING
    loss: str = MISSING
    basis: str = MISSING
    sweep: Optional[str] = None  # noqa: UP045
    activation: ActivationSettings = MISSING
    latent: LatentSettings = MISSING
    noise: NoiseSettings = MISSING
    data: DataSettings = MISSING
    model: ModelSettings = MISSING
    optimizer: dict[str, Any] = MISSING
    scheduler: dict[str, Any] = MISSING
    trainer: dict[str, Any] = MISSING
    callbacks: dict[str, Any] = MISSING
    logger: dict[str, Any] = MISSING

    def __post_init__(self) -> None:
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        _require(self.replicas >= 1, "replicas", self.replicas, "at least 1")
        _require(self.loss in LOSSES, "loss", self.loss, f"one of {', '.join(LOSSES)}")
        named = self.sweep is None or re.fullmatch(r"\w[\w.-]*", self.sweep) is not None
        _require(named, "sweep", self.sweep, "letters, digits, and ._- after the first")
        _require(self.basis in BASES, "basis", self.basis, f"one of {', '.join(BASES)}")
        _require(
            self.latent.dim < self.data.samples,
            "latent.dim",
            self.latent.dim,
            f"below data.samples={self.data.samples}, or nothing is compressed",
        )
        _require(
            self.model.name != "linear_tied" or self.activation.name == "identity",
            "activation",
            self.activation.name,
            "identity with model=linear_tied, which is linear",
        )
        _require(_is_positive(self.optimizer.get("lr")), "optimizer.lr", self.optimizer.get("lr"), "a number above 0")
        self._check_trainer()

    def _check_trainer(self) -> None:
        for key in ("max_epochs", "num_nodes", "check_val_every_n_epoch"):
            _require(_is_whole(self.trainer.get(key), 1), f"trainer.{key}", self.trainer.get(key), "a whole number, at least 1")
        _require(self.trainer.get("devices") != 0, "trainer.devices", 0, "at least 1")
        # the written-out training step works in single precision, and one at a time; clipping would tie replicas together
        only = {"precision": "32-true", "accumulate_grad_batches": 1, "gradient_clip_val": None, "max_steps": -1}
        for key, value in only.items():
            _require(self.trainer.get(key, value) == value, f"trainer.{key}", self.trainer.get(key), f"{value}, or not set")


def from_config(config: DictConfig) -> Settings:
    """The checked settings of a composed configuration.

    Raises:
        SettingError: A setting is out of its limits.
    """
    plain = config.copy()
    with read_write(plain), open_dict(plain):
        plain.pop("hydra", None)
        # these are for others to read, and may refer to the run's folder or its length, which need not be known yet
        plain.callbacks, plain.logger, plain.scheduler = {}, {}, {}
    settings = OmegaConf.to_object(plain)
    assert isinstance(settings, Settings)
    return settings
