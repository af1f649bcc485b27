"""Runs measured again: on their own signals they have their own numbers, and on others what can be computed by hand."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import ROOT, run_command, run_script
from run_files import made_up_record, record_of, records

from wavecoder.families import FAMILIES
from wavecoder.references import SVD
from wavecoder.rng import generator
from wavecoder.runs import evaluate as command
from wavecoder.runs import tables
from wavecoder.runs.api import train
from wavecoder.runs.evaluate import evaluate
from wavecoder.runs.limits import SettingError
from wavecoder.runs.load import Trained, load
from wavecoder.runs.measure import DATA_SEED, Measured, Wanted
from wavecoder.signals import SinusoidSource, add_noise, own_training_sets, sinusoids, time_grid
from wavecoder.training.files import read_arrays


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


RUNS = ["auto-1", "auto-3", "pytorch-1", "pytorch-3"]


@pytest.mark.parametrize("name", RUNS)
def test_the_runs_own_signals_give_its_own_results_to_the_bit(trained: Path, name: str) -> None:
    measured, record = Measured(load(trained / name, "all"), Wanted(data_seed=0)), record_of(trained / name)
    assert measured.record["metrics"] == record["metrics"]
    assert measured.record["references"] == record["references"]


@pytest.mark.parametrize(("engine", "basis"), [("auto", "population"), ("pytorch", "fitted")])
def test_so_do_those_of_each_seed(tmp_path: Path, engine: str, basis: str) -> None:
    settings: dict[str, Any] = {"debug": "quick", "logger": "none", "data.train_size": 320, "data.val_size": 64, "noise.draws": 3}
    settings |= {"data.per_seed": True, "basis": basis, "callbacks.last.every_seconds": 0.0, "~callbacks.figures": None}
    model = train(tmp_path / "run", **settings, engine=engine, num_seeds=2, seed=3)
    measured, record = Measured(load(tmp_path / "run", "all"), Wanted(data_seed=0)), record_of(tmp_path / "run")
    assert measured.record["metrics"] == record["metrics"]
    assert measured.record["references"] == record["references"]
    assert (record["per_seed"], record["basis"], record["data_seed"], record["noise"]["draws"]) == (True, basis, 0, 3)
    assert record["metrics"]["train/mse"]["per_seed"][0] == pytest.approx(own_training_error(model, 3), rel=1e-5)
    others = Measured(load(tmp_path / "run", "all"), Wanted(data_seed=1)).record["metrics"]
    assert others["train/mse"] == record["metrics"]["train/mse"]
    assert others["sine/mse_noise_1.0"] != record["metrics"]["sine/mse_noise_1.0"]


def own_training_error(model: Trained, seed: int) -> float:
    """The error of the network of one seed on its own training set."""
    assert model.source is not None
    x = own_training_sets(model.source, "cpu", 0, [seed]).evaluate(model.source.times("cpu"))
    return (load(model.folder, seed).reconstruct(x) - x).square().mean().item()


def test_other_signals_give_what_can_be_computed_by_hand(trained: Path) -> None:
    model = load(trained / "pytorch-3", "all")
    wanted = Wanted(noise=[0.3], families=["cos", "sin"], sigma=0.8, data_seed=7)
    measured = Measured(model, wanted)
    source = SinusoidSource(["cos", "sin"], 0.8, train_size=1280, val_size=500, seed=7)
    clean = source.validation_set("cpu").evaluate(source.times("cpu"))
    noisy = add_noise(clean, 0.3, generator("cpu", 7, "validation noise", 0.3))
    errors = (model.reconstruct(noisy) - clean).square().mean((1, 2)).tolist()
    metrics, references = measured.record["metrics"], measured.record["references"]
    assert set(metrics) >= {"train/mse", "val/mse", "val/mse_noise_0.3", "sine/mse_noise_0.3", "sine/mean_mse_noise_0.3"}
    assert not any("noise_0.1" in name for name in metrics)
    assert metrics["val/mse_noise_0.3"]["per_seed"] == pytest.approx(errors, rel=1e-5)
    assert metrics["train/mse"] == record_of(trained / "pytorch-3")["metrics"]["train/mse"]

    svd = SVD(5).fit(model.moments)  # of the training's signals
    assert references["svd"]["val/mse"] == pytest.approx((svd.reconstruct(clean) - clean).square().mean().item(), rel=1e-5)
    floor = references["bayes"]["val/mse_noise_0.3"]  # which knows that there are but slow signals of two families
    general = Measured(model, replace(wanted, families=None, sigma=None)).references["bayes"].reconstruct(noisy, 0.3)
    assert floor < (general - clean).square().mean().item()


def test_fresh_signals_are_the_same_for_all_runs_and_no_runs_own(trained: Path) -> None:
    first, second = (Measured(load(trained / name, "all"), Wanted()) for name in ("pytorch-1", "pytorch-3"))
    assert first.data_seed == second.data_seed == DATA_SEED
    assert first.record["references"] == second.record["references"]
    own = record_of(trained / "pytorch-1")
    assert first.record["references"]["svd"]["train/mse"] == own["references"]["svd"]["train/mse"]
    assert first.record["metrics"]["val/mse"] != own["metrics"]["val/mse"]
    assert first.record["metrics"]["val/mse"]["mean"] == pytest.approx(own["metrics"]["val/mse"]["mean"], rel=0.1)


def test_errors_by_family(trained: Path) -> None:
    model = load(trained / "pytorch-3", "all")
    measured = Measured(model, Wanted())
    r, times = torch.tensor([-1.0, 0.5, 4.0]), time_grid(100, 0.1)
    errors = measured.errors_by_family(r, times)
    assert list(errors) == list(FAMILIES)
    for number, family in enumerate(FAMILIES):
        assert {name: values.shape for name, values in errors[family].items()} == {
            "autoencoder": (3, 3),
            "SVD": (1, 3),
            "PCA": (1, 3),
        }
        signal = sinusoids(torch.tensor([number]), r[1:2], list(FAMILIES)).evaluate(times)
        expected = (model.reconstruct(signal) - signal).square().mean((1, 2))
        assert errors[family]["autoencoder"][:, 1] == pytest.approx(expected.numpy(), rel=1e-4)
    noisy = measured.errors_by_family(r, times, noise=0.5)
    assert {name: values.shape for name, values in noisy["sin"].items()} == {
        "autoencoder": (3, 3),
        **dict.fromkeys(["SVD", "PCA", "Wiener", "Bayes"], (1, 3)),
    }
    assert all((of_family["Bayes"] < of_family["autoencoder"]).mean() > 0.9 for of_family in noisy.values())


@pytest.mark.parametrize("sigma", [1e-4, 40.0])
def test_a_distribution_far_from_that_of_the_training_has_figures(trained: Path, sigma: float) -> None:
    assert dict(Measured(load(trained / "auto-1", "all"), Wanted(noise=[0.5], sigma=sigma)).figures())


def test_errors_by_noise_are_those_of_the_record(trained: Path) -> None:
    measured = Measured(load(trained / "auto-3", "all"), Wanted(noise=[0.5]))
    errors = measured.errors_by_noise([0.5, 1.0])
    assert set(errors) == {"autoencoder", "SVD", "PCA", "Wiener", "Bayes"}
    for label, name in {"SVD": "svd", "Wiener": "wiener", "Bayes": "bayes"}.items():  # on other noise, and half of the signals
        assert errors[label][0, 0] == pytest.approx(measured.record["references"][name]["val/mse_noise_0.5"], rel=0.15)
    of_members = measured.record["metrics"]["val/mse_noise_0.5"]["per_seed"]
    assert errors["autoencoder"][:, 0] == pytest.approx(of_members, rel=0.15)


@pytest.mark.slow
def test_one_run_and_two_on_the_command_line(trained: Path, tmp_path: Path) -> None:
    wavecoder = ("-m", "wavecoder", "evaluate")
    environment = {"PYTHONPATH": str(ROOT / "src"), "COLUMNS": "80"}
    run = partial(run_command, tmp_path, environment=environment)
    one = run(sys.executable, *wavecoder, str(trained / "auto-3"), "--noise", "0.05,0.3", "--families", "sin,cos", "--sigma", "3")
    assert (one.returncode, one.stderr) == (0, "")
    assert "gelu autoencoder, latent 5, 3 seeds: mean squared error per value" in one.stdout
    assert "val and sine are measured on signals of families sin, cos; σ = 3; data seed 314159265" in one.stdout
    assert "The training had other signals: families sin, cos, sin+cos, sin-cos, sin*cos; σ = 2.25." in one.stdout
    assert "Bayes knows the distribution that is measured" in one.stdout
    (folder,) = (tmp_path / "outputs" / "evaluations").glob("*/*")
    assert one.stdout.endswith(f"Everything about this evaluation is in {folder.relative_to(tmp_path)}\n")
    content = json.loads((folder / "evaluation.json").read_text())
    assert content["settings"] == {
        "noise": [0.05, 0.3],
        "families": ["sin", "cos"],
        "sigma": 3.0,
        "data_seed": None,
        "device": "cpu",
    }
    (of_run,) = content["runs"]
    assert (of_run["folder"], of_run["weights"], of_run["num_seeds"]) == (str(trained / "auto-3"), "last", 3)
    assert len(of_run["metrics"]["val/mse_noise_0.05"]["per_seed"]) == 3
    assert set(of_run["references"]) == {"svd", "pca", "wiener", "bayes"}
    noisy = [f"{name}_noise_{std}" for name in ("sine", "error_frequency") for std in (0.05, 0.3)]
    figures = {f"{name}.{kind}" for name in (*noisy, "error_frequency", "error_noise") for kind in ("png", "svg")}
    assert {file.name for file in (folder / "figures").iterdir()} == figures

    two = run_script("evaluate.py", tmp_path, str(trained / "auto-1"), str(trained / "auto-3"), "--output", "new/two")
    assert (two.returncode, two.stderr) == (0, "")
    for line in ("A  gelu autoencoder, latent 5, 1 seed: ", "B  gelu autoencoder, latent 5, 3 seeds: "):
        assert line in two.stdout
    content = json.loads((tmp_path / "new" / "two" / "evaluation.json").read_text())
    assert [each["name"] for each in content["runs"]] == ["A", "B"]
    assert {folder.name for folder in (tmp_path / "new" / "two" / "figures").iterdir()} == {"A", "B"}
    again = run_script("evaluate.py", tmp_path, str(trained / "auto-1"), "--output", "new/two")
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == "error: --output=new/two: exists; must be a new folder, or an empty one\n"
    wrong = run_script("evaluate.py", tmp_path, str(trained / "auto-1"), "--noise", "low")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: argument --noise: low: must be numbers with commas between them; ")
    assert wrong.stderr.count("\n") == 1
    assert names_in(tmp_path / "new") == ["two"]


def test_what_cannot_be_measured(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each, before anything is written."""
    monkeypatch.chdir(tmp_path)
    run, nothing = trained / "auto-1", Wanted()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    wrong: dict[str, Callable[[], Any]] = {
        "absent: no such folder": partial(evaluate, [run, Path("absent")], nothing),
        "full: not the folder of a run": partial(evaluate, [Path("full")], nothing),
        "--noise=0.1,0.0: must be numbers above 0": partial(evaluate, [run], Wanted(noise=[0.1, 0.0])),
        "--noise=1e\\+30: must be .* at most 1e\\+14": partial(evaluate, [run], Wanted(noise=[1e30])),
        "--noise=1e-40: must leave a trace in 32 bits": partial(evaluate, [run], Wanted(noise=[0.1, 1e-40])),
        "--noise: needs about .* of memory": partial(evaluate, [run], Wanted(noise=[1e-6])),
        "--noise=inf: must be": partial(evaluate, [run], Wanted(noise=[float("inf")])),
        "--noise=nan: must be": partial(evaluate, [run], Wanted(noise=[float("nan")])),
        "--noise=-1.0: must be": partial(evaluate, [run], Wanted(noise=[-1.0])),
        "--noise=1.0,1.0: must be .* different": partial(evaluate, [run], Wanted(noise=[1.0, 1.0])),
        "--families=tan: must be among sin, cos, .*": partial(evaluate, [run], Wanted(families=["tan"])),
        "--families=: must be": partial(evaluate, [run], Wanted(families=[""])),
        "--families=sin,sin: must be": partial(evaluate, [run], Wanted(families=["sin", "sin"])),
        "--sigma=0.0: must be above 0": partial(evaluate, [run], Wanted(sigma=0.0)),
        "--sigma=nan: must be above 0": partial(evaluate, [run], Wanted(sigma=float("nan"))),
        "--sigma=1e\\+20: must be smaller": partial(evaluate, [run], Wanted(sigma=1e20)),
        "--sigma=1e\\+300: must be smaller": partial(evaluate, [run], Wanted(sigma=1e300)),
        "--sigma=1e-300: must be larger": partial(evaluate, [run], Wanted(sigma=1e-300)),
        "--data-seed=-1: must be 0 or more": partial(evaluate, [run], Wanted(data_seed=-1)),
        "--output=full: exists": partial(evaluate, [run], nothing, Path("full")),
        "--output=full/file: exists": partial(evaluate, [run], nothing, Path("full/file")),
        "--output=full/file/new: cannot be made": partial(evaluate, [run], nothing, Path("full/file/new")),
        **{
            f"device={name}: there is no such device": partial(evaluate, [run], nothing, None, name)
            for name in ("nowhere", "meta", "mkldnn")
        },
    }
    for message, function in wrong.items():
        with pytest.raises(SettingError, match=message) as caught:
            function()
        assert "\n" not in str(caught.value)
    assert names_in(tmp_path) == ["full"]


