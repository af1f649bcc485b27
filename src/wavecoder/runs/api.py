"""Training from Python: `wavecoder.train(latent=5, activation="gelu", num_seeds=8)`."""

import gc
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavecoder.runs.limits import SettingError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from wavecoder.runs.load import Trained

_OF_HYDRA = "hydra.searchpath"  # the one setting of Hydra's own that has a meaning in Python
_OURS = "wavecoder"  # the name of the logger that all of ours belong to


def train(folder: str | Path | None = None, **settings: Any) -> "Trained":
    """Train autoencoders in this process, as `wavecoder train` does, and load the result.

    The configuration, the numbers and the files are those of the command with the same settings. A complete run in `folder` with
    the same configuration is not trained again, and an interrupted one resumes. Nothing in the process stays changed.

    Args:
        folder: The run's folder; None makes a new one in `outputs/runs/` of the current folder.
        settings: What the command line takes, by the same names: options of groups (`activation="gelu"`, `latent=5`) and keys
            (`num_seeds=8`); `allow_targets=["my_package"]` lets it use classes of yours. Keys with a dot are written
            `**{"optimizer.lr": 3e-3, "data.families": ["sin", "cos"]}`; `+key` adds a key that is not there, and `~key` with
            the value None removes one.

    Returns:
        The run, with the seed that is best in validation; `wavecoder.load(run.folder, seed=…)` gives others.

    Raises:
        SettingError: A setting cannot be used; the message is one line, and nothing was written.
        Diverged: The training has gone wrong (`wavecoder.training.diverged`): its seed diverged, or all did.
        OSError: The folder cannot be written.
        KeyboardInterrupt: The training was interrupted; the same call with `folder` resumes it.

    Example:
        >>> run = wavecoder.train(latent=5, activation="gelu", num_seeds=8)               # doctest: +SKIP
        >>> run.results["metrics"]["val/mse"]["mean"]                                     # doctest: +SKIP
        0.0385
    """
    from wavecoder.runs import hooks, targets

    allowed = settings.get(targets.ALLOW_TARGETS, ())
    with warnings.catch_warnings(), hooks.hydra_restored(), _own_hydra(), targets.allowing(allowed):
        config = _compose(["hydra.mode=RUN", *_of_folder(folder), *(_override(key, value) for key, value in settings.items())])
        from wavecoder.runs import run  # noqa: F401 - torch and Lightning, whose imports change what is restored below

        with _process_restored():
            path = _run(config)
        from wavecoder.runs.load import load

        return load(path)


def _compose(overrides: Sequence[str]) -> "DictConfig":
    """The checked configuration of a single run, with its `hydra` node."""
    from hydra import compose
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from wavecoder.runs import checks, cli, foreign
    from wavecoder.runs.overrides import quote_whole_numbers

    foreign.remember_typed(overrides)
    try:
        config = compose("train", [quote_whole_numbers(override) for override in overrides], return_hydra_config=True)
        checks.check_run(config)
    except (HydraException, OmegaConfBaseException) as error:
        raise SettingError(cli.explain(error)) from None
    return config


def _run(config: "DictConfig") -> Path:
    """Do the work of a run as far as it is not done, and return its folder."""
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import JobStatus, run_job
    from hydra.types import HydraContext

    from wavecoder.runs import job, run

    def work(plain: "DictConfig") -> float:
        with _messages_shown(Path(HydraConfig.get().runtime.output_dir, f"{config.hydra.job.name}.log")):
            return job.run_job(plain, run.begin)

    context = HydraContext(GlobalHydra.instance().config_loader(), Callbacks())
    try:
        done = run_job(work, config, "hydra.run.dir", None, context, configure_logging=False)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same call with the run's folder resumes it") from None
    if done.status != JobStatus.COMPLETED:
        raise done._return_value  # noqa: SLF001 - `return_value` would write lines of its own
    return Path(config.hydra.runtime.output_dir)


def _of_folder(folder: str | Path | None) -> list[str]:
    return [] if folder is None else [f"hydra.run.dir={_text(str(folder), 'folder')}"]


