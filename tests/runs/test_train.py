"""Training as users call it: runs, sweeps, what they print and what they leave behind."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import data_module
from processes import FAILS, OWN_NETWORKS, Run
from run_files import only_run, record_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from wavecoder.engine.bindings import library
from wavecoder.references import SVD, moments_of
from wavecoder.subspace import principal_angles
from wavecoder.training.curves import tag_of


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


METRICS = ["train/mse", "val/mse"] + [
    f"{name}_noise_{level}" for level in ("0.1", "1.0") for name in ("val/mse", "sine/mse", "sine/mean_mse")
]


def test_a_run_prints_its_table_and_leaves_its_whole_record(run_train: Run, tmp_path: Path) -> None:
    done = run_train("debug=quick", "activation=prelu", "num_seeds=3", "seed=4", "noise.draws=1")
    assert (done.returncode, done.stderr) == (0, "")
    run = only_run(tmp_path)
    assert "prelu autoencoder 100→50→25→10→5→10→25→50→100" in done.stdout
    assert f"Everything about this run is in {run.relative_to(tmp_path)}" in done.stdout
    for heading in ("mean ± std of 3", "best", "SVD", "PCA", "Wiener", "Bayes", "/ SVD", "/ Bayes", *METRICS):
        assert heading in done.stdout

    record = record_of(run)
    described = {key: record[key] for key in ("status", "schema", "activation", "latent_dim", "seed", "num_seeds")}
    wanted = {"status": "completed", "schema": 2, "activation": "prelu", "latent_dim": 5, "seed": 4, "num_seeds": 3}
    assert described == wanted
    assert (record["network"], record["model"], record["bias"]) == ("prelu", "deep", True)
    assert record["noise"] == {"eval_std": [0.1, 1.0], "train_std": 0.0, "train_between": "uniform", "draws": 1}
    if found := library():
        assert found.instruction_set in ("AVX2", "AVX512")
        assert record["engine"] == {"name": f"compiled {found.instruction_set}", "reason": "the fastest for this network"}
    assert f"{record['engine']['name']} engine on cpu ({record['engine']['reason']})" in done.stdout.splitlines()[0]
    noisy = [metric for metric in METRICS if "noise" in metric]
    ratios = {f"{metric}/over_svd" for metric in METRICS} | {f"{metric}/over_bayes" for metric in noisy}
    assert set(record["metrics"]) == {*METRICS, *ratios}
    for summary in record["metrics"].values():
        assert set(summary) == {"mean", "std", "min", "max", "median", "per_seed"}
        assert len(summary["per_seed"]) == 3
    measured = {name: set(errors) for name, errors in record["references"].items()}
    assert measured == {"svd": set(METRICS), "pca": set(METRICS), "wiener": set(noisy), "bayes": set(noisy)}
    ratio = record["metrics"]["val/mse"]["mean"] / record["references"]["svd"]["val/mse"]
    assert record["metrics"]["val/mse/over_svd"]["mean"] == pytest.approx(ratio)
    ratio = record["metrics"]["val/mse_noise_1.0"]["mean"] / record["references"]["bayes"]["val/mse_noise_1.0"]
    assert record["metrics"]["val/mse_noise_1.0/over_bayes"]["mean"] == pytest.approx(ratio)
    assert record["timing"]["steps"] == 2 * (1280 // 64)
    assert record["timing"]["fit_seconds"] > 0
    assert record["timing"]["signals_per_second"] > 0
    assert {"python", "wavecoder", "torch", "lightning", "hydra-core"} <= set(record["versions"])
    assert {"finished", "machine"} <= set(record["origin"])
    assert len(record["config_fingerprint"]) == 16

    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and "events" not in path.name}
    assert {"results.json", "train.log", ".hydra/config.yaml", "checkpoints/last.ckpt", "checkpoints/best.ckpt"} <= files
    assert {f"figures/sine_noise_{level}.{kind}" for level in ("0.1", "1.0") for kind in ("png", "svg")} <= files
    with np.load(run / "reconstructions.npz") as arrays:
        assert arrays["autoencoder_0.1"].shape == (3, 10, 100)
        error = np.square(arrays["autoencoder_1.0"] - arrays["sine"]).mean((1, 2))
        assert error == pytest.approx(record["metrics"]["sine/mse_noise_1.0"]["per_seed"], rel=1e-4)
        error = np.square(arrays["bayes_0.1"].mean(0) - arrays["sine"]).mean()
        assert error == pytest.approx(record["references"]["bayes"]["sine/mean_mse_noise_0.1"], rel=1e-4)
        order = np.argsort(record["metrics"]["val/mse"]["per_seed"])
        assert arrays["shown"] == order[1], "the seed shown is the median one"
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 40

    ours, svd, pca, bayes = (events(run / "tb" / name) for name in ("autoencoder", "SVD", "PCA", "Bayes"))
    assert set(bayes.Tags()["scalars"]) == {tag_of(metric) for metric in noisy}
    for metric in METRICS:
        tags = [curve.Tags()["scalars"] for curve in (ours, svd, pca)]
        assert all(tag_of(metric) in tag for tag in tags), f"{metric} is not in one chart"
        assert [point.step for point in svd.Scalars(tag_of(metric))] == [0, 40]
        assert svd.Scalars(tag_of(metric))[-1].value == pytest.approx(record["references"]["svd"][metric], rel=1e-5)
        if metric != "train/mse":  # whose curve is of the first training signals
            assert ours.Scalars(tag_of(metric))[-1].value == pytest.approx(record["metrics"][metric]["mean"], rel=1e-5)
    for tag in ("error/val/mse", "train/mse"):
        assert [point.step for point in ours.Scalars(tag)] == [20, 40]  # validations
    assert [point.step for point in ours.Scalars("train/loss")] == [20, 40]
    assert "versus/val/mse/over_svd" in ours.Tags()["scalars"]
    assert set(ours.Tags()["images"]) == {"view/sine_noise_0.1", "view/sine_noise_1.0"}
    hyperparameters = ours.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    for expected in (b"activation", b"prelu", b"latent", b"seed", b"num_seeds", b"debug", b"quick"):
        assert expected in hyperparameters
    assert sum(file.stat().st_size for file in (run / "tb").rglob("*") if file.is_file()) < 380_000


def test_two_runs_of_one_configuration_agree_bit_for_bit(run_train: Run, tmp_path: Path) -> None:
    arguments = ("debug=quick", "num_seeds=2", "noise.train_std=0.1", "logger=none")
    for _ in range(2):
        assert run_train(*arguments).returncode == 0
    first, second = (record_of(run) for run in (tmp_path / "outputs" / "runs").glob("*/*"))
    assert first["metrics"] == second["metrics"]
    assert first["config_fingerprint"] == second["config_fingerprint"]


@pytest.mark.slow
def test_nothing_is_better_than_bayes(run_train: Run, tmp_path: Path) -> None:
    """On signals of the kind it knows, no network is below the posterior mean by more than the sample allows."""
    done = run_train("experiment=denoising", "data.train_size=6400", "trainer.max_epochs=3", "num_seeds=2", "data.val_size=2000")
    assert done.returncode == 0
    record = record_of(only_run(tmp_path))
    for level in ("0.1", "1.0"):
        floor = record["references"]["bayes"][f"val/mse_noise_{level}"]
        others = [record["references"][name][f"val/mse_noise_{level}"] for name in ("svd", "pca", "wiener")]
        assert min(*others, *record["metrics"][f"val/mse_noise_{level}"]["per_seed"]) > floor


@pytest.mark.slow
def test_references_from_the_population(run_train: Run, tmp_path: Path) -> None:
    for basis in ("fitted", "population"):
        arguments = ("debug=quick", "logger=none", "data.val_size=2000", f"basis={basis}", f"hydra.run.dir={basis}")
        assert run_train(*arguments).returncode == 0
    fitted, population = (record_of(tmp_path / basis)["references"] for basis in ("fitted", "population"))
    assert population["svd"]["val/mse"] == pytest.approx(0.313523, rel=0.005)  # the sum of all eigenvalues but the largest five
    assert population["svd"]["val/mse"] < fitted["svd"]["val/mse"]  # 1,280 signals tell the directions only roughly
    assert population["svd"]["train/mse"] > fitted["svd"]["train/mse"]
    assert population["bayes"] == fitted["bayes"]


def test_a_latent_of_one_is_drawn(run_train: Run, tmp_path: Path) -> None:
    assert run_train("debug=quick", "latent=1", "num_seeds=2", "data.families=[sin,cos]").returncode == 0
    run = only_run(tmp_path)
    assert (run / "figures" / "latent.svg").exists()
    with np.load(run / "reconstructions.npz") as arrays:
        shapes = {name: arrays[name].shape for name in ("latent_r", "latent", "decoded_z", "decoded")}
    assert shapes == {"latent_r": (301,), "latent": (2, 2, 301), "decoded_z": (2, 9), "decoded": (2, 9, 100)}


def test_the_users_sweep_ends_with_one_table(run_train: Run, tmp_path: Path) -> None:
    done = run_train("-m", "activation=relu,tanh,gelu", "latent=1,5", "debug=quick", "data.train_size=128")
    assert (done.returncode, done.stderr) == (0, "")
    (sweep,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    jobs = {path.name for path in sweep.glob("[!.]*") if path.is_dir()}
    wanted = {(activation, latent) for activation in ("relu", "tanh", "gelu") for latent in (1, 5)}
    assert jobs == {f"activation={a},data.train_size=128,debug=quick,latent={k}" for a, k in wanted}
    found = {(record_of(sweep / job)["activation"], record_of(sweep / job)["latent_dim"]) for job in jobs}
    assert found == wanted
    with (sweep / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["activation"], int(row["latent_dim"])) for row in rows} == wanted
    assert [float(row["val/mse mean"]) for row in rows] == sorted(float(row["val/mse mean"]) for row in rows)
    assert "5 of 6 jobs done, about" in done.stdout
    table = done.stdout[done.stdout.index("Sweep of 6 jobs") :]
    assert {(a, int(k)) for a, k in re.findall(r"(?m)^(relu|tanh|gelu) +(\d) +0\.\d+ ", table)} == wanted
    assert f"Summary: {sweep.relative_to(tmp_path)}/summary.csv" in table


def test_a_failing_job_is_named_and_the_others_are_run(run_train: Run, tmp_path: Path) -> None:
    choices = f"{FAILS},wavecoder.networks.DeepAutoencoder"
    done = run_train("-m", choices, "debug=quick", "data.train_size=128", environment=OWN_NETWORKS)
    assert done.returncode == 1
    (sweep,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    (failed,) = (path.name for path in sweep.iterdir() if "FailsWhenTrained" in path.name)
    error = "RuntimeError: out of order"
    named = done.stdout.index(f"job {failed} failed: {error}")
    assert named < done.stdout.index("epoch 1/2"), "it is named only after the other job"
    record = record_of(sweep / failed)
    assert (record["status"], record["error"]) == ("failed", error)
    assert "Traceback" in (sweep / failed / "traceback.txt").read_text()
    with (sweep / "summary.csv").open() as file:
        assert [(row["status"], row["error"]) for row in csv.DictReader(file)] == [("completed", ""), ("failed", error)]
    assert "failed: RuntimeError" in done.stdout[done.stdout.index("Sweep of 2 jobs") :]


@pytest.mark.slow
@pytest.mark.parametrize("signals", [("num_seeds=1",), ("num_seeds=2", "data.per_seed=true")], ids=" ".join)
def test_two_processes_train_as_one_does(run_train: Run, tmp_path: Path, signals: tuple[str, ...]) -> None:
    arguments = ("debug=quick", "activation=tanh", "noise.train_std=0.1", "logger=none", *signals)
    assert run_train(*arguments, "hydra.run.dir=alone").returncode == 0
    done = run_train(*arguments, "hydra.run.dir=together", "trainer=ddp_cpu", "trainer.devices=2")
    assert (done.returncode, done.stderr) == (0, "")
    alone, together = record_of(tmp_path / "alone"), record_of(tmp_path / "together")
    assert together["timing"]["steps"] == alone["timing"]["steps"]
    for metric, summary in alone["metrics"].items():
        assert together["metrics"][metric]["mean"] == pytest.approx(summary["mean"], rel=1e-4), metric


@pytest.mark.slow
def test_a_sweep_of_runs_over_processes(run_train: Run, tmp_path: Path) -> None:
    done = run_train("-m", "debug=quick", "trainer=ddp_cpu", "latent=1,5", "data.train_size=128", "logger=none")
    assert (done.returncode, done.stderr) == (0, "")
    (sweep,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    assert [record_of(job)["latent_dim"] for job in sorted(sweep.glob("*latent=*"))] == [1, 5]


def test_single_keys_and_all_choices_at_once(run_train: Run, tmp_path: Path) -> None:
    done = run_train(
        *("latent.dim=7", "optimizer.lr=3e-3", "trainer.max_epochs=2", "data.train_size=640", "data.val_size=100"),
        *("noise=high", "scheduler=cosine", "optimizer=adamw", "data.fresh=true", "loss=huber", "model.latent_activation=false"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "gelu autoencoder 100→50→25→10→7→10→25→50→100" in done.stdout
    record = record_of(only_run(tmp_path))
    assert record["latent_dim"] == 7
    assert "val/mse_noise_1.0" in record["metrics"]
    assert "val/mse_noise_0.1" not in record["metrics"]
    checkpoint = torch.load(only_run(tmp_path) / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0, abs=1e-8)  # the end of the cosine


@pytest.mark.slow
def test_no_references_no_logger_no_noise(run_train: Run, tmp_path: Path) -> None:
    done = run_train("debug=quick", "logger=none", "noise=none", "~callbacks.references", "~callbacks.figures")
    assert (done.returncode, done.stderr) == (0, "")
    assert set(record_of(only_run(tmp_path))["metrics"]) == {"train/mse", "val/mse"}


@pytest.mark.slow
def test_tied_linear_autoencoder_finds_the_svds_subspace(run_train: Run, tmp_path: Path) -> None:
    assert run_train("experiment=theorem", "num_seeds=2").returncode == 0
    run = only_run(tmp_path)
    record = record_of(run)
    assert record["metrics"]["linear/excess"]["max"] < 1e-3
    assert record["metrics"]["linear/largest_angle"]["max"] < 1
    assert (run / "figures" / "convergence.svg").exists()
    curve = events(run / "tb" / "autoencoder").Scalars("linear/largest_angle")
    assert [point.step for point in curve][:2] == [312, 624]
    assert curve[-1].value < curve[0].value / 10
    assert (record["network"], record["model"], record["activation"]) == ("linear_tied", "linear_tied", None)
    assert record["metrics"]["train/mse"]["mean"] == pytest.approx(record["references"]["svd"]["train/mse"], rel=1e-3)
    weight: Tensor = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]["ensemble.network.weight"][0]
    svd = SVD(5).fit(moments_of(data_module(train_size=20_000).training_signals()))
    angle = torch.rad2deg(principal_angles(weight.T, svd.basis_)).max().item()
    assert angle == pytest.approx(record["metrics"]["linear/largest_angle"]["per_seed"][0], rel=1e-3)
    torch.testing.assert_close(weight @ weight.T, torch.eye(5), atol=0.01, rtol=0)  # W Wᵀ = I at the optimum


def test_the_example_of_three_values_finds_its_plane(run_train: Run, tmp_path: Path) -> None:
    assert run_train("experiment=plane").returncode == 0
    record = record_of(only_run(tmp_path))
    assert record["metrics"]["linear/largest_angle"]["max"] < 0.1
    assert (only_run(tmp_path) / "figures" / "plane.svg").exists()


@pytest.mark.slow
def test_deep_linear_autoencoder_converges_to_pca(run_train: Run, tmp_path: Path) -> None:
    assert run_train("activation=identity", "latent=5", "logger=none").returncode == 0
    record = record_of(only_run(tmp_path))
    assert record["metrics"]["val/mse"]["mean"] == pytest.approx(record["references"]["pca"]["val/mse"], rel=0.02)


@pytest.mark.slow
def test_the_default_run_beats_the_svd_five_times(run_train: Run, tmp_path: Path) -> None:
    assert run_train().returncode == 0
    assert record_of(only_run(tmp_path))["metrics"]["val/mse/over_svd"]["mean"] < 1 / 5
