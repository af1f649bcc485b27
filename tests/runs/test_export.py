"""Exported networks give what the loaded run gives, say what they are, and nothing is written that does not."""

import json
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from own_networks import ConvolutionalAutoencoder, Plain, ResidualAutoencoder
from processes import JOB, OWN_NETWORKS, ROOT, run_command, run_script
from torch import Tensor, nn

import wavecoder
from wavecoder.ensemble import Ensemble
from wavecoder.networks import DeepAutoencoder
from wavecoder.runs import exporters
from wavecoder.runs.export import export
from wavecoder.runs.limits import SettingError
from wavecoder.runs.load import Trained
from wavecoder.scaling import Scaling
from wavecoder.training.files import write_atomically

pytestmark = pytest.mark.xdist_group("export")  # one run for all

KINDS = [".onnx", ".pt2"]
SOME_SLOW = [pytest.param(".onnx", marks=pytest.mark.slow), ".pt2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two seeds."""
    folder = tmp_path_factory.mktemp("export")
    done = run_script("train.py", folder, *JOB, "trainer.max_epochs=2", "~callbacks.figures", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def execute(file: Path, signals: np.ndarray) -> np.ndarray:
    """What an exported file makes of signals, by the library that it is for alone."""
    if file.suffix == ".onnx":
        (made,) = onnxruntime.InferenceSession(file).run(None, {"signals": signals})
    else:
        made = torch.export.load(file).module()(torch.from_numpy(signals)).detach().numpy()
    return np.asarray(made)


def said_of(file: Path) -> dict[str, str]:
    if file.suffix == ".onnx":
        return dict(onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map)
    extra = {exporters.EXTRA_FILE: ""}
    torch.export.load(file, extra_files=extra)
    said: dict[str, str] = json.loads(extra[exporters.EXTRA_FILE])
    return said


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", ["mean", 1])
def test_an_exported_network_gives_what_the_run_gives(run: Path, tmp_path: Path, kind: str, seed: Any) -> None:
    file = tmp_path / f"model{kind}"
    line = export(run, file, seed)
    model = wavecoder.load(run, seed=seed)
    rng = np.random.default_rng(0)
    for size in (1, 2, 100):
        signals = rng.standard_normal((size, 100)).astype(np.float32)
        made, wanted = execute(file, signals), model.reconstruct(signals)
        assert made.shape == (size, 100)
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-5)
    assert line.startswith(f"{file}: gelu autoencoder, latent 5, {'mean of 2 seeds' if seed == 'mean' else 'seed 1'}; ")
    said = said_of(file)
    known = {"signal_length": "100", "latent_dim": "5", "dt": "0.1", "seed": str(seed), "network": "gelu"}
    known |= {"fingerprint": model.results["config_fingerprint"]}
    known |= {"wavecoder": wavecoder.__version__, "torch": torch.__version__}
    assert said == known | {"scaling": json.dumps(Scaling().state())}
    content = file.read_bytes()
    if kind == ".pt2":
        archive = zipfile.ZipFile(file)
        content = b"".join(map(archive.read, archive.namelist()))
    assert str(ROOT).encode() not in content, "it tells nothing of this machine"
    assert b"site-packages" not in content


def test_the_best_seed_is_the_default(run: Path, tmp_path: Path) -> None:
    assert f", seed {wavecoder.load(run).seed}; " in export(run, tmp_path / "model.pt2")


class Model(Trained):
    """A loaded run as far as the exporters look at it, of untrained networks."""

    def __init__(self, network: Callable[[], nn.Module], members: int, scaling: Scaling | None = None) -> None:
        self.ensemble = Ensemble(network, range(members)).eval()
        self.scaling = scaling or Scaling()
        self.dt, self.label, self.seed, self.folder = 0.1, "own", "mean", Path("run")
        self.signal_length, self.latent_dim, self.seeds = 100, 5, list(range(members))
        self.results = {"config_fingerprint": "f"}

    def reconstruct(self, x: Any) -> Any:
        scaled = self.scaling.apply(x)
        with torch.no_grad():
            return scaled.undo(self.ensemble(scaled.values).mean(0)).float()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scaling", [Scaling("set", 20.0, 3.0), Scaling("signal")], ids=lambda scaling: scaling.kind)
def test_scaling_is_part_of_the_file(tmp_path: Path, scaling: Scaling, kind: str) -> None:
    model = Model(lambda: DeepAutoencoder(100, 5), 2, scaling)
    (file := tmp_path / f"model{kind}").write_bytes(exporters.EXPORTERS[kind](model).content)
    signals = 20 + 3 * torch.randn(10, 100, generator=torch.Generator().manual_seed(1))
    signals[3] = 7.0
    wanted = model.reconstruct(signals).numpy()
    np.testing.assert_allclose(execute(file, signals.numpy()), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert Scaling.from_state(json.loads(said_of(file)["scaling"])) == scaling
    assert torch.equal(torch.from_numpy(execute(file, np.full((1, 100), np.nan, np.float32))).isnan(), torch.ones(1, 100) > 0)


@pytest.mark.parametrize("kind", SOME_SLOW)
@pytest.mark.parametrize("network", [ConvolutionalAutoencoder, ResidualAutoencoder])
def test_networks_of_a_users_own(tmp_path: Path, network: type[nn.Module], kind: str) -> None:
    """The second has layer normalisation, which is exported for one member after another."""
    model = Model(lambda: network(100, 5), 3)
    (file := tmp_path / f"model{kind}").write_bytes(exporters.EXPORTERS[kind](model).content)
    signals = torch.randn(10, 100)
    np.testing.assert_allclose(execute(file, signals.numpy()), model.reconstruct(signals).numpy(), rtol=0, atol=1e-5)


def test_a_network_in_64_bits_takes_32(tmp_path: Path) -> None:
    model = Model(lambda: DeepAutoencoder(100, 5).double(), 1)
    made = exporters.to_program(model)
    assert 0 < made.difference < 1e-5
    (file := tmp_path / "model.pt2").write_bytes(made.content)
    signals = torch.randn(10, 100)
    np.testing.assert_allclose(execute(file, signals.numpy()), model.reconstruct(signals).numpy(), rtol=0, atol=1e-5)


def test_a_mean_of_many_is_as_large_as_its_weights() -> None:
    one, many = (exporters.to_onnx(Model(lambda: DeepAutoencoder(100, 5), members)) for members in (1, 32))
    assert len(many.content) < 32 * len(one.content)
    proto = onnx.load_from_string(many.content)
    assert len(proto.graph.node) < 30
    onnx.checker.check_model(proto, full_check=True)
    dimensions = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in proto.graph.input]
    assert dimensions == [["batch", 100]]


class Branches(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 0 else 0 * x


class Draws(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn_like(x)


class Fixed(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).reshape(-1, 3, x.shape[-1]).flatten(0, 1)


class Decomposes(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) @ torch.linalg.svd(self.decoder.weight)[0]


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Branches, "Could not guard on data-dependent expression"),
        (Draws, "its reconstructions differ from the network's by"),
        (Fixed, "it does not take batches of any size"),
        (Decomposes, "No ONNX function found for .*svd"),
    ],
)
def test_a_network_that_cannot_be_exported(network: type[Plain], reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingError, match=f"^run: own cannot be exported: {reason}") as found:
        exporters.to_onnx(Model(lambda: network(100, 5), 1))
    assert "\n" not in str(found.value)
    assert capfd.readouterr() == ("", "")


