import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wavecoder.ensemble import Ensemble
from wavecoder.metrics import ErrorMeter, EvaluationBatch
from wavecoder.networks import DeepAutoencoder
from wavecoder.references import SVD, population_moments
from wavecoder.signals import SinusoidSource
from wavecoder.training.data import SignalDataModule
from wavecoder.training.noise import Noise


def test_errors_are_means_over_all_signals_of_unequal_batches() -> None:
    source = torch.Generator().manual_seed(0)
    targets, outputs = torch.randn(7, 4, generator=source), torch.randn(2, 7, 4, generator=source)
    meter = ErrorMeter()
    for part in (slice(0, 5), slice(5, 7)):
        meter.update(EvaluationBatch("val/mse", None, 0.0, targets[part], targets[part]), outputs[:, part])
    expected = ((outputs.double().numpy() - targets.double().numpy()) ** 2).mean((1, 2))
    np.testing.assert_allclose(meter.compute()["val/mse"].numpy(), expected, rtol=1e-6)


def test_error_of_the_mean_of_copies() -> None:
    targets = torch.ones(3, 2)
    outputs = torch.tensor([[[0.0, 1.0], [1.0, 1.0], [2.0, 4.0]]])
    meter = ErrorMeter()
    meter.update(EvaluationBatch("each", "mean", 0.0, targets, targets), outputs)
    errors = {name: value.item() for name, value in meter.compute().items()}
    assert errors == {"each": (1 + 0 + 0 + 0 + 1 + 9) / 6, "mean": (0 + 1) / 2}


def test_each_draw_is_measured_by_itself() -> None:
    targets = torch.zeros(4, 1)
    outputs = torch.tensor([[[1.0], [3.0], [0.0], [2.0]], [[0.0], [0.0], [-4.0], [4.0]]])  # two members, two draws of two copies
    meter = ErrorMeter()
    meter.update(EvaluationBatch("each", "mean", 0.0, targets, targets, draws=2), outputs)
    assert {name: values.tolist() for name, values in meter.draws.items()} == {
        "each": [[5, 2], [0, 16]],
        "mean": [[4, 1], [0, 0]],
    }
    assert {name: values.tolist() for name, values in meter.compute().items()} == {"each": [3.5, 8.0], "mean": [2.5, 0.0]}


@pytest.mark.parametrize("per_seed", [False, True])
def test_means_over_draws_are_the_expected_errors_of_linear_maps(per_seed: bool) -> None:
    """E|W (s + σ p) + c − s|² / n = (|W s + c − s|² + σ² |W|²) / n; the mean of ten copies has a tenth of the second part."""
    source, std, copies, draws = SinusoidSource(), 0.5, 10, 200
    signals = SignalDataModule(source, Noise((std,), 0.0, copies, draws), 64, num_seeds=2, per_seed=per_seed)
    batch = signals.noisy_test_signal(std)
    assert batch is not None
    ensemble = Ensemble(lambda: DeepAutoencoder(100, 5, nn.Identity), range(2))
    prior = source.prior("cpu")
    svd = SVD(5).fit(population_moments(prior))
    offset, sine = ensemble(torch.zeros(1, 100))[:, 0], torch.sin(source.times("cpu"))
    matrices = [(ensemble(torch.eye(100))[i] - offset[i]).mT for i in range(2)]
    reconstructed = [(ensemble(batch.inputs), matrices, offset)]
    made = svd.reconstruct(batch.inputs)
    every = made if per_seed else made[None]
    reconstructed.append((every, [(svd.basis_ @ svd.basis_.T).float()] * len(every), torch.zeros(len(every), 100)))
    for outputs, maps, offsets in reconstructed:
        meter = ErrorMeter()
        meter.update(batch, outputs.detach())
        for metric, of_noise in {f"sine/mse_noise_{std}": 1.0, f"sine/mean_mse_noise_{std}": 1 / copies}.items():
            for measured, matrix, constant in zip(meter.draws[metric], maps, offsets, strict=True):
                expected = _expected(matrix, constant, sine, std**2 * of_noise)
                standard_error = measured.std().item() / draws**0.5
                assert measured.mean().item() == pytest.approx(expected, abs=4 * standard_error)
                assert 0 < standard_error < 0.04 * expected


def _expected(matrix: Tensor, constant: Tensor, signal: Tensor, variance: float) -> float:
    bias = (matrix @ signal + constant - signal).square().mean()
    return (bias + variance * matrix.square().sum() / len(signal)).item()
