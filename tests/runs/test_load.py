"""Trained runs in a notebook: what they give is what the run itself had."""

import doctest
import io
import json
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy import ndarray
from processes import run_script
from run_files import records

import wavecoder
from wavecoder.engine.bindings import library
from wavecoder.engine.compiled import CompiledEngine
from wavecoder.engine.pytorch import PyTorchEngine
from wavecoder.runs import rows
from wavecoder.runs.limits import SettingError
from wavecoder.runs.load import load
from wavecoder.runs.results import write_results
from wavecoder.training.files import read_arrays

RUNS = ["auto-1", "auto-3", "pytorch-1", "pytorch-3"]
ONE, SEVERAL = RUNS[2:]


def arrays_of(run: Path) -> dict[str, ndarray]:
    arrays = read_arrays(run)
    assert arrays is not None
    return arrays


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A copy of a run of three seeds, to be changed."""
    return Path(shutil.copytree(trained / SEVERAL, tmp_path / "copied"))


def change_record(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads((run / "results.json").read_text())
    change(record)
    write_results(run, record)


@pytest.mark.parametrize("name", RUNS)
def test_reconstructions_are_those_of_the_run_to_the_bit(trained: Path, name: str) -> None:
    model, arrays = load(trained / name, seed="all"), arrays_of(trained / name)
    compiled = library() is not None and name.startswith("auto")
    assert type(model.engine) is (CompiledEngine if compiled else PyTorchEngine)
    assert (model.weights, model.label, model.signal_length, model.latent_dim) == ("last", "gelu", 100, 5)
    for std in (0.1, 1.0):
        noisy, expected = arrays[f"noisy_{std}"], arrays[f"autoencoder_{std}"]
        assert np.array_equal(model.reconstruct(noisy), expected)
        assert torch.equal(model.reconstruct(torch.from_numpy(noisy)), torch.from_numpy(expected))
        for key, reference in model.references.items():
            assert np.array_equal(reference.reconstruct(noisy, std), arrays[f"{key}_{std}"])


def test_seeds(trained: Path, copied: Path) -> None:
    run, noisy = trained / SEVERAL, arrays_of(trained / SEVERAL)["noisy_0.1"]
    every = load(run, seed="all").reconstruct(noisy)
    assert load(run, seed="mean").reconstruct(noisy) == pytest.approx(every.mean(0), abs=1e-6)
    for seed in (0, 1, 2):
        assert load(run, seed=seed).reconstruct(noisy) == pytest.approx(every[seed], abs=1e-5)
    best = load(run)
    assert best.seed == np.argmin(best.results["metrics"]["val/mse"]["per_seed"])
    assert best.reconstruct(noisy).shape == noisy.shape
    assert (best.seeds, load(run, seed="all").seed) == ([0, 1, 2], "all")

    def let_diverge(record: dict[str, Any]) -> None:
        record["metrics"]["val/mse"]["per_seed"] = [None, 0.3, 0.2]

    change_record(copied, let_diverge)
    assert load(copied).seed == 2


def test_signals_of_any_shape_and_kind(trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    signals = torch.randn(24, 100, generator=torch.Generator().manual_seed(0))
    one, every = load(trained / ONE), load(trained / SEVERAL, seed="all")
    expected, expected_of_all = one.reconstruct(signals), every.reconstruct(signals)
    assert expected_of_all.shape == (3, 24, 100)
    assert every.encode(signals).shape == (3, 24, 5)
    for shape in [(100,), (1, 100), (2, 3, 4, 100), (0, 100), (0, 7, 100), (3, 0, 100)]:
        x = signals.flatten()[: int(np.prod(shape))].view(shape)
        assert torch.allclose(one.reconstruct(x).flatten(), expected.flatten()[: x.numel()], atol=1e-6)
        assert every.reconstruct(x).shape == (3, *shape)
        assert every.references["svd"].reconstruct(x).shape == shape
        assert every.decode(every.encode(x)).shape == (3, *shape)
    np.save(tmp_path / "signals.npy", signals.numpy())
    mapped = np.load(tmp_path / "signals.npy", mmap_mode="r")
    strided = np.asfortranarray(signals.numpy())[::2]
    assert one.reconstruct(mapped) == pytest.approx(expected.numpy(), abs=1e-6)
    assert one.reconstruct(strided) == pytest.approx(expected.numpy()[::2], abs=1e-6)
    for kind, result in {"f8": "f8", "f2": "f2", ">f4": ">f4", "i2": "f4", "u1": "f4", "?": "f4"}.items():
        values = (signals.numpy() * 3).astype(kind)
        made = one.reconstruct(values)
        assert made.dtype == np.dtype(result)
        assert made == pytest.approx(one.reconstruct(values.astype("f4")).astype(result), abs=1e-5)
    assert one.reconstruct(signals.double().requires_grad_()).dtype == torch.float64
    assert one.reconstruct(signals.long()).dtype == torch.float32
    monkeypatch.setattr(rows, "_MOST_ROWS", 7)
    assert torch.allclose(every.reconstruct(signals), expected_of_all, atol=1e-6)
    assert torch.allclose(every.decode(every.encode(signals)), expected_of_all, atol=1e-5)


def test_nan_makes_nan_of_its_own_signal_alone(trained: Path) -> None:
    x = torch.zeros(70, 100)
    x[3, 50] = torch.nan
    for name in RUNS:
        model = load(trained / name)
        for made in (model.reconstruct(x), model.encode(x), model.references["pca"].reconstruct(x)):
            assert made.isnan().all(1).tolist() == [number == 3 for number in range(70)]
            assert made.isnan().any(1).sum() == 1


def test_what_is_no_signal_is_refused_in_one_line(trained: Path) -> None:
    model, mean = load(trained / SEVERAL, seed="all"), load(trained / SEVERAL, seed="mean")
    wrong = {
        r"signals of shape \[3, 90\]: must be \[..., 100\]": partial(model.reconstruct, np.zeros((3, 90))),
        r"signals of shape \[\]: ": partial(model.encode, np.array(1.0)),
        "signals of type complex128: must be real": partial(model.reconstruct, np.zeros(100, complex)),
        "signals of type object: must be real": partial(model.reconstruct, np.zeros(100, object)),
        "signals of type torch.complex64: must be real": partial(model.encode, torch.zeros(100, dtype=torch.complex64)),
        "signals given as list: must be a NumPy array or a tensor": partial(rows._check, [0.0] * 100, "signal", 100, None),
        r"latents of shape \[4, 5\]: must be \[3, ..., 5\], a first axis of members": partial(model.decode, np.zeros((4, 5))),
        r"latents of shape \[3, 4\]: ": partial(model.decode, np.zeros((3, 4))),
        "seed=mean has no latent": partial(mean.encode, np.zeros(100)),
        "seed=mean has no latent.": partial(mean.decode, np.zeros(5)),
        "noise=1e\\+300: must be a number, 0 or more, at most": partial(
            model.references["bayes"].reconstruct, np.zeros(100), 1e300
        ),
        "noise=-1.0: must be a number, 0 or more": partial(model.references["wiener"].reconstruct, np.zeros(100), -1.0),
        "noise=nan: must be": partial(model.references["svd"].reconstruct, np.zeros(100), float("nan")),
    }
    for message, function in wrong.items():
        with pytest.raises(ValueError, match=message) as caught:
            function()
        assert "\n" not in str(caught.value)


def test_the_folder_alone_is_needed(copied: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("figures", "reconstructions.npz", "train.log", ".hydra/overrides.yaml", "checkpoints/best.ckpt"):
        path = copied / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    copied.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert load(".").settings.num_seeds == 3
    assert load(tmp_path / "moved", device="cpu").reconstruct(np.zeros((2, 100))).shape == (2, 100)


def test_a_run_that_kept_its_best_weights_only(copied: Path) -> None:
    best = torch.load(copied / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    (copied / "checkpoints" / "last.ckpt").unlink()
    model = load(copied, seed="all")
    assert model.weights == "best"
    for name, values in model.ensemble.state_dict().items():
        assert torch.equal(values, best[f"ensemble.{name}"])


def test_the_best_job_of_a_sweep(trained: Path) -> None:
    found = records(trained)
    best = min(found, key=lambda name: found[name]["metrics"]["val/mse"]["mean"])
    assert load(trained).folder == trained / best


@pytest.mark.slow
def test_jobs_of_a_stack_have_a_network_of_their_own(tmp_path: Path) -> None:
    arguments = ("debug=quick", "logger=none", "trainer.max_epochs=1", "engine=pytorch", "stack_seeds=true", "seed=4,5")
    assert run_script("train.py", tmp_path, "-m", "sweep=s", *arguments).returncode == 0
    sweep = tmp_path / "outputs" / "sweeps" / "s"
    found = {record["seed"]: sweep / name for name, record in records(sweep).items() if "stacked_in" in record}
    assert set(found) == {4, 5}
    for seed, run in found.items():
        model, arrays = load(run, seed="all"), arrays_of(run)
        assert model.seeds == [seed]
        assert model.reconstruct(arrays["noisy_0.1"]) == pytest.approx(arrays["autoencoder_0.1"], abs=1e-6)


def test_runs_that_cannot_be_loaded(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each, that names the folder or the file."""

    def refused(path: Path, message: str, **arguments: Any) -> None:
        with pytest.raises(SettingError, match=message) as caught:
            load(path, **arguments)
        assert "\n" not in str(caught.value)

    def replaced(file: str, change: Callable[[bytes], bytes], message: str) -> None:
        path = copied / file
        before = path.read_bytes()
        path.write_bytes(change(before))
        refused(copied, message)
        path.write_bytes(before)

    def pickled(_: bytes) -> bytes:
        content = io.BytesIO()
        torch.save({"state_dict": Attack()}, content)
        return content.getvalue()

    monkeypatch.chdir(tmp_path)
    refused(tmp_path / "absent", "absent: no such folder")
    refused(copied / "results.json", "results.json: not a folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty: not the folder of a run or a sweep; it has no results.json")
    for seed in (3, -1, True, "worst", "0"):
        refused(copied, f"seed={seed}: must be best, mean, or one of the run's, 0 to 2; wavecoder.load takes all too", seed=seed)
    refused(copied, "device=nowhere: there is no such device here", device="nowhere")
    if not torch.cuda.is_available():
        refused(copied, "device=cuda: there is no such device here", device="cuda")

    replaced("results.json", lambda _: b'{"status": "unfinished"}', "copied: the run is unfinished; must be completed")
    replaced("results.json", lambda _: b'{"status": "failed", "error": "diverged"}', r"the run is failed \(diverged\); must be")
    replaced("results.json", lambda text: text.replace(b'"schema": 2', b'"schema": 1'), "the run is outdated .*schema 1")
    replaced("results.json", lambda text: text[:100], "results.json: is damaged")
    replaced(".hydra/config.yaml", lambda _: b"{", "config.yaml: is damaged")
    replaced(".hydra/config.yaml", lambda text: text.replace(b"num_seeds: 3", b"num_seeds: many"), "num_seeds")
    replaced(".hydra/config.yaml", lambda text: text + b"new_setting: 1\n", "copied: .*new_setting")
    replaced(".hydra/config.yaml", lambda text: text.replace(b"num_seeds: 3", b"num_seeds: 0"), "copied: num_seeds=0: must be")
    replaced(
        ".hydra/config.yaml", lambda text: text.replace(b"dim: 5", b"dim: 4"), "copied: the network cannot be restored: .*size"
    )
    absent = b"_target_: own.Network"
    network = b"_target_: wavecoder.networks.DeepAutoencoder"
    replaced(
        ".hydra/config.yaml",
        lambda text: text.replace(network, absent),
        r"copied: model._target_=own.Network: own is not an allowed package; allow it with allow_targets=\[own\]",
    )
    for name in (b"os.system", b"subprocess.Popen", b"torch.hub.load", b"pathlib.Path.touch"):
        wrong = "must be a class of torch.nn.Module" if name.startswith(b"torch.") else "is not an allowed package"
        message = f"activation._target_={name.decode()}: .*{wrong}"
        replaced(".hydra/config.yaml", lambda text, name=name: text.replace(b"torch.nn.GELU", name), message)
    replaced("checkpoints/last.ckpt", lambda content: content[: len(content) // 2], "last.ckpt: is damaged")
    replaced("checkpoints/last.ckpt", lambda _: b"", "last.ckpt: is damaged")
    replaced("checkpoints/last.ckpt", pickled, "last.ckpt: is damaged, or no checkpoint")
    assert not (tmp_path / "attacked").exists()

    for name in ("best.ckpt", "last.ckpt"):
        (copied / "checkpoints" / name).unlink()
    refused(copied, "copied: has no checkpoint")
    (copied / ".hydra" / "hydra.yaml").unlink()
    refused(copied, "hydra.yaml is missing")


class Attack:
    """What a checkpoint from elsewhere may hold: it runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("attacked"),)


def test_an_attack_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Attack()))
    assert (tmp_path / "attacked").exists()


def test_the_example_of_the_documentation(trained: Path) -> None:
    examples = doctest.DocTestParser().get_examples(load.__doc__ or "")
    names = {"wavecoder": wavecoder, "x": np.zeros((2, 100), np.float32)}
    for example in examples:
        source = example.source.replace("outputs/runs/2026-01-31/12-00-00_gelu_latent5_seed0_1f2e3d", str(trained / ONE))
        exec(compile(source, "example", "single"), names)
    assert len(examples) == 3
    assert wavecoder.load is load