def test_a_file_that_gives_something_else_is_not_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reconstruct = Trained.reconstruct
    monkeypatch.setattr(Trained, "reconstruct", lambda self, x: reconstruct(self, x) * (1 + 1e-4))
    with pytest.raises(SettingError, match=r"differ from the network's by 0.0001 of the largest value; must be 1e-05 at most$"):
        export(run, tmp_path / "model.pt2")
    assert list(tmp_path.iterdir()) == []


def bad_inputs() -> dict[str, tuple[str, str, dict[str, Any], str]]:
    """By name: the run, the file, more arguments, and what is said."""
    return {
        "suffix": ("run", "model.pt", {}, "model.pt: must end in .onnx or .pt2"),
        "no suffix": ("run", "model", {}, "model: must end in .onnx or .pt2"),
        "exists": ("run", "there.onnx", {}, "there.onnx: exists; --force replaces it"),
        "a folder": ("run", "folder.onnx", {"force": True}, "folder.onnx: is a folder; must be a file"),
        "no folder": ("run", "nosuch/model.onnx", {}, "nosuch/model.onnx: there is no folder nosuch"),
        "no run": ("nosuch", "model.onnx", {}, "nosuch: no such folder"),
        "not a run": ("folder.onnx", "model.onnx", {}, "folder.onnx: not the folder of a run or a sweep"),
        "a file": ("there.onnx", "model.onnx", {}, "there.onnx: not a folder"),
        "seed": ("run", "model.onnx", {"seed": 7}, "seed=7: must be best"),
        "damaged": ("damaged", "model.onnx", {}, "damaged"),
    }


@pytest.mark.parametrize("case", bad_inputs())
def test_bad_input_is_one_line_and_writes_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").symlink_to(run)
    Path("folder.onnx").mkdir()
    Path("there.onnx").write_text("mine")
    Path("damaged").mkdir()
    write_atomically(Path("damaged", "results.json"), "{")
    before = sorted(tmp_path.rglob("*"))
    folder, file, others, said = bad_inputs()[case]
    with pytest.raises(SettingError) as found:
        export(Path(folder), Path(file), **others)
    assert str(found.value).startswith(said)
    assert "\n" not in str(found.value)
    assert sorted(tmp_path.rglob("*")) == before
    assert Path("there.onnx").read_text() == "mine"


