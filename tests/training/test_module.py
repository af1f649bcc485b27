"""The ensemble as Lightning trains it, against single runs and against plain PyTorch."""

from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import autoencoder_module, data_module, losses_of_fit, problem, quiet_trainer
from own_networks import ConvolutionalAutoencoder, ResidualAutoencoder, VariationalAutoencoder
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR

from wavecoder.engine import choose
from wavecoder.ensemble import Ensemble
from wavecoder.networks import DeepAutoencoder
from wavecoder.training.module import AutoencoderModule
from wavecoder.training.noise import Noise

MakeNetwork = Callable[[], nn.Module]

deep = partial(DeepAutoencoder, 100, 5)
tanh = partial(deep, nn.Tanh)
adam = partial(torch.optim.Adam, lr=1e-3)

# --- a member is the run of its own seed ------------------------------------------------------------------------------------

DATA: dict[str, dict[str, Any]] = {
    "fixed": {},
    "noisy": {"noise": Noise(train_std=0.3)},
    "fresh": {"fresh": True},
    "fresh and noisy": {"fresh": True, "noise": Noise(train_std=0.3)},
    "per seed": {"per_seed": True},
}


def compare_with_single_runs(folder: Path, make_network: MakeNetwork, engine: str, **data: Any) -> None:
    together = autoencoder_module(make_network, 3, engine, seed=5)
    alone = [autoencoder_module(make_network, 1, engine, seed=5 + i) for i in range(3)]
    for i, single in enumerate(alone):
        for ours, theirs in zip(together.ensemble.parameters(), single.ensemble.parameters(), strict=True):
            assert torch.equal(ours[i], theirs)
    losses = losses_of_fit(together, data_module(3, 5, **data), folder, max_epochs=2)
    assert losses.shape == (80, 3)
    for i, single in enumerate(alone):
        expected = losses_of_fit(single, data_module(1, 5 + i, **data), folder, max_epochs=2)
        torch.testing.assert_close(losses[:50, i], expected[:50, 0], rtol=1e-4, atol=0)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.PReLU, nn.GELU])
def test_member_i_is_the_run_with_seed_s_plus_i(tmp_path: Path, activation: type[nn.Module], engine: str) -> None:
    compare_with_single_runs(tmp_path, partial(deep, activation), engine)


@pytest.mark.parametrize("name", [name for name in DATA if name != "fixed"])
def test_member_i_is_the_run_with_seed_s_plus_i_on_any_signals(tmp_path: Path, name: str, engine: str) -> None:
    compare_with_single_runs(tmp_path, tanh, engine, **DATA[name])


def test_member_i_is_measured_as_the_run_with_seed_s_plus_i(tmp_path: Path, engine: str) -> None:
    """Where each seed has signals and noise of its own: all metrics, each draw of the sine, and the weights."""
    data: dict[str, Any] = {"noise": Noise(draws=3), "per_seed": True, "train_size": 320}

    def trained(seed: int, num_seeds: int) -> AutoencoderModule:
        module, signals = autoencoder_module(tanh, num_seeds, engine, seed=seed), data_module(num_seeds, seed, **data)
        trainer = quiet_trainer(tmp_path)
        trainer.fit(module, signals)
        trainer.test(module, signals, verbose=False)
        return module

    together = trained(5, 3)
    errors, draws = together.meter.compute(), together.meter.draws
    assert set(draws) == {f"sine/{kind}mse_noise_{std}" for kind in ("", "mean_") for std in (0.1, 1.0)}
    for i in range(3):
        alone = trained(5 + i, 1)
        for metric, values in alone.meter.compute().items():
            torch.testing.assert_close(errors[metric][i], values[0], rtol=1e-4, atol=0)
        for metric, values in alone.meter.draws.items():
            assert values.shape == (1, 3)
            torch.testing.assert_close(draws[metric][i], values[0], rtol=1e-4, atol=0)
        for ours, theirs in zip(together.ensemble.parameters(), alone.ensemble.parameters(), strict=True):
            torch.testing.assert_close(ours[i], theirs, rtol=1e-3, atol=1e-5)
    for metric, values in draws.items():
        torch.testing.assert_close(errors[metric], values.mean(1))
        assert len(values.unique()) == values.numel()


@pytest.mark.parametrize("network", [ResidualAutoencoder, ConvolutionalAutoencoder])
def test_member_i_is_the_run_with_seed_s_plus_i_for_any_network(tmp_path: Path, network: MakeNetwork) -> None:
    compare_with_single_runs(tmp_path, partial(network, 100, 5), "auto")


