"""Signals made on the fly, on the device that trains: no files, no worker processes.

Lightning's batch is here a *chunk*: the batches of several optimiser steps.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor

from wavecoder import signals
from wavecoder.errors import EvaluationBatch
from wavecoder.settings import DataSettings, NoiseSettings
from wavecoder.signals import Waves, generator

Signals = Float[Tensor, "replica batch time"]

_BLOCK_VALUES = 250_000  # samples made by one evaluation of the sine: a megabyte, so that they stay in the caches until used
_EVALUATION_ROWS = 4_096  # signals times replicas in an evaluation batch: what the processor's caches hold


class TrainingChunk:
    """The batches of consecutive optimiser steps, made one after another while they are used.

    Args:
        source: Whose signals they are.
        waves: The signals of each step, `[step, replica, batch]`.
        epoch: The epoch they belong to.
        first: Number of the first of the steps in the epoch.
    """

    def __init__(self, source: "SinusoidDataModule", waves: Waves, epoch: int, first: int) -> None:
        self._source = source
        self._waves = waves
        self._epoch = epoch
        self._first = first

    def __iter__(self) -> Iterator[tuple[Signals, Signals]]:
        """Inputs and targets of each step; without training noise the two are one."""
        source, step = self._source, self._first
        times, rank, processes = source.times, source.rank, source.processes
        per_step = len(source.seeds) * source.data.batch_size * source.data.samples
        block = max(1, _BLOCK_VALUES // per_step)
        for part in zip(*(values[:, :, rank::processes].split(block) for values in self._waves), strict=True):
            for targets in Waves(*part).at(times):
                yield (source.with_training_noise(targets, self._epoch, step), targets)
                step += 1


class SinusoidDataModule(L.LightningDataModule):
    """The signals of one run.

    Every draw has a generator of its own. What belongs to the data set comes from `data.seed` and is the same for every replica;
    the order of the batches (or, with `data.fresh`, their signals) and the training noise of replica i come from `seed + i`.

    Args:
        data: What signals there are, see conf/data.
        noise: Which noise is added to them, see conf/noise.
        seed: Seed of the first replica.
        replicas: Number of replicas.
    """

    def __init__(self, data: DataSettings, noise: NoiseSettings, seed: int, replicas: int) -> None:
        super().__init__()
        self.data = data
        self.noise = noise
        self.seeds = range(seed, seed + replicas)
        self.steps_per_epoch = data.train_size // data.batch_size  # a last, smaller batch is left out
        self.evaluation_batch = max(64, _EVALUATION_ROWS // replicas)

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
        return signals.time_grid(self.data.samples, self.data.step, self.device)

    def train_dataloader(self) -> "TrainingChunks":
        return TrainingChunks(self)

    def val_dataloader(self) -> "EvaluationBatches":
        """Validation signals, clean and at every noise level, and the noisy copies of the test sine."""
        key = self._generator("validation signals")
        clean = signals.stratified_sample(self.data.val_size, self.data.families, self.data.sigma, key).at(self.times)
        batches = list(self._split("val/mse", 0.0, clean, clean))
        for level in self.noise.levels:
            noisy = signals.add_noise(clean, level, self._generator("validation noise", level))
            batches += self._split(f"val/mse_noise_{level}", level, noisy, clean)
        return EvaluationBatches(batches, [self.noisy_sine(level) for level in self.noise.levels])

    def test_dataloader(self) -> "EvaluationBatches":
        """What the validation has, and all the training signals."""
        training = (batch for part in self.training_signals() for batch in self._split("train/mse", 0.0, part, part))
        return EvaluationBatches(training, self.val_dataloader())

    def training_signals(self) -> Iterator[Float[Tensor, "_ time"]]:
        """The clean training set, a part at a time; with `data.fresh`, as many signals of the same kind."""
        waves, times = self.training_waves(), self.times
        for part in zip(*(values.split(8192) for values in waves), strict=True):
            yield Waves(*part).at(times)

    def training_waves(self) -> Waves:
        return signals.sample(self.data.train_size, self.data.families, self.data.sigma, self._generator("training signals"))

    def noisy_sine(self, level: float) -> EvaluationBatch:
        """Noisy copies of one sine, `sin(r t) + level · p` with r = `data.test_frequency` (paper 4.4)."""
        sine = torch.sin(self.data.test_frequency * self.times).repeat(self.noise.copies, 1)
        noisy = signals.add_noise(sine, level, self._generator("sine noise", level))
        return EvaluationBatch(f"sine/mse_noise_{level}", f"sine/mean_mse_noise_{level}", level, noisy, sine)

    def with_training_noise(self, targets: Signals, epoch: int, step: int) -> Signals:
        """The inputs of one step: its signals, with the noise that conf/noise asks for."""
        if self.noise.train == 0:
            return targets
        inputs = targets.clone()
        for seed, batch in zip(self.seeds, inputs, strict=True):
            key = generator(self.device, seed, "training noise", epoch, step)
            # drawn for the whole batch, so that it does not depend on how many processes share it
            noise = torch.randn(self.data.samples, self.data.batch_size, generator=key, device=self.device)
            batch.add_(noise[:, self.rank :: self.processes].mT, alpha=self.noise.train)
        return inputs

    def _split(
        self, metric: str, noise: float, inputs: Float[Tensor, "signal time"], targets: Float[Tensor, "signal time"]
    ) -> Iterator[EvaluationBatch]:
        for pair in zip(inputs.split(self.evaluation_batch), targets.split(self.evaluation_batch), strict=True):
            yield EvaluationBatch(metric, None, noise, *pair)

    def _generator(self, *purpose: str | float) -> torch.Generator:
        return generator(self.device, self.data.seed, *purpose)


class EvaluationBatches:
    """Evaluation batches one after another, in one loader: a plain list Lightning would take for many loaders."""

    def __init__(self, *parts: Iterable[EvaluationBatch]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[EvaluationBatch]:
        return chain.from_iterable(self._parts)


def datamodule_of(trainer: L.Trainer) -> SinusoidDataModule:
    """The signals that a trainer trains on, for callbacks."""
    datamodule: SinusoidDataModule = trainer.datamodule  # type: ignore[attr-defined]
    return datamodule


class TrainingChunks:
    """The training batches of one epoch, as chunks; a function of the settings and the epoch alone.

    With several processes each takes its own rows of every batch, so that they share the work and never a signal.
    """

    def __init__(self, datamodule: SinusoidDataModule) -> None:
        self._source = datamodule

    def __len__(self) -> int:
        return -(-self._source.steps_per_epoch // self._source.data.steps_per_chunk)

    def __iter__(self) -> Iterator[TrainingChunk]:
        source = self._source
        epoch = source.trainer.current_epoch if source.trainer else 0
        waves = self._epoch(epoch)
        size = source.data.steps_per_chunk
        for first in range(0, source.steps_per_epoch, size):
            yield TrainingChunk(source, Waves(*(values[first : first + size] for values in waves)), epoch, first)

    def _epoch(self, epoch: int) -> Waves:
        """The parameters of all signals of an epoch, in the order of training: `[step, replica, batch]`."""
        source = self._source
        shape = (source.steps_per_epoch, source.data.batch_size)
        count = shape[0] * shape[1]
        if source.data.fresh:
            drawn = [
                signals.sample(
                    count, source.data.families, source.data.sigma, generator(source.device, seed, "fresh signals", epoch)
                )
                for seed in source.seeds
            ]
        else:
            waves = source.training_waves()
            drawn = []
            for seed in source.seeds:
                key = generator(source.device, seed, "batch order", epoch)
                order = torch.randperm(source.data.train_size, generator=key, device=source.device)
                drawn.append(waves.take(order[:count]))
        return Waves(*(torch.stack([values.view(shape) for values in replicas], dim=1) for replicas in zip(*drawn, strict=True)))