def _override(key: str, value: object) -> str:
    """A keyword of Python as the command line has it.

    Raises:
        SettingError: It has no meaning in Python, or its value cannot be written on a command line.
    """
    if key.lstrip("+~").startswith(("hydra.", "hydra/")) and key != _OF_HYDRA:
        raise SettingError(f"{key}={value}: must be {_OF_HYDRA}; other settings of Hydra are for the command line")
    if key.startswith("~") and value is None:
        return key
    return f"{key}={_text(value, key)}"


def _text(value: object, key: str) -> str:
    """A value as the command line writes it, strings quoted where they would be read as something else."""
    from hydra.core.override_parser.types import Quote, QuotedString

    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Integral():
            return str(int(value))
        case Real():
            return repr(float(value))
        case str() | Path():
            plain = _reads_as_itself(str(value))
            return str(value) if plain else QuotedString(str(value), Quote.single).with_quotes()
        case Mapping():
            return "{" + ",".join(f"{_text(name, key)}:{_text(each, key)}" for name, each in value.items()) + "}"
        case Sequence():
            return "[" + ",".join(_text(each, key) for each in value) + "]"
    allowed = "a number, a string, True, False, None, or a list or mapping of these"
    raise SettingError(f"{key}: is a {type(value).__name__}; must be {allowed}")


def _reads_as_itself(text: str) -> bool:
    """Whether a string without quotes is the same string on a command line."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        value = OverridesParser.create().parse_override(f"key={text}").value()
    except HydraException:
        return False
    return isinstance(value, str) and value == text


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Give the caller Hydra's state and OmegaConf's resolvers back as they were: it may be a program of Hydra itself."""
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.plugins import Plugins
    from hydra.core.singleton import Singleton
    from hydra.core.utils import JobRuntime
    from hydra.version import VersionBase
    from omegaconf.basecontainer import BaseContainer

    Plugins.instance()  # plugins store their configurations once in a process, when they are found
    store = ConfigStore.instance()
    singletons, stored = Singleton._instances, _copied(store.repo)  # noqa: SLF001 - Hydra has no public name for them
    resolvers, collected = dict(BaseContainer._resolvers), gc.get_threshold()  # noqa: SLF001
    anew = (GlobalHydra, HydraConfig, JobRuntime, VersionBase)
    Singleton._instances = {kind: each for kind, each in singletons.items() if kind not in anew}  # noqa: SLF001
    try:
        from wavecoder.runs import cli
        from wavecoder.runs.overrides import CONF

        cli.register()
        with initialize_config_dir(str(CONF), job_name="train", version_base="1.3"):
            yield
    finally:
        Singleton._instances = singletons  # noqa: SLF001
        store.repo = stored
        BaseContainer._resolvers = resolvers  # noqa: SLF001
        gc.set_threshold(*collected)


def _copied(repo: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested mappings that shares what they hold."""
    return {name: _copied(entry) if isinstance(entry, dict) else entry for name, entry in repo.items()}


@contextmanager
def _process_restored() -> Iterator[None]:
    """Restore what a run changes in its process: threads, levels of libraries' loggers, handlers of signals."""
    import torch

    threads = torch.get_num_threads()
    loggers = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    levels = [(logger, logger.level) for logger in loggers]
    is_main = threading.current_thread() is threading.main_thread()
    handlers = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)} if is_main else {}
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for logger, level in levels:
            logger.setLevel(level)
        for kind, handler in handlers.items():
            if handler is not None:  # it was not installed from Python
                signal.signal(kind, handler)


@contextmanager
def _messages_shown(file: Path) -> Iterator[None]:
    """Show our own messages as the command does: plain on the console, with the time in the run's folder."""
    from wavecoder.runs.screen import LogFile, SafeFormatter

    logger = logging.getLogger(_OURS)
    level, propagate = logger.level, logger.propagate
    console, log = logging.StreamHandler(sys.stdout), LogFile(file, encoding="utf-8")
    console.setFormatter(SafeFormatter())
    log.setFormatter(SafeFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.setLevel(logging.INFO)
    logger.propagate = False  # or handlers of the caller's would show them twice
    logger.handlers += [console, log]
    try:
        yield
    finally:
        for handler in (console, log):
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
        logger.propagate = propagate
