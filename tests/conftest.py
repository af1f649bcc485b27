"""What several test files share: fixtures, and small data modules, problems, modules and configurations."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from browser import browser as browser  # a fixture
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, open_dict
from processes import JOB, Run, run_script
from run_files import only_run, records
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from wavecoder.engine import Engine, Problem, choose
from wavecoder.engine.bindings import instruction_set, library
from wavecoder.ensemble import Ensemble, flatten_parameters
from wavecoder.networks import DeepAutoencoder
from wavecoder.runs import foreign, resume, targets
from wavecoder.runs.cli import CONF, quote_whole_numbers
from wavecoder.runs.settings import Settings, from_config
from wavecoder.signals import Sinusoids, SinusoidSource
from wavecoder.training.callbacks.checkpoint import CheckpointFiles
from wavecoder.training.data import SignalDataModule
from wavecoder.training.module import AutoencoderModule
from wavecoder.training.noise import Noise

pytest_plugins = ["slurm_cluster", "refusals"]  # fixtures

FUSED_ADAM = partial(torch.optim.Adam, fused=True)

torch.set_num_threads(1)  # the tests run side by side on few cores


def data_module(
    num_seeds: int = 1, seed: int = 0, noise: Noise | None = None, data_seed: int = 0, **changes: Any
) -> SignalDataModule:
    """A small data module of the paper's signals; `changes` are arguments of the data module or of its source."""
    of_module = {"batch_size": 16, "steps_per_execution": 7, "fresh": False, "data_seed": data_seed, "per_seed": False}
    of_source: dict[str, Any] = {"train_size": 640, "val_size": 200, "seed": data_seed}
    for key, value in changes.items():
        (of_module if key in of_module else of_source)[key] = value
    return SignalDataModule(SinusoidSource(**of_source), noise or Noise(), seed=seed, num_seeds=num_seeds, **of_module)


def problem(ensemble: Ensemble, loss: nn.Module | None = None, **conditions: Any) -> Problem:
    """What is trained in a test: an ensemble, by squared error and on the CPU unless told otherwise."""
    return Problem(ensemble, loss or nn.MSELoss(), **({"device": torch.device("cpu")} | conditions))


def autoencoder_module(
    network: Callable[[], nn.Module] = lambda: DeepAutoencoder(100, 5, nn.Tanh),
    num_seeds: int = 1,
    engine: str = "auto",
    make_optimizer: Callable[..., Optimizer] = FUSED_ADAM,
    seed: int = 0,
    loss: nn.Module | None = None,
    **conditions: Any,
) -> AutoencoderModule:
    """A module of an ensemble, trained by the engine of that name; `conditions` are those of `problem`."""
    described = problem(Ensemble(network, range(seed, seed + num_seeds)), loss, seed=seed, **conditions)
    return AutoencoderModule(described, choose(described, engine).engine, make_optimizer)


@dataclass(frozen=True)
class Steps:
    """A chunk: inputs and targets of consecutive optimiser steps, `[member, batch, time]`."""

    batches: Sequence[tuple[Tensor, Tensor]]
    epoch: int = 0
    first_step: int = 0

    times: Tensor = field(default_factory=lambda: torch.empty(0))
    sinusoids: Sinusoids | None = None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.batches)

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, wanted in self.batches:
            block = inputs[None]
            yield block, block if wanted is inputs else wanted[None]


def engine_for(
    posed: Problem,
    engine: str = "auto",
    make_optimizer: Callable[..., Optimizer] = FUSED_ADAM,
    make_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
) -> Engine:
    """The engine of that name, ready to train."""
    flat = flatten_parameters(posed.ensemble)
    optimizer = make_optimizer([flat])
    scheduler = None if make_scheduler is None else make_scheduler(optimizer)
    return choose(posed, engine).engine(posed, flat, optimizer, scheduler)


class KeepLosses(L.Callback):
    """Keeps the losses of all optimiser steps, a tensor `[step, member]` for each chunk."""

    def __init__(self) -> None:
        self.chunks: list[Tensor] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        assert isinstance(pl_module, AutoencoderModule)
        self.chunks.append(pl_module.losses[-1])


def losses_of_fit(module: AutoencoderModule, signals: SignalDataModule, folder: Path, **arguments: object) -> Tensor:
    """Train with a quiet trainer, `arguments` are its, and return the losses of all steps, `[step, member]`."""
    kept = KeepLosses()
    quiet_trainer(folder, callbacks=[kept], **arguments).fit(module, signals)
    return torch.cat(kept.chunks)


def quiet_trainer(folder: Path, **arguments: object) -> L.Trainer:
    """A trainer of one epoch on the CPU that writes and prints nothing, unless told otherwise."""
    quiet: dict[str, object] = {
        "default_root_dir": folder,
        "accelerator": "cpu",
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "plugins": [CheckpointFiles()],
    }
    return L.Trainer(**(quiet | arguments))  # type: ignore[arg-type]


@pytest.fixture(params=["compiled", "pytorch"])
def engine(request: pytest.FixtureRequest) -> str:
    """Runs a test twice, with the compiled engine and with the PyTorch engine."""
    if request.param == "compiled" and library() is None:
        pytest.skip(f"nothing was compiled for {instruction_set()}")
    return str(request.param)


@pytest.fixture(autouse=True)
def _of_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets no test see what a command in another test has noted for its process."""
    monkeypatch.setattr(targets, "_remedy", targets._remedy)
    monkeypatch.setattr(foreign, "_typed", set(foreign._typed))
    monkeypatch.setattr(resume, "_asked", list(resume._asked))
    monkeypatch.setenv(targets._VARIABLE, os.environ.get(targets._VARIABLE, ""))


@pytest.fixture
def run_train(tmp_path: Path) -> Run:
    """Runs `python src/train.py ARGUMENTS` in an empty folder."""
    return partial(run_script, "train.py", tmp_path)


def composed(*overrides: str) -> DictConfig:
    """The configuration that these overrides give, with its `hydra` node."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        quoted = [quote_whole_numbers(override) for override in overrides]
        return compose("train", quoted, return_hydra_config=True)


def settings_with(*values: str) -> Settings:
    """The checked settings in which these values are set, by `key=value`: in milliseconds, as options are composed but once."""
    config = _composed_once().copy()
    with open_dict(config):
        config.merge_with_dotlist(list(values))
    return from_config(config)


@cache
def _composed_once() -> DictConfig:
    return composed()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of four small runs, pytorch-1 to auto-3 by engine and number of seeds; tests only read them."""
    folder = tmp_path_factory.mktemp("trained")
    done = run_script("train.py", folder, "-m", "sweep=s", "debug=quick", "logger=none", "engine=pytorch,auto", "num_seeds=1,3")
    assert done.returncode == 0, done.stderr
    sweep = folder / "outputs" / "sweeps" / "s"
    for name, record in records(sweep).items():
        (sweep / name).rename(sweep / f"{record['overrides']['engine']}-{record['num_seeds']}")
    return sweep


@pytest.fixture(scope="session")
def denoising_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a network that was trained to take noise away; tests only read it."""
    folder = tmp_path_factory.mktemp("denoise")
    done = run_script("train.py", folder, *JOB, "trainer.max_epochs=20", "noise.train_std=0.3")
    assert done.returncode == 0, done.stderr
    return only_run(folder)
