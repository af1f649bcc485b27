"""The signals of a run as a LightningDataModule: made on the device that trains, without files or worker processes.

What Lightning takes for a batch is here a *chunk*: the batches of several optimiser steps.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from itertools import chain
from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor

from wavecoder.engine.base import Block, Signals
from wavecoder.file_source import FileSource
from wavecoder.metrics import EvaluationBatch
from wavecoder.references import Moments, pooled_moments, training_moments
from wavecoder.rng import generator
from wavecoder.signals import SignalSet, SignalSource, Sinusoids, add_noise, own_training_sets, rows_of
from wavecoder.training.noise import Noise

_BLOCK_VALUES = 1_000_000  # values evaluated at once: 4 MB, so that they stay in the processor's caches until they are used
_EVALUATION_BATCH = 4_096
_TRAINING_NOISE = ("training noise level", "training noise")  # what it is drawn for


class TrainingChunk:
    """The batches of consecutive optimiser steps, made one after another while they are used.

    Args:
        source: The data module that they belong to.
        signals: The signals of each step, `[step, member, batch]`.
        epoch: The epoch they belong to.
        first_step: Number of the first of the steps in the epoch.
    """

    def __init__(self, source: "SignalDataModule", signals: SignalSet, epoch: int, first_step: int) -> None:
        self._source = source
        self._signals = signals
        self.epoch = epoch
        self.first_step = first_step
        self.times = source.times
        clean = source.noise.train_std == 0 and isinstance(signals, Sinusoids)
        self.sinusoids = signals if clean else None

    def blocks(self) -> Iterator[tuple[Block, Block]]:
        """Inputs and targets of some steps at a time; without training noise they are the same tensor."""
        source, step = self._source, self.first_step
        per_step = len(source.seeds) * source.batch_size * source.signals.signal_length
        for block in self._signals.split(max(1, _BLOCK_VALUES // per_step)):
            targets = block.evaluate(self.times)
            yield source.with_training_noise(targets, self.epoch, step), targets
            step += len(targets)

    def __iter__(self) -> Iterator[tuple[Signals, Signals]]:
        """Inputs and targets of each step."""
        return chain.from_iterable(zip(*block, strict=True) for block in self.blocks())


class SignalDataModule(L.LightningDataModule):
    """The signals of one run, from any source.

    Every draw has a generator of its own. Validation signals and their noise are the same for every member, and so are, unless
    `per_seed`, the training set and the noise of the test signal; the order of the batches (or, if they are fresh, their signals)
    and the training noise of member i come from `seed + i`.

    Args:
        signals: Where signals come from.
        noise: The noise added to them.
        batch_size: Signals in an optimiser step, over all processes together. A last, smaller batch of an epoch is left out.
        seed: Seed of the first member.
        num_seeds: Number of members.
        data_seed: Key of the noise in validation signals.
        fresh: Whether every batch has new signals instead of those of a fixed set.
        steps_per_execution: Optimiser steps in a chunk.
        per_seed: Whether member i has a training set and noise of the test signal of its own, which come from the data seed and
            `seed + i`.
    """

    def __init__(
        self,
        signals: SignalSource,
        noise: Noise,
        batch_size: int,
        seed: int = 0,
        num_seeds: int = 1,
        data_seed: int = 0,
        fresh: bool = False,
        steps_per_execution: int = 20,
        per_seed: bool = False,
    ) -> None:
        super().__init__()
        self.signals = signals
        self.noise = noise
        self.batch_size = batch_size
        self.seeds = range(seed, seed + num_seeds)
        self.data_seed = data_seed
        self.fresh = fresh
        self.steps_per_execution = steps_per_execution
        self.per_seed = per_seed
        self.steps_per_epoch = signals.train_size // batch_size

    @property
    def device(self) -> torch.device:
        """Where signals are made: the device of this process."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    @property
    def rank(self) -> int:
        """Which of the processes that share a batch this is."""
        return self.trainer.global_rank if self.trainer else 0

    @property
    def processes(self) -> int:
        """How many processes share a batch."""
        return self.trainer.world_size if self.trainer else 1

    @property
    def times(self) -> Float[Tensor, " time"]:
        """The time grid of the signals."""
        return self.signals.times(self.device)

    @property
    def own_sets(self) -> bool:
        """Whether each member has a fixed training set of its own."""
        return self.per_seed and not self.fresh

    @cached_property
    def moments(self) -> Moments:
        """The moments of all training signals, as the networks see them, taken when they are first needed."""
        return pooled_moments(self.moments_of_sets)

    @cached_property
    def moments_of_sets(self) -> list[Moments]:
        """The moments of the training set, or of each member's own."""
        return training_moments(self.signals, self.device, self.data_seed, self.seeds if self.own_sets else ())

    def state_dict(self) -> dict[str, Any]:
        """What checkpoints keep of signals from a file, so that what was trained on them can be used without it."""
        if not isinstance(self.signals, FileSource) or self.rank:  # the first process writes the checkpoints
            return {}
        moments = {"mean": self.moments.mean.cpu(), "second_moment": self.moments.second_moment.cpu()}
        return self.signals.state() | {"batch_size": self.batch_size} | moments

    def train_dataloader(self) -> "TrainingChunks":
        return TrainingChunks(self)

    def val_dataloader(self) -> "EvaluationBatches":
        """Validation signals, clean and at every noise level, and the noisy copies of the test signal."""
        clean = self.signals.validation_set(self.device).evaluate(self.times)
        batches = list(self._split("val/mse", 0.0, clean, clean))
        for std in self.noise.eval_std:
            noisy = add_noise(clean, std, self._generator("validation noise", std))
            batches += self._split(f"val/mse_noise_{std}", std, noisy, clean)
        tests = (self.noisy_test_signal(std) for std in self.noise.eval_std)
        return EvaluationBatches(batches, [batch for batch in tests if batch is not None])

    def test_dataloader(self) -> "EvaluationBatches":
        """The batches of the validation, and all training signals."""
        return EvaluationBatches(self.training_batches(), self.val_dataloader())

    def training_batches(self) -> Iterator[EvaluationBatch]:
        """All training signals, clean; of each member its own."""
        if not self.own_sets:
            return (batch for part in self.training_signals() for batch in self._split("train/mse", 0.0, part, part))
        signals, members, size = self.training_set(), len(self.seeds), self.signals.train_size
        positions = torch.arange(members * size, device=self.device).view(members, size)
        some = positions.split(max(1, _EVALUATION_BATCH // members), dim=1)
        parts = (signals.take(each).evaluate(self.times) for each in some)
        return (EvaluationBatch("train/mse", None, 0.0, part, part) for part in parts)

    def training_signals(self) -> Iterator[Float[Tensor, "_ time"]]:
        """The clean training set, a part at a time, or those of all members; if batches are fresh, as many of the same kind."""
        return rows_of(self.training_set(), self.times)

    def training_set(self) -> SignalSet:
        """The training set, or those of all members, one after another."""
        if self.own_sets:
            return own_training_sets(self.signals, self.device, self.data_seed, self.seeds)
        return self.signals.training_set(self.device)

    def noisy_test_signal(self, std: float, draws: int | None = None) -> EvaluationBatch | None:
        """Noisy copies of the test signal, `sin(r t) + std · p` in the paper (4.4); None if the source has none.

        Args:
            std: The standard deviation of the noise.
            draws: How many times there are new copies; None for as often as they are measured. The first are always the same.
        """
        clean, draws = self.signals.test_signal(self.device), draws or self.noise.draws
        if clean is None:
            return None
        copies = clean.repeat(self.noise.copies, 1)
        own = [(seed,) for seed in self.seeds] if self.per_seed else [()]
        keys = [self._generator("sine noise", std, *seed) for seed in own]
        drawn = [torch.cat([add_noise(copies, std, key) for _ in range(draws)]) for key in keys]
        noisy = torch.stack(drawn) if self.per_seed else drawn[0]
        return EvaluationBatch(f"sine/mse_noise_{std}", f"sine/mean_mse_noise_{std}", std, noisy, copies.repeat(draws, 1), draws)

    def with_training_noise(self, targets: Block, epoch: int, first_step: int) -> Block:
        """The inputs of some steps: their signals with the training noise."""
        if self.noise.train_std == 0:
            return targets
        inputs, shape = targets.clone(), (self.signals.signal_length, self.batch_size)
        for step, batches in enumerate(inputs, first_step):
            for seed, batch in zip(self.seeds, batches, strict=True):
                of_level, of_noise = (partial(generator, self.device, seed, what, epoch, step) for what in _TRAINING_NOISE)
                std = self.noise.std_at(epoch * self.steps_per_epoch + step, self.batch_size, of_level)
                # drawn for the whole batch, so that it does not depend on how many processes share it
                noise = torch.randn(shape, generator=of_noise(), device=self.device).mul_(std)
                batch.add_(noise[:, self.rank :: self.processes].mT)
        return inputs

    def _split(
        self, metric: str, noise: float, inputs: Float[Tensor, "signal time"], targets: Float[Tensor, "signal time"]
    ) -> Iterator[EvaluationBatch]:
        for pair in zip(inputs.split(_EVALUATION_BATCH), targets.split(_EVALUATION_BATCH), strict=True):
            yield EvaluationBatch(metric, None, noise, *pair)

    def _generator(self, *purpose: int | str | float) -> torch.Generator:
        return generator(self.device, self.data_seed, *purpose)


class EvaluationBatches:
    """Evaluation batches one after another, as one loader: Lightning would take a list for several loaders."""

    def __init__(self, *parts: Iterable[EvaluationBatch]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[EvaluationBatch]:
        return chain.from_iterable(self._parts)


class TrainingChunks:
    """The training batches of one epoch, as chunks; a function of the settings and the epoch alone.

    With several processes each takes its own rows of every batch, so that they share the work and never a signal. Lightning keeps
    its state in checkpoints, and loads it in the middle of an epoch alone, which then begins behind the steps that were done.
    """

    def __init__(self, datamodule: SignalDataModule) -> None:
        self._source = datamodule
        self._fixed: SignalSet | None = None  # the training set, once it is made
        self._taken = (0, 0)  # the epoch, and how many of its steps were taken
        self._resumed = (0, 0)

    def state_dict(self) -> dict[str, int]:
        epoch, steps = self._taken
        return {"epoch": epoch, "steps": steps, "steps_per_execution": self._source.steps_per_execution}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._resumed = (state_dict["epoch"], state_dict["steps"])

    def __len__(self) -> int:
        return -(-self._source.steps_per_epoch // self._source.steps_per_execution)

    def __iter__(self) -> Iterator[TrainingChunk]:
        source = self._source
        epoch = source.trainer.current_epoch if source.trainer else 0
        signals, index = self._epoch(epoch)
        # contiguous, and therefore the signals too: the compiled engine would copy others
        index = index[:, :, source.rank :: source.processes].contiguous()
        begun = self._resumed[1] if self._resumed[0] == epoch else 0
        self._resumed = (0, 0)
        for first in range(begun, len(index), source.steps_per_execution):
            part = index[first : first + source.steps_per_execution]
            self._taken = (epoch, first + len(part))
            yield TrainingChunk(source, signals.take(part), epoch, first)

    def _epoch(self, epoch: int) -> tuple[SignalSet, Any]:
        """The signals of an epoch, and which of them each step takes: `[step, member, batch]`."""
        source = self._source
        device, shape = source.device, (len(source.seeds), source.steps_per_epoch, source.batch_size)
        count = source.steps_per_epoch * source.batch_size
        if source.fresh:
            keys = [generator(device, seed, "fresh signals", epoch) for seed in source.seeds]
            progress = min(1.0, epoch / max(1, source.noise.steps // source.steps_per_epoch - 1))
            signals = source.signals.fresh(keys, count, progress)
            return signals, torch.arange(len(signals), device=device).view(shape).transpose(0, 1)
        keys = [generator(device, seed, "batch order", epoch) for seed in source.seeds]
        size = source.signals.train_size
        orders = torch.stack([torch.randperm(size, generator=key, device=device)[:count] for key in keys])
        if source.own_sets:  # one after another
            orders += size * torch.arange(len(keys), device=device).unsqueeze(1)
        if self._fixed is None:
            self._fixed = source.training_set()
        return self._fixed, orders.view(shape).transpose(0, 1)


def datamodule_of(trainer: L.Trainer) -> SignalDataModule:
    """The data module of a trainer, for callbacks."""
    datamodule: SignalDataModule = trainer.datamodule  # type: ignore[attr-defined]
    return datamodule
