"""Training that stops at any chunk and resumes, against the same training undisturbed: weights, optimiser, curves, to the bit."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from conftest import autoencoder_module, data_module, quiet_trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from own_networks import VariationalAutoencoder
from same_end import assert_same_end
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from wavecoder.file_source import FileSource
from wavecoder.networks import DeepAutoencoder, TiedLinearAutoencoder
from wavecoder.runs.results import LAST_CHECKPOINT
from wavecoder.training.callbacks.checkpoint import SESSION, LastCheckpoint
from wavecoder.training.callbacks.references import ReferenceErrors
from wavecoder.training.callbacks.signals import SignalHandlers
from wavecoder.training.callbacks.subspace import LinearSubspace
from wavecoder.training.checkpoints import read_checkpoint, sound_checkpoint, write_checkpoint
from wavecoder.training.curves import TensorBoardCurves
from wavecoder.training.data import SignalDataModule
from wavecoder.training.module import AutoencoderModule
from wavecoder.training.noise import Noise

EPOCHS, CHUNKS = 3, 6  # of 7 steps, the last one of 5


class InterruptAt(L.Callback):
    """As if Ctrl-C were pressed during some chunk of the training, or during the validation after it."""

    def __init__(self, chunk: int, in_validation: bool = False) -> None:
        self.left, self.in_validation = chunk, in_validation

    def on_train_batch_start(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0 and not self.in_validation:
            signal.raise_signal(signal.SIGINT)

    def on_validation_start(self, *_: object) -> None:
        if self.left <= 0 and self.in_validation:
            self.in_validation = False
            signal.raise_signal(signal.SIGINT)


Made = tuple[AutoencoderModule, SignalDataModule]


def session(folder: Path, made: Made, *callbacks: L.Callback, **arguments: Any) -> L.Trainer:
    """One session of a run in a folder: it resumes from what is there."""
    module, signals = made
    kept = folder / LAST_CHECKPOINT.parent
    best = ModelCheckpoint(kept, "best", "val/mse", save_weights_only=True, enable_version_counter=False)
    linear = isinstance(module.ensemble.network, TiedLinearAutoencoder)
    measured = [ReferenceErrors(5, "fitted"), LinearSubspace()] if linear else []
    logger = TensorBoardCurves(folder, name="tb", version="autoencoder")
    called = [SignalHandlers(), *measured, *callbacks, best, LastCheckpoint(str(kept), 1000.0)]
    plain = {"max_epochs": EPOCHS, "logger": logger, "enable_checkpointing": True}
    trainer = quiet_trainer(folder, callbacks=called, **plain | arguments)
    found = sound_checkpoint(kept, module, signals, trainer)
    logger.resume(read_checkpoint(found)[SESSION]["curves"] if found else None, folder)
    trainer.fit(module, signals, ckpt_path=found)
    return trainer


def signals(num_seeds: int = 2, noise: Noise | None = None, **changes: Any) -> SignalDataModule:
    return data_module(num_seeds, noise=noise or Noise(()), val_size=20, **changes)


def deep(engine: str, num_seeds: int = 2, **changes: Any) -> Made:
    return autoencoder_module(lambda: DeepAutoencoder(100, 5, nn.Tanh), num_seeds, engine), signals(num_seeds, **changes)


def scheduled(engine: str) -> Made:
    made = deep(engine)
    made[0].make_scheduler = partial(CosineAnnealingLR, T_max=120)
    return made


def linear(engine: str) -> Made:
    return autoencoder_module(lambda: TiedLinearAutoencoder(100, 5), 2, "auto"), signals()


def drawing(engine: str) -> Made:
    return autoencoder_module(lambda: VariationalAutoencoder(100, 5), 2, "pytorch"), signals()


def momentum(engine: str) -> Made:
    make = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
    return autoencoder_module(num_seeds=2, engine="pytorch", make_optimizer=make), signals()


def of_a_file(engine: str, folder: Path) -> Made:
    file = folder / "signals.npy"
    np.save(file, np.random.default_rng(0).standard_normal((840, 100)).astype("f4"))
    source = FileSource(str(file), None, None, "none", 100, 1.0, 640, 200, 0)
    return autoencoder_module(num_seeds=2, engine=engine), SignalDataModule(
        source, Noise(()), 16, num_seeds=2, steps_per_execution=7
    )


RUNS: dict[str, Callable[[str], Made]] = {
    "one seed": lambda engine: deep(engine, 1),
    "fresh": lambda engine: deep(engine, fresh=True),
    "own sets": lambda engine: deep(engine, per_seed=True),
    "noise": lambda engine: deep(engine, noise=Noise((), train_std=0.3)),
    "schedule": scheduled,
    "linear": linear,
    "draws": drawing,
    "momentum": momentum,
}


@pytest.fixture(params=[*RUNS, "file"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Made]:
    return RUNS.get(request.param, partial(of_a_file, folder=tmp_path))


@pytest.fixture
def plain_ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a program; Lightning lets it be ignored once it was pressed."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(folder: Path, made: Made, at: InterruptAt, **arguments: Any) -> None:
    with pytest.raises(SystemExit):
        session(folder, made, at, **arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def stopped_and_resumed(folder: Path, make: Callable[[], Made], chunks: list[int], **arguments: Any) -> None:
    """Runs that are interrupted at some chunk and resumed must end as one that is not."""
    session(folder / "whole", make(), **arguments)
    for chunk in chunks:
        interrupted(folder / str(chunk), make(), InterruptAt(chunk), **arguments)
        assert read_checkpoint(folder / str(chunk) / LAST_CHECKPOINT)["global_step"] == chunk // CHUNKS * 40 + chunk % CHUNKS * 7
        session(folder / str(chunk), make(), **arguments)
        assert_same_end(folder / str(chunk), folder / "whole")


@pytest.mark.usefixtures("plain_ctrl_c")
def test_a_run_stopped_in_an_epoch_resumes_there(tmp_path: Path) -> None:
    stopped_and_resumed(tmp_path, partial(deep, "auto"), [CHUNKS + 2])


class Signal(L.Callback):
    """Sends signals to this process, one after another, in the first chunk of steps."""

    def __init__(self, *kinds: signal.Signals) -> None:
        self.kinds = kinds

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int) -> None:
        if trainer.global_step == 0:
            for kind in self.kinds:
                signal.raise_signal(kind)


@pytest.fixture
def acted() -> Iterator[list[signal.Signals]]:
    """Which signals have acted while this process has the handlers of submitit's: SIGTERM is survived, SIGUSR2 ends a task."""
    told: list[signal.Signals] = []

    def requeue(number: int, frame: object) -> None:
        told.append(signal.Signals(number))
        raise SystemExit

    handlers = {signal.SIGTERM: lambda number, _: told.append(signal.Signals(number)), signal.SIGUSR2: requeue}
    before = {kind: signal.signal(kind, handler) for kind, handler in handlers.items()}
    yield told
    for kind, handler in before.items():
        signal.signal(kind, handler)


