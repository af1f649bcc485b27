"""From a composed configuration to the objects that it describes. Imports torch, but not Lightning."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from inspect import Parameter
from typing import Any, NamedTuple

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from wavecoder.file_source import FileSource
from wavecoder.files import FileError
from wavecoder.files.collection import stamp
from wavecoder.runs.arguments import check_arguments, parameters, refuse_unknown_arguments
from wavecoder.runs.limits import SettingError, as_typed
from wavecoder.runs.resolvers import given_overrides, option_name, overridden_keys, own_settings, set_keys, target_is_replaced
from wavecoder.runs.settings import Settings
from wavecoder.runs.targets import resolve
from wavecoder.signals import SinusoidSource


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

    @property
    def setting(self) -> str:
        """The settings that choose it, for messages."""
        return f"model={self.model}" + (f" activation={self.activation}" if self.activation else "")


@contextmanager
def as_setting_error(setting: str, config: DictConfig | None = None) -> Iterator[None]:
    """Turn what a library says of its arguments into one line that names the setting.

    Args:
        setting: What it is about, as far as that is known: a choice or a group.
        config: The configuration, if the group's key that the message names shall be blamed.

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
        at = at if config is None else _named(config, at, said)
        joint = "." if re.match(r"\w+=[^ ]*: must be ", said) else ": "
        at = "model" if joint == "." and at.startswith("model=") else at  # it names an argument of the network
        raise SettingError(at + joint + said) from error


def _named(config: DictConfig, group: str, said: str) -> str:
    """The setting of a group that a message names, as it is typed; the group itself if that is not clear."""
    node = OmegaConf.select(config, group)
    values: Any = OmegaConf.to_container(node) if isinstance(node, DictConfig) else {}
    # what says "key=value: must be …" itself is only given the group
    named = [key for key in values if re.search(rf"\b{re.escape(str(key))}\b(?!=\S*: must be )", said) and values[key] != "???"]
    return f"{group}.{named[0]}={as_typed(values[named[0]])}" if len(named) == 1 else group


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
    chosen = [key for key in overridden_keys(given_overrides(config.hydra)) if key.partition(".")[0] == "activation"]
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
    kind, arguments = _class(config, "activation"), _arguments(config, "activation")
    if isinstance(kind, type):
        _require_all("activation", kind, arguments)
    make = partial(kind, **arguments)
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


def make_loss(config: DictConfig) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The loss that a configuration asks for.

    Raises:
        SettingError: It cannot be made, or has parameters to train.
    """
    kind, arguments = _class(config, "loss"), _arguments(config, "loss")
    _require_all("loss", kind, arguments)
    with as_setting_error("loss", config):
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
        return SinusoidSource(data.families, data.sigma, *of_grid, data.test_frequency, data.seed, data.fresh_sigma)
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
    _require_all("optimizer", optimizer_class, arguments, at_first=1)
    make_optimizer = partial(optimizer_class, **arguments)
    if not config.scheduler.get("_target_"):
        refuse_unknown_arguments("scheduler", config.scheduler, None)
        return make_optimizer, None
    length = {key: settings.steps for key in _keys(config, "scheduler") if OmegaConf.is_missing(config.scheduler, key)}
    scheduler_class, of_scheduler = _class(config, "scheduler"), _arguments(config, "scheduler") | length
    _require_all("scheduler", scheduler_class, of_scheduler, at_first=1)
    return make_optimizer, partial(scheduler_class, **of_scheduler)


def _require_all(group: str, kind: Any, given: Iterable[str], at_first: int = 0) -> None:
    """Refuse a group without an argument that its class needs.

    Args:
        group: The group.
        kind: The class in its `_target_`.
        given: The names of the arguments that it is given.
        at_first: How many it is given without their names.

    Raises:
        SettingError: One is missing.
    """
    for name, each in list(parameters(kind).items())[at_first:]:
        named = each.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        if named and each.default is Parameter.empty and name not in given:
            raise SettingError(f"{group}.{name}: must be given; {kind.__name__} needs it, as +{group}.{name}=VALUE")


def make_objects(config: DictConfig, group: str, **arguments: Any) -> Any:
    """Instantiate a group of Lightning's objects: the trainer, the callbacks or the logger.

    Raises:
        SettingError: They cannot be made.
    """
    with as_setting_error(group, config):
        return instantiate(config[group], _convert_="all", **arguments)  # Lightning looks for dict and list


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
