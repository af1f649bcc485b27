"""Training one configuration, and measuring the result."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L

from wavecoder.training.callbacks.checkpoint import LastCheckpoint
from wavecoder.training.callbacks.references import find_references
from wavecoder.training.callbacks.subspace import LinearSubspace
from wavecoder.training.data import SignalDataModule
from wavecoder.training.module import AutoencoderModule


@dataclass(frozen=True)
class Outcome:
    """What a training gave.

    Attributes:
        errors: Every metric, for each seed; NaN where one diverged.
        references: The errors of the references, by name and metric.
        subspace: The distances of a linear autoencoder to the SVD's subspace while it trained, if they were measured.
        seconds: Duration of the training, in seconds, over all sessions if it was resumed.
        steps: Optimiser steps in all.
        resumed_at_step: The step at which it resumed from a checkpoint, or 0.
        diverged: The optimiser step at which seeds diverged, by seed.
        dead: Seeds whose output is the same for every validation signal.
    """

    errors: dict[str, list[float]]
    references: dict[str, dict[str, float]]
    subspace: dict[str, Any]
    seconds: float
    steps: int
    resumed_at_step: int
    diverged: dict[int, int]
    dead: list[int]


def fit(trainer: L.Trainer, module: AutoencoderModule, datamodule: SignalDataModule, checkpoint: Path | None = None) -> Outcome:
    """Train, then measure on the validation and the training signals.

    Args:
        trainer: Trains.
        module: What is trained.
        datamodule: What it is trained and measured on.
        checkpoint: Where to resume, a `last.ckpt` of the same configuration; None starts from the beginning.

    Raises:
        Diverged: A seed diverged and the run shall stop, or all did.
    """
    started = time.perf_counter()
    trainer.fit(module, datamodule, ckpt_path=checkpoint)
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    last = next((callback for callback in callbacks if isinstance(callback, LastCheckpoint)), None)
    seconds = time.perf_counter() - started if last is None else last.seconds
    steps = trainer.global_step
    trainer.test(module, datamodule, verbose=False)
    module.divergence.judge(module.meter.compute()["val/mse"], steps)

    errors = {metric: values.tolist() for metric, values in module.meter.compute().items()}
    references = find_references(trainer)
    if references is not None:
        errors |= {metric: ratio.tolist() for metric, ratio in references.ratios(module).items()}
    subspace = next((callback for callback in callbacks if isinstance(callback, LinearSubspace)), None)
    if subspace is not None:
        errors |= subspace.latest
    for member in module.divergence.steps:
        for values in errors.values():
            values[member] = math.nan
    return Outcome(
        errors,
        references.errors if references is not None else {},
        {"steps": subspace.steps} | {name: _finite(values) for name, values in subspace.history.items()} if subspace else {},
        seconds,
        steps,
        module.first_step,
        module.divergence.by_seed,
        [datamodule.seeds[member] for member in module.constant.members],
    )


def _finite(values: list[list[float]]) -> list[list[float | None]]:
    """Values with None for what is not finite, as of a member that was about to diverge."""
    return [[value if math.isfinite(value) else None for value in row] for row in values]
