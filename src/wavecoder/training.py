"""From a configuration to a trained stack of autoencoders and its results."""

import logging
import os
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import get_class, instantiate
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from wavecoder import native, results
from wavecoder.autoencoder import Autoencoder, DeepAutoencoder, TiedLinearAutoencoder
from wavecoder.callbacks.references import find_references
from wavecoder.callbacks.subspace import LinearSubspace
from wavecoder.datamodule import SinusoidDataModule
from wavecoder.module import AutoencoderModule
from wavecoder.settings import SettingError, Settings, from_config

log = logging.getLogger(__name__)


class KeepSignals(L.Callback):
    """Keeps what a SIGTERM did before Lightning takes it: a run that is told to end must not look as if it had succeeded.

    Lightning's handler ends the process with status 0, and takes the place of submitit's, which must outlive the SIGTERM that
    Slurm sends to a job before it preempts it. A run needs no warning: it goes on from its last checkpoint.
    """

    def __init__(self) -> None:
        self._before = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        signal.signal(signal.SIGTERM, self._before)


@dataclass
class Run:
    """What a configuration becomes, before anything is trained."""

    settings: Settings
    folder: Path
    datamodule: SinusoidDataModule
    module: AutoencoderModule
    trainer: L.Trainer


def build(config: DictConfig) -> Run:
    """Make the objects that a configuration describes; Hydra knows the run's folder.

    Args:
        config: The composed configuration, see conf/train.yaml.

    Raises:
        SettingError: Something cannot be made from the configuration.
    """
    settings = from_config(config)
    folder = Path(HydraConfig.get().runtime.output_dir)
    _quieten_libraries()
    datamodule = SinusoidDataModule(settings.data, settings.noise, settings.seed, settings.replicas)
    network = build_network(settings, datamodule.seeds)
    with _blaming("callbacks"):
        callbacks: list[L.Callback] = list(instantiate(config.callbacks).values())
    with _blaming("logger"):
        logger: Logger | bool = instantiate(config.logger) if config.logger.get("_target_") else False
    with _blaming("trainer"):
        # under Slurm it is who submitted the job that puts it into the queue again
        plugins = [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else None
        arguments = {"callbacks": [*callbacks, KeepSignals()], "logger": logger, "plugins": plugins}
        trainer: L.Trainer = instantiate(config.trainer, **arguments, default_root_dir=str(folder))
    with _blaming("optimizer or scheduler"):
        module = AutoencoderModule(network, settings.loss, *_optimisation(config, datamodule))
        module.configure_optimizers()  # made again when the fit starts; here to find mistakes in its arguments
    if settings.data.batch_size % trainer.world_size:
        processes = f"a multiple of the {trainer.world_size} processes that share each batch"
        raise SettingError(f"data.batch_size={settings.data.batch_size}: must be {processes}")
    return Run(settings, folder, datamodule, module, trainer)


def train(config: DictConfig, checkpoint: Path | None = None) -> float:
    """Run one configuration: train, measure, write `results.json`, print the closing table.

    Args:
        config: The composed configuration, see conf/train.yaml.
        checkpoint: Where to go on from, a `last.ckpt` of the same configuration; None starts from the beginning.

    Returns:
        The mean over replicas of the final `val/mse`; NaN if one diverged.

    Raises:
        SettingError: Something cannot be made from the configuration; no training has started.
    """
    run = build(config)
    trainer = run.trainer
    if trainer.is_global_zero:
        step = native.training_step(run.module.network) if trainer.strategy.root_device.type == "cpu" else "PyTorch"
        log.info("%s on %s (%s)", describe(run), trainer.strategy.root_device, step)
    started = time.perf_counter()
    try:
        trainer.fit(run.module, run.datamodule, ckpt_path=checkpoint)
    except MisconfigurationException as error:  # Lightning looks at some of its arguments no sooner
        if trainer.global_step == 0:
            raise _unusable("trainer", error) from error
        raise
    seconds = time.perf_counter() - started
    steps = trainer.global_step
    resumed = steps if run.module.first_step is None else run.module.first_step
    trainer.test(run.module, run.datamodule, verbose=False)

    record = _record(run, config, seconds, steps, resumed)
    if trainer.is_global_zero:
        if isinstance(trainer.logger, TensorBoardLogger):
            _log_hyperparameters(trainer.logger, record)
        results.write_results(run.folder, record)
        _report(record, run.folder)
    mean = record["metrics"]["val/mse"]["mean"]
    return float("nan") if mean is None else mean


def _record(run: Run, config: DictConfig, seconds: float, steps: int, resumed: int) -> dict[str, Any]:
    """What `results.json` holds of a completed run."""
    errors = {metric: values.tolist() for metric, values in run.module.meter.compute().items()}
    references: dict[str, dict[str, float]] = {}
    if (callback := find_references(run.trainer)) is not None:
        references = callback.errors
        errors |= {metric: ratio.tolist() for metric, ratio in callback.ratios(run.module).items()}
    record: dict[str, Any] = {}
    if (subspace := next((each for each in _callbacks(run.trainer) if isinstance(each, LinearSubspace)), None)) is not None:
        errors |= subspace.latest
        record["subspace"] = {"steps": subspace.steps} | subspace.history
    settings = run.settings
    return record | {
        "status": "completed",
        "activation": settings.activation.name,
        "latent_dim": settings.latent.dim,
        "model": settings.model.name,
        "bias": settings.model.bias,
        "noise": {"levels": list(settings.noise.levels), "train": settings.noise.train},
        "seed": settings.seed,
        "replicas": settings.replicas,
        "metrics": {metric: results.summarise(values) for metric, values in errors.items()},
        "references": references,
        "timing": {
            "fit_seconds": seconds,
            "steps": steps,
            "resumed_at_step": resumed,
            "signals_per_second": (steps - resumed) * settings.data.batch_size * settings.replicas / seconds,
            "training_step": native.training_step(run.module.network),
        },
        "versions": results.versions(),
        "config_fingerprint": results.fingerprint(config),
    }


def _callbacks(trainer: L.Trainer) -> list[L.Callback]:
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


def build_network(settings: Settings, seeds: range) -> Autoencoder:
    """The stack of networks that the settings ask for, on the CPU."""
    samples, latent, model = settings.data.samples, settings.latent.dim, settings.model
    if model.name == "linear_tied":
        return TiedLinearAutoencoder(samples, latent, seeds, model.bias)
    activation, slope = settings.activation.name, settings.activation.slope
    return DeepAutoencoder(samples, latent, seeds, activation, slope, model.widths, model.bias, model.latent_activation)


def describe(run: Run) -> str:
    """One line about the networks of a run: what they are, how large, how many."""
    settings = run.settings
    weights = sum(parameter.numel() for parameter in run.module.network.parameters()) // settings.replicas
    widths = [width for width in settings.model.widths if width > settings.latent.dim]
    layers = "→".join(map(str, [settings.data.samples, *widths, settings.latent.dim, *widths[::-1], settings.data.samples]))
    stack = "1 replica" if settings.replicas == 1 else f"{settings.replicas} replicas"
    return f"{settings.activation.name} autoencoder {layers}, {weights:,} weights, {stack}"


@contextmanager
def _blaming(group: str) -> Iterator[None]:
    """Turn what a library says of the arguments it was given into one line that names their group."""
    try:
        yield
    except (InstantiationException, MisconfigurationException, ValueError, TypeError) as error:
        raise _unusable(group, error) from error


def _unusable(group: str, error: Exception) -> SettingError:
    return SettingError(f"{group}: {' '.join(str(error.__cause__ or error).split())}")


def _optimisation(config: DictConfig, datamodule: SinusoidDataModule) -> tuple[Any, Any]:
    """What makes the optimiser and the schedule; a schedule's `???` becomes the number of optimiser steps of the run."""
    fused = {}
    if "fused" in signature(get_class(config.optimizer._target_)).parameters and _fuses(config.trainer.accelerator):
        fused = {"fused": True}
    # as plain lists: optimisers read theirs in every step, and OmegaConf's are slow to read
    make_optimizer = instantiate(config.optimizer, **fused, _convert_="all")
    if not config.scheduler.get("_target_"):
        return make_optimizer, None
    steps = datamodule.steps_per_epoch * config.trainer.max_epochs
    length = {key: steps for key in config.scheduler if OmegaConf.is_missing(config.scheduler, key)}
    return make_optimizer, instantiate(config.scheduler, **length, _convert_="all")


def _fuses(accelerator: str) -> bool:
    return accelerator == "cpu" or torch.cuda.is_available()


def _log_hyperparameters(logger: TensorBoardLogger, record: dict[str, Any]) -> None:
    """Fill TensorBoard's HPARAMS tab, where the runs of a sweep are compared."""
    noise = "+".join(map(str, record["noise"]["levels"])) or "none"
    keys = ("activation", "latent_dim", "model", "seed", "replicas")
    hyperparameters = {key: record[key] for key in keys} | {"noise": noise, "train_noise": record["noise"]["train"]}
    means = {metric: summary["mean"] for metric, summary in record["metrics"].items()}
    # at the last step: TensorBoard drops what stands before a step that comes again
    step = record["timing"]["steps"]
    logger.log_hyperparams(hyperparameters, {metric: mean for metric, mean in means.items() if mean is not None}, step)
    logger.save()


def _report(record: dict[str, Any], folder: Path) -> None:
    log.info(results.closing_line(record))
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return  # the sweep ends with one table of all its jobs
    console = Console()
    if not console.is_terminal:
        console.width = 120  # a log file has no width; Rich would take 80 columns and fold the table
    if record["references"]:
        console.print(results.closing_table(record))
    console.print(f"Everything about this run is in {os.path.relpath(folder)}", soft_wrap=True, highlight=False)


def _quieten_libraries() -> None:
    """Silence, by name, what libraries say on every normal run."""
    # which accelerators exist and are used (said in one line of our own), and tips about other products
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.accelerators.cuda").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.utilities.distributed").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # a run that goes on
    # on the login node of a cluster, where single processes are as welcome as elsewhere
    warnings.filterwarnings("ignore", message=".*srun. command is available on your system but is not used")
    # Lightning 2.6 asks PyTorch for a class that its later versions deprecate
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
