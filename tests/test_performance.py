"""What keeps training fast, without a clock: how much is dispatched, and where tensors live. Times are in benchmarks/."""

from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import data_settings, noise_settings, quiet_trainer
from hydra import compose, initialize_config_dir
from lightning.pytorch.profilers import Profiler
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wavecoder import commandline, datamodule
from wavecoder.autoencoder import DeepAutoencoder, TiedLinearAutoencoder
from wavecoder.backpropagation import backpropagation, flatten_gradients, flatten_parameters
from wavecoder.training.data import SignalDataModule, TrainingChunk
from wavecoder.metrics import EvaluationBatch
from wavecoder.training.module import AutoencoderModule
from wavecoder.signals import Sinusoids

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


def fit(folder: Path, replicas: int, steps: int) -> tuple[Counter[str], int]:
    """Operators dispatched and hooks entered in a fit of so many optimiser steps in chunks of 10, without validation."""
    source = SignalDataModule(data_settings(train_size=16 * steps, steps_per_chunk=10), noise_settings(), 0, replicas)
    network = DeepAutoencoder(100, 5, source.seeds, "tanh")
    module = AutoencoderModule(network, "mse", partial(torch.optim.Adam, fused=True))
    hooks = CountHooks()
    trainer = quiet_trainer(folder, limit_val_batches=0, profiler=hooks)
    with CountOperators() as operators:
        trainer.fit(module, source)
    assert trainer.global_step == steps
    return operators.counts, hooks.entered


def per_step(folder: Path, replicas: int) -> tuple[dict[str, float], float]:
    """The difference between a long and a short fit, so that what is done once per fit drops out."""
    (long, long_hooks), (short, short_hooks) = (fit(folder, replicas, steps) for steps in (60, 20))
    counts = {name: (long[name] - short[name]) / 40 for name in long | short}
    return {name: count for name, count in counts.items() if count}, (long_hooks - short_hooks) / 40


def test_a_step_dispatches_as_much_for_many_replicas_as_for_one(training_step: str, tmp_path: Path) -> None:
    one, one_hooks = per_step(tmp_path, 1)
    many, many_hooks = per_step(tmp_path, 16)
    views = ("view", "unsqueeze", "transpose", "select", "slice", "split", "t.default", "detach", "alias", "expand", "unbind")
    computing = [{name: n for name, n in counts.items() if not any(view in name for view in views)} for counts in (one, many)]
    # evaluating the sine is shared by the steps of a block, and blocks are shorter for larger stacks
    rendering = {"aten.addcmul.default", "aten.sin_.default", "aten.mul_.Tensor"}
    assert {name: n for name, n in computing[0].items() if name not in rendering} == {
        name: n for name, n in computing[1].items() if name not in rendering
    }
    assert sum(computing[1].values()) < (10 if training_step == "compiled" else 80)
    assert many["aten._fused_adam_.default"] == 1
    assert one_hooks == many_hooks
    assert many_hooks < 6  # 3 in chunks of 10 steps; stock Lightning enters 18 for every step


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


@pytest.mark.parametrize("train_noise", [0.0, 0.1])
@pytest.mark.parametrize("activation", ["identity", "relu", "sigmoid", "tanh", "leaky_relu", "prelu", "gelu", None])
def test_steps_stay_on_the_device(monkeypatch: pytest.MonkeyPatch, activation: str | None, train_noise: float) -> None:
    meta = torch.device("meta")
    stepped = []
    strategy = SimpleNamespace(root_device=meta, reduce=lambda tensor, reduce_op: tensor)
    trainer = SimpleNamespace(world_size=1, global_rank=0, current_epoch=0, strategy=strategy)
    source = SignalDataModule(data_settings(), noise_settings(train=train_noise), 0, 3)
    source.trainer = trainer  # type: ignore[assignment]
    slope = 0.1 if activation in ("leaky_relu", "prelu") else None
    stack = DeepAutoencoder(100, 5, range(3), activation, slope) if activation else TiedLinearAutoencoder(100, 5, range(3))
    module = AutoencoderModule(stack.to(meta), "mse", torch.optim.Adam)
    module._trainer = trainer  # type: ignore[assignment]
    flat = flatten_parameters(module.network)
    module.gradient = flatten_gradients(module.network, flat)
    module.backpropagate = backpropagation(module.network, flat)
    monkeypatch.setattr(module, "optimizers", lambda: SimpleNamespace(step=lambda: stepped.append(1)))
    monkeypatch.setattr(module, "lr_schedulers", lambda: None)
    made_for = []

    def no_generator(device: torch.device, *key: object) -> None:
        made_for.append(device)  # there are no generators on the meta device; randn takes None there

    monkeypatch.setattr(datamodule, "generator", no_generator)
    waves = Sinusoids(*(torch.empty(4, 3, 16, device=meta) for _ in range(3)))
    signals = torch.empty(8, 100, device=meta)
    with NothingOnTheHost():
        module.training_step(TrainingChunk(source, waves, 0, 0), 0)
        module.validation_step(EvaluationBatch("val/mse", "val/mean", 0.0, signals, signals), 0)
        module.meter.compute()
    assert len(stepped) == 4
    assert module.losses[0].shape == (4, 3)
    assert set(made_for) == ({meta} if train_noise else set())


def test_the_gpu_trainer_composes() -> None:
    with initialize_config_dir(str(commandline.CONF), version_base="1.3"):
        trainer = compose("train", ["trainer=gpu"]).trainer
    assert (trainer.accelerator, trainer.devices, trainer.deterministic) == ("gpu", 1, True)
    assert trainer.max_epochs == 30
