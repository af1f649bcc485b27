"""What callbacks do that no command shows."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from conftest import autoencoder_module, data_module, quiet_trainer
from own_signals import RowSource
from torch import Tensor

from wavecoder import signals
from wavecoder.networks import DeepAutoencoder, TiedLinearAutoencoder
from wavecoder.references import REFERENCES, Moments, Reference
from wavecoder.subspace import LABELS
from wavecoder.training.callbacks.checkpoint import LastCheckpoint
from wavecoder.training.callbacks.figures import ReconstructionFigures, median_member, reconstruction_figure
from wavecoder.training.callbacks.references import ReferenceErrors
from wavecoder.training.callbacks.subspace import LinearSubspace
from wavecoder.training.data import SignalDataModule
from wavecoder.training.files import of_member, read_arrays
from wavecoder.training.fit import fit
from wavecoder.training.noise import Noise


@pytest.mark.parametrize("first", [True, False])
def test_references_are_made_once_for_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    sent = {"svd": {"val/mse": 0.3}}

    def broadcast(errors: dict[str, Any]) -> dict[str, Any]:
        assert bool(errors) is first
        return errors or sent

    trainer = quiet_trainer(tmp_path)
    monkeypatch.setattr(type(trainer), "is_global_zero", first)
    monkeypatch.setattr(trainer, "datamodule", data_module(), raising=False)
    monkeypatch.setattr(type(trainer), "strategy", SimpleNamespace(broadcast=broadcast))
    callback = ReferenceErrors(5, "fitted")
    callback.on_fit_start(trainer, autoencoder_module())
    assert set(callback.references) == ({"svd", "pca", "wiener", "bayes"} if first else set())
    assert (callback.errors == sent) is not first


@pytest.mark.parametrize("basis", ["fitted", "population"])
def test_references_are_measured_on_what_the_network_is_measured_on(tmp_path: Path, basis: str) -> None:
    callback, module = ReferenceErrors(5, basis), autoencoder_module(num_seeds=2)
    outcome = fit(quiet_trainer(tmp_path, callbacks=[callback]), module, data_module(2))
    noisy = {f"{kind}mse_noise_{std}" for kind in ("val/", "sine/", "sine/mean_") for std in (0.1, 1.0)}
    assert {name: set(errors) for name, errors in outcome.references.items()} == {
        "svd": {"train/mse", "val/mse", *noisy},
        "pca": {"train/mse", "val/mse", *noisy},
        "wiener": noisy,
        "bayes": noisy,
    }
    ratios = {name for name in outcome.errors if "/over_" in name}
    assert ratios == {f"{m}/over_svd" for m in ("train/mse", "val/mse", *noisy)} | {f"{m}/over_bayes" for m in noisy}
    for ratio in ratios:
        metric, _, name = ratio.rpartition("/over_")
        expected = [error / outcome.references[name][metric] for error in outcome.errors[metric]]
        assert outcome.errors[ratio] == pytest.approx(expected)
    assert outcome.references["svd"]["val/mse"] == pytest.approx(0.313523, rel=0.05)  # of all signals of this kind
    assert outcome.references["bayes"]["val/mse_noise_1.0"] < outcome.references["wiener"]["val/mse_noise_1.0"]


@pytest.fixture
def zero() -> Iterator[type[Reference]]:
    """A reference of the test's own, known while the test runs."""

    class Zero(Reference):
        name = "zero"
        label = "Zero"
        show_ratio = True

        def fit(self, moments: Moments) -> "Zero":
            return self

        def reconstruct(self, signals: Tensor, noise: float) -> Tensor:
            return torch.zeros_like(signals)

    yield Zero
    del REFERENCES["zero"]


@pytest.mark.usefixtures("zero")
def test_a_reference_derived_elsewhere_is_measured(tmp_path: Path) -> None:
    source = data_module(noise=Noise(eval_std=(0.1,)))
    callbacks = [ReferenceErrors(5, "fitted"), ReconstructionFigures()]
    outcome = fit(quiet_trainer(tmp_path, callbacks=callbacks), autoencoder_module(), source)
    (power,) = (batch.targets.square().mean() for batch in source.val_dataloader() if batch.metric == "val/mse")
    assert outcome.references["zero"]["val/mse"] == pytest.approx(power.item(), rel=1e-5)
    assert outcome.errors["val/mse/over_zero"][0] == pytest.approx(outcome.errors["val/mse"][0] / power.item(), rel=1e-5)
    arrays = read_arrays(tmp_path)
    assert arrays is not None
    assert not arrays["zero_0.1"].any()


