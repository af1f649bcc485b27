"""Values of settings against the annotations of what takes them: numbers where numbers belong, as many as are taken."""

import collections.abc
import datetime
import math
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from inspect import Parameter, unwrap
from numbers import Number
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationValidationError

from wavecoder.runs.limits import SettingError, as_typed
from wavecoder.runs.names import no_such_setting

_LARGEST = 3.4028234663852886e38  # of 32 bits
_PLAIN = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text", types.NoneType: "null"}
_NEVER = (collections.abc.Callable, datetime.timedelta)  # what a configuration cannot hold, nor a class make of what it holds
_LISTS = (list, tuple, set, Sequence, Collection, Iterable)


def annotations(kind: Any) -> dict[str, Any]:
    """The annotations of what a class or a function takes, by name, as far as they can be read."""
    function = getattr(kind, "__init__") if isinstance(kind, type) else kind  # noqa: B009 - as mypy wants it
    found: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        known = getattr(unwrap(function), "__globals__", {})
        # libraries import what only annotations need for type checkers alone, and most of that is Python's own
        with suppress(AttributeError, NameError, TypeError):
            alone = types.SimpleNamespace(__annotations__={name: annotation})
            found |= get_type_hints(alone, known, vars(typing) | vars(collections.abc) | known)
    return found


def refuse_unfit_values(
    group: str, values: Mapping[str, Any], expected: Mapping[str, Any], taken: Mapping[str, Parameter]
) -> None:
    """Refuse values of another type than what takes them says, and numbers that are none.

    Args:
        group: Where the values are in the configuration.
        values: Them, by key.
        expected: The annotations of what takes them, by key.
        taken: Its parameters: their defaults are allowed whatever the annotations say.

    Raises:
        SettingError: There is one.
    """
    for key, value in values.items():
        setting = f"{group}.{key}={as_typed(value)}"
        if not all(math.isfinite(number) and abs(number) <= _LARGEST for number in numbers(value)):
            raise SettingError(f"{setting}: must be of finite numbers that 32 bits can hold")
        has_default = key in taken and taken[key].default is value
        if key in expected and not has_default and not fits(value, expected[key]):
            raise SettingError(f"{setting}: must be {describe(expected[key])}")


def refuse_left_out(config: DictConfig, names: Iterable[str]) -> None:
    """Refuse a configuration from which `~` has taken what every run needs.

    Args:
        config: The composed configuration.
        names: Of the settings and groups that have no default.

    Raises:
        SettingError: Something is left out.
    """
    for name in names:
        if name not in config:
            raise SettingError(f"~{name}: cannot be left out; every run has a value for {name}")
    for group in ("activation", "model", "loss", "optimizer", "trainer"):
        if not config[group].get("_target_"):
            raise SettingError(f"{group}._target_=null: must name a class")
    if "max_epochs" not in config.trainer:
        raise SettingError("~trainer.max_epochs: cannot be left out; Lightning would take 1000")


def refuse_unknown_keys(node: DictConfig, kind: Any, prefix: str = "") -> None:
    """Refuse keys that were added with `+` where all settings are known.

    Args:
        node: The composed configuration, or a group of it.
        kind: The class of its settings.
        prefix: Of its keys.

    Raises:
        SettingError: There is one.
    """
    known = get_type_hints(kind)
    for key in map(str, node):
        if key not in known:
            raise SettingError(f"{prefix}{key}: {no_such_setting(prefix + key, known)}")
        if is_dataclass(known[key]):
            refuse_unknown_keys(node[key], known[key], f"{prefix}{key}.")


def refuse_unfit_references(node: DictConfig, kind: Any, prefix: str = "") -> None:
    """Refuse settings that refer to something of another type, as to a whole group where a number belongs.

    Args:
        node: The composed configuration, or a group of it.
        kind: The class of its settings.
        prefix: Of its keys.

    Raises:
        SettingError: There is one.
        OmegaConfBaseException: A reference leads nowhere, or to itself.
    """
    written: Any = OmegaConf.to_container(node)
    for key, annotation in get_type_hints(kind).items():
        if is_dataclass(annotation) and isinstance(node.get(key), DictConfig):
            refuse_unfit_references(node[key], annotation, f"{prefix}{key}.")
        elif isinstance(written.get(key), str) and "${" in written[key]:
            try:
                value: Any = {} if OmegaConf.is_dict(node[key]) else as_plain(node[key])
            except InterpolationValidationError:  # which OmegaConf tells with all that is in the group
                value = {}
            if not fits(value, annotation):
                raise SettingError(f"{prefix}{key}={written[key]}: must be {describe(annotation)}")


