"""The sweeper of wavecoder, as Hydra's plugin. Hydra imports this at every start, so it imports nothing of weight."""

from collections.abc import Mapping
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class WavecoderSweeper(Sweeper):
    """Runs those jobs of a sweep that are not done, see `wavecoder.runs.sweep`.

    Args:
        params: What is swept besides what the command line says, as with Hydra's own sweeper: values by key.
        max_batch_size: Must be None; launchers have settings of their own for how many jobs run at a time.

    Raises:
        ValueError: `max_batch_size` was set.
    """

    hydra_context: HydraContext
    config: DictConfig

    def __init__(self, params: Mapping[str, Any] | None = None, max_batch_size: int | None = None) -> None:
        if max_batch_size is not None:
            raise ValueError(f"hydra.sweeper.max_batch_size={max_batch_size}: must be null; jobs_per_task groups jobs")
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def sweep(self, arguments: list[str]) -> None:
        from wavecoder.runs.sweep import run_sweep

        run_sweep(self.config, self.hydra_context, [*(f"{key}={value}" for key, value in self.params.items()), *arguments])
