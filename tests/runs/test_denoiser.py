"""Signals in memory: `model.denoise`."""

import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from noisy_signals import NOISE, ROWS, SINE, by_hand
from numpy import ndarray

from wavecoder.runs.denoiser import Denoiser
from wavecoder.runs.load import Trained, load
from wavecoder.scaling import Scaling

pytestmark = pytest.mark.xdist_group("denoise")  # one network for all


@pytest.fixture(scope="module")
def model(denoising_run: Path) -> Trained:
    return load(denoising_run)


class TestInMemory:
    def test_signals_of_the_right_length_are_reconstructed(self, model: Trained) -> None:
        assert np.array_equal(model.denoise(ROWS), model.reconstruct(ROWS))
        tensor = torch.from_numpy(ROWS).view(3, 4, 100)
        assert torch.equal(model.denoise(tensor), model.reconstruct(tensor))
        assert np.array_equal(model.denoise(ROWS[0]), model.reconstruct(ROWS[0]))

    def test_longer_rows_go_through_windows_and_keep_their_level(self, model: Trained) -> None:
        y = (SINE + 0.1 * NOISE)[:1500].reshape(2, 3, 250)
        clean = model.denoise(y)
        assert clean.shape == y.shape
        assert clean.dtype == y.dtype
        np.testing.assert_allclose(clean[1, 2], by_hand(model, y[1, 2]), atol=1e-5)

    @pytest.mark.parametrize("factor", [1e-3, 1.0, 50.0])
    def test_a_recording_has_any_level(self, model: Trained, factor: float) -> None:
        y = SINE + 0.1 * NOISE
        clean = model.denoise(y * factor, noise=0.1 * factor)
        np.testing.assert_allclose(clean / factor, model.denoise(y, noise=0.1), atol=1e-4)
        level = np.sqrt(model.moments.second_moment.trace().item() / 100 / (np.square(y).mean() - 0.01))
        np.testing.assert_allclose(clean, factor * by_hand(model, y * level) / level, atol=2e-3 * factor)

    def test_runs_that_scale_signals_do_so_here(self, denoising_run: Path) -> None:
        """The level is the scaling's; noise and errors come out in the units of the input."""
        for scaling in (Scaling("signal"), Scaling("set", 0.2, 2.0)):
            model = load(denoising_run)
            model.scaling = scaling
            y = torch.from_numpy(3 + 2 * (SINE + 0.3 * NOISE)).float()
            np.testing.assert_allclose(model.denoise(y, noise=0.6), by_hand(model, y.numpy(), 0.6), atol=1e-4)
            denoiser = Denoiser(model, None, "keep")
            denoiser.look(y.unfold(0, 100, 50))
            assert denoiser.judge().noise == pytest.approx(0.6, rel=0.1)
            with pytest.raises(ValueError, match="level=match: the run scales signals by itself"):
                Denoiser(model, None, "match")

    def test_mistakes_are_named(self, denoising_run: Path, model: Trained) -> None:
        gap = ROWS.copy()
        gap[3, 7] = np.nan
        small = load(denoising_run)
        small.scaling = Scaling("set", 0.0, 1e-6)
        for make, said in {
            lambda: model.denoise(ROWS[:, :99]): r"signals of shape \[12, 99\]: must have 100 samples or more",
            lambda: model.denoise(np.array(1.0)): r"signals of shape \[\]",
            lambda: model.denoise(ROWS[:0]): r"signals of shape \[0, 100\]: there are none",
            lambda: model.denoise(ROWS.astype(str)): "signals of type <U.*: must be real numbers",
            lambda: model.denoise(gap): r"value at \[3, 7\] is nan: must be a finite number",
            lambda: model.denoise(torch.from_numpy(gap)): r"value at \[3, 7\] is nan",
            lambda: model.denoise(ROWS, noise=-1.0): "noise=-1.0: must be a number, 0 or more",
            lambda: model.denoise(ROWS, noise=1e300): r"noise=1e\+300: must be a number, 0 or more, at most 1e\+14",
            lambda: Denoiser(small, 1e10, "keep"): r"noise=10000000000\.0: must be a number, 0 or more, at most 1e\+08",
            lambda: load(denoising_run, "all").denoise(ROWS): "seed=all cannot denoise",
        }.items():
            with pytest.raises(ValueError, match=said):
                make()  # type: ignore[no-untyped-call]
        unchecked = inspect.unwrap(Denoiser.__init__)  # as outside the tests, where nobody looks at annotations
        for noise in ("0.1", True, math.nan):
            with pytest.raises(ValueError, match=f"noise={noise!r}: must be a number, 0 or more"):
                unchecked(object.__new__(Denoiser), model, noise, "keep")
        diverged = load(denoising_run, 1)
        diverged.results["metrics"]["val/mse"]["per_seed"][1] = None
        with pytest.raises(ValueError, match="seed=1: it diverged"):
            diverged.denoise(ROWS)
        diverged.results["metrics"]["val/mse"]["per_seed"] = [None] * len(diverged.results["metrics"]["val/mse"]["per_seed"])
        with pytest.raises(ValueError, match="seed=1: all seeds diverged"):
            diverged.denoise(ROWS)

    @pytest.mark.parametrize("scaling", [Scaling(), Scaling("set", 0.2, 2.0)])
    def test_the_error_to_be_expected_is_about_right(self, denoising_run: Path, scaling: Scaling) -> None:
        model = load(denoising_run)
        model.scaling = scaling
        clean = model.source.validation_set("cpu").evaluate(model.source.times("cpu")) * scaling.scale + scaling.offset  # type: ignore[union-attr]
        for std in (0.0, 0.3, 1.0):
            noisy = clean + std * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
            denoiser = Denoiser(model, None, "keep")
            denoiser.look(noisy)
            actual = (model.reconstruct(noisy) - clean).square().mean().sqrt().item()
            assert denoiser.judge().expected_error == pytest.approx(actual, rel=0.25)

    def test_what_is_found(self, model: Trained) -> None:
        def found(y: ndarray, level: Any = "match") -> Any:
            denoiser = Denoiser(model, None, level)
            denoiser.look(torch.from_numpy(y).float().unfold(0, 100, 50))
            return denoiser.judge()

        for std in (0.1, 1.0):
            usual = found(SINE + std * NOISE)
            assert usual.noise == pytest.approx(std, rel=0.06)
            assert not usual.foreign
            assert not usual.drowned
        assert found(SINE).noise == 0
        fast = found(np.sin(np.arange(5000) * 0.9) + 0.1 * NOISE)
        assert fast.noise == pytest.approx(0.1, rel=0.2)
        assert fast.drowned is False
        assert found(NOISE).drowned
