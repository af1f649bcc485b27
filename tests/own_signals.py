"""A source of signals of the tests' own: rows of a tensor, as they would be read from a file."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor


class Rows:
    """Signals that are in memory."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: Tensor) -> "Rows":
        return Rows(self.values[index])

    def split(self, size: int) -> "list[Rows]":
        return [Rows(part) for part in self.values.split(size)]

    def evaluate(self, times: Tensor) -> Tensor:
        return self.values


class RowSource:
    """The last quarter of the rows is for validation. Neither a prior nor a test signal is known."""

    def __init__(self, rows: Tensor) -> None:
        self.train_size = len(rows) * 3 // 4
        self.signal_length = rows.shape[1]
        self.rows = rows

    def times(self, device: torch.device | str) -> Tensor:
        return torch.arange(self.signal_length, device=device).float()

    def training_set(self, device: torch.device | str) -> Rows:
        return Rows(self.rows[: self.train_size].to(device))

    def fresh(self, keys: Sequence[Generator], count: int, progress: float = 0.0) -> Rows:
        picked = [torch.randint(self.train_size, (count,), generator=key, device=key.device) for key in keys]
        return self.training_set(keys[0].device).take(torch.cat(picked))

    def validation_set(self, device: torch.device | str) -> Rows:
        return Rows(self.rows[self.train_size :].to(device))

    def test_signal(self, device: torch.device | str) -> None:
        return None

    def prior(self, device: torch.device | str) -> None:
        return None
