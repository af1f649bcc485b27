"""What callbacks do that no door shows."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import data_settings, noise_settings, quiet_trainer

from wavecoder.autoencoder import DeepAutoencoder
from wavecoder.callbacks.references import ReferenceErrors
from wavecoder.training.data import SignalDataModule
from wavecoder.training.module import AutoencoderModule


@pytest.mark.parametrize("first", [True, False])
def test_references_are_made_once_for_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    told = {"svd": {"val/mse": 0.3}}

    def broadcast(errors: dict[str, Any]) -> dict[str, Any]:
        assert bool(errors) is first
        return errors or told

    trainer = quiet_trainer(tmp_path)
    source = SignalDataModule(data_settings(), noise_settings(), 0, 1)
    monkeypatch.setattr(type(trainer), "is_global_zero", first)
    monkeypatch.setattr(trainer, "datamodule", source, raising=False)
    monkeypatch.setattr(type(trainer), "strategy", SimpleNamespace(broadcast=broadcast))
    callback = ReferenceErrors(5, "fitted")
    callback.on_fit_start(trainer, AutoencoderModule(DeepAutoencoder(100, 5, range(1)), "mse", lambda parameters: None))
    assert set(callback.references) == ({"svd", "pca", "wiener", "bayes"} if first else set())
    assert (callback.errors == told) is not first
