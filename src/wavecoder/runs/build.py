"""From a composed configuration to the objects that it describes. Imports torch, but not Lightning."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from inspect import Parameter
from typing import Any, NamedTuple

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from wavecoder.engine import Problem, choose
from wavecoder.engine.base import is_elementwise
from wavecoder.ensemble import Ensemble, check_network, outline, reconstruction, trained_parameters
from wavecoder.file_source import FileSource
from wavecoder.files import FileError
from wavecoder.files.collection import stamp
from wavecoder.runs.arguments import check_arguments, parameters, refuse_unknown_arguments
from wavecoder.runs.dry_run import try_signals
from wavecoder.runs.memory import Size, check_memory
from wavecoder.runs.resolvers import option_name, overridden_keys, own_settings, set_keys, target_is_replaced
from wavecoder.runs.settings import SettingError, Settings
from wavecoder.runs.targets import resolve
from wavecoder.runs.values import annotations
from wavecoder.signals import SinusoidSource

_STEPS_TRIED = 20_000  # of a schedule before the run: a tenth of a second


class NetworkChoice(NamedTuple):
    """A kind of network, and what it is called.

    Attributes:
        make: Makes one network.
        model: The model chosen.
        activation: The activation chosen; None for a network that takes none.
        label: What it is called in tables and figures.
    """

    make: Callable[[], nn.Module]
    model: str
    activation: str | None
    label: str


@contextmanager
def as_setting_error(setting: str) -> Iterator[None]:
    """Turn what a library says of its arguments into one line that names the setting.

    Raises:
        SettingError: In place of whatever was raised.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, SettingError):
            raise
        cause, key = _cause(error)
        said = " ".join(str(cause).split()) or type(cause).__name__
        at = key or setting
        said = said.removeprefix(f"{at.rpartition('.')[2]}.")  # callbacks of ours call themselves by the last part
        joint = "." if re.match(r"\w+=[^ ]*: must be ", said) else ": "
        raise SettingError(at + joint + said) from error


def _cause(error: BaseException) -> tuple[BaseException, str]:
    """What went wrong below Hydra, and where in the configuration if Hydra knows."""
    key = ""
    while isinstance(error, InstantiationException):
        lines = [line for line in str(error).splitlines() if line.strip()]
        key = next((line.partition(" ")[2] for line in lines if line.startswith("full_key: ")), key)
        if error.__cause__ is None:
            return InstantiationException(" ".join(line for line in lines if not line.startswith("full_key:"))), key
        error = error.__cause__
    return error, key


def choose_network(config: DictConfig, settings: Settings) -> NetworkChoice:
    """The network that a configuration asks for.

    Args:
        config: The composed configuration with its `hydra` node.
        settings: The checked settings.

    Raises:
        SettingError: A class cannot be found, or an activation is chosen for a network that takes none.
    """
    arguments: dict[str, Any] = {"signal_length": settings.data.signal_length, "latent_dim": settings.latent.dim}
    model, activation = option_name(config, "model"), None
    network_class = _class(config, "model")
    taken = parameters(network_class)
    chosen = [key for key in overridden_keys(config.hydra.overrides.task) if key.partition(".")[0] == "activation"]
    takes_any = any(parameter.kind == Parameter.VAR_KEYWORD for parameter in taken.values())
    if "activation" in taken or (takes_any and chosen):
        arguments["activation"] = _make_activation(config)
        activation = option_name(config, "activation")
    elif chosen:
        raise SettingError(f"activation={option_name(config, 'activation')}: {network_class.__name__} takes no activation")
    of_model = _arguments(config, "model")
    for key in arguments.keys() & of_model.keys():
        other = {"signal_length": "data.signal_length", "latent_dim": "latent.dim"}.get(key, key)
        raise SettingError(f"model.{key}: must be left alone; {other} chooses it")
    label = " ".join(name for name in (model if model != "deep" else None, activation) if name)
    return NetworkChoice(partial(network_class, **arguments, **of_model), model, activation, label)


