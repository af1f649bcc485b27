"""What is trained, tried before the run, so that what cannot be trained leaves nothing behind. Imports torch."""

import math
from collections.abc import Callable
from contextlib import suppress
from inspect import Parameter
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from wavecoder.engine import Problem, choose
from wavecoder.engine.base import is_elementwise
from wavecoder.ensemble import Ensemble, check_network, outline, reconstruction, trained_parameters
from wavecoder.runs.arguments import parameters
from wavecoder.runs.build import NetworkChoice, as_setting_error, choose_network, make_loss, make_optimization, make_source
from wavecoder.runs.dry_run import try_signals
from wavecoder.runs.memory import Size, check_memory
from wavecoder.runs.settings import SettingError, Settings
from wavecoder.runs.targets import resolve
from wavecoder.runs.values import annotations
from wavecoder.training import compiler  # noqa: F401 - an optimiser imports it, and outlines of networks

_STEPS_TRIED = 20_000  # of a schedule before the run: a tenth of a second


def check_training(config: DictConfig, settings: Settings, here: bool, beside: int = 1) -> None:
    """Refuse what cannot be trained, before anything is written or anything large is made.

    Args:
        config: The composed configuration with its `hydra` node.
        settings: The checked settings.
        here: Whether it will be trained on this machine, so that what there is here matters.
        beside: How many such runs are trained here at a time.

    Raises:
        SettingError: The network, the loss, the optimiser, its schedule or the engine cannot be made, or do not fit each other;
            there is not enough memory; 32 bits cannot hold the signals.
    """
    choice, loss = choose_network(config, settings), make_loss(config)
    if here and (settings.trainer.get("accelerator") == "cpu" or not torch.cuda.is_available()):
        check_memory(settings, _size_of(choice, settings), any("references" in str(name) for name in config.callbacks), beside)
    if settings.data.path is None:
        try_signals(settings)
    elif here:
        try_signals(settings, make_source(settings))
    with as_setting_error("loss", config):  # what it says of its own arguments is no fault of the network
        loss(*torch.zeros(2, 2, settings.data.signal_length))
    with as_setting_error(f"model={choice.model}" + (f" activation={choice.activation}" if choice.activation else "")):
        check_network(choice.make, loss, settings.data.signal_length, settings.latent.dim, settings.num_seeds)
    _check_lengths(config)
    make_optimizer, make_scheduler = make_optimization(config, settings)
    with as_setting_error(f"model={choice.model}"):
        ensemble = outline(choice.make, min(settings.num_seeds, 2))
    if settings.processes > 1 or settings.accumulate > 1:
        _check_parts(choice, ensemble, loss)
    with as_setting_error("optimizer", config):
        if not is_elementwise(make_optimizer, settings.num_seeds):
            make_optimizer(trained_parameters(ensemble))  # some optimisers look at shapes
    if make_scheduler is not None:
        _try_scheduler(config, make_optimizer, make_scheduler, settings.steps)
    if here and settings.engine.name == "compiled":
        _check_engine(ensemble, loss, settings)


def _size_of(choice: NetworkChoice, settings: Settings) -> Size:
    """The size of one network, as far as PyTorch can tell without making it."""
    with as_setting_error(f"model={choice.model}"):
        network, counted = outline(choice.make, 1).network, [0]

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        counted[0] += output.numel() if isinstance(output, torch.Tensor) and not list(module.children()) else 0

    with suppress(Exception), torch.device("meta"):  # what goes wrong is said when the network is tried
        for module in network.modules():
            module.register_forward_hook(count)
        reconstruction(network, torch.empty(1, settings.data.signal_length))
    return Size(sum(parameter.numel() for parameter in network.parameters()), counted[0])


def _check_parts(choice: NetworkChoice, ensemble: Ensemble, loss: Any) -> None:
    """Refuse what a batch in parts, over processes or accumulated, trains otherwise than a whole one."""
    parts = "several processes and trainer.accumulate_grad_batches split a batch and average gradients"
    if getattr(loss, "reduction", "mean") == "sum":
        raise SettingError(f"loss.reduction=sum: must be mean, because {parts}")
    for name, module in ensemble.network.named_modules():
        if isinstance(module, _BatchNorm) or getattr(module, "track_running_stats", False):
            raise SettingError(f"model={choice.model}: {name} uses statistics of the whole batch, but {parts}")


def _try_scheduler(
    config: DictConfig, make_optimizer: Callable[..., Any], make_scheduler: Callable[..., Any], steps: int
) -> None:
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.zeros_like(parameter)
    optimizer = make_optimizer([parameter])
    with as_setting_error("scheduler", config):
        scheduler = make_scheduler(optimizer)
        optimizer.step(lambda: torch.zeros(()))
        for step in range(min(steps, _STEPS_TRIED)):
            rate = float(optimizer.param_groups[0]["lr"])
            if not 0 <= rate < math.inf:
                raise ValueError(f"gives a learning rate of {rate} at step {step}; it must be finite, 0 or more")
            scheduler.step()


def _check_engine(ensemble: Ensemble, loss: Any, settings: Settings) -> None:
    accelerator = settings.trainer.get("accelerator", "auto")
    gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available())
    problem = Problem(
        ensemble,
        loss,
        torch.device("cuda" if gpu else "cpu"),
        precision=str(settings.trainer.get("precision", "32-true")),
        accumulate=settings.accumulate,
        torch_compile=settings.engine.torch_compile,
    )
    with as_setting_error(f"engine.name={settings.engine.name}"):
        choose(problem, settings.engine.name)


def _check_lengths(config: DictConfig) -> None:
    """Refuse numbers of steps of a schedule that are none: at least 1 where they must be given, and not below 0 by default."""
    if not config.scheduler.get("_target_"):
        return
    kind = resolve("scheduler", config.scheduler._target_)
    expected = annotations(kind)
    for key, parameter in parameters(kind).items():
        value = config.scheduler.get(key) if not OmegaConf.is_missing(config.scheduler, key) else None
        if expected.get(key) is not int or not isinstance(value, int):
            continue
        least = 1 if parameter.default is Parameter.empty else min(0, parameter.default)
        if value < least:
            raise SettingError(f"scheduler.{key}={value}: must be at least {least}")
