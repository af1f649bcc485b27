"""The package as users install it: a wheel, without extras, in an empty environment, used from an empty folder."""

import os
import platform
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import ROOT, run_command
from run_files import record_of, records

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]  # one environment for all

CONSTRAINTS = ("--quiet", "--disable-pip-version-check", "--constraint", str(ROOT / "constraints.txt"))


def pip(folder: Path, *arguments: str, python: str = sys.executable) -> None:
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    subprocess.run([python, "-m", "pip", *arguments], cwd=folder, env=environment, check=True, timeout=600)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip(folder, "wheel", *CONSTRAINTS, "--no-deps", str(ROOT))
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Iterator[Path]:
    """The commands of an environment that holds the wheel and what it depends on."""
    folder = wheel.parent / "environment"
    venv.create(folder, with_pip=True)
    pip(wheel.parent, "install", *CONSTRAINTS, str(wheel), python=str(folder / "bin" / "python"))
    yield folder / "bin"
    shutil.rmtree(folder)  # more than a gigabyte, and pytest keeps its folders


def names_in(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_the_configuration_and_the_compiled_engine(wheel: Path) -> None:
    names = names_in(wheel)
    assert {f"wavecoder/{file.relative_to(ROOT)}" for file in (ROOT / "conf").rglob("*.yaml")} <= names
    sources = {path for path in (ROOT / "src" / "wavecoder").rglob("*") if path.suffix in (".py", ".c", ".j2", ".typed")}
    assert {str(path.relative_to(ROOT / "src")) for path in sources} <= names
    assert not [name for name in names if name.endswith((".pyc", ".new"))]
    if shutil.which(os.environ.get("CC", "cc")) and platform.machine() in ("x86_64", "AMD64"):
        assert {f"wavecoder/engine/compiled.{name}.so" for name in ("avx2", "avx512")} <= names
        assert "-py3-none-linux_" in wheel.name, "one for all versions of Python"


def test_the_source_distribution_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    pip(tmp_path, "install", *CONSTRAINTS, "--target", str(tmp_path / "hatchling"), "hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(tmp_path / "hatchling")}, check=True, timeout=60)
    (source,) = tmp_path.glob("*.tar.gz")
    pip(tmp_path, "wheel", *CONSTRAINTS, "--no-deps", str(source))
    (again,) = tmp_path.glob("*.whl")
    assert names_in(again) == names_in(wheel)


def test_a_sweep_and_its_report_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    command = str(installed / "wavecoder")
    arguments = ("activation=relu,tanh,gelu", "latent=1,5", "debug=quick", "data.train_size=128")
    trained = run_command(tmp_path, command, "train", "-m", *arguments)
    assert (trained.returncode, trained.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]
    (sweep,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    found = records(sweep).values()
    wanted = {(activation, latent) for activation in ("relu", "tanh", "gelu") for latent in (1, 5)}
    assert {(record["activation"], record["latent_dim"]) for record in found} == wanted
    names = {record["engine"]["name"].split()[0] for record in found}
    assert names == {"compiled"} or not list(installed.parent.rglob("compiled.*.so"))
    assert "Sweep of 6 jobs" in trained.stdout

    reported = run_command(tmp_path, command, "report", str(sweep.relative_to(tmp_path)))
    assert (reported.returncode, reported.stderr) == (0, "")
    assert reported.stdout == f"The report is {sweep.relative_to(tmp_path)}/report.html\n"
    assert (sweep / "report.html").stat().st_size > 10_000
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


def test_a_run_over_two_processes(installed: Path, tmp_path: Path) -> None:
    arguments = ("debug=quick", "data.train_size=128", "trainer=ddp_cpu", "hydra.run.dir=run")
    done = run_command(tmp_path, str(installed / "wavecoder"), "train", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert record_of(tmp_path / "run")["timing"]["steps"] == 4


def test_the_public_names(installed: Path, tmp_path: Path) -> None:
    program = "import wavecoder; wavecoder.SVD; print(*(getattr(wavecoder, name) for name in wavecoder.__all__), sep='\\n')"
    done = run_command(tmp_path, str(installed / "python"), "-c", program)
    assert (done.returncode, done.stderr) == (0, "")
    assert "wavecoder.references.SVD" in done.stdout


def test_mistakes_are_answered_in_one_line(installed: Path, tmp_path: Path) -> None:
    done = run_command(tmp_path, str(installed / "wavecoder"), "train", "activation=swish")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: activation=swish: no such option; there are elu, gelu, identity")
    missing = run_command(tmp_path, str(installed / "wavecoder"), "train", "-m", "hydra/launcher=joblib", "latent=1,5")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.startswith("error: hydra/launcher=joblib: needs wavecoder's extra joblib; ")
    assert list(tmp_path.iterdir()) == []