def _make_activation(config: DictConfig) -> Callable[[], nn.Module]:
    """What makes the activation of one layer.

    Raises:
        SettingError: It is a function of tensors.
    """
    make = partial(_class(config, "activation"), **_arguments(config, "activation"))
    if not isinstance(make.func, type):
        with torch.random.fork_rng(devices=[]):
            try:
                is_module = isinstance(make(), nn.Module)
            except TypeError:  # it takes a tensor
                is_module = False
        if not is_module:
            needed = "a class of modules, as torch.nn.ReLU is, or a function that makes a module"
            raise SettingError(f"activation._target_={config.activation._target_}: must be {needed}")
    return make


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
    with as_setting_error(f"model={choice.model}" + (f" activation={choice.activation}" if choice.activation else "")):
        check_network(choice.make, loss, settings.data.signal_length, settings.latent.dim, settings.num_seeds)
    make_optimizer, make_scheduler = make_optimization(config, settings)
    with as_setting_error(f"model={choice.model}"):
        ensemble = outline(choice.make, min(settings.num_seeds, 2))
    if settings.processes > 1 or settings.accumulate > 1:
        _check_parts(choice, ensemble, loss)
    with as_setting_error("optimizer"):
        if not is_elementwise(make_optimizer, settings.num_seeds):
            make_optimizer(trained_parameters(ensemble))  # some optimisers look at shapes
    if make_scheduler is not None:
        _try_scheduler(make_optimizer, make_scheduler, settings.steps)
    if here and settings.engine.name == "compiled":
        _check_engine(ensemble, loss, settings)


def _size_of(choice: NetworkChoice, settings: Settings) -> Size:
    """The size of one network, as far as PyTorch can tell without making it."""
    with as_setting_error(f"model={choice.model}"):
        network, counted = outline(choice.make, 1).network, [0]

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        counted[0] += output.numel() if isinstance(output, torch.Tensor) and not list(module.children()) else 0

    for module in network.modules():
        module.register_forward_hook(count)
    with suppress(Exception), torch.device("meta"):  # what goes wrong is said when the network is tried
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


def _try_scheduler(make_optimizer: Callable[..., Any], make_scheduler: Callable[..., Any], steps: int) -> None:
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.zeros_like(parameter)
    optimizer = make_optimizer([parameter])
    with as_setting_error("scheduler"):
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