def test_a_checkpoint_names_no_files_elsewhere_for_removal(tmp_path: Path) -> None:
    run, thesis = tmp_path / "run", tmp_path / "thesis.txt"
    thesis.touch()
    session(run, deep("auto"), max_epochs=1)
    last = run / LAST_CHECKPOINT
    content = read_checkpoint(last)
    (key,) = (key for key in content["callbacks"] if key.startswith("ModelCheckpoint"))
    for named in (str(thesis), f"{last.parent}/../../thesis.txt", os.path.relpath(thesis)):
        content["callbacks"][key]["kth_best_model_path"] = named
        content["callbacks"][key]["best_k_models"] = {named: torch.tensor(9.0)}
        content["callbacks"][key]["kth_value"] = torch.tensor(9.0)
        write_checkpoint(content, last)
        session(run, deep("auto"))
        assert thesis.exists(), named


@pytest.mark.parametrize("order", [(signal.SIGUSR2, signal.SIGTERM), (signal.SIGTERM, signal.SIGUSR2)], ids=str)
def test_no_signal_is_lost_when_another_follows_in_the_same_chunk(
    tmp_path: Path, acted: list[signal.Signals], order: tuple[signal.Signals, ...]
) -> None:
    with pytest.raises(SystemExit):
        session(tmp_path, deep("auto"), Signal(*order))
    assert acted == [signal.SIGUSR2]
    assert read_checkpoint(tmp_path / LAST_CHECKPOINT)["global_step"] == 7


def test_signals_that_are_survived_leave_a_run_alone(tmp_path: Path, acted: list[signal.Signals]) -> None:
    session(tmp_path, deep("auto"), Signal(signal.SIGTERM), max_epochs=1)
    assert acted == [signal.SIGTERM]
    assert read_checkpoint(tmp_path / LAST_CHECKPOINT)["global_step"] == 40


def test_a_signal_that_meets_an_error_acts_all_the_same(tmp_path: Path, acted: list[signal.Signals]) -> None:
    fails = L.Callback()
    fails.on_train_batch_end = lambda *_: 1 / 0  # type: ignore[method-assign, assignment]
    with pytest.raises(SystemExit):
        session(tmp_path, deep("auto"), Signal(signal.SIGUSR2), fails)
    assert acted == [signal.SIGUSR2]


@pytest.mark.slow
@pytest.mark.usefixtures("plain_ctrl_c")
def test_a_run_stopped_at_each_chunk_of_an_epoch_resumes_there(tmp_path: Path, engine: str) -> None:
    stopped_and_resumed(tmp_path, partial(deep, engine), list(range(1, CHUNKS + 2)))


@pytest.mark.slow
@pytest.mark.usefixtures("plain_ctrl_c")
def test_any_kind_of_run_resumes_in_an_epoch(tmp_path: Path, engine: str, make: Callable[[str], Made]) -> None:
    stopped_and_resumed(tmp_path, partial(make, engine), [CHUNKS + 2])


@pytest.mark.slow
@pytest.mark.usefixtures("plain_ctrl_c")
@pytest.mark.parametrize(
    "arguments",
    [
        {"val_check_interval": 2},
        {"check_val_every_n_epoch": 2},
        {"limit_train_batches": 4},
        {"max_steps": 100, "max_epochs": -1},
    ],
    ids=str,
)
def test_a_run_that_validates_or_ends_otherwise_resumes_too(tmp_path: Path, arguments: dict[str, Any]) -> None:
    session(tmp_path / "whole", deep("auto"), **arguments)
    for chunk, in_validation in [(1, False), (2, False), (4, False), (8, False), (2, True)]:
        folder = tmp_path / f"{chunk} {in_validation}"
        at = InterruptAt(chunk, in_validation)
        interrupted(folder, deep("auto"), at, **arguments)
        session(folder, deep("auto"), **arguments)
        assert_same_end(folder, tmp_path / "whole")
