"""The LightningModule: a stack of autoencoders, one loss, one optimiser over all replicas."""

from collections.abc import Callable
from typing import cast

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from wavecoder.autoencoder import Autoencoder
from wavecoder.backpropagation import backpropagation, flatten_gradients, flatten_parameters
from wavecoder.datamodule import TrainingChunk
from wavecoder.errors import ErrorMeter, EvaluationBatch


class AutoencoderModule(L.LightningModule):
    """Trains and measures a stack of autoencoders.

    Each replica has the gradient of its own loss alone, and the optimiser must work element by element (SGD, Adam and their kin
    do), so no update depends on another replica. It is given all parameters as one tensor.

    Optimisation is manual in Lightning's sense: one training step runs the optimiser steps of a whole chunk, and Lightning's
    hooks are paid once for all of them. `global_step` still counts optimiser steps.

    Args:
        network: A stack from `wavecoder.autoencoder`.
        loss: mse, l1 or huber, each a mean over the samples of a batch.
        make_optimizer: Makes the optimiser from a list of parameters.
        make_scheduler: Makes the schedule of the learning rate, stepped after every optimiser step; None keeps the rate.
    """

    def __init__(
        self,
        network: Autoencoder,
        loss: str,
        make_optimizer: Callable[..., Optimizer],
        make_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.loss = loss
        self.make_optimizer = make_optimizer
        self.make_scheduler = make_scheduler
        self.meter = ErrorMeter()
        self.losses: list[Float[Tensor, "step replica"]] = []
        self.first_step: int | None = None  # of this process: not the first of all if a checkpoint was gone on from

    def forward(self, signals: Float[Tensor, "replica batch time"]) -> Float[Tensor, "replica batch time"]:
        return self.network(signals)

    def reconstruct(self, signals: Float[Tensor, "signal time"]) -> Float[Tensor, "replica signal time"]:
        """Every replica's reconstruction of the same signals."""
        replicas = next(self.network.parameters()).shape[0]
        return self.network(signals.expand(replicas, -1, -1))

    def configure_optimizers(self) -> Optimizer | tuple[list[Optimizer], list[LRScheduler]]:
        # Lightning calls this when the network is on its device
        optimizer = self.make_optimizer([flatten_parameters(self.network)])
        if self.make_scheduler is None:
            return optimizer
        return [optimizer], [self.make_scheduler(optimizer)]

    def on_train_start(self) -> None:
        self.first_step = self.global_step
        flat = cast(LightningOptimizer, self.optimizers()).param_groups[0]["params"][0]
        self.gradient = flatten_gradients(self.network, flat)
        self.backpropagate = backpropagation(self.network, flat)

    def on_validation_model_zero_grad(self) -> None:
        """Keep the gradients, which Lightning would release before a validation: they are parts of the optimiser's."""

    def training_step(self, chunk: TrainingChunk, batch_idx: int) -> None:
        optimizer = cast(LightningOptimizer, self.optimizers())
        scheduler = cast(LRScheduler | None, self.lr_schedulers())
        losses = []
        for inputs, targets in chunk:
            batch = inputs.shape[1] * self.trainer.world_size
            losses.append(self.backpropagate(inputs, targets, self.loss, batch))
            self.trainer.strategy.reduce(self.gradient, reduce_op="sum")  # of all processes; in place
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
        self.losses.append(torch.stack(losses))

    def on_train_epoch_end(self) -> None:
        """Write the training loss of the epoch's chunks: the host reads them once an epoch, not once a step."""
        step = self.global_step - sum(len(losses) for losses in self.losses)
        for chunk in self.losses:
            losses = self.trainer.strategy.reduce(chunk, reduce_op="mean")  # of all processes
            step += len(losses)
            if self.logger is not None:
                self.logger.log_metrics({"train/loss": losses.mean().item()}, step)
        self.losses.clear()

    def on_validation_epoch_start(self) -> None:
        self.meter = ErrorMeter()

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        self.meter.update(batch, self.reconstruct(batch.inputs))

    def on_validation_epoch_end(self) -> None:
        means = {metric: errors.mean() for metric, errors in self.meter.compute().items()}
        # float32 because Lightning keeps what it logs in its default type; results.json has the exact numbers
        self.log_dict({metric: mean.float() for metric, mean in means.items()}, logger=False, sync_dist=True)
        if self.logger is not None:
            self.logger.log_metrics({metric: mean.item() for metric, mean in means.items()}, self.global_step)

    # The test at the end of a run measures as the validation does, with the training signals added (see the datamodule).
    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end
