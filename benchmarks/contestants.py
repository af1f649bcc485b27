"""What is timed: wavecoder through its real Trainer.fit, and its peers, each an honest small script.

All train the same tanh autoencoder, 100→50→25→10→5→10→25→50→100, with Adam at 1e-3 on batches of 64 out of 20,000 signals.
Each contestant is a function that trains for some epochs and returns the seconds per optimiser step of every epoch.
"""

import os
import platform
import tempfile
import time
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.profilers import Profiler
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from wavecoder.engine.bindings import library
from wavecoder.runs.cli import CONF  # which registers the settings
from wavecoder.runs.run import prepare
from wavecoder.signals import SinusoidSource

SIGNALS, BATCH = 20_000, 64
SIZES = (100, 50, 25, 10, 5, 10, 25, 50, 100)


class EpochTimes(L.Callback):
    """Seconds per optimiser step of every epoch, twice: of the training alone, and with the validation and checkpoint after it.

    `whole` runs from the start of one epoch to the start of the next (or the end of the fit), so it includes the validation, the
    checkpoints and all logging.
    """

    def __init__(self) -> None:
        self.training: list[float] = []
        self.whole: list[float] = []
        self._start = self._step = 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close(trainer)
        self._start, self._step = time.perf_counter(), trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        self._last = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close(trainer)

    def _close(self, trainer: L.Trainer) -> None:
        if self._start:
            steps = trainer.global_step - self._step
            self.training.append((self._last - self._start) / steps)
            self.whole.append((time.perf_counter() - self._start) / steps)


def wavecoder(num_seeds: int, epochs: int, *overrides: str, profiler: Profiler | None = None) -> EpochTimes:
    """The default run, with its default callbacks and logging."""
    choices = [f"num_seeds={num_seeds}", "activation=tanh", "latent='5'", f"trainer.max_epochs={epochs}", *overrides]
    with tempfile.TemporaryDirectory() as folder, initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", choices, return_hydra_config=True)
        config.hydra.runtime.output_dir = folder
        HydraConfig.instance().set_config(config)
        threads = torch.get_num_threads()
        run = prepare(config)
        times = EpochTimes()
        run.trainer.callbacks.append(times)  # type: ignore[attr-defined]
        if profiler is not None:
            run.trainer.profiler = profiler  # type: ignore[attr-defined]
        run.trainer.fit(run.module, run.datamodule)
        torch.set_num_threads(threads)  # a run sets its own
    return times


def network() -> nn.Sequential:
    """The same autoencoder in plain PyTorch."""
    layers = [layer for inputs, outputs in pairwise(SIZES) for layer in (nn.Linear(inputs, outputs), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


def training_signals() -> Tensor:
    """The same signals, in rows as PyTorch's users have them."""
    source = SinusoidSource(train_size=SIGNALS)
    return source.training_set("cpu").evaluate(source.times("cpu")).contiguous()


def bare_loop(epochs: int, fused: bool) -> list[float]:
    """A plain PyTorch loop: shuffle once an epoch, then slice, forward, backward, step."""
    data, model = training_signals(), network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    times = []
    for _ in range(epochs):
        start = time.perf_counter()
        batches = data[torch.randperm(SIGNALS)].split(BATCH)
        for batch in batches:
            loss = nn.functional.mse_loss(model(batch), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        times.append((time.perf_counter() - start) / len(batches))
    return times


class StockModule(L.LightningModule):
    """The autoencoder as Lightning's tutorials write it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = network()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        (signals,) = batch
        loss = nn.functional.mse_loss(self.model(signals), signals)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def stock_lightning(epochs: int) -> EpochTimes:
    """Lightning as it comes, with a DataLoader over a TensorDataset; without its progress bar, which would slow it further."""
    loader = DataLoader(TensorDataset(training_signals()), batch_size=BATCH, shuffle=True)
    times = EpochTimes()
    with tempfile.TemporaryDirectory() as folder:
        quiet = {"enable_progress_bar": False, "enable_model_summary": False}
        trainer = L.Trainer(default_root_dir=folder, accelerator="cpu", max_epochs=epochs, callbacks=[times], **quiet)
        trainer.fit(StockModule(), loader)
    return times


def jax_scan(num_seeds: int, epochs: int) -> list[float] | None:
    """JAX and optax as their users write it: one jitted scan an epoch, `vmap` over seeds; None if they are not installed."""
    try:
        import jax
        import jax.numpy as jnp
        import optax
    except ImportError:
        return None
    data = jnp.asarray(training_signals().numpy())
    optimizer = optax.adam(1e-3)
    steps = SIGNALS // BATCH

    def initial(key: Any) -> Any:
        keys = jax.random.split(key, len(SIZES))
        return [
            (jax.random.uniform(k, (i, o), minval=-(i**-0.5), maxval=i**-0.5), jnp.zeros(o))
            for k, (i, o) in zip(keys, pairwise(SIZES), strict=False)
        ]

    def loss(parameters: Any, batch: Any) -> Any:
        x = batch
        for number, (weight, bias) in enumerate(parameters):
            x = x @ weight + bias
            x = jnp.tanh(x) if number < len(parameters) - 1 else x
        return ((x - batch) ** 2).mean()

    def epoch(parameters: Any, state: Any, key: Any) -> Any:
        order = jax.random.permutation(key, SIGNALS)[: steps * BATCH].reshape(steps, BATCH)

        def step(carry: Any, index: Any) -> Any:
            value, gradients = jax.value_and_grad(loss)(carry[0], data[index])
            updates, moments = optimizer.update(gradients, carry[1])
            return (optax.apply_updates(carry[0], updates), moments), value

        return jax.lax.scan(step, (parameters, state), order)

    keys = jax.random.split(jax.random.key(0), num_seeds)
    many = num_seeds > 1
    parameters = jax.vmap(initial)(keys) if many else initial(keys[0])
    state = jax.vmap(optimizer.init)(parameters) if many else optimizer.init(parameters)
    run = jax.jit(jax.vmap(epoch) if many else epoch)
    times = []
    for number in range(epochs + 1):  # the first compiles
        start = time.perf_counter()
        shuffles = jax.random.split(jax.random.key(number), num_seeds) if many else jax.random.key(number)
        (parameters, state), losses = run(parameters, state, shuffles)
        losses.block_until_ready()
        times.append((time.perf_counter() - start) / steps)
    return times[1:]


def arithmetic_limit() -> float:
    """Seconds of a step's products at the rate at which this machine multiplies large matrices with all its threads."""
    a = torch.randn(2048, 2048)
    rates = []
    for _ in range(8):
        start = time.perf_counter()
        a @ a
        rates.append(2 * 2048**3 / (time.perf_counter() - start))
    weights = [i * o for i, o in pairwise(SIZES)]
    return BATCH * (6 * sum(weights) - 2 * weights[0]) / max(rates)  # forward, both gradients, and none of the input


def machine() -> str:
    """What this was measured on."""
    model = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor())
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    built = library()
    engine = "no compiled engine" if built is None else f"compiled engine for {built.instruction_set}"
    return f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {engine}, {versions}, {date.today()}"


def _cpuinfo() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.exists() else []
