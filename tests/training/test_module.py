"""The stack as Lightning trains it, against single runs and against plain PyTorch."""

from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from conftest import data_settings, noise_settings, quiet_trainer
from torch import Tensor, nn

from wavecoder.autoencoder import DeepAutoencoder, Linear
from wavecoder.training.data import SignalDataModule
from wavecoder.training.module import AutoencoderModule


def fit(
    folder: Path, seed: int, replicas: int, activation: str = "tanh", epochs: int = 2, loss: str = "mse", **data: object
) -> tuple[AutoencoderModule, Tensor, L.Trainer]:
    """Train, and return the module, the loss of every step and replica, and the trainer."""
    source = SignalDataModule(data_settings(**data), noise_settings(), seed, replicas)
    slope = 0.25 if activation == "prelu" else None
    network = DeepAutoencoder(100, 5, source.seeds, activation, slope)
    module = AutoencoderModule(network, loss, partial(torch.optim.Adam, lr=1e-3, fused=True))
    kept: list[Tensor] = []

    class KeepLosses(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
            assert isinstance(pl_module, AutoencoderModule)
            kept.append(pl_module.losses[-1])

    trainer = quiet_trainer(folder, max_epochs=epochs, callbacks=[KeepLosses()])
    trainer.fit(module, source)
    return module, torch.cat(kept), trainer


@pytest.mark.usefixtures("training_step")
@pytest.mark.parametrize("activation", ["tanh", "prelu", "gelu"])
def test_replica_i_is_the_run_with_seed_s_plus_i(tmp_path: Path, activation: str) -> None:
    _, stack, trainer = fit(tmp_path, 5, 3, activation)
    assert trainer.global_step == 80  # 2 epochs of 40 optimiser steps, in chunks of 7
    for i in range(3):
        _, alone, _ = fit(tmp_path, 5 + i, 1, activation)
        torch.testing.assert_close(stack[:50, i], alone[:50, 0], rtol=1e-4, atol=0)


@pytest.mark.usefixtures("training_step")
def test_training_equals_a_plain_pytorch_loop(tmp_path: Path) -> None:
    _, ours, _ = fit(tmp_path, 0, 1)
    source = SignalDataModule(data_settings(), noise_settings(), 0, 1)
    plain = nn.Sequential()
    for layer in [module for module in DeepAutoencoder(100, 5, [0], "tanh").modules() if isinstance(module, Linear)]:
        linear = nn.Linear(layer.weight.shape[2], layer.weight.shape[1])
        linear.load_state_dict({"weight": layer.weight[0], "bias": layer.bias[0]})
        plain.extend([linear, nn.Tanh()])
    plain = plain[:-1]
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-3)
    theirs = []
    for chunk in source.train_dataloader():
        for inputs, _ in chunk:
            loss = nn.functional.mse_loss(plain(inputs[0]), inputs[0])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            theirs.append(loss.item())
    torch.testing.assert_close(ours[:40, 0], torch.tensor(theirs), rtol=1e-4, atol=0)


@pytest.mark.usefixtures("training_step")
def test_a_replica_that_diverges_leaves_the_others_alone(tmp_path: Path) -> None:
    source = SignalDataModule(data_settings(), noise_settings(), 0, 2)
    healthy = AutoencoderModule(DeepAutoencoder(100, 5, source.seeds, "tanh"), "mse", partial(torch.optim.Adam, lr=1e-3))
    broken = AutoencoderModule(DeepAutoencoder(100, 5, source.seeds, "tanh"), "mse", partial(torch.optim.Adam, lr=1e-3))
    with torch.no_grad():
        next(broken.network.parameters())[0] = float("nan")
    for module in (healthy, broken):
        quiet_trainer(tmp_path).fit(module, source)
    for sane, other in zip(healthy.network.parameters(), broken.network.parameters(), strict=True):
        torch.testing.assert_close(sane[1], other[1])


@pytest.mark.parametrize(("loss", "plain"), [("mse", nn.MSELoss()), ("l1", nn.L1Loss()), ("huber", nn.HuberLoss())])
def test_losses_are_means_over_samples(tmp_path: Path, loss: str, plain: nn.Module) -> None:
    _, losses, _ = fit(tmp_path, 0, 2, loss=loss, epochs=1)
    source = SignalDataModule(data_settings(), noise_settings(), 0, 2)
    first, _ = next(iter(next(iter(source.train_dataloader()))))
    outputs = DeepAutoencoder(100, 5, source.seeds, "tanh")(first)
    expected = torch.stack([plain(outputs[i], first[i]) for i in range(2)]).detach()
    torch.testing.assert_close(losses[0], expected)
