"""From configurations to objects: which arguments classes are given, and what is refused before a run starts."""

import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import composed
from lightning.pytorch.callbacks import ModelCheckpoint
from own_networks import Plain
from torch import Tensor, nn

from wavecoder.networks import DeepAutoencoder
from wavecoder.runs.build import choose_network, make_loss, make_optimization
from wavecoder.runs.limits import SettingError
from wavecoder.runs.resolvers import set_keys
from wavecoder.runs.run import make_trainer
from wavecoder.runs.settings import from_config
from wavecoder.runs.targets import allowing
from wavecoder.runs.training_checks import check_training
from wavecoder.training.callbacks.checkpoint import LastCheckpoint

OPTIM = "optimizer._target_=torch.optim"
SCHEDULE = "scheduler._target_=torch.optim.lr_scheduler"


class TakesAnything(DeepAutoencoder):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)


class WithNormalisation(Plain):
    def __init__(self, signal_length: int, latent_dim: int) -> None:
        super().__init__(signal_length, latent_dim)
        self.encoder = nn.Sequential(self.encoder, nn.BatchNorm1d(latent_dim, track_running_stats=False))


class LearntLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.scale * (outputs - targets).square().mean()


def of_a_tensor(x: Tensor) -> Tensor:
    return x


@pytest.fixture(autouse=True)
def allowed() -> Iterator[None]:
    """Lets configurations name what is in this file."""
    with allowing([__name__]):
        yield


def given_to(make: Any) -> dict[str, Any]:
    """The arguments of a class as the configuration has them."""
    assert isinstance(make, functools.partial)
    return {key: value for key, value in make.keywords.items() if key != "fused"}


def optimizer_arguments(*overrides: str) -> dict[str, Any]:
    config = composed(*overrides)
    return given_to(make_optimization(config, from_config(config))[0])


def check(*overrides: str) -> None:
    config = composed("debug=quick", *overrides)
    check_training(config, from_config(config), here=True)


# --- arguments --------------------------------------------------------------------------------------------------------------


def test_a_class_that_replaces_an_options_own_has_its_own_defaults() -> None:
    assert set(optimizer_arguments()) == {"lr", "betas", "eps", "weight_decay"}
    assert optimizer_arguments(f"{OPTIM}.Adafactor") == {}
    assert optimizer_arguments(f"{OPTIM}.Adadelta", "optimizer.lr=1e-3") == {"lr": 1e-3}  # set, to the value that Adam's has
    assert optimizer_arguments(f"{OPTIM}.SGD", "optimizer=sgd") == {}
    assert isinstance(make_loss(composed("loss=huber", "loss._target_=torch.nn.L1Loss")), nn.L1Loss)


def test_what_an_experiment_sets_is_kept(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\noptimizer:\n  _target_: torch.optim.Adadelta\n  lr: 1e-3\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    chosen = (f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")
    assert set_keys(composed(*chosen), "optimizer") == {"_target_", "lr"}
    assert optimizer_arguments(*chosen) == {"lr": 1e-3}


def test_classes_that_take_any_arguments_are_given_what_was_chosen() -> None:
    model = f"model._target_={__name__}.TakesAnything"
    for overrides, activation in (([], None), (["activation=relu"], "relu")):
        config = composed(model, "model.bias=false", *overrides)
        choice = choose_network(config, from_config(config))
        assert choice.activation == activation
        expected = {"signal_length", "latent_dim", "bias"} | ({"activation"} if activation else set())
        assert set(given_to(choice.make)) == expected
        choice.make()


def test_what_is_filled_in_is_that_of_the_schedule_chosen() -> None:
    for target, expected in (("ConstantLR", {}), ("CosineAnnealingLR", {"T_max": 40})):
        config = composed("debug=quick", "scheduler=cosine", f"{SCHEDULE}.{target}")
        assert given_to(make_optimization(config, from_config(config))[1]) == expected


# --- what is refused --------------------------------------------------------------------------------------------------------


def test_optimisers_that_tie_seeds_together_are_for_one() -> None:
    check(f"{OPTIM}.Adafactor")
    with pytest.raises(SettingError, match=r"^optimizer: .*; num_seeds=1 can use it$"):
        check(f"{OPTIM}.Adafactor", "num_seeds=2")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["activation._target_=torch.relu"], r"activation\._target_=torch\.relu: must be a class of torch\.nn\.Module"),
        (["activation._target_=torch.nn.functional.gelu"], r"activation\._target_=.*: must be a class of torch\.nn\.Module"),
        ([f"activation._target_={__name__}.of_a_tensor"], r"activation\._target_=.*: must be a class of modules, "),
        ([f"loss._target_={__name__}.LearntLoss"], "loss: has parameters to train, "),
        (["+loss.reduction=sum", "trainer=ddp_cpu"], r"loss\.reduction=sum: must be mean, "),
        (["+loss.reduction=sum", "+trainer.accumulate_grad_batches=2"], r"loss\.reduction=sum: must be mean, "),
        ([f"model._target_={__name__}.WithNormalisation", "trainer=ddp_cpu"], r"model=WithNormalisation: encoder\.1 uses "),
        ([f"{SCHEDULE}.OneCycleLR", "+scheduler.total_steps=5", "+scheduler.max_lr=0.1"], "scheduler: Tried to step 6 times"),
    ],
)
def test_what_cannot_be_trained_is_refused_before(overrides: list[str], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{message}") as error:
        check(*overrides)
    assert "\n" not in str(error.value)


def test_what_a_whole_batch_allows_is_allowed() -> None:
    check("+loss.reduction=sum")
    check(f"model._target_={__name__}.WithNormalisation")


def test_a_long_schedule_is_tried_in_little_time() -> None:
    check("scheduler=cosine")
    start = time.process_time()
    check("scheduler=cosine", "trainer.max_epochs=100000")
    assert time.process_time() - start < 0.5


def test_the_last_checkpoint_is_written_after_the_others_of_its_moment(tmp_path: Path) -> None:
    """It keeps their state, so that what they hold after a run was killed and resumed is what they would hold."""
    callbacks = {"last": LastCheckpoint(str(tmp_path)), "another": ModelCheckpoint(tmp_path)}
    trainer = make_trainer(composed("logger=none"), tmp_path, callbacks)
    assert trainer.checkpoint_callbacks == [callbacks["another"], callbacks["last"]]