def test_signals_without_a_prior_train_and_have_no_bayes_denoiser(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(128, 4, generator=generator) @ torch.randn(4, 24, generator=generator)
    source = SignalDataModule(RowSource(rows), Noise(eval_std=(0.1,)), 8, num_seeds=2)
    module = autoencoder_module(lambda: DeepAutoencoder(24, 1), num_seeds=2)
    callbacks = [ReferenceErrors(1, "fitted"), ReconstructionFigures()]
    outcome = fit(quiet_trainer(tmp_path, callbacks=callbacks, max_epochs=3), module, source)
    assert set(outcome.references) == {"svd", "pca", "wiener"}
    with pytest.raises(ValueError, match=r"^basis=population needs signals whose distribution is known"):
        fit(quiet_trainer(tmp_path, callbacks=[ReferenceErrors(1, "population")]), module, source)
    validation = rows[96:]
    second = (rows[:96].double().T @ rows[:96].double()) / 96
    basis = torch.linalg.eigh(second).eigenvectors[:, -1:].float()
    expected = (validation @ basis @ basis.T - validation).square().mean().item()
    assert outcome.references["svd"]["val/mse"] == pytest.approx(expected, rel=1e-4)
    assert set(outcome.errors) >= {"val/mse", "train/mse", "val/mse/over_svd", "val/mse_noise_0.1"}
    assert not [metric for metric in outcome.errors if "sine" in metric or "bayes" in metric]
    arrays = read_arrays(tmp_path)
    assert arrays is not None
    assert set(arrays) == {"times", "shown"}  # no test signal to show, and no families to draw a latent for


# --- figures ----------------------------------------------------------------------------------------------------------------


def test_arrays_hold_what_the_figures_show_of_all_members(tmp_path: Path) -> None:
    source, module = data_module(3), autoencoder_module(lambda: DeepAutoencoder(100, 1), num_seeds=3)
    trainer = quiet_trainer(tmp_path, callbacks=[ReferenceErrors(1, "fitted"), ReconstructionFigures()])
    outcome = fit(trainer, module, source)
    arrays = read_arrays(tmp_path)
    assert arrays is not None
    assert arrays["shown"] == np.argsort(outcome.errors["val/mse"])[1]
    assert list(arrays["families"]) == list(signals.FAMILIES)
    for std in (0.1, 1.0):
        batch = source.noisy_test_signal(std)
        assert batch is not None
        np.testing.assert_array_equal(arrays[f"noisy_{std}"], batch.inputs)
        assert arrays[f"autoencoder_{std}"].shape == (3, 10, 100)
        error = np.square(arrays[f"autoencoder_{std}"] - arrays["sine"]).mean((1, 2))
        np.testing.assert_allclose(error, outcome.errors[f"sine/mse_noise_{std}"], rtol=1e-4)
        for name in REFERENCES:
            reference = np.square(arrays[f"{name}_{std}"] - arrays["sine"]).mean()
            assert reference == pytest.approx(outcome.references[name][f"sine/mse_noise_{std}"], rel=1e-3)
    r, latent = arrays["latent_r"], arrays["latent"]
    assert latent.shape == (3, 5, len(r))
    cosine = torch.cos(torch.from_numpy(r)[:, None] * torch.from_numpy(arrays["times"]))
    np.testing.assert_allclose(latent[:, 1], module.ensemble.encode(cosine).detach().squeeze(-1), atol=1e-3)
    assert arrays["decoded"].shape == (3, 9, 100)
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == sorted(
        f"{name}.{kind}" for name in ("sine_noise_0.1", "sine_noise_1.0", "latent") for kind in ("png", "svg")
    )


@pytest.mark.parametrize("per_seed", [False, True])
def test_arrays_hold_the_errors_of_each_draw_of_networks_and_references(tmp_path: Path, per_seed: bool) -> None:
    source, module = data_module(3, noise=Noise((0.5,), draws=4), per_seed=per_seed), autoencoder_module(num_seeds=3)
    trainer = quiet_trainer(tmp_path, callbacks=[ReferenceErrors(5, "population"), ReconstructionFigures()])
    outcome, arrays = fit(trainer, module, source), read_arrays(tmp_path)
    assert arrays is not None
    for name in ("autoencoder", *REFERENCES):
        own = per_seed or name == "autoencoder"
        prefix, metrics = ("", outcome.errors) if name == "autoencoder" else (f"{name}_", outcome.references[name])
        assert arrays[f"{name}_0.5"].shape == ((3, 10, 100) if own else (10, 100))
        deviations = arrays[f"{name}_0.5"] - arrays["sine"]
        for key, first in {
            "mse": np.square(deviations).mean((-1, -2)),
            "mean_mse": np.square(deviations.mean(-2)).mean(-1),
        }.items():
            draws = arrays[f"{prefix}draws_{key}_0.5"]
            assert draws.shape == ((3, 4) if own else (4,))
            np.testing.assert_allclose(draws[..., 0], first, rtol=1e-4)  # the figures show the first draw
            total = draws.mean(1) if name == "autoencoder" else draws.mean()
            np.testing.assert_allclose(metrics[f"sine/{key}_noise_0.5"], total, rtol=1e-5)
            assert len(np.unique(draws)) == draws.size
    assert arrays["noisy_0.5"].shape == ((3, 10, 100) if per_seed else (10, 100))
    shown = int(arrays["shown"])
    np.testing.assert_array_equal(
        of_member(arrays["noisy_0.5"], shown), arrays["noisy_0.5"][shown] if per_seed else arrays["noisy_0.5"]
    )


@pytest.mark.parametrize(
    ("errors", "shown"), [([3.0, 1.0, 2.0], 2.0), ([1.0, 4.0, 3.0, 2.0], 2.0), ([float("nan"), 1.0, 2.0], 2.0), ([5.0], 5.0)]
)
def test_the_member_shown_is_the_median_one_and_diverged_ones_come_last(errors: list[float], shown: float) -> None:
    assert errors[median_member(torch.tensor(errors))] == shown


# --- subspaces --------------------------------------------------------------------------------------------------------------


def test_a_linear_autoencoders_way_to_the_svd_is_recorded_and_resumed(tmp_path: Path) -> None:
    def fitted(epochs: int, **arguments: Any) -> tuple[LinearSubspace, L.Trainer]:
        subspace = LinearSubspace()
        trainer = quiet_trainer(tmp_path, max_epochs=epochs, callbacks=[ReferenceErrors(5, "fitted"), subspace])
        trainer.fit(autoencoder_module(lambda: TiedLinearAutoencoder(100, 5), num_seeds=2), data_module(2), **arguments)
        return subspace, trainer

    whole, _ = fitted(3)
    assert whole.steps == [40, 80, 120]
    assert set(whole.history) == set(LABELS) == set(whole.latest)
    excess = np.array(whole.history["linear/excess"])
    assert excess.shape == (3, 2)
    assert (excess[-1] < excess[0]).all()
    _, trainer = fitted(1)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed, _ = fitted(3, ckpt_path=tmp_path / "last.ckpt")
    assert resumed.steps == whole.steps
    assert resumed.history == whole.history


@pytest.mark.parametrize(("every_seconds", "saved"), [(0.0, [1, 2, 3]), (1000.0, [3])])
def test_the_last_checkpoint_is_replaced_when_it_is_old_enough_and_at_the_end(
    tmp_path: Path, every_seconds: float, saved: list[int]
) -> None:
    class Epochs(L.Callback):
        """Looks after each epoch which one is in the checkpoint."""

        def __init__(self) -> None:
            self.seen: list[int] = []

        def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            self.look()

        on_train_end = on_train_epoch_start

        def look(self) -> None:
            files = sorted(file.name for file in tmp_path.iterdir())
            assert files in ([], ["last.ckpt"], ["last.ckpt", "previous.ckpt"])
            if files and (epoch := torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] + 1) not in self.seen:
                self.seen.append(epoch)

    epochs = Epochs()
    callbacks = [LastCheckpoint(str(tmp_path), every_seconds), epochs]
    trainer = quiet_trainer(tmp_path, callbacks=callbacks, max_epochs=3, enable_checkpointing=True)
    trainer.fit(autoencoder_module(), data_module())
    assert epochs.seen == saved


