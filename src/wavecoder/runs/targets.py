"""Which classes a configuration may name: files from elsewhere are data, so `_target_` finds nothing that would run as a command.

Everything that a configuration names is found by `resolve`, ours and what Hydra instantiates or configures for logging: see
`wavecoder.runs.hooks`. A module runs when it is imported, so the package is checked before. Packages of the
user's are allowed in `allow_targets`, on the command line or in Python alone; processes that a run or a sweep starts are
told in an environment variable.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from wavecoder.runs.limits import SettingError

ALLOW_TARGETS = "allow_targets"
"""The setting that allows packages of the user's."""

_VARIABLE = "WAVECODER_ALLOW_TARGETS"
_PACKAGES = ("wavecoder", "torch", "lightning", "hydra", "hydra_plugins", "optuna")
_MODULE = "torch.nn.Module"
_KINDS = {
    "model": _MODULE,
    "activation": _MODULE,
    "loss": _MODULE,
    "optimizer": "torch.optim.Optimizer",
    "scheduler": "torch.optim.lr_scheduler.LRScheduler",
    "trainer": "lightning.pytorch.Trainer",
    "logger": "lightning.pytorch.loggers.Logger",
    "callbacks.*": "lightning.pytorch.Callback",
    "hydra.callbacks.*": "hydra.experimental.callback.Callback",
    "hydra.launcher": "hydra.plugins.plugin.Plugin",
    "hydra.sweeper": "hydra.plugins.plugin.Plugin",
}
"""The class that each `_target_` must be derived from."""
_NESTED = (  # what arguments of these may be; of torch alone there are classes that start a process when they are made
    "lightning.pytorch.strategies.Strategy",
    "lightning.pytorch.accelerators.Accelerator",
    "lightning.pytorch.plugins.Precision",
    "lightning.pytorch.plugins.CheckpointIO",
    "lightning.fabric.plugins.environments.ClusterEnvironment",
    "lightning.pytorch.profilers.Profiler",
    "optuna.samplers.BaseSampler",
)
_OF_LOGGING = ("logging.Handler", "logging.Formatter", "logging.Filter")
_STREAMS = ("sys.stdout", "sys.stderr")

_remedy = f"{ALLOW_TARGETS}=[{{}}]"


def resolve(key: str, target: object) -> Any:
    """The class, or the function of a package that the user allows, that a configuration names.

    Args:
        key: Where the configuration names it, for example `model` or `callbacks.best`, which says what it must be.
        target: Its `_target_`.

    Raises:
        SettingError: Its package is not allowed, it is not there, or it is of another kind. Nothing of another package was run.

    Example:
        >>> resolve("activation", "torch.nn.GELU")
        <class 'torch.nn.modules.activation.GELU'>
    """
    setting, name = f"{key}._target_={target}", str(target)
    found, is_users = locate(setting, name)
    kind = _KINDS.get(re.sub(r"^((hydra\.)?callbacks)\.[^.[]+$", r"\1.*", key))
    if not isinstance(found, type):
        fits = is_users
    elif kind is None:
        fits = is_users or any(_is_derived(found, each) for each in _NESTED)
    else:
        fits = _is_derived(found, kind) or (is_users and key == "loss")  # any callable may be one
    if not fits:
        raise SettingError(f"{setting}: must be a class of {kind or ', '.join(_NESTED)}")
    return found


def resolve_for_logging(setting: str, name: str) -> Any:
    """What the configuration of Python's logging names: a handler, a formatter, a filter, or a stream of this process.

    Raises:
        SettingError: It is something else, or of a package that is not allowed.
    """
    if name in _STREAMS:
        return resolve_name(name)
    found, is_users = locate(f"{setting}={name}", name, "logging")
    if not is_users and not (isinstance(found, type) and any(_is_derived(found, each) for each in _OF_LOGGING)):
        raise SettingError(f"{setting}={name}: must be a class of {', '.join(_OF_LOGGING)}")
    return found


def locate(setting: str, name: str, *packages: str) -> tuple[Any, bool]:
    """What has a name, and whether it is of a package that the user has allowed.

    Raises:
        SettingError: It is in no allowed package, is defined in no allowed one, is not there, or cannot be called.
    """
    _require_name(setting, name)
    require_allowed(setting, name, packages)
    try:
        found = resolve_name(name)
    except Exception as error:  # of whatever kind the module raises
        raise SettingError(f"{setting}: {error}") from error
    if not callable(found):
        raise SettingError(f"{setting}: must name a class")
    home = str(getattr(found, "__module__", None))
    if not _is_in(home, (*_PACKAGES, *packages, *allowed())):
        raise SettingError(f"{setting}: is of {home}; {home.partition('.')[0]} is {_how_to_allow(home)}")
    return found, _is_in(home, allowed())


def _require_name(setting: str, name: str) -> None:
    if not re.fullmatch(r"\w+(\.\w+)+", name):
        raise SettingError(f"{setting}: must name a class, as package.Class")