def refuse_unfit_numbers(config: DictConfig) -> None:
    """Refuse what is a number nowhere: NaN, and whole numbers that 64 bits cannot hold.

    Args:
        config: The composed configuration.

    Raises:
        SettingError: There is one.
    """
    nodes = {str(name): node for name, node in config.items() if name != "hydra"}
    plain = {name: OmegaConf.to_container(node) if OmegaConf.is_config(node) else node for name, node in nodes.items()}
    for key, value in leaves(plain):
        if isinstance(value, float) and math.isnan(value):
            raise SettingError(f"{key}=nan: must be a number")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise SettingError(f"{key}={value}: must be below 2 to the power of 63")


def as_plain(value: Any) -> Any:
    """A value of a configuration as Python has it: a dictionary or a list for a node."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings and lists, each with its full key."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            yield from leaves(value, key)
    else:
        yield key, node


def numbers(value: object) -> Iterator[float]:
    """All numbers in a value, which may be a list or a mapping."""
    for _, each in leaves(value):
        if isinstance(each, int | float) and not isinstance(each, bool):
            yield each


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value of a configuration can be what an annotation says.

    What a configuration cannot hold, as a tensor, can be made from text or by a `_target_`, so that is not refused.

    Example:
        >>> fits([0.9, 0.999], tuple[float, float]), fits([0.9], tuple[float, float]), fits("maybe", bool | None)
        (True, False, False)
    """
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        plain = [each for each in inner if each in _PLAIN or get_origin(each) is not None]
        return any(fits(value, each) for each in plain or inner) or (plain == [types.NoneType] and _may_be_made(value, inner))
    if origin is Literal:
        return value in inner
    if isinstance(value, dict) and "_target_" in value:
        return annotation not in _PLAIN
    if annotation in _PLAIN:
        taken = {int: (int,), float: (int, float)}.get(annotation, (annotation,))
        return isinstance(value, taken) and isinstance(value, bool) == (annotation is bool)
    container = origin or annotation
    if container in _LISTS:
        return isinstance(value, list) and _elements_fit(value, container, inner)
    if isinstance(container, type) and issubclass(container, Mapping):
        return isinstance(value, dict)
    if container in _NEVER:
        return False
    takes_numbers = not isinstance(container, type) or container is object or issubclass(container, Number)
    return takes_numbers or not isinstance(value, int | float)


def _may_be_made(value: Any, annotations: Iterable[Any]) -> bool:
    return any(fits(value, each) for each in annotations if each is not types.NoneType)


def _elements_fit(values: list[Any], container: Any, inner: tuple[Any, ...]) -> bool:
    if container is tuple and inner and inner[-1] is not Ellipsis:
        return len(values) == len(inner) and all(map(fits, values, inner))
    return not inner or all(fits(value, inner[0]) for value in values)


def describe(annotation: Any) -> str:
    """What an annotation allows, in words.

    Example:
        >>> describe(tuple[float, float]), describe(bool | None)
        ('a list of 2 (each a finite number)', 'true or false, or null')
    """
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        held = [each for each in inner if (get_origin(each) or each) not in _NEVER]
        return ", or ".join(dict.fromkeys(map(describe, held or inner)))
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    container = origin or annotation
    if container in _LISTS:
        size = f" of {len(inner)}" if container is tuple and inner and inner[-1] is not Ellipsis else ""
        return f"a list{size}" + (f" (each {describe(inner[0])})" if inner else "")
    if isinstance(container, type) and issubclass(container, Mapping):
        return "a mapping"
    return str(getattr(annotation, "__name__", annotation))
