"""What of Hydra's own ours takes the place of: what finds what a configuration names, configures logging, or calls callbacks."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any, cast

import hydra._internal.hydra
import hydra.utils
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra._internal.instantiate import _instantiate2
from hydra._internal.logging_config import HydraDictConfigurator
from hydra.core.config_search_path import ConfigSearchPath
from omegaconf import DictConfig

from wavecoder.runs.foreign import check_trusted
from wavecoder.runs.limits import SettingError
from wavecoder.runs.targets import locate, require_allowed, resolve, resolve_for_logging

_PLACES = (
    (_instantiate2, "_resolve_target"),
    (hydra.utils, "_locate"),
    (HydraDictConfigurator, "resolve"),
    (ConfigRepository, "initialize_sources"),
    (hydra._internal.hydra, "configure_log"),  # noqa: SLF001 - with what was just composed
    (hydra._internal.hydra, "Callbacks"),  # noqa: SLF001 - made for each command
    (Hydra, "show_cfg"),
)
_hydras_target, _hydras_locate, _hydras_class, _hydras_sources, _hydras_logging, _, _hydras_show = (
    getattr(*place) for place in _PLACES
)


class _Callbacks(Callbacks):
    """Hydra's, and before them the check of the settings: no configuration can leave it out, as it is in none."""

    def __init__(self, config: DictConfig | None = None) -> None:
        super().__init__(config)
        from wavecoder.runs.checks import CheckSettings  # which imports the command line, and that this module

        self.callbacks.insert(0, CheckSettings())


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


def _show_cfg(self: Hydra, *arguments: Any, package: str | None, **more: Any) -> None:
    with redirect_stderr(io.StringIO()) as said:
        try:
            _hydras_show(self, *arguments, package=package, **more)
        except SystemExit:  # with status 1
            raise SettingError(f"--package={package}: must name a group or a key of the configuration that is not null") from None
    print(said.getvalue(), end="", file=sys.stderr)


def install() -> None:
    """Make Hydra find what configurations name with `targets.resolve`, and check them first, in this process."""
    _put(_resolve_target, _locate_for_hydra, _resolve_in_logging, _open_sources, _configure_log, _Callbacks, _show_cfg)


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
