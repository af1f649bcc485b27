import math

import pytest
import torch
from conftest import data_module
from test_data import in_training

from wavecoder.training.noise import Noise

LOW, HIGH = 0.25, 1.0
STEPS = 40


def stds(noise: Noise, epoch: int = 0) -> torch.Tensor:
    """The standard deviation of what was added to each signal, `[step, member, batch]`."""
    module = in_training(data_module(2, 0, noise, train_size=16 * STEPS, signal_length=400), epoch)
    inputs, targets = zip(*(pair for chunk in module.train_dataloader() for pair in chunk), strict=True)
    return (torch.stack(inputs) - torch.stack(targets)).std(-1)


def test_one_level_is_that_of_every_signal() -> None:
    added = stds(Noise(train_std=HIGH))
    assert added.mean() == pytest.approx(HIGH, rel=0.01)
    assert added.std() < 0.06  # a standard deviation of 400 values scatters by 3.5 %


@pytest.mark.parametrize(
    ("between", "mean"), [("uniform", (LOW + HIGH) / 2), ("log_uniform", (HIGH - LOW) / math.log(HIGH / LOW))]
)
def test_each_signal_has_a_level_of_its_own_between_two(between: str, mean: float) -> None:
    added = stds(Noise(train_std=[LOW, HIGH], train_between=between))
    assert added.mean() == pytest.approx(float(mean), rel=0.02)
    assert added.min() == pytest.approx(LOW, rel=0.15)
    assert added.max() == pytest.approx(HIGH, rel=0.15)
    assert not torch.allclose(added[:, 0], added[:, 1], rtol=0.2)  # of two members
    again = stds(Noise(train_std=[LOW, HIGH], train_between=between))
    assert torch.equal(added, again)


def test_a_schedule_goes_from_the_first_to_the_second_over_the_run() -> None:
    noise = Noise(train_std=[HIGH, 0.0], train_between="schedule", steps=2 * STEPS)
    first, second = stds(noise), stds(noise, epoch=1)
    wanted = torch.linspace(HIGH, 0, 2 * STEPS)
    assert torch.allclose(torch.cat([first, second]).mean((1, 2)), wanted, atol=0.02)
    assert second[-1].max() < 1e-6
