"""What a run writes for TensorBoard."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import autoencoder_module, data_module, quiet_trainer
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from wavecoder.networks import DeepAutoencoder
from wavecoder.training.callbacks.latent_points import LatentPoints
from wavecoder.training.callbacks.references import ReferenceErrors
from wavecoder.training.callbacks.training_error import TrainingError
from wavecoder.training.curves import TensorBoardCurves, layout, tag_of
from wavecoder.training.noise import Noise

METRICS = ["val/mse", "val/mse_noise_0.1", "sine/mse_noise_0.1", "sine/mean_mse_noise_0.1", "train/mse", "linear/excess"]


def logger(folder: Path) -> TensorBoardCurves:
    return TensorBoardCurves(folder, name="tb", version="autoencoder", default_hp_metric=False)


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def test_errors_come_first_and_pictures_last() -> None:
    metrics = [*METRICS, *(f"{metric}/over_svd" for metric in METRICS)]
    tags = sorted([*map(tag_of, metrics), "view/latent"])
    assert len(set(tags)) == len(metrics) + 1
    assert tags[:2] == ["error/val/mse", "error/val/mse_noise_0.1"]
    assert [tag for tag in tags if "over_" in tag] == tags[-len(METRICS) - 1 : -1]
    assert tags[-1] == "view/latent"


def test_what_was_logged_at_a_step_is_not_logged_there_again(tmp_path: Path) -> None:
    first = logger(tmp_path)
    for step in (8, 16, 16):
        first.log_metrics({"val/mse": 1.0 / step}, step)
    state = first.state()
    first.finalize("success")
    second = logger(tmp_path)  # of a resumed run, whose test measures what its last validation has
    second.resume(state, tmp_path)
    second.log_metrics({"val/mse": 1.0 / 16, "train/mse": 0.5}, 16)
    second.finalize("success")
    curves = events(tmp_path / "tb" / "autoencoder")
    assert [event.step for event in curves.Scalars(tag_of("val/mse"))] == [8, 16]
    assert [event.step for event in curves.Scalars(tag_of("train/mse"))] == [16]


def test_runs_with_their_curves_in_one_folder_leave_one_anothers_alone(tmp_path: Path) -> None:
    (tmp_path / "shared" / "tb" / "SVD").mkdir(parents=True)
    (tmp_path / "shared" / "tb" / "SVD" / "thesis.txt").touch()
    for step, name in enumerate(("a", "b", "a")):  # the third begins anew, and replaces the first
        curves = logger(tmp_path / "shared")
        curves.resume(None, tmp_path / name)
        curves.log_metrics({f"{name}/mse": 1.0}, step)
        curves.log_reference("SVD", {"val/mse": 1.0}, 10 + step)
        curves.finalize("success")
    (foreign,) = (tmp_path / "shared" / "tb" / "SVD").iterdir()
    assert foreign.name == "thesis.txt"
    assert len(list((tmp_path / "shared" / "tb").glob("SVD.*/*"))) == 2
    shown = events(tmp_path / "shared" / "tb" / "autoencoder")
    assert {name: [event.step for event in shown.Scalars(f"{name}/mse")] for name in "ab"} == {"a": [2], "b": [1]}


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:50])])
def test_curves_that_lack_something_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], object]
) -> None:
    first = logger(tmp_path)
    first.log_metrics({"val/mse": 1.0}, 8)
    state = first.state()
    first.finalize("success")
    (file,) = (tmp_path / "tb" / "autoencoder").glob("events*")
    damage(file)
    logger(tmp_path).resume(state, tmp_path)
    assert caplog.messages == [f"{file}: is damaged, and the curves lack what was in it"]


def test_charts_match_their_own_metrics_alone() -> None:
    metrics = [
        "val/mse",
        *(f"{kind}_noise_{std}" for std in (0.1, 0.15, 1.0) for kind in ("val/mse", "sine/mse", "sine/mean_mse")),
    ]
    charts = layout([*metrics, *(f"{metric}/over_svd" for metric in metrics)])
    assert list(charts["error"]) == ["clean signals: validation and training", "noise 0.1", "noise 0.15", "noise 1.0"]
    tags = [tag_of(metric) for metric in (*metrics, "train/mse", *(f"{metric}/over_svd" for metric in metrics))]
    matched = [tag for category in charts.values() for _, patterns in category.values() for tag in tags if any_of(patterns, tag)]
    assert sorted(matched) == sorted(tag for tag in tags if "over" not in tag), "each in one chart"
    assert list(layout(["val/mse"])) == ["error"], "a file has no test signal"


def any_of(patterns: object, tag: str) -> bool:
    """As TensorBoard matches them, from the beginning of a tag."""
    assert isinstance(patterns, list)
    return any(re.match(pattern, tag) for pattern in patterns)


def test_references_are_drawn_from_the_first_step_to_the_last(tmp_path: Path) -> None:
    curves = logger(tmp_path)
    curves.log_reference("SVD", {"val/mse": 0.5}, steps=70)
    curves.log_reference("SVD", {"val/mse": 0.9}, steps=70)  # as a resumed run does
    points = events(tmp_path / "tb" / "SVD").Scalars("error/val/mse")
    assert [(point.step, point.value) for point in points] == [(0, 0.5), (70, 0.5)]
    assert [folder.name for folder in (tmp_path / "tb").iterdir()] == ["SVD"], "nothing half-written is left"


def test_a_reference_that_was_interrupted_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "tb" / ".SVD").mkdir(parents=True)
    (tmp_path / "tb" / ".SVD" / "events.out.tfevents.1").write_bytes(b"half")
    logger(tmp_path).log_reference("SVD", {"val/mse": 0.5}, steps=70)
    assert len(list((tmp_path / "tb" / "SVD").iterdir())) == 1


def test_pictures_are_small_and_look_the_same(tmp_path: Path) -> None:
    rows = torch.arange(0, 256, 4, dtype=torch.uint8).repeat(64, 1)
    Image.fromarray(np.dstack([rows, rows, rows, np.full_like(rows, 255)])).save(tmp_path / "figure.png")
    curves = logger(tmp_path)
    curves.log_picture("figure", tmp_path / "figure.png", step=3)
    curves.finalize("success")
    (image,) = events(tmp_path / "tb" / "autoencoder").Images("view/figure")
    (tmp_path / "shown.png").write_bytes(image.encoded_image_string)
    shown = np.asarray(Image.open(tmp_path / "shown.png").convert("RGB")).astype(int)
    assert np.abs(shown - rows.numpy()[:, :, None]).max() <= 8
    assert (image.width, image.height, image.step) == (64, 64, 3)


def test_a_run_with_members_of_a_latent_of_one(tmp_path: Path) -> None:
    module = autoencoder_module(lambda: DeepAutoencoder(100, 1, nn.Tanh), num_seeds=3)
    signals = data_module(num_seeds=3, noise=Noise((0.1,)))
    curves = logger(tmp_path)
    callbacks = [ReferenceErrors(1, "fitted"), TrainingError(50), LatentPoints()]
    trainer = quiet_trainer(tmp_path, logger=curves, callbacks=callbacks, max_epochs=2)
    trainer.fit(module, signals)
    trainer.test(module, signals, verbose=False)
    curves.finalize("success")

    ours = events(tmp_path / "tb" / "autoencoder")
    # several files of events are read by their names, in which number 10 comes before number 9
    first, last = sorted(ours.Scalars("train/mse"), key=lambda point: point.wall_time)
    assert (first.step, last.step) == (40, 80)
    inputs = next(iter(signals.training_batches())).inputs
    errors = (module(inputs) - inputs).square().mean(2)
    torch.testing.assert_close(last.value, errors[:, :50].mean().item(), rtol=1e-5, atol=0)
    assert sorted(point.step for point in events(tmp_path / "tb" / "SVD").Scalars("error/val/mse")) == [0, 80]

    points = np.loadtxt(tmp_path / "tb" / "autoencoder" / "latent.tsv")
    header, *rows = (tmp_path / "tb" / "autoencoder" / "latent_signals.tsv").read_text().splitlines()
    assert header == "family\tr"
    assert len(points) == len(rows) == 5 * 201
    r = np.array([float(row.split("\t")[1]) for row in rows])
    assert np.corrcoef(points[:, 1], r)[0, 1] > 0.9999
    assert not points[:, 2].any()
    median = module.meter.compute()["val/mse"].argsort()[1]
    cosines = [row for row in rows if row.startswith("cos\t")]
    inputs = torch.stack([torch.cos(float(row.split("\t")[1]) * signals.times) for row in cosines])
    latent = module.ensemble.encode(inputs)[median, :, 0].detach().numpy()
    shown = points[[row.startswith("cos\t") for row in rows], 0]
    assert np.corrcoef(shown, latent)[0, 1] > 0.999
