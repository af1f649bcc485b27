"""One configuration: objects made, trained, and the results written."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from rich.console import Console
from torch import nn

from wavecoder.engine import Choice, Problem, choose
from wavecoder.ensemble import Ensemble
from wavecoder.networks import DeepAutoencoder
from wavecoder.runs import build, results, tables, typed
from wavecoder.runs.limits import SettingError
from wavecoder.runs.process import silence_libraries
from wavecoder.runs.resolvers import given_overrides, tasks_share_a_run
from wavecoder.runs.settings import OF_SWEEPS, Settings, from_config
from wavecoder.runs.threads import engine_threads, torch_threads
from wavecoder.training.callbacks.checkpoint import SESSION, CheckpointFiles, LastCheckpoint
from wavecoder.training.callbacks.signals import EndedBySignal, SignalHandlers
from wavecoder.training.checkpoints import read_checkpoint, sound_checkpoint
from wavecoder.training.curves import TensorBoardCurves
from wavecoder.training.data import SignalDataModule
from wavecoder.training.ending import die_of
from wavecoder.training.fit import Outcome, fit
from wavecoder.training.module import AutoencoderModule
from wavecoder.training.noise import Noise

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """The objects that a configuration describes, before anything is trained."""

    settings: Settings
    folder: Path
    network: build.NetworkChoice
    engine: Choice
    datamodule: SignalDataModule
    module: AutoencoderModule
    trainer: L.Trainer


def prepare(config: DictConfig) -> Run:
    """Make the objects that a configuration describes.

    Args:
        config: The composed configuration with its `hydra` node.

    Raises:
        SettingError: Something cannot be made from the configuration.
    """
    settings, folder = from_config(config), Path(config.hydra.runtime.output_dir)
    silence_libraries()
    torch.set_num_threads(torch_threads(settings))
    trainer = make_trainer(config, folder, build.make_objects(config, "callbacks"))
    check_shares(settings, trainer)
    network, loss = build.choose_network(config, settings), build.make_loss(config)
    with build.as_setting_error(f"model={network.model}"):
        ensemble = Ensemble(network.make, range(settings.seed, settings.seed + settings.num_seeds))
    problem = _problem(settings, ensemble, loss, trainer)
    with build.as_setting_error(f"engine.name={settings.engine.name}"):
        engine = choose(problem, settings.engine.name)
    datamodule = SignalDataModule(
        build.make_source(settings),
        Noise(**vars(settings.noise), steps=settings.steps),
        settings.data.batch_size * settings.accumulate,
        settings.seed,
        settings.num_seeds,
        settings.data.seed,
        settings.data.fresh,
        settings.engine.steps_per_execution or engine.engine.steps_per_execution(settings.num_seeds),
        settings.data.per_seed,
    )
    optimization = build.make_optimization(config, settings)
    module = AutoencoderModule(problem, engine.engine, *optimization, network.label, settings.on_divergence)
    with build.as_setting_error("optimizer or scheduler"):
        module.configure_optimizers()  # made again when the fit starts; here to find mistakes in its arguments
    return Run(settings, folder, network, engine, datamodule, module, trainer)


def check_shares(settings: Settings, trainer: L.Trainer) -> None:
    """Refuse batches that the processes of a run cannot share evenly.

    Raises:
        SettingError: They cannot.
    """
    if settings.data.batch_size % trainer.world_size:
        processes = f"a multiple of the {trainer.world_size} processes that share each batch"
        raise SettingError(f"data.batch_size={settings.data.batch_size}: must be {processes}")


def make_trainer(config: DictConfig, folder: Path, callbacks: Mapping[str, L.Callback]) -> L.Trainer:
    """The trainer of a run with its logger. Makes no folder.

    Args:
        config: The composed configuration.
        folder: The run's.
        callbacks: By their names in the configuration.

    Raises:
        SettingError: One of them cannot be made.
    """
    logger: Logger | bool = build.make_objects(config, "logger") if config.logger.get("_target_") else False
    # under Slurm the submitting process is responsible for requeueing; tasks that share no run do not wait for one another
    shared = tasks_share_a_run(config.trainer.get("devices"), config.trainer.get("num_nodes", 1))
    environment = SLURMEnvironment(auto_requeue=False) if shared else LightningEnvironment()
    # the last checkpoint keeps the state of the others of this moment
    in_order = sorted(callbacks.values(), key=lambda callback: isinstance(callback, LastCheckpoint))
    plugins = [CheckpointFiles(), *([environment] if SLURMEnvironment.detect() else [])]
    given: Any = OmegaConf.to_container(config.trainer, resolve=True)
    for key in ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm"):
        given.pop(key, None)  # the engine's: Lightning refuses them with manual optimisation
    plain = OmegaConf.create({"trainer": given})
    arguments = {"callbacks": [*in_order, SignalHandlers()], "logger": logger, "plugins": plugins}
    trainer: L.Trainer = build.make_objects(plain, "trainer", **arguments, default_root_dir=str(folder))
    return trainer


def _problem(settings: Settings, ensemble: Ensemble, loss: Any, trainer: L.Trainer) -> Problem:
    clip = settings.trainer.get("gradient_clip_val")
    by_value = settings.trainer.get("gradient_clip_algorithm") == "value"
    return Problem(
        ensemble,
        loss,
        device=trainer.strategy.root_device,
        seed=settings.seed,
        processes=trainer.world_size,
        rank=trainer.global_rank,
        precision=str(trainer.precision),
        accumulate=settings.accumulate,
        clip_value=clip if by_value else None,
        clip_norm=None if by_value else clip,
        threads=engine_threads(settings),
        torch_compile=settings.engine.torch_compile,
    )


def begin(config: DictConfig) -> Callable[[Path | None], float]:
    """Make the objects of one configuration, and write nothing.

    Args:
        config: The composed configuration, see conf/train.yaml.

    Returns:
        A function that trains, measures, writes `results.json`, prints the closing table, and returns the mean over seeds of the
        final `val/mse`, NaN if one diverged. It takes where to resume, a `last.ckpt` of the same configuration, damaged or not,
        or None to start from the beginning, and raises `Diverged` if the training has gone wrong.

    Raises:
        SettingError: Something cannot be made from the configuration.
    """
    whole = config.copy()
    with read_write(whole), open_dict(whole):
        whole.hydra = HydraConfig.get()
    return partial(_train, prepare(whole), config)


def _train(run: Run, config: DictConfig, checkpoint: Path | None) -> float:
    trainer = run.trainer
    checkpoint = _resume(run, checkpoint)
    if trainer.is_global_zero:
        log.info("%s", describe(run))
        results.note_engine(run.folder, {"name": run.engine.name, "reason": run.engine.reason})
        if isinstance(trainer.logger, TensorBoardCurves):
            trainer.logger.log_settings(_hyperparameters(run))
    try:
        outcome = fit(trainer, run.module, run.datamodule, checkpoint)
    except EndedBySignal as end:
        if trainer.is_global_zero:
            log.warning("%s", typed.interrupted(f"Ended by {end.kind.name} at step {end.step}"))
        die_of(end.kind)
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):  # which Lightning turns into an exit
            raise KeyboardInterrupt from None
        raise
    except MisconfigurationException as error:  # Lightning looks at some of its arguments no sooner
        if trainer.global_step == 0:
            raise SettingError(f"trainer: {' '.join(str(error).split())}") from error
        raise
    record = _record(run, config, outcome)
    if trainer.is_global_zero:
        if isinstance(trainer.logger, TensorBoardCurves):
            trainer.logger.log_success()
            trainer.logger.finalize("success")  # it was opened again, and has a thread
        (run.folder / results.PREVIOUS_CHECKPOINT).unlink(missing_ok=True)
        results.write_results(run.folder, record)
        _print_results(record, run.folder)
        warn_of_scale(run.settings, run.datamodule)
    mean = record["metrics"]["val/mse"]["mean"]
    return float("nan") if mean is None else mean


def _resume(run: Run, last: Path | None) -> Path | None:
    """Find the checkpoint from which a run resumes, and take away what TensorBoard was given since it was written.

    Args:
        run: The run.
        last: The last checkpoint, or where it would be; None if the run starts from the beginning in any case.

    Returns:
        The file; None if the run starts from the beginning, because there is no sound one.
    """
    trainer, curves, found = run.trainer, None, None
    if last is not None:
        found = sound_checkpoint(last.parent, run.module, run.datamodule, trainer, set_aside=trainer.is_global_zero)
        if trainer.is_global_zero:
            named = "its last checkpoint" if found == last else "the checkpoint before its last"
            log.info("%s %s", run.folder.name, "starts from the beginning" if found is None else f"resumes from {named}")
    if trainer.is_global_zero and isinstance(trainer.logger, TensorBoardCurves):
        if found is not None:
            curves = read_checkpoint(found).get(SESSION, {}).get("curves")
        trainer.logger.resume(curves, run.folder)
    return found


def _record(run: Run, config: DictConfig, outcome: Outcome) -> dict[str, Any]:
    """What `results.json` holds of a completed run."""
    settings = run.settings
    signals = outcome.steps * run.datamodule.batch_size * settings.num_seeds
    device = run.module.problem.device
    return {
        "status": "completed",
        "schema": results.SCHEMA,
        "network": run.network.label,
        "model": run.network.model,
        "activation": run.network.activation,
        "bias": bool(settings.model.get("bias", True)),
        "latent_dim": settings.latent.dim,
        "noise": {
            "eval_std": list(settings.noise.eval_std),
            "train_std": settings.noise.train_std,
            "train_between": settings.noise.train_between,
            "draws": settings.noise.draws,
        },
        "data_seed": settings.data.seed,
        "per_seed": settings.data.per_seed,
        "fresh": settings.data.fresh,
        "basis": settings.basis,
        "seed": settings.seed,
        "num_seeds": settings.num_seeds,
        "max_epochs": settings.trainer.get("max_epochs"),
        "metrics": {metric: results.summarise(values) for metric, values in outcome.errors.items()},
        "references": outcome.references,
        **({"diverged": outcome.diverged} if outcome.diverged else {}),
        **({"dead": outcome.dead} if outcome.dead else {}),
        **({"file": settings.data.path} if settings.data.path else {}),
        **({"subspace": outcome.subspace} if outcome.subspace else {}),
        "engine": {"name": run.engine.name, "reason": run.engine.reason},
        "timing": {
            "fit_seconds": outcome.seconds,
            "steps": outcome.steps,
            "resumed_at_step": outcome.resumed_at_step,
            "signals_per_second": signals / outcome.seconds,
        },
        "versions": results.versions(),
        "config_fingerprint": results.fingerprint(config),
        "overrides": results.as_choices(given_overrides(HydraConfig.get())),
        "place": results.place(),
        "origin": results.origin() | ({"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}),
    }


def describe(run: Run) -> str:
    """One line about a run: which networks, how large, how many, where, and by which engine and why."""
    ensemble = run.module.ensemble
    sizes = [run.settings.data.signal_length, run.settings.latent.dim, run.settings.data.signal_length]
    if type(ensemble.network) is DeepAutoencoder:
        linear = [layer for layer in ensemble.network.modules() if isinstance(layer, nn.Linear)]
        sizes = [linear[0].in_features, *(layer.out_features for layer in linear)]
    parameters = sum(parameter.numel() for parameter in ensemble.parameters()) // ensemble.num_members
    seeds = "1 seed" if ensemble.num_members == 1 else f"{ensemble.num_members} seeds"
    layers = "→".join(map(str, sizes))
    engine = f"{run.engine.name} engine on {run.module.problem.device} ({run.engine.reason})"
    return f"{run.network.label} autoencoder {layers}, {parameters:,} parameters, {seeds}; {engine}"


def _hyperparameters(run: Run) -> dict[str, Any]:
    """What TensorBoard's tab HPARAMS compares runs by: what every run has, few so that metrics are in sight, and its choices."""
    values = {"activation": run.network.activation or "none", "latent": run.settings.latent.dim, "seed": run.settings.seed}
    told = {"latent.dim", *OF_SWEEPS}
    chosen = results.as_choices(given_overrides(HydraConfig.get())).items()
    return {key: results.as_value(value) for key, value in chosen if key not in told and not key.startswith("hydra.")} | values


def _print_results(record: dict[str, Any], folder: Path) -> None:
    log.info(tables.closing_line(record))
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return  # the sweep ends with one table of all its jobs
    console = Console()
    if record["references"]:
        console.print()
        tables.print_errors(console, record)
    typed.print_next_of_run(folder, record)


def warn_of_scale(settings: Settings, datamodule: SignalDataModule) -> None:
    """Say so if signals of a file are of a size that initial weights and learning rates are not made for."""
    if settings.data.path is None or settings.data.scaling != "none":
        return
    size = math.sqrt(datamodule.moments.second_moment.diagonal().mean().item())
    if not 0.1 <= size <= 10:
        log.warning("the signals' root mean square is %.2g, and networks train well near 1: data.scaling=set or signal", size)
