"""What several test files share: running the doors as a user does, and small settings."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from wavecoder import native
from wavecoder.settings import DataSettings, NoiseSettings

ROOT = Path(__file__).parents[1]

torch.set_num_threads(1)  # the tests run side by side on few cores


def data_settings(**changes: object) -> DataSettings:
    values: dict[str, object] = {
        "seed": 0,
        "train_size": 640,
        "val_size": 200,
        "batch_size": 16,
        "fresh": False,
        "families": ["sin", "cos", "sin+cos", "sin-cos", "sin*cos"],
        "sigma": 2.25,
        "samples": 100,
        "step": 0.1,
        "test_frequency": 1.0,
        "steps_per_chunk": 7,
    }
    return DataSettings(**(values | changes))  # type: ignore[arg-type]


def noise_settings(levels: list[float] | None = None, train: float = 0.0) -> NoiseSettings:
    return NoiseSettings(levels=[0.1, 1.0] if levels is None else levels, copies=10, train=train)


def quiet_trainer(folder: Path, **arguments: object) -> L.Trainer:
    """A trainer of one epoch on the CPU that writes and prints nothing, unless told otherwise."""
    quiet: dict[str, object] = {
        "default_root_dir": folder,
        "accelerator": "cpu",
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
    }
    return L.Trainer(**(quiet | arguments))  # type: ignore[arg-type]


@pytest.fixture(params=["compiled", "PyTorch"])
def training_step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Has a test run twice: with the compiled training step, and as where none was compiled."""
    if request.param == "PyTorch":
        monkeypatch.setattr(native, "library", lambda: None)
    elif native.library() is None:
        pytest.skip(f"nothing was compiled for {native.instruction_set()}")
    return str(request.param)


Run = Callable[..., subprocess.CompletedProcess[str]]


def run_door(
    door: str, folder: Path, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python src/DOOR ARGUMENTS` in a folder and return what it printed and its exit status."""
    return subprocess.run(
        [sys.executable, str(ROOT / "src" / door), *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {}),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.fixture
def run_train(tmp_path: Path) -> Run:
    """Runs `python src/train.py ARGUMENTS` in an empty folder."""
    return partial(run_door, "train.py", tmp_path)


JOB = ("debug=quick", "logger=none", "data.train_size=640", "data.val_size=64", "trainer.max_epochs=6", "replicas=2")
"""A run of six epochs of ten steps, in a second or two."""


def start(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start the training door in a process group of its own, so that all it starts can be killed with it."""
    command = [sys.executable, str(ROOT / "src" / "train.py"), *arguments]
    threads = os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {})
    return subprocess.Popen(command, cwd=folder, env=threads, stdout=subprocess.DEVNULL, start_new_session=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def records(sweep: Path) -> dict[str, dict[str, Any]]:
    return {file.parent.name: json.loads(file.read_text()) for file in sweep.glob("*/results.json")}


def metrics(sweep: Path) -> dict[str, Any]:
    return {name: record["metrics"] for name, record in records(sweep).items()}


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def completed(sweep: Path) -> list[str]:
    return [name for name, record in records(sweep).items() if record["status"] == "completed"]
