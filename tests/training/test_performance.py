"""What keeps training fast, without a clock: how much is dispatched, and where tensors live. Times are in benchmarks/."""

from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import FUSED_ADAM, autoencoder_module, composed, data_module, quiet_trainer
from lightning.pytorch.profilers import Profiler
from own_networks import ConvolutionalAutoencoder, ResidualAutoencoder
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wavecoder.engine import bindings
from wavecoder.metrics import EvaluationBatch
from wavecoder.networks import DeepAutoencoder, TiedLinearAutoencoder
from wavecoder.signals import Sinusoids
from wavecoder.training import data
from wavecoder.training.data import TrainingChunk
from wavecoder.training.noise import Noise

aten = torch.ops.aten


class CountOperators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


class CountHooks(Profiler):
    """Lightning tells its profiler of every hook that it enters."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = 0

    def start(self, action_name: str) -> None:
        self.entered += 1

    def stop(self, action_name: str) -> None:
        pass


def fit(folder: Path, engine: str, num_seeds: int, steps: int) -> tuple[Counter[str], int]:
    """Operators dispatched and hooks entered in a fit of so many optimiser steps in chunks of 10, without validation."""
    module = autoencoder_module(partial(DeepAutoencoder, 100, 5, nn.Tanh), num_seeds, engine, FUSED_ADAM)
    hooks = CountHooks()
    trainer = quiet_trainer(folder, limit_val_batches=0, profiler=hooks)
    with CountOperators() as operators:
        trainer.fit(module, data_module(num_seeds, train_size=16 * steps, steps_per_execution=10))
    assert trainer.global_step == steps
    return operators.counts, hooks.entered


def per_step(folder: Path, engine: str, num_seeds: int) -> tuple[dict[str, float], float]:
    """The difference between a long and a short fit, so that what is done once per fit drops out."""
    (long, long_hooks), (short, short_hooks) = (fit(folder, engine, num_seeds, steps) for steps in (60, 20))
    counts = {name: (long[name] - short[name]) / 40 for name in long | short}
    return {name: count for name, count in counts.items() if count}, (long_hooks - short_hooks) / 40


VIEWS = ("view", "unsqueeze", "transpose", "select", "slice", "split", "t.default", "detach", "alias", "expand", "unbind")
# evaluating the sine is shared by the steps of a block, and blocks are shorter for larger ensembles
RENDERING = {"arange.default", "_to_copy.default", "mul.Tensor", "addcmul.default", "sin_.default", "mul_.Tensor"}


def computing(counts: dict[str, float]) -> dict[str, float]:
    """Without what moves no data and what makes the signals."""
    return {
        name: n
        for name, n in counts.items()
        if not any(view in name for view in VIEWS) and name.removeprefix("aten.") not in RENDERING
    }


def test_a_step_dispatches_as_much_for_many_members_as_for_few(engine: str, tmp_path: Path) -> None:
    one, one_hooks = per_step(tmp_path, engine, 1)
    few, few_hooks = per_step(tmp_path, engine, 2)
    many, many_hooks = per_step(tmp_path, engine, 16)
    assert computing(few) == computing(many)
    if engine == "compiled":
        assert computing(one) == computing(many)
        assert "aten.clone.default" not in many  # the engine would copy signals that are stored otherwise
    assert sum(computing(one).values()) < (2 if engine == "compiled" else 70)
    assert sum(computing(many).values()) < (2 if engine == "compiled" else 100)
    adam = "aten._fused_adam_.default"  # the compiled engine does this step itself
    assert many.get(adam, 0) == one.get(adam, 0) == (0 if engine == "compiled" else 1)
    assert one_hooks == few_hooks == many_hooks
    assert many_hooks < 3  # 1 in chunks of 10 steps; stock Lightning enters 18 for every step


class NothingOnTheHost(TorchDispatchMode):
    """Fails on any operator that touches a tensor elsewhere than on the meta device, or reads a value."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not aten._local_scalar_dense.default, "a value is read by the host"
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            assert not isinstance(leaf, Tensor) or leaf.device.type == "meta", f"{func} touches the host"
        return result


def test_the_guard_sees_host_traffic() -> None:
    on_device = torch.ones(2, device="meta")
    with NothingOnTheHost():
        on_device * 2
        with pytest.raises(AssertionError, match="touches the host"):
            torch.ones(2).to("meta")
    with NothingOnTheHost(), pytest.raises(AssertionError, match="read by the host"):
        on_device.sum().item()


NETWORKS: dict[str, Any] = {kind.__name__: partial(DeepAutoencoder, 100, 5, kind) for kind in [*bindings.ACTIVATIONS, nn.SiLU]}
NETWORKS["tied"] = partial(TiedLinearAutoencoder, 100, 5)
NETWORKS["residual"] = partial(ResidualAutoencoder, 100, 5)
NETWORKS["convolutional"] = partial(ConvolutionalAutoencoder, 100, 5)


@pytest.mark.parametrize("train_std", [0.0, 0.1])
@pytest.mark.parametrize("num_seeds", [1, 3])
@pytest.mark.parametrize("network", NETWORKS)
def test_steps_stay_on_the_device(monkeypatch: pytest.MonkeyPatch, network: str, num_seeds: int, train_std: float) -> None:
    meta = torch.device("meta")
    progress = SimpleNamespace(total=SimpleNamespace(ready=0, completed=0), current=SimpleNamespace(ready=0, completed=0))
    manual = SimpleNamespace(optim_step_progress=progress)
    trainer = SimpleNamespace(
        world_size=1,
        global_rank=0,
        current_epoch=0,
        global_step=0,
        strategy=SimpleNamespace(root_device=meta, reduce=lambda tensor, reduce_op: tensor),
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(manual_optimization=manual)),
    )
    source = data_module(num_seeds, noise=Noise(train_std=train_std))
    source.trainer = trainer  # type: ignore[assignment]
    module = autoencoder_module(NETWORKS[network], num_seeds, make_optimizer=torch.optim.SGD, device=meta)
    module.to(meta)
    module._trainer = trainer  # type: ignore[assignment]
    optimizer = module.configure_optimizers()
    monkeypatch.setattr(module, "optimizers", lambda use_pl_optimizer: optimizer)
    monkeypatch.setattr(module, "lr_schedulers", lambda: None)
    monkeypatch.setattr(module.divergence, "check", lambda *_: None)  # for which the host reads one number, once a chunk
    module.on_train_start()
    made_for = []

    def no_generator(device: torch.device, *key: object) -> None:
        made_for.append(device)  # there are no generators on the meta device; randn takes None there

    monkeypatch.setattr(data, "generator", no_generator)
    parameters = Sinusoids(*(torch.empty(4, num_seeds, 16, device=meta) for _ in range(3)))
    signals = torch.empty(8, 100, device=meta)
    with NothingOnTheHost():
        module.training_step(TrainingChunk(source, parameters, 0, 0), 0)
        module.validation_step(EvaluationBatch("val/mse", "val/mean", 0.0, signals, signals), 0)
        module.meter.compute()
    assert progress.total.completed == progress.current.ready == 4
    assert module.losses[0].shape == (4, num_seeds)
    assert set(made_for) == ({meta} if train_std else set())


def test_the_gpu_trainer_composes() -> None:
    trainer = composed("trainer=gpu").trainer
    assert (trainer.accelerator, trainer.devices, trainer.deterministic) == ("gpu", 1, True)
    assert trainer.max_epochs == 30
