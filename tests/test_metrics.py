import numpy as np
import torch

from wavecoder.metrics import ErrorMeter, EvaluationBatch


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