def make_loss(config: DictConfig) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The loss that a configuration asks for.

    Raises:
        SettingError: It cannot be made, or has parameters to train.
    """
    kind, arguments = _class(config, "loss"), _arguments(config, "loss")
    with as_setting_error("loss"):
        loss = kind(**arguments)
    if isinstance(loss, nn.Module) and any(parameter.requires_grad for parameter in loss.parameters()):
        raise SettingError("loss: has parameters to train, which no optimiser is given; those of a network are trained")
    return loss


def make_source(settings: Settings) -> SinusoidSource | FileSource:
    """The signals that the settings ask for.

    Raises:
        SettingError: Their file cannot be read.
    """
    data = settings.data
    if data.path is None:
        assert data.families is not None, "the settings are checked"
        assert data.sigma is not None
        assert data.test_frequency is not None
        of_grid = (data.signal_length, data.dt, data.train_size, data.val_size)
        return SinusoidSource(data.families, data.sigma, *of_grid, data.test_frequency, data.seed)
    arguments = (data.path, data.key, data.labels, data.scaling, data.signal_length, data.dt)
    try:
        return _file_source(*arguments, data.train_size, data.val_size, data.seed, files=tuple(stamp(data.path)))
    except FileError as error:
        raise SettingError(f"data.path={error}") from error
    except ValueError as error:  # the file is another one by now
        raise SettingError(f"data.path={data.path}: does not fit the settings any more: data.{error}") from error


@lru_cache(maxsize=1)
def _file_source(*arguments: Any, files: tuple[tuple[str, int, int], ...]) -> FileSource:
    """The signals of a file, which is read once for the check of the settings and the run, unless it changes in between."""
    source = FileSource(*arguments)
    source.collection.load()
    _ = source.validation_labels()
    return source


def make_optimization(config: DictConfig, settings: Settings) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
    """What makes the optimiser from parameters, and the schedule from the optimiser; None for a constant learning rate.

    Args:
        config: The composed configuration with its `hydra` node.
        settings: The checked settings; a schedule's `???` stands for the optimiser steps of the run.

    Raises:
        SettingError: A class cannot be found.
    """
    optimizer_class, arguments = _class(config, "optimizer"), _arguments(config, "optimizer")
    if "fused" in parameters(optimizer_class) and (config.trainer.get("accelerator") == "cpu" or torch.cuda.is_available()):
        arguments = {"fused": True} | arguments
    make_optimizer = partial(optimizer_class, **arguments)
    if not config.scheduler.get("_target_"):
        refuse_unknown_arguments("scheduler", config.scheduler, None)
        return make_optimizer, None
    _check_lengths(config)
    length = {key: settings.steps for key in _keys(config, "scheduler") if OmegaConf.is_missing(config.scheduler, key)}
    return make_optimizer, partial(_class(config, "scheduler"), **_arguments(config, "scheduler") | length)


def _check_lengths(config: DictConfig) -> None:
    """Refuse numbers of steps of a schedule that are none: at least 1 where they must be given, and not below 0 by default."""
    expected = annotations(_class(config, "scheduler"))
    for key, parameter in parameters(_class(config, "scheduler")).items():
        value = config.scheduler.get(key) if not OmegaConf.is_missing(config.scheduler, key) else None
        if expected.get(key) is not int or not isinstance(value, int):
            continue
        least = 1 if parameter.default is Parameter.empty else min(0, parameter.default)
        if value < least:
            raise SettingError(f"scheduler.{key}={value}: must be at least {least}")


def make_objects(config: DictConfig, group: str, **arguments: Any) -> Any:
    """Instantiate a group of Lightning's objects: the trainer, the callbacks or the logger.

    Raises:
        SettingError: They cannot be made.
    """
    with as_setting_error(group):
        return instantiate(config[group], **arguments)


def _class(config: DictConfig, group: str) -> Any:
    target = config[group].get("_target_")
    if not target:
        raise SettingError(f"{group}._target_: must name a class")
    return resolve(group, target)


def _arguments(config: DictConfig, group: str) -> dict[str, Any]:
    """The arguments in a group for the class in its `_target_`, but for those that are filled in later."""
    keys = [key for key in _keys(config, group) if not OmegaConf.is_missing(config[group], key)]
    values = {key: config[group][key] for key in keys}
    plain = {
        key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value for key, value in values.items()
    }
    of_hydra = {str(key): value for key, value in config[group].items_ex(resolve=False) if str(key).startswith("_")}
    check_arguments(group, plain | of_hydra, _class(config, group))
    return plain


def _keys(config: DictConfig, group: str) -> list[str]:
    """The keys of a group that are arguments of the class in its `_target_`.

    If the class was replaced, on the command line or by an experiment, what the file of the option says of its own class is left
    out, so that the new one has its own defaults. Only values that were set, and what is filled in for it (`???`), are kept.
    """
    values: Any = OmegaConf.to_container(config[group])
    keys = [str(key) for key in values if not str(key).startswith("_")]
    if not target_is_replaced(config, group):
        return keys
    own, kept = own_settings(group, str(config.hydra.runtime.choices[group])), set_keys(config, group)
    kept |= {key for key in parameters(_class(config, group)) if values.get(key) == "???"}
    return [key for key in keys if key in kept or key not in own or values[key] != own[key]]