def test_a_folder_is_written_completely_or_not_at_all(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(command, "write_figure", fail)
        with pytest.raises(OSError, match="No space left"):
            evaluate([trained / "auto-1"], Wanted(), Path("new/folder"))
    assert names_in(tmp_path) == []
    (tmp_path / "empty").mkdir()
    evaluate([trained / "auto-1"], Wanted(noise=[0.5]), Path("empty"))
    assert names_in(tmp_path) == ["empty"]
    assert names_in(tmp_path / "empty") == ["evaluation.json", "figures"]


def record(network: str, seeds: int, latent: int, svd: float) -> dict[str, Any]:
    metrics = ["train/mse", "val/mse", "val/mse_noise_0.1", "sine/mean_mse_noise_0.1"]
    base = made_up_record([0.0412 + 0.001 * number for number in range(seeds)])
    references: dict[str, Any] = {name: dict.fromkeys(metrics, value) for name, value in (("svd", svd), ("pca", svd - 0.001))}
    references |= {name: dict.fromkeys(metrics[2:], 0.000345) for name in ("wiener", "bayes")}
    every = dict.fromkeys(metrics, base["metrics"]["val/mse"])
    return base | {"network": network, "latent_dim": latent, "metrics": every, "references": references}


@pytest.mark.parametrize("seeds", [1, 32])
@pytest.mark.parametrize("svd", [0.314, 0.558])
def test_two_runs_fit_into_80_columns(seeds: int, svd: float) -> None:
    runs = {"A": record("gelu", seeds, 5, 0.314), "B": record("tanh", seeds, 1, svd)}
    lines = tables.comparison_table(runs, "errors").lines(80)
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    (row,) = [line for line in lines if "val/mse_noise_0.1" in line]
    shared = svd == 0.314
    assert row.split()[1:] == (
        [f"{0.0412 + 0.0005 * (seeds - 1):#.3g}"] * 2 + (["0.314", "0.313"] if shared else ["0.314", "0.558"]) + ["0.000345"] * 2
    )
    assert ("Left out for lack of room: PCA" in lines[-1]) != shared


def test_signals_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "signals.npy", 5 + 3 * np.sin(np.arange(48) / 5 * rng.normal(size=(600, 1))))
    arguments = ("data=file", "data.path=signals.npy", "data.scaling=set", "trainer.max_epochs=2", "num_seeds=2", "logger=none")
    assert run_script("train.py", tmp_path, *arguments, "hydra.run.dir=run").returncode == 0
    monkeypatch.chdir(tmp_path)
    measured, own = Measured(load("run", "all"), Wanted()), record_of(tmp_path / "run")
    assert measured.record["metrics"] == own["metrics"]
    assert measured.record["references"] == own["references"]
    other = Measured(load("run", "all"), Wanted(noise=[0.7]))
    assert other.record["metrics"]["val/mse"] == own["metrics"]["val/mse"]
    assert "val/mse_noise_0.7" in other.record["metrics"]
    assert [name for name, _ in measured.figures()] == ["reconstructions"]
    for option, wanted in {
        "--sigma": Wanted(sigma=1.0),
        "--families": Wanted(families=["sin"]),
        "--data-seed": Wanted(data_seed=1),
    }.items():
        with pytest.raises(SettingError, match=f"run: {option} must be left alone"):
            evaluate([Path("run")], wanted)

    x = np.load("signals.npy")
    for said, changed in {"has other signals than when run was trained": 2 * x, "does not fit the settings": x[:300]}.items():
        np.save("signals.npy", changed)
        with pytest.raises(SettingError, match=rf"signals\.npy: {said}"):
            evaluate([Path("run")], Wanted())
    (tmp_path / "signals.npy").unlink()
    model = load("run", "all")
    assert model.source is None
    assert (model.signal_length, model.scaling.kind) == (48, "set")
    errors = np.square(model.reconstruct(x) - x).mean() / model.scaling.scale**2
    assert errors == pytest.approx(np.mean(own["metrics"]["train/mse"]["per_seed"]), rel=0.1)
    projected = np.square(model.references["svd"].reconstruct(x) - x).mean() / model.scaling.scale**2
    assert projected == pytest.approx(own["references"]["svd"]["train/mse"], rel=0.2)
    with pytest.raises(SettingError, match=r"signals\.npy"):
        evaluate([Path("run")], Wanted())
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_precisions(tmp_path: Path) -> None:
    """What a run measured in other precisions is measured again to the bit too."""
    precisions = ("64-true", "bf16-true", "bf16-mixed")
    arguments = ("debug=quick", "logger=none", "num_seeds=2", f"+trainer.precision={','.join(precisions)}")
    assert run_script("train.py", tmp_path, "-m", "sweep=s", *arguments).returncode == 0
    sweep = tmp_path / "outputs" / "sweeps" / "s"
    found = {run["overrides"]["trainer.precision"]: sweep / name for name, run in records(sweep).items()}
    assert set(found) == set(precisions)
    for run in found.values():
        model, arrays = load(run, "all"), read_arrays(run)
        assert arrays is not None
        assert np.array_equal(model.reconstruct(arrays["noisy_0.1"]), arrays["autoencoder_0.1"])
        assert Measured(model, Wanted(data_seed=0)).record["metrics"] == record_of(run)["metrics"]