def test_references_of_each_members_own_training_set_are_those_of_its_run_alone(tmp_path: Path) -> None:
    made = []
    for folder, seed, members in (("together", 3, 2), ("alone", 4, 1)):
        changes: dict[str, Any] = {"noise": Noise((0.5,), draws=4), "per_seed": True, "seed": seed}
        (tmp_path / folder).mkdir()
        source, module = data_module(members, **changes), autoencoder_module(num_seeds=members)
        trainer = quiet_trainer(tmp_path / folder, callbacks=[ReferenceErrors(5, "fitted"), ReconstructionFigures()])
        fit(trainer, module, source)
        made.append(read_arrays(tmp_path / folder) or {})
    together, alone = made
    for name in ("svd", "pca"):
        np.testing.assert_allclose(alone[f"own_{name}_0.5"], alone[f"{name}_0.5"], atol=1e-5)
        np.testing.assert_allclose(together[f"own_{name}_0.5"][1:], alone[f"{name}_0.5"], atol=1e-5)
        for key in ("mse", "mean_mse"):
            draws = together[f"own_{name}_draws_{key}_0.5"]
            assert draws.shape == (2, 4)
            np.testing.assert_allclose(draws[1], alone[f"{name}_draws_{key}_0.5"], rtol=1e-4)
    assert not np.allclose(together["own_svd_0.5"], together["svd_0.5"], atol=1e-3)


def test_the_figure_of_the_sine_shows_the_seed_with_the_median_error_there() -> None:
    sine = np.sin(np.arange(100) / 10)
    scale = np.array([0.0, 0.9, 0.5])[:, None, None]
    networks = np.broadcast_to(scale * sine, (3, 10, 100))
    errors = np.square(networks - sine).mean((1, 2))
    arrays = {"times": np.arange(100) / 10, "sine": sine, "shown": 0, "noisy_0.1": np.tile(sine, (10, 1))}
    arrays |= {"autoencoder_0.1": networks, "draws_mse_0.1": errors[:, None] * [1.0, 1.2]}
    figure = reconstruction_figure(arrays, 0.1, "tanh")
    panel = figure.axes[1]
    assert panel.get_title() == f"tanh autoencoder\nerror of each copy {1.1 * errors[2]:#.3g} ({errors[2]:#.3g})"
    np.testing.assert_allclose(panel.lines[0].get_ydata(), 0.5 * sine)
    assert "median" in figure.texts[-1].get_text()