def require_allowed(setting: str, name: str, packages: Iterable[str] = ()) -> None:
    """Refuse a name that is in no allowed package.

    Args:
        setting: What names it, for the message.
        name: It, with its package.
        packages: More of them.

    Raises:
        SettingError: Its package is not allowed.
    """
    runs = name.endswith(".__main__") or ".__main__." in name  # when it is imported
    if not _is_in(name, allowed()) and (runs or not _is_in(name, (*_PACKAGES, *packages))):
        raise SettingError(f"{setting}: {name.partition('.')[0]} is {_how_to_allow(name)}")


def _how_to_allow(name: str) -> str:
    package = name.partition(".")[0]
    # nobody has classes of networks in Python's own packages
    return "not an allowed package" + (
        f"; allow it with {_remedy.format(package)}" if package not in sys.stdlib_module_names else ""
    )


def _is_in(name: str, packages: Iterable[str]) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def _is_derived(kind: type, base: str) -> bool:
    """Whether a class is derived from another one. Where that one is not imported, none is; importing Lightning takes seconds."""
    module, _, name = base.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return found is not None and issubclass(kind, found)


def allowed() -> tuple[str, ...]:
    """The packages that the user has allowed in this process."""
    return tuple(filter(None, os.environ.get(_VARIABLE, "").split(",")))


def allow(packages: Iterable[str], option: str | None = None) -> None:
    """Allow packages in this process and those that it starts.

    Args:
        packages: Their names.
        option: How messages say that a package is allowed, where it is not the setting.

    Raises:
        SettingError: A name is none of a package.
    """
    global _remedy
    packages = (packages,) if isinstance(packages, str) else tuple(packages)
    for package in packages:
        if not isinstance(package, str) or not re.fullmatch(r"\w+(\.\w+)*", package):
            raise SettingError(f"{ALLOW_TARGETS}={package}: must be names of packages")
    os.environ[_VARIABLE] = ",".join(dict.fromkeys((*allowed(), *packages)))
    _remedy = option or _remedy


@contextmanager
def allowing(packages: Iterable[str]) -> Iterator[None]:
    """Allow packages for a while."""
    before = os.environ.get(_VARIABLE)
    try:
        allow(packages)
        yield
    finally:
        os.environ.pop(_VARIABLE, None)
        if before is not None:
            os.environ[_VARIABLE] = before


def typed_packages(arguments: Iterable[str]) -> tuple[str, ...]:
    """The packages that the arguments of a command allow."""
    packages: tuple[str, ...] = ()
    for argument in arguments:
        if argument.partition("=")[0].lstrip("+") == ALLOW_TARGETS:
            try:
                value = OverridesParser.create().parse_override(argument).value()
            except HydraException:
                continue  # Hydra will name it
            packages = tuple(map(str, value)) if isinstance(value, list) else ()
    return packages


def check_targets(config: DictConfig) -> None:
    """Refuse what a composed configuration may not name, before anything is written; no class is imported for it.

    Args:
        config: The composed configuration with its `hydra` node.

    Raises:
        SettingError: A package is not allowed, or was allowed by a file.
    """
    for package in config.get(ALLOW_TARGETS) or ():
        if not _is_in(package, allowed()):
            raise SettingError(f"{ALLOW_TARGETS}=[{package}]: must be given on the command line or in Python; a file has it")
    for key, target in targets_in(config):
        _require_name(f"{key}._target_={target}", target)
        require_allowed(f"{key}._target_={target}", target)
    for group in ("hydra.job_logging", "hydra.hydra_logging"):
        for at, key, value in values_in(OmegaConf.to_container(OmegaConf.select(config, group)), group):
            name = str(value).removeprefix("ext://")
            if isinstance(value, str) and (key in ("class", "()") or name != value):
                resolve_for_logging(f"{at}.{key}", name)


def targets_in(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Where a composed configuration names something in a `_target_`, and what."""
    for at, key, value in values_in(OmegaConf.to_container(config)):
        if key == "_target_" and value not in (None, "???"):
            yield at, str(OmegaConf.select(config, f"{at}.{key}"))  # it may be written as a reference


def packages_in(config: DictConfig) -> list[str]:
    """The packages of a user's of which a configuration names classes: those that a command which repeats it must allow."""
    named = {name.partition(".")[0] for _, name in targets_in(config) if not _is_in(name, _PACKAGES)}
    return sorted(name for name in named if name.isidentifier() and name not in sys.stdlib_module_names)


def values_in(node: Any, at: str = "") -> Iterator[tuple[str, str, Any]]:
    """All values in nested mappings and lists: where the one is that holds it, its key there, and the value."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield at, str(key), value
        if isinstance(value, dict | list):
            yield from values_in(value, (f"{at}[{key}]" if isinstance(node, list) else f"{at}.{key}").lstrip("."))
