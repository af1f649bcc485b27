"""The LightningModule: an ensemble of autoencoders, trained by an engine and measured on evaluation batches."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from wavecoder.engine import Chunk, Engine, Problem
from wavecoder.engine.base import is_elementwise
from wavecoder.ensemble import flatten_parameters, trained_parameters
from wavecoder.metrics import ErrorMeter, EvaluationBatch
from wavecoder.rng import seeded_draws
from wavecoder.training import compiler  # noqa: F401 - at the first import of Lightning
from wavecoder.training.dead import ConstantOutputs
from wavecoder.training.divergence import Divergence

_STEPS_LOGGED = 50  # over which the training loss is averaged, as many as Lightning logs by default


class AutoencoderModule(L.LightningModule):
    """Trains and measures an ensemble of autoencoders.

    Each member has the gradient of its own loss alone, and with several members the optimiser must work element by element (SGD,
    Adam and their kin do), so no member depends on another. Such optimisers are given all parameters as one tensor.

    Optimisation is manual in Lightning's sense: one training step hands a chunk of optimiser steps to the engine, and Lightning's
    hooks run once for all of them. `global_step` still counts optimiser steps.

    Args:
        problem: What is trained and how.
        engine: The engine, from `wavecoder.engine.choose`.
        make_optimizer: Makes the optimiser from a list of parameters.
        make_scheduler: Makes the schedule of the learning rate, stepped after every optimiser step; None keeps the rate.
        label: What the network is called in figures.
        on_divergence: What happens when a member diverges, see `Divergence`.

    Attributes:
        ensemble: The networks.
        meter: The errors of the latest evaluation.
        losses: The training losses of the epoch so far, one entry for each chunk, means over the processes.
        divergence: The members that have diverged.
        constant: Members whose output is the same for every validation signal, after a test.
        first_step: The optimiser step at which this process began: above 0 if it resumed from a checkpoint.
    """

    flat: nn.Parameter

    def __init__(
        self,
        problem: Problem,
        engine: type[Engine],
        make_optimizer: Callable[..., Optimizer],
        make_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        label: str = "",
        on_divergence: str = "auto",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.ensemble = problem.ensemble
        self.problem = problem
        self.engine_class = engine
        self.make_optimizer = make_optimizer
        self.make_scheduler = make_scheduler
        self.label = label
        self.meter = ErrorMeter()
        self.constant = ConstantOutputs()
        self.losses: list[Float[Tensor, "step member"]] = []
        seeds = range(problem.seed, problem.seed + problem.ensemble.num_members)
        self.divergence = Divergence(seeds, on_divergence)
        self.first_step = 0
        self.engine: Engine | None = None

    def forward(self, signals: Float[Tensor, "*member batch time"]) -> Float[Tensor, "member batch time"]:
        """Every member's reconstruction of the same signals, or of its own; what networks draw is the same every time.

        NaN where a member has diverged.
        """
        with self._evaluation_draws(signals.device):
            return self.divergence.masked(self._reconstruct(signals))

    def _reconstruct(self, signals: Float[Tensor, "*member batch time"]) -> Float[Tensor, "member batch time"]:
        return self.engine.reconstruct(signals) if self.engine is not None else self.ensemble(signals)

    def _evaluation_draws(self, device: torch.device, *key: int) -> AbstractContextManager[None]:
        return seeded_draws(device, self.problem.seed, "evaluation", self.problem.rank, *key)

    def configure_optimizers(self) -> Optimizer | tuple[list[Optimizer], list[LRScheduler]]:
        """Make the optimiser and its schedule. Lightning calls this when the ensemble is on its device.

        Raises:
            ValueError: The optimiser does not work element by element, and there are several members.
        """
        flat = flatten_parameters(self.ensemble)
        vars(self)["flat"] = flat  # not a parameter of this module, and not in checkpoints: it is those of the ensemble again
        elementwise = is_elementwise(self.make_optimizer, self.ensemble.num_members)
        optimizer = self.make_optimizer([flat] if elementwise else trained_parameters(self.ensemble))
        if self.make_scheduler is None:
            return optimizer
        return [optimizer], [self.make_scheduler(optimizer)]

    def on_train_start(self) -> None:
        self.first_step = self.global_step
        optimizer = self.optimizers(use_pl_optimizer=False)
        scheduler = self.lr_schedulers()
        assert isinstance(optimizer, Optimizer)
        assert not isinstance(scheduler, list)
        self.engine = self.engine_class(self.problem, self.flat, optimizer, scheduler, self._average)

    def on_fit_end(self) -> None:
        if self.engine is None:  # it resumed after its last step; it is measured as if it had just been trained
            self.on_train_start()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["divergence"] = self.divergence.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.divergence.load_state_dict(checkpoint.get("divergence", {"steps": {}}))  # none in those of earlier versions

    def _average(self, values: Tensor) -> Tensor:
        """Average a tensor over the processes, in place."""
        return self.trainer.strategy.reduce(values, reduce_op="mean")

    def on_validation_model_zero_grad(self) -> None:
        """Keep the gradients, which Lightning would release before a validation: the engine writes into them."""

    def training_step(self, chunk: Chunk, batch_idx: int) -> None:
        assert self.engine is not None
        self.divergence.remember(self.engine)
        losses = self._average(self.engine.execute(chunk))  # so that all processes see the same
        self.divergence.check(self.engine, losses, self.global_step)
        self.losses.append(losses)
        # Lightning counts calls of its own wrapper of the optimiser, which the engine does not use
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        for count in (progress.total, progress.current):
            count.ready += len(losses)
            count.completed += len(losses)

    def on_train_epoch_end(self) -> None:
        """Log the training losses, means of some steps each: the host reads them once an epoch, not once a step."""
        losses = self.divergence.mean(torch.cat(self.losses)).cpu()
        step = self.global_step - len(losses)
        for part in losses.split(_STEPS_LOGGED):
            step += len(part)
            if self.logger is not None:
                self.logger.log_metrics({"train/loss": part.mean().item()}, step)
        self.losses.clear()

    def on_validation_epoch_start(self) -> None:
        self.meter = ErrorMeter()

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        self.measure(batch, self.meter, batch_idx)

    def measure(self, batch: EvaluationBatch, meter: ErrorMeter, number: int = 0) -> None:
        """Add the errors of a batch to a meter; `number` is the key of what networks draw that draw random numbers."""
        with self._evaluation_draws(batch.inputs.device, number):
            if self.engine is None or batch.mean_metric is not None:
                meter.update(batch, self._reconstruct(batch.inputs))
            else:  # it need not keep the reconstructions
                meter.add(batch.metric, self.engine.squared_errors(batch.inputs, batch.targets), batch.inputs.shape[-2])

    def on_validation_epoch_end(self) -> None:
        self.meter.discard(list(self.divergence.steps))
        self.report(self.meter.compute())

    def report(self, metrics: Mapping[str, Float[Tensor, " member"]]) -> None:
        """Give means of metrics of an evaluation to the logger, and to callbacks that monitor some of them.

        They are means over the members that have not diverged.

        What `self.log_dict` does for the same costs as much as a hundred optimiser steps.
        """
        of_members = [self.divergence.mean(values) for values in metrics.values()]
        means = self._average(torch.stack(of_members)) if metrics else torch.empty(0)
        self.trainer.callback_metrics.update(zip(metrics, means, strict=True))
        if self.logger is not None:
            self.logger.log_metrics(dict(zip(metrics, means.tolist(), strict=True)), self.global_step)

    # The test at the end of a run measures as the validation does, with the training signals added (see the data module).
    def on_test_epoch_start(self) -> None:
        self.on_validation_epoch_start()
        self.constant = ConstantOutputs()

    def test_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)
        if batch.metric == "val/mse":
            self.constant.update(batch.inputs, self)

    on_test_epoch_end = on_validation_epoch_end
