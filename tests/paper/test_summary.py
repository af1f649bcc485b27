from typing import Any

import numpy as np
import pytest

from wavecoder.paper.summary import summary

METRICS = ("val/mse", "val/mse_noise_0.1", "val/mse_noise_1.0")


def job_of(network: str, latent: int, errors: list[float]) -> dict[str, Any]:
    return {
        "job": f"{network}{latent}",
        "network": network,
        "model": "deep",
        "activation": network,
        "bias": True,
        "latent_dim": latent,
        "overrides": {},
        "metrics": {metric: {"per_seed": errors} for metric in METRICS},
        "references": {"svd": dict.fromkeys(METRICS, 0.3 / latent)},
    }


@pytest.mark.parametrize("columns", [1, 2])
def test_every_seed_is_within_the_axes(columns: int) -> None:
    """Panels of one noise share their axis, whichever of them has the smallest and the largest error."""
    figure = summary(
        [job_of("tanh", 1, [0.4, 0.5]), job_of("tanh", 5, [1e-3, 90.0]), job_of("relu", 5, [0.2, 0.3])], columns, 9.0
    )
    assert figure is not None
    points = 0
    for axis in figure.axes:
        low, high = axis.get_xlim()
        for line in axis.lines:
            drawn = np.asarray(line.get_xdata())
            points += len(drawn) * (line.get_marker() == "o")
            assert low <= drawn.min() <= drawn.max() <= high
    assert points == 6 * 2
