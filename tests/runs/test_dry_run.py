"""A few signals computed before a run: magnitudes that 32 bits cannot hold are named, and those that they can are not."""

import re

import numpy as np
import pytest
from conftest import composed, settings_with

from wavecoder.runs.build import make_source
from wavecoder.runs.dry_run import try_signals
from wavecoder.runs.limits import SettingError
from wavecoder.runs.settings import from_config


@pytest.mark.parametrize(
    "overrides",
    [(), ("data.dt=1e-3", "data.signal_length=50"), ("noise.eval_std=[1e-5,1e6]",), ("noise.eval_std=[]", "data.sigma=100")],
)
def test_what_32_bits_can_hold_is_tried_and_left_alone(overrides: tuple[str, ...]) -> None:
    try_signals(settings_with(*overrides))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.dt=1e-300", "data.dt=1e-300: must give times 0, dt, 2 dt, … that are finite and distinct in 32 bits"),
        ("data.dt=1e-9", "data.dt=1e-09: must be larger: no signal changes by more than "),
        ("data.dt=1e7", "data.dt=10000000.0: must be smaller: the last values of signals have phases of "),
        ("data.sigma=1e8", "data.sigma=100000000.0: must be smaller: "),
        ("data.test_frequency=1e9", "data.test_frequency=1000000000.0: must be smaller: "),
        ("noise.eval_std=[0.1,1e-9]", "noise.eval_std=1e-09: must leave a trace in 32 bits and have squares there"),
        ("noise.eval_std=[1e16]", "noise.eval_std=1e+16: must leave a trace in 32 bits and have squares there"),
        ("noise.train_std=1e300", "noise.train_std=1e+300: must leave a trace in 32 bits and have squares there"),
    ],
)
def test_what_they_cannot_hold_is_named(override: str, said: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(said)}"):
        try_signals(settings_with(override))


def test_so_are_the_values_of_a_file(tmp_path: object) -> None:
    path = f"{tmp_path}/large.npy"
    np.save(path, np.random.default_rng(0).normal(size=(300, 20)) * 1e16)
    settings = from_config(composed("data=file", f"data.path={path}"))
    with pytest.raises(SettingError, match=r"large\.npy: has values whose squares 32 bits cannot hold; data\.scaling=set$"):
        try_signals(settings, make_source(settings))
    scaled = from_config(composed("data=file", f"data.path={path}", "data.scaling=set"))
    try_signals(scaled, make_source(scaled))