def test_training_equals_a_plain_pytorch_loop(tmp_path: Path, engine: str) -> None:
    losses = losses_of_fit(autoencoder_module(tanh, 1, engine, adam, seed=3), data_module(1, 3), tmp_path)
    torch.manual_seed(3)
    network = tanh()
    optimizer = adam(network.parameters())
    expected = []
    for inputs, targets in chain.from_iterable(data_module(1, 3).train_dataloader()):
        loss = nn.functional.mse_loss(network(inputs[0]), targets[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    torch.testing.assert_close(losses[:, 0], torch.tensor(expected), rtol=1e-5, atol=0)


def test_a_member_that_diverges_leaves_the_others_alone(tmp_path: Path, engine: str) -> None:
    healthy, broken = (autoencoder_module(tanh, 2, engine) for _ in range(2))
    with torch.no_grad():
        next(broken.ensemble.parameters())[0] = float("nan")
    for module in (healthy, broken):
        quiet_trainer(tmp_path).fit(module, data_module(2))
    for sane, other in zip(healthy.ensemble.parameters(), broken.ensemble.parameters(), strict=True):
        assert not sane.isnan().any()
        torch.testing.assert_close(sane[1], other[1])
    errors = broken.meter.compute()["val/mse"]
    assert errors.isnan().tolist() == [True, False]


@pytest.mark.parametrize("loss", [nn.MSELoss, nn.L1Loss, nn.HuberLoss, nn.SmoothL1Loss])
def test_losses_are_means_over_the_values_of_a_batch(tmp_path: Path, loss: type[nn.Module]) -> None:
    module = autoencoder_module(tanh, 2, loss=loss())
    inputs, targets = next(iter(next(iter(data_module(2).train_dataloader()))))
    outputs = module(inputs[0]), module.ensemble(inputs)
    assert torch.allclose(outputs[0][0], outputs[1][0])
    expected = torch.stack([loss()(outputs[1][i], targets[i]) for i in range(2)]).detach()
    losses = losses_of_fit(module, data_module(2), tmp_path)
    torch.testing.assert_close(losses[0], expected)


# --- what Lightning counts, and when --------------------------------------------------------------------------------------


def test_global_step_counts_optimizer_steps(tmp_path: Path, engine: str) -> None:
    trainer = quiet_trainer(tmp_path, max_epochs=2)
    trainer.fit(autoencoder_module(tanh, 2, engine), data_module(2))
    assert trainer.global_step == 80  # 2 epochs of 40 optimiser steps, in chunks of 7


def test_validation_does_not_change_the_training(tmp_path: Path, engine: str) -> None:
    measured, unmeasured = (
        losses_of_fit(autoencoder_module(tanh, 2, engine), data_module(2), tmp_path, max_epochs=3, limit_val_batches=limit)
        for limit in (1.0, 0)
    )
    assert torch.equal(measured, unmeasured)


@pytest.mark.parametrize("size", [1, 13, 1000])
def test_steps_per_execution_change_nothing(tmp_path: Path, engine: str, size: int) -> None:
    expected = losses_of_fit(autoencoder_module(tanh, 2, engine), data_module(2), tmp_path, max_epochs=2)
    losses = losses_of_fit(autoencoder_module(tanh, 2, engine), data_module(2, steps_per_execution=size), tmp_path, max_epochs=2)
    assert torch.equal(losses, expected)


def scheduled_module(engine: str) -> AutoencoderModule:
    posed = problem(Ensemble(tanh, range(2)))
    scheduler = partial(LinearLR, start_factor=1.0, end_factor=0.1, total_iters=120)
    return AutoencoderModule(posed, choose(posed, engine).engine, adam, scheduler)


@pytest.mark.parametrize("per_seed", [False, True])
def test_a_resumed_training_is_the_uninterrupted_one(tmp_path: Path, engine: str, per_seed: bool) -> None:
    whole = losses_of_fit(scheduled_module(engine), data_module(2, per_seed=per_seed), tmp_path, max_epochs=3)
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(scheduled_module(engine), data_module(2, per_seed=per_seed))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    weights = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert set(weights) == {f"ensemble.network.{name}" for name in tanh().state_dict()}  # once, as plain networks name them
    resumed, kept = scheduled_module(engine), KeepRates()
    trainer = quiet_trainer(tmp_path, max_epochs=3, callbacks=[kept])
    trainer.fit(resumed, data_module(2, per_seed=per_seed), ckpt_path=tmp_path / "last.ckpt")
    assert resumed.first_step == 40
    assert trainer.global_step == 120
    assert torch.equal(torch.cat(kept.losses), whole[40:])
    assert kept.rates == sorted(kept.rates, reverse=True)
    assert kept.rates[-1] == pytest.approx(1e-4)


class KeepRates(L.Callback):
    """Keeps the losses of all steps and the learning rates after each chunk."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.rates: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        assert isinstance(pl_module, AutoencoderModule)
        self.losses.append(pl_module.losses[-1])
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


# --- optimisers and precision -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [torch.optim.Adafactor, torch.optim.LBFGS, torch.optim.Muon])
def test_optimizers_that_would_tie_members_together_are_refused(optimizer: Callable[..., Optimizer], engine: str) -> None:
    with pytest.raises(ValueError, match=r"^the optimiser does not work element by element, .*; num_seeds=1 can use it$"):
        autoencoder_module(tanh, 2, engine, optimizer).configure_optimizers()


@pytest.mark.parametrize(
    "optimizer",
    [
        partial(torch.optim.LBFGS, lr=0.1, max_iter=5),
        partial(torch.optim.Adafactor, lr=1e-2),
        partial(torch.optim.RAdam, lr=1e-3),
        partial(torch.optim.NAdam, lr=1e-3),
    ],
    ids=lambda optimizer: optimizer.func.__name__,
)
def test_one_member_can_be_trained_by_any_optimizer(tmp_path: Path, optimizer: Callable[..., Optimizer], engine: str) -> None:
    losses = losses_of_fit(autoencoder_module(tanh, 1, engine, optimizer), data_module(), tmp_path, max_epochs=2)
    assert losses.shape == (80, 1)
    assert losses[-20:].mean() < 0.95 * losses[:5].mean()


def test_an_optimizer_that_looks_at_shapes_sees_those_of_the_network(tmp_path: Path) -> None:
    module = autoencoder_module(tanh, 1, make_optimizer=torch.optim.Adafactor)
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer, Optimizer)
    shapes = [parameter.shape for parameter in optimizer.param_groups[0]["params"]]
    assert shapes == [parameter.shape for parameter in tanh().parameters()]


@pytest.mark.parametrize(("precision", "dtype"), [("64-true", torch.float64), ("bf16-mixed", torch.float32)])
def test_other_precisions_train(tmp_path: Path, precision: Any, dtype: torch.dtype) -> None:
    expected = losses_of_fit(autoencoder_module(tanh, 2), data_module(2), tmp_path)
    module = autoencoder_module(tanh, 2, precision=precision)
    losses = losses_of_fit(module, data_module(2), tmp_path, precision=precision)
    assert module.flat.dtype == dtype
    assert all(parameter.dtype == dtype for parameter in module.ensemble.parameters())
    deviation = ((losses - expected) / expected).abs().max().item()
    if precision == "64-true":
        assert losses.dtype == torch.float64
        assert deviation < 1e-5
    else:
        assert 1e-5 < deviation < 0.02
    assert module.meter.compute()["val/mse"].isfinite().all()


# --- networks that draw random numbers --------------------------------------------------------------------------------------

RANDOM: dict[str, MakeNetwork] = {
    "variational": partial(VariationalAutoencoder, 100, 5),
    "dropout": partial(deep, lambda: nn.Sequential(nn.Tanh(), nn.Dropout(0.1))),
}


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("num_seeds", [1, 2])
def test_networks_that_draw_random_numbers_train_repeatably(tmp_path: Path, name: str, num_seeds: int) -> None:
    fits = [
        losses_of_fit(
            autoencoder_module(RANDOM[name], num_seeds), data_module(num_seeds, **changes), tmp_path, max_epochs=2, **arguments
        )
        for changes, arguments in (({}, {}), ({}, {}), ({"steps_per_execution": 11}, {}), ({}, {"limit_val_batches": 0}))
    ]
    assert all(torch.equal(losses, fits[0]) for losses in fits)
    assert (fits[0][-20:].mean(0) < 0.95 * fits[0][:20].mean(0)).all()


class Sampling(DeepAutoencoder):
    """Draws random numbers when it is measured too."""

    def encode(self, x: Tensor) -> Tensor:
        z = super().encode(x)
        return z + 0.5 * torch.randn_like(z)


def test_what_was_drawn_before_does_not_change_the_metrics(tmp_path: Path) -> None:
    found = []
    for drawn in (0, 1):
        torch.manual_seed(drawn)
        module, signals = autoencoder_module(partial(Sampling, 100, 5), 2), data_module(2, noise=Noise((0.1,)))
        trainer = quiet_trainer(tmp_path)
        trainer.fit(module, signals)
        before = torch.get_rng_state()
        trainer.test(module, signals, verbose=False)
        inputs = torch.ones(3, 100)
        found.append(module.meter.compute() | {"reconstructions": module(inputs)})
        assert torch.equal(torch.get_rng_state(), before)
        assert not torch.equal(module.ensemble(inputs), module.ensemble(inputs))
    assert all(torch.equal(values, found[1][name]) for name, values in found[0].items())


def test_a_network_is_trained_on_its_own_loss(tmp_path: Path) -> None:
    module = autoencoder_module(RANDOM["variational"])
    inputs, targets = next(iter(next(iter(data_module().train_dataloader()))))
    plain = nn.functional.mse_loss(module(inputs[0])[0], targets[0]).item()
    losses = losses_of_fit(module, data_module(), tmp_path)
    assert losses[0].item() > plain  # there is a divergence on top of it