def test_a_folder_that_cannot_be_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(SettingError, match=r"model\.onnx: the folder .* cannot be written$"):
        export(run, tmp_path / "model.onnx")


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr("wavecoder.runs.export.find_spec", lambda name: None if name == missing else object())
    with pytest.raises(SettingError, match=r"needs wavecoder's extra onnx; pip install 'wavecoder\[onnx\]'$"):
        export(run, tmp_path / "model.onnx")
    export(run, tmp_path / "model.pt2")


def test_the_command(run: Path, tmp_path: Path) -> None:
    done = run_script("export.py", tmp_path, str(run), "model.onnx", "--seed", "mean")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith("model.onnx: gelu autoencoder, latent 5, mean of 2 seeds; ")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    again = run_script("export.py", tmp_path, str(run), "model.onnx")
    assert (again.returncode, again.stdout, again.stderr) == (2, "", "error: model.onnx: exists; --force replaces it\n")
    seed = run_script("export.py", tmp_path, str(run), "other.onnx", "--seed", "worst")
    assert (seed.returncode, seed.stdout, seed.stderr.count("\n")) == (2, "", 1)
    assert seed.stderr.startswith("error: argument --seed: worst: must be best, mean or a seed")


@pytest.mark.slow
def test_a_network_of_a_users_own_by_the_command(tmp_path: Path) -> None:
    own = ("model._target_=own_networks.ConvolutionalAutoencoder", "num_seeds=1", "~callbacks.figures")
    done = run_script("train.py", tmp_path, *JOB, *own, "hydra.run.dir=run", environment=OWN_NETWORKS)
    assert done.returncode == 0, done.stderr
    export = ("export.py", tmp_path, "run", "model.pt2")
    found = {"PYTHONPATH": OWN_NETWORKS["PYTHONPATH"]}
    done = run_script(*export, environment=found)
    said = "own_networks is not an allowed package; allow it with --allow-targets own_networks\n"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: run: model._target_=own_networks.ConvolutionalAutoencoder: {said}"
    done = run_script(*export, "--allow-targets", "own_networks", environment=found)
    assert (done.returncode, done.stderr) == (0, "")
    made = execute(tmp_path / "model.pt2", np.zeros((3, 100), np.float32))
    assert made.shape == (3, 100), "the class is not needed any more"


@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["set", "signal"])
def test_a_network_of_signals_in_a_file_takes_them_as_they_are(tmp_path: Path, scaling: str) -> None:
    phase = np.random.default_rng(0).uniform(0, 6, (900, 1))
    rows = 50 + 7 * np.sin(0.3 * np.arange(40) + phase)
    np.save(tmp_path / "rows.npy", rows)
    file = {"data": "file", "data.path": tmp_path / "rows.npy", "data.scaling": scaling, "data.dt": 0.3}
    short = {"num_seeds": 2, "trainer.max_epochs": 2, "logger": "none", "callbacks.last.every_seconds": 0.0}
    wavecoder.train(tmp_path / "run", latent=2, **file, **short)
    for kind in KINDS:
        export(tmp_path / "run", made := tmp_path / f"model{kind}", "mean")
        wanted = wavecoder.load(tmp_path / "run", seed="mean").reconstruct(rows)
        np.testing.assert_allclose(execute(made, rows.astype(np.float32)), wanted, rtol=1e-5)
        said = said_of(made)
        assert json.loads(said["scaling"])["kind"] == scaling
        assert (said["signal_length"], said["dt"]) == ("40", "0.3")


@pytest.mark.slow
def test_onnx_without_torch(run: Path, tmp_path: Path) -> None:
    """The example of the documentation, in an environment that has NumPy and onnxruntime and nothing of ours."""
    export(run, tmp_path / "model.onnx", "mean")
    venv.create(tmp_path / "environment", with_pip=True)
    python = str(tmp_path / "environment" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "numpy", "onnxruntime"]
    subprocess.run([*install, "--constraint", str(ROOT / "constraints.txt")], cwd=tmp_path, check=True, timeout=600)
    for module in ("torch", "wavecoder", "onnx"):
        assert run_command(tmp_path, python, "-c", f"import {module}").returncode == 1
    done = run_command(tmp_path, python, str(ROOT / "docs" / "onnx_without_torch.py"), "model.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    assert "signal_length: 100" in done.stdout
    here = run_command(tmp_path, sys.executable, str(ROOT / "docs" / "onnx_without_torch.py"), "model.onnx")
    assert here.stdout == done.stdout
