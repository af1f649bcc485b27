"""The signals of a file, as a source for training and validation."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Generator, Tensor

from wavecoder.files.collection import Collection, sizes
from wavecoder.rng import generator
from wavecoder.scaling import Scaling
from wavecoder.signals import Device, time_grid

_PART = 8_192  # signals looked at together


class FileSource:
    """Signals of one's own: rows of a file, or windows of recordings, some for training and others for validation.

    Which signals are for what depends on `seed` and `val_size` alone. Large .npy files stay on disk, and every batch is read when
    it is needed; others are read into memory when they are first used. Neither a prior nor a test signal is known.

    Args:
        path: A file of rows (.npy, .npz, .csv, .tsv, .parquet), a recording (.wav, .flac, or one column of numbers), or a folder
            of .wav and .flac files. Recordings are cut into consecutive windows.
        key: The array in a .npz file, or the column of signals in a .parquet file; None for the only one.
        labels: The array (.npz), column (.csv, .tsv, .parquet) or file (.npy) of labels; None for one that is called so.
        scaling: What is done to the signals: `none`; `set`, the mean of all training values is subtracted, and they are divided
            by their standard deviation; `signal`, the same for each signal by itself.
        signal_length: Samples in a window of a recording; for rows None, or as many as they have.
        dt: Time between two values; None for that of the recording, or 1.
        train_size: Number of training signals; None for all that are left.
        val_size: Number of validation signals; None for a tenth, at most 10,000.
        seed: Which signals are for what.

    Raises:
        FileError: The file cannot be read.
        ValueError: An argument does not fit the file.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> path = Path(tempfile.mkdtemp(), "signals.npy")
        >>> np.save(path, np.random.default_rng(0).standard_normal((1000, 64)))
        >>> source = FileSource(path, scaling="set")
        >>> source.train_size, source.val_size, source.signal_length
        (900, 100, 64)
    """

    def __init__(
        self,
        path: Path | str,
        key: str | None = None,
        labels: str | None = None,
        scaling: str = "none",
        signal_length: int | None = None,
        dt: float | None = None,
        train_size: int | None = None,
        val_size: int | None = None,
        seed: int = 0,
    ) -> None:
        self.collection = Collection(path, key, labels, signal_length)
        self.signal_length = self.collection.signal_length
        self.dt = dt if dt is not None else 1 / self.collection.rate if self.collection.rate else 1.0
        self.train_size, self.val_size = sizes(self.collection.count, train_size, val_size)
        self.seed = seed
        self._scaling = Scaling(scaling)
        self._kept: dict[torch.device, Tensor] = {}

    @cached_property
    def scaling(self) -> Scaling:
        """What is done to the signals, with the mean and the standard deviation of the training values if it needs them."""
        if self._scaling.kind != "set":
            return self._scaling
        count, shift, total, squares = 0, None, 0.0, 0.0
        for part in FileSignals(self, self._numbers[0], torch.device("cpu")).split(_PART):
            values = part.unscaled().double()
            shift = values.mean() if shift is None else shift  # without it, squares of a large mean would hide the deviations
            centred = values - shift
            count += centred.numel()
            total += centred.sum().item()
            squares += centred.square().sum().item()
        assert shift is not None, "there are training signals"
        mean = total / count
        std = max(0.0, squares / count - mean**2) ** 0.5
        return Scaling("set", shift.item() + mean, std or 1.0)

    @cached_property
    def _numbers(self) -> tuple[Int[Tensor, " train"], Int[Tensor, " val"]]:
        """The numbers of the training signals, ascending so that they can be read one after another, and of the others."""
        order = torch.randperm(self.collection.count, generator=generator("cpu", self.seed, "split"))
        val, train = order[: self.val_size], order[self.val_size : self.val_size + self.train_size]
        return train.sort().values, val.clone()

    def times(self, device: Device) -> Float[Tensor, " time"]:
        return time_grid(self.signal_length, self.dt, device)

    def training_set(self, device: Device) -> "FileSignals":
        return FileSignals(self, self._numbers[0], torch.device(device))

    def fresh(self, keys: Sequence[Generator], count: int, progress: float = 0.0) -> "FileSignals":
        """There are none.

        Raises:
            ValueError: Always.
        """
        raise ValueError("there are no new signals in a file; fresh and per_seed must be false")

    def validation_set(self, device: Device) -> "FileSignals":
        return FileSignals(self, self._numbers[1], torch.device(device))

    def test_signal(self, device: Device) -> None:
        return None

    def prior(self, device: Device) -> None:
        return None

    def validation_labels(self) -> ndarray | None:
        """The label of each validation signal; None if there are none."""
        labels = self.collection.labels
        return None if labels is None else labels[self._numbers[1].numpy()]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the file, so that the network can be used without it."""
        names = ("signal_length", "dt", "train_size", "val_size")
        return {name: getattr(self, name) for name in names} | {"scaling": self.scaling.state()}

    def rows(self, number: Int[Tensor, "*signals"], device: torch.device) -> Float[Tensor, "*signals time"]:
        """The signals with these numbers in the file, as they are there."""
        flat = number.flatten()
        if self.collection.is_on_disk:
            found = torch.from_numpy(self.collection.take(flat.cpu().numpy())).to(device)
        else:
            if device not in self._kept:
                self._kept[device] = torch.from_numpy(self.collection.values).to(device)
            found = self._kept[device].index_select(0, flat)
        return found.unflatten(0, number.shape)


class FileSignals:
    """Signals of a file, by their numbers in it.

    Args:
        source: The file.
        number: The numbers, of any shape.
        device: Where the signals are wanted.
    """

    def __init__(self, source: FileSource, number: Int[Tensor, "*signals"], device: torch.device) -> None:
        self._source = source
        self._number = number.to(device)
        self._device = device

    def __len__(self) -> int:
        return len(self._number)

    def take(self, index: Int[Tensor, "*picked"]) -> "FileSignals":
        picked = self._number.index_select(0, index.flatten().to(self._device)).unflatten(0, index.shape)
        return FileSignals(self._source, picked, self._device)

    def split(self, size: int) -> "list[FileSignals]":
        return [FileSignals(self._source, part, self._device) for part in self._number.split(size)]

    def unscaled(self) -> Float[Tensor, "*signals time"]:
        """The signals as they are in the file."""
        return self._source.rows(self._number, self._device)

    def evaluate(self, times: Float[Tensor, " time"]) -> Float[Tensor, "*signals time"]:
        """The signals, scaled; the times are always those of the file."""
        return self._source.scaling.apply(self.unscaled()).values
