"""Keys of the configuration that nothing takes are refused: neither a setting of ours, nor an argument of a class in `_target_`.

Hydra refuses a key that is not there, unless it is added with `+`, as arguments are that the files in `conf/` do not name.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from inspect import Parameter, signature
from pkgutil import resolve_name
from typing import Any, get_type_hints

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wavecoder.runs.limits import SettingError
from wavecoder.runs.names import no_such_setting
from wavecoder.runs.overrides import CONF
from wavecoder.runs.targets import resolve, targets_in
from wavecoder.runs.values import annotations, as_plain, refuse_unfit_values

_OF_HYDRA = {"_target_", "_args_", "_convert_", "_partial_", "_recursive_"}  # of all that Hydra instantiates
_PASSED_ON = {"lightning.pytorch.loggers.tensorboard.TensorBoardLogger": "torch.utils.tensorboard.SummaryWriter"}
"""Classes that, with those derived from them, pass on arguments which they do not name, and to which others."""
_NOT_PASSED_ON = ("log_dir", "comment")  # the logger chooses the folder, and the comment would be a part of its name
_GIVEN = {
    **dict.fromkeys(("callbacks", "logger"), "the groups callbacks and logger choose it"),
    **dict.fromkeys(("plugins", "default_root_dir"), "hydra.run.dir and trainer choose it"),
    "model_registry": "checkpoints stay in the run's folder",
}
"""Arguments of the trainer that are no settings, and why."""

_ALL_IF_NEGATIVE = ("save_top_k", "max_depth")


def parameters(kind: Any) -> dict[str, Parameter]:
    """The parameters of a class or a function by name; if they are not known, one that stands for all."""
    try:
        return dict(signature(kind).parameters)
    except ValueError:  # a function that is not written in Python
        return {"arguments": Parameter("arguments", Parameter.VAR_KEYWORD)}


def refuse_unknown_arguments(group: str, keys: Iterable[object], kind: Any, of_hydra: Iterable[str] = ("_target_",)) -> None:
    """Refuse keys of a group that the class in its `_target_` does not take.

    Args:
        group: Where the keys are in the configuration.
        keys: Their names in it.
        kind: The class; None if there is none, as in `scheduler=constant`.
        of_hydra: What has a meaning for others than the class.

    Raises:
        SettingError: A key is unknown.
    """
    taken, _ = _taken(kind)
    takes_any = any(each.kind == Parameter.VAR_KEYWORD for each in taken.values())
    named = [name for name, each in taken.items() if each.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
    what = f"{group}._target_ is null and takes nothing" if kind is None else f"{_name(kind)} takes no such argument"
    for key in map(str, keys):
        if key in of_hydra or key in named or (takes_any and not key.startswith("_")):
            continue
        known = [*of_hydra, *named] if key.startswith("_") else named
        raise SettingError(f"{group}.{key}: {no_such_setting(f'{group}.{key}', known, what)}")


def check_arguments(group: str, values: Mapping[str, Any], kind: Any, of_hydra: Iterable[str] = ("_target_",)) -> None:
    """Refuse keys that the class in `_target_` does not take, and values of another type than its annotations say.

    Args:
        group: Where the keys are in the configuration.
        values: What they are set to.
        kind: The class; None if there is none, as in `scheduler=constant`.
        of_hydra: What has a meaning for others than the class.

    Raises:
        SettingError: A key is unknown, or a value is of another type.
    """
    refuse_unknown_arguments(group, values, kind, of_hydra)
    taken, expected = _taken(kind)
    known = {key: value for key, value in values.items() if key not in of_hydra and "${" not in str(value)}
    refuse_unfit_values(group, known, expected, taken)


def _taken(kind: Any) -> tuple[dict[str, Parameter], dict[str, Any]]:
    """The parameters of a class, with those that it passes on, and their annotations as far as they can be read."""
    if kind is None:
        return {}, {}
    taken, expected = parameters(kind), annotations(kind)
    for base in getattr(kind, "__mro__", ()):
        if (other := _PASSED_ON.get(f"{base.__module__}.{base.__qualname__}")) is not None:
            passed_on = {name: each for name, each in parameters(resolve_name(other)).items() if name not in _NOT_PASSED_ON}
            # without annotations; their defaults say what they are
            kinds = {name: type(each.default) for name, each in passed_on.items() if each.default is not None}
            taken = {**taken, **parameters(base), **passed_on}
            expected = {**expected, **annotations(base), **kinds}
            taken.pop("kwargs")
    return taken, expected


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", type(kind).__name__))


def check_objects(config: DictConfig) -> None:
    """Refuse keys and values of the trainer, the callbacks and the logger that their classes do not take.

    Classes are imported, which may take seconds, only for what no file in `conf/` has.

    Raises:
        SettingError: A key is unknown, or a value is of another type.
    """
    for key, why in _GIVEN.items():
        if key in config.trainer:
            raise SettingError(f"trainer.{key}: must be left alone; {why}")
    objects = {"trainer": config.trainer, "logger": config.logger}
    for name, node in config.callbacks.items():
        objects[f"callbacks.{name}"] = node
    for at, named in targets_in(config):
        if at not in objects and at.partition(".")[0] in ("trainer", "logger", "callbacks"):
            resolve(at, named)  # an argument of one of them
    for key, node in objects.items():
        target = node.get("_target_") if isinstance(node, DictConfig) else None
        if target is None and key != "logger":
            raise SettingError(f"{key}: must have a _target_, the class of a callback")
        if not _is_ours(key, node):
            values = {str(name): _as_far_as_known(node, str(name)) for name in node}
            check_arguments(key, values, kind := _class(key, target), _OF_HYDRA)
            _refuse_negative(key, values, kind)


def _refuse_negative(group: str, values: Mapping[str, Any], kind: Any) -> None:
    """Refuse whole numbers below 0 of what libraries count, as the default shows; few of their arguments take -1 for all."""
    if not kind or not kind.__module__.startswith(("lightning.", "wavecoder.")):
        return
    for key, parameter in _taken(kind)[0].items():
        value, default, least = values.get(key), parameter.default, -1 if key in _ALL_IF_NEGATIVE else 0
        if type(value) is int and type(default) is int and default > 0 and value < least:
            raise SettingError(f"{group}.{key}={value}: must be at least {least}")


def _as_far_as_known(node: DictConfig, key: str) -> Any:
    """A value, or as it is written where it refers to what is known in the run alone, as to its folder."""
    try:
        return as_plain(node[key])
    except (OmegaConfBaseException, ValueError):
        return dict(node.items_ex(resolve=False))[key]


def check_hydra(config: DictConfig) -> None:
    """Refuse keys that were added to Hydra's own settings and that it does not have, and callbacks of no class.

    Raises:
        SettingError: A key is unknown, or a callback names no class.
    """
    for name, node in config.hydra.callbacks.items():
        if not isinstance(node, DictConfig) or node.get("_target_") is None:
            raise SettingError(f"hydra.callbacks.{name}: must have a _target_, the class of a callback")
    for override in config.hydra.overrides.hydra:
        key = override.partition("=")[0]
        if key.startswith("+"):
            _check_hydra_key(config, key.lstrip("+").split(".")[1:])


def _check_hydra_key(config: DictConfig, path: list[str]) -> None:
    kind: Any = HydraConf
    for depth, name in enumerate(path):
        at = ".".join(["hydra", *path[:depth]])
        if is_dataclass(kind):
            known = [field.name for field in fields(kind)]
            if name not in known:
                raise SettingError(f"{at}.{name}: {no_such_setting(f'{at}.{name}', known)}")
            kind = get_type_hints(kind)[name]
        elif (target := OmegaConf.select(config, f"{at}._target_")) is not None:
            refuse_unknown_arguments(at, [name], _class(at, target), _OF_HYDRA)
            return
        else:
            return  # a mapping of whatever somebody puts there


def _class(key: str, target: str | None) -> Any:
    return None if target is None else resolve(key, target)


@cache
def _ours(group: str) -> dict[str, dict[str, list[Any]]]:
    """The values that the files of a group have for each key, by `_target_`."""
    found: dict[str, dict[str, list[Any]]] = {}
    for file in (CONF / group).glob("*.yaml"):
        content: Any = OmegaConf.to_container(OmegaConf.load(file))
        for node in [content, *content.values()]:
            if isinstance(node, dict):
                of_target = found.setdefault(str(node.get("_target_", "")), {})
                for key, value in node.items():
                    of_target.setdefault(str(key), []).append(value)
    return found


def _is_ours(key: str, node: DictConfig) -> bool:
    """Whether a group's keys are those of its files, and its values of their types, so that no class need be asked."""
    group = key.partition(".")[0]
    ours, values = _ours(group), {str(name): value for name, value in node.items_ex(resolve=False)}
    # options that build on another one name no class
    known = [ours.get(str(values.get("_target_")), {}), ours.get("", {}) if group == "trainer" else {}]
    of_files = {name: [value for each in known for value in each.get(name, ())] for name in values}
    types = {name: {type(value) for value in each if "${" not in str(value)} for name, each in of_files.items()}
    return all(
        value in of_files[name] or (type(value) in types[name] and "${" not in str(value) and value not in (math.inf, -math.inf))
        for name, value in values.items()
    )
