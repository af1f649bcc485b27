"""Settings of data=file: what follows from the file, and what is refused in one line before anything is written."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import composed
from processes import ROOT, run_command, run_script

from wavecoder.runs import results
from wavecoder.runs.build import make_source
from wavecoder.runs.limits import SettingError
from wavecoder.runs.run import warn_of_scale
from wavecoder.runs.settings import Settings, from_config
from wavecoder.runs.training_checks import check_training
from wavecoder.training.data import SignalDataModule
from wavecoder.training.noise import Noise

ROWS = np.random.default_rng(0).standard_normal((50, 12))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command is typed."""
    np.save(tmp_path / "x.npy", ROWS)
    np.savez(tmp_path / "x.npz", a=ROWS, b=ROWS, y=np.arange(50) % 3)
    (tmp_path / "wavs").mkdir()
    soundfile.write(tmp_path / "wavs" / "a.wav", np.sin(np.arange(2000) / 9), 8000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(*overrides: str) -> Settings:
    return from_config(composed("data=file", "latent=2", *overrides))


def test_what_is_null_follows_from_the_file(folder: Path) -> None:
    data = settings("data.path=x.npy").data
    assert (data.signal_length, data.dt, data.train_size, data.val_size, data.batch_size) == (12, 1.0, 45, 5, 45)
    assert data.path == str(folder / "x.npy")
    data = settings("data.path=wavs", "data.signal_length=20", "data.val_size=30").data
    assert (data.signal_length, data.dt, data.train_size, data.val_size, data.batch_size) == (20, 1 / 8000, 70, 30, 64)
    data = settings("data.path=x.npy", "trainer=ddp_cpu", "+trainer.accumulate_grad_batches=2").data
    assert data.batch_size == 22
    data = settings("data.path=x.npy", "data.dt=0.5", "data.train_size=20", "data.batch_size=5").data
    assert (data.dt, data.train_size, data.val_size, data.batch_size) == (0.5, 20, 5, 5)


def test_a_checkpoint_stands_for_a_file_that_is_gone(folder: Path) -> None:
    config = composed("data=file", "data.path=gone.npy", "+trainer.accumulate_grad_batches=2")
    with pytest.raises(SettingError, match=r"^data.path=\S+gone.npy: there is no such file or folder"):
        from_config(config)
    of_file = {"signal_length": 12, "dt": 0.1, "train_size": 45, "val_size": 5, "batch_size": 40, "scaling": {"kind": "none"}}
    data = from_config(config, of_file).data
    assert (data.signal_length, data.dt, data.train_size, data.val_size, data.batch_size) == (12, 0.1, 45, 5, 20)


BAD = {
    ("data=file",): "data.path: must be given: a file",
    ("data=file", "data.path=gone.npy"): r"data.path=\S+gone.npy: there is no such file or folder",
    ("data=file", "data.path=x.npy/y.npy"): "data.path=",
    ("data=file", "data.path=x.npz"): r"data.path=\S+x.npz: key=null: must name one of its arrays, which are a, b",
    ("data=file", "data.path=x.npz", "data.key=c"): r"data.path=\S+x.npz: key=c: must be one of a, b, y",
    ("data=file", "data.path=x.npz", "data.key=a", "data.labels=no"): r"data.path=\S+x.npz: labels=no: must be one of a, b, y",
    ("data=file", "data.path=wavs"): "data.signal_length=null: must be given, because",
    ("data=file", "data.path=wavs", "data.signal_length=3000"): "data.signal_length=3000: must be at most 2,000",
    ("data=file", "data.path=wavs", "data.signal_length=1500"): "data.val_size=null: needs 2 signals",
    ("data=file", "data.path=wavs", "data.signal_length=0"): "data.signal_length=0: must be at least 2",
    ("data=file", "data.path=x.npy", "data.signal_length=5"): "data.signal_length=5: must be 12, as in",
    ("data=file", "data.path=x.npy", "data.val_size=50"): "data.val_size=50: must be 1 to 49, because there are 50 signals",
    ("data=file", "data.path=x.npy", "data.train_size=50"): "data.train_size=50: must be 1 to 49",
    ("data=file", "data.path=x.npy", "data.batch_size=46"): "data.batch_size=46: must be at most data.train_size=45",
    ("data=file", "data.path=x.npy", "latent.dim=12"): "latent.dim=12: must be below data.signal_length=12",
    ("data=file", "data.path=x.npy", "data.scaling=max"): "data.scaling=max: must be one of none, set, signal",
    ("data=file", "data.path=x.npy", "data.dt=0"): "data.dt=0.0: must be above 0",
    ("data=file", "data.path=x.npy", "data.fresh=true"): "data.fresh=true: must be false: there are no new signals in a file",
    ("data=file", "data.path=x.npy", "data.per_seed=true"): "data.per_seed=true: must be false: a file has one training set",
    ("data=file", "data.path=x.npy", "data.sigma=3"): "data.sigma=3.0: must be left alone: it is for sinusoids",
    ("data=file", "data.path=x.npy", "data.families=[sin]"): r"data.families=\[sin\]: must be left alone",
    (
        "data=file",
        "data.path=x.npy",
        "basis=population",
    ): "basis=population: must be fitted: the distribution",
    ("data=file", "data.path=x.npy", "experiment=overfitting"): r"trainer.max_epochs: is computed from data.train_size and",
    ("data.path=x.npy",): "data.path=x.npy: is for data=file",
    ("data.key=a",): "data.key=a: must be left alone: only files have it",
    ("data.scaling=set",): "data.scaling=set: must be none for sinusoids",
    ("data.train_size=null",): "data.train_size=null: must be at least 1",
    ("data.sigma=null",): "data.sigma=null: must be above 0",
    ("data.families=null",): "data.families=null: must be at least one of",
}


@pytest.mark.parametrize("overrides", BAD, ids=" ".join)
def test_settings_that_do_not_fit_are_refused_in_one_line(overrides: tuple[str, ...], folder: Path) -> None:
    with pytest.raises(SettingError, match=f"^{BAD[overrides]}") as caught:
        from_config(composed(*overrides))
    assert "\n" not in str(caught.value)


def test_values_are_looked_at_before_the_training(folder: Path) -> None:
    rows = ROWS.copy()
    rows[7, 3] = np.nan
    np.save("x.npy", rows)
    config = composed("data=file", "data.path=x.npy", "latent=2")
    with pytest.raises(SettingError, match=r"^data.path=\S+x.npy: row 7, sample 3 \(counted from 0\) is nan"):
        check_training(config, from_config(config), here=True)
    check_training(config, from_config(config), here=False)


def test_the_file_is_read_once_and_again_when_it_changes(folder: Path) -> None:
    chosen = settings("data.path=x.npy")
    first = make_source(chosen)
    assert make_source(chosen) is first
    np.save("x.npy", ROWS + 1)
    assert make_source(chosen) is not first


def test_a_changed_file_is_another_run(folder: Path) -> None:
    config = composed("data=file", "data.path=x.npy")
    before = results.fingerprint(config)
    assert results.fingerprint(config) == before
    np.save("x.npy", ROWS + 1)
    assert results.fingerprint(config) != before
    of_folder = composed("data=file", "data.path=wavs", "data.signal_length=20")
    before = results.fingerprint(of_folder)
    soundfile.write(folder / "wavs" / "b.wav", np.zeros(50), 8000)
    assert results.fingerprint(of_folder) != before


QUICK = ("data=file", "latent=2", "trainer.max_epochs=2", "logger=none", "hydra.run.dir=run")


def test_a_run_on_an_array(folder: Path) -> None:
    done = run_script("train.py", folder, *QUICK, "data.path=x.npz", "data.key=a", "data.scaling=set", "num_seeds=2", "noise=low")
    assert done.returncode == 0, done.stderr
    assert "No Bayes: the distribution of the signals is not known" in done.stdout
    record = json.loads((folder / "run" / "results.json").read_text())
    assert set(record["references"]) == {"svd", "pca", "wiener"}
    assert {"train/mse", "val/mse", "val/mse_noise_0.1"} <= set(record["metrics"])
    assert {file.name for file in (folder / "run" / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("latent", "reconstructions") for kind in ("png", "svg")
    }
    with np.load(folder / "run" / "reconstructions.npz") as arrays:
        assert arrays["signals"].shape == arrays["svd_signals"].shape == (5, 12)
        assert arrays["autoencoder_signals"].shape == (2, 5, 12)
        assert arrays["latent"].shape == (2, 5, 2)
        assert arrays["labels"].shape == (5,)
        assert all((signal == ROWS.astype(np.float32)).all(1).any() for signal in arrays["signals"])
    for name in ("last", "best"):
        checkpoint = torch.load(folder / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True)
        state = checkpoint["SignalDataModule"]
        assert {key: state[key] for key in ("signal_length", "dt", "train_size", "val_size", "batch_size")} == {
            "signal_length": 12,
            "dt": 1.0,
            "train_size": 45,
            "val_size": 5,
            "batch_size": 45,
        }
        assert state["scaling"]["kind"] == "set"
        assert state["second_moment"].shape == (12, 12)
        assert state["second_moment"].trace().item() / 12 == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
def test_a_sweep_over_recordings_from_another_folder(folder: Path) -> None:
    """The path is relative to where the command is typed; a changed recording trains anew, and nothing else does."""
    command = (*QUICK[:1], *QUICK[2:4], "-m", "latent=1,3", "data.path=wavs", "data.signal_length=20,25", "sweep=s")
    done = run_script("train.py", folder, *command)
    assert done.returncode == 0, done.stderr
    sweep = folder / "outputs" / "sweeps" / "s"
    assert len(list(sweep.glob("*/results.json"))) == 4
    again = run_script("train.py", folder, *command)
    assert "epoch" not in again.stdout
    for command_of_sweep in ("status", "report"):
        done = run_command(folder, sys.executable, "-m", "wavecoder", command_of_sweep, str(sweep))
        assert done.returncode == 0, done.stderr
    soundfile.write(folder / "wavs" / "b.wav", np.sin(np.arange(900) / 5), 8000)
    changed = run_script("train.py", folder, *command)
    assert changed.returncode == 0, changed.stderr
    assert "epoch 2/2" in changed.stdout


@pytest.mark.parametrize("wrong", [("data.path=bad.csv",), ("data.path=gone.npy",)])
def test_bad_files_end_a_command_with_status_2_and_leave_nothing(wrong: tuple[str, ...], folder: Path) -> None:
    (folder / "bad.csv").write_text("a,b,c\n1,2,3\n4,five,6\n")
    before = sorted(folder.rglob("*"))
    done = run_script("train.py", folder, "data=file", "latent=1", *wrong)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: data.path=")
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_a_file_of_2_gb_trains_in_little_memory(folder: Path) -> None:
    """What is needed beyond that of a small file is a small part of the file, though all of it is read, many times."""
    rows = np.lib.format.open_memmap(folder / "big.npy", mode="w+", dtype=np.float32, shape=(2_000_000, 250))
    drawn = np.random.default_rng(0).standard_normal((10_000, 250), np.float32)
    for first in range(0, len(rows), len(drawn)):
        rows[first : first + len(drawn)] = drawn + first / len(rows)
    del rows
    np.save(folder / "small.npy", drawn[:1000])
    program = "import resource, sys; sys.argv = ['train', *sys.argv[1:]]; from wavecoder.runs.cli import train; train(); "
    program += "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    peaks = {}
    for name in ("small", "big"):
        run = (*QUICK[:2], "trainer.max_epochs=1", "logger=none", f"data.path={name}.npy", f"hydra.run.dir={name}")
        done = run_command(
            *(folder, sys.executable, "-c", program, *run, "data.batch_size=512", "data.scaling=set", "data.val_size=100"),
            environment={"PYTHONPATH": str(ROOT / "src")},
        )
        assert done.returncode == 0, done.stderr
        peaks[name] = int(done.stdout.split()[-1])
    assert (folder / "big.npy").stat().st_size > 2e9
    assert peaks["big"] - peaks["small"] < 300


@pytest.mark.parametrize(("factor", "scaling", "warned"), [(1.0, "none", False), (300.0, "none", True), (300.0, "set", False)])
def test_signals_far_from_1_that_are_not_scaled_are_pointed_out(
    factor: float, scaling: str, warned: bool, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.save("far.npy", ROWS * factor)
    chosen = settings("data.path=far.npy", f"data.scaling={scaling}")
    data = SignalDataModule(make_source(chosen), Noise(), chosen.data.batch_size)
    warn_of_scale(chosen, data)
    assert ("root mean square is 3e+02" in caplog.text) == warned
