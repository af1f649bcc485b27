"""Functions of Hydra's own that ours take the place of: those that find what a configuration names, or configure logging."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import hydra._internal.hydra
import hydra.utils
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.instantiate import _instantiate2
from hydra._internal.logging_config import HydraDictConfigurator
from hydra.core.config_search_path import ConfigSearchPath
from omegaconf import DictConfig

from wavecoder.runs.foreign import check_trusted
from wavecoder.runs.targets import locate, require_allowed, resolve, resolve_for_logging

_PLACES = (
    (_instantiate2, "_resolve_target"),
    (hydra.utils, "_locate"),
    (HydraDictConfigurator, "resolve"),
    (ConfigRepository, "initialize_sources"),
    (hydra._internal.hydra, "configure_log"),  # noqa: SLF001 - with what was just composed
)
_hydras_target, _hydras_locate, _hydras_class, _hydras_sources, _hydras_logging = (getattr(*place) for place in _PLACES)


def _resolve_target(target: Any, full_key: str) -> Any:
    resolve(full_key, target if isinstance(target, str) else f"{target.__module__}.{target.__qualname__}")
    return _hydras_target(target, full_key)


def _resolve_in_logging(self: HydraDictConfigurator, name: str) -> Any:
    resolve_for_logging("hydra.job_logging", name)
    return _hydras_class(self, name)


def _locate_for_hydra(path: str) -> Any:
    locate(path, path)
    return _hydras_locate(path)


def _open_sources(self: ConfigRepository, config_search_path: ConfigSearchPath) -> None:
    for element in config_search_path.get_path():
        scheme, _, package = str(element.path).partition("://")
        if scheme == "pkg" and str(element.provider).startswith("hydra.searchpath"):  # whose package Hydra imports
            require_allowed(f"hydra.searchpath={element.path}", package.replace("/", "."))
    _hydras_sources(self, config_search_path)


def _configure_log(log_config: DictConfig | None, verbose_config: Any = False) -> None:
    if log_config is not None:  # handlers open files when they are made
        check_trusted(cast(DictConfig, log_config._get_root()))  # noqa: SLF001
    _hydras_logging(log_config, verbose_config)


def install() -> None:
    """Make Hydra find what configurations name with `targets.resolve`, and check them first, in this process."""
    _put(_resolve_target, _locate_for_hydra, _resolve_in_logging, _open_sources, _configure_log)


@contextmanager
def hydra_restored() -> Iterator[None]:
    """Give Hydra its own functions back in the end, if it had it before: the caller may be a program of Hydra itself."""
    before = [getattr(*place) for place in _PLACES]
    try:
        yield
    finally:
        _put(*before)


def _put(*functions: Any) -> None:
    for (where, name), function in zip(_PLACES, functions, strict=True):
        setattr(where, name, function)
