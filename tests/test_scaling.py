"""Scaling is undone exactly, and constant signals survive it."""

import pytest
import torch

from wavecoder.scaling import Scaling


@pytest.mark.parametrize("scaling", [Scaling(), Scaling("set", 2.0, 5.0), Scaling("signal")], ids=lambda each: each.kind)
@pytest.mark.parametrize("shape", [(10,), (3, 10), (2, 3, 10)])
def test_scaling_is_undone(scaling: Scaling, shape: tuple[int, ...]) -> None:
    x = 3 + 7 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values, offset, scale = scaled = scaling.apply(x)
    assert offset.shape == scale.shape == (*shape[:-1], 1)
    torch.testing.assert_close(values, (x - offset) / scale)
    torch.testing.assert_close(scaled.undo(values), x)
    assert Scaling.from_state(scaling.state()) == scaling


def test_signals_have_mean_0_and_variance_1() -> None:
    x = 3 + 7 * torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    values = Scaling("signal").apply(x).values
    torch.testing.assert_close(values.mean(-1), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(values.var(-1, correction=0), torch.ones(4))


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_a_constant_signal_becomes_0(constant: float) -> None:
    values, offset, _ = Scaling("signal").apply(torch.full((2, 333), constant))
    torch.testing.assert_close(values, torch.zeros(2, 333), atol=0.2 if constant > 1 else 1e-6, rtol=0)
    torch.testing.assert_close(offset, torch.full((2, 1), constant))


def test_other_scalings_are_refused() -> None:
    with pytest.raises(ValueError, match="scaling=row: must be one of none, set, signal"):
        Scaling("row")


def test_noise_is_left_out_of_the_scale_of_a_signal() -> None:
    key = torch.Generator().manual_seed(0)
    clean = 3 + 7 * torch.randn(4, 20_000, generator=key)
    noisy = clean + 10 * torch.randn(4, 20_000, generator=key)
    torch.testing.assert_close(
        Scaling("signal").apply(noisy, 10.0).scale, Scaling("signal").apply(clean).scale, rtol=0.05, atol=0
    )
    # no signal is seen in so much noise, but the scale must not vanish
    assert (Scaling("signal").apply(noisy, 100.0).scale > 3).all()
    assert torch.equal(Scaling("signal").apply(clean, 0.0).values, Scaling("signal").apply(clean).values)
    assert torch.equal(Scaling("set", 3.0, 7.0).apply(noisy, 10.0).values, Scaling("set", 3.0, 7.0).apply(noisy).values)
