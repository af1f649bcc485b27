"""docs/your-data.md: real signals from end to end, as the page says."""

import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import composed
from processes import ROOT, run_command
from run_files import record_of
from sklearn.decomposition import PCA, TruncatedSVD
from test_docs import jobs_of

import wavecoder
from wavecoder.runs.commands import COMMANDS
from wavecoder.runs.settings import from_config
from wavecoder.signals import training_signals

DOCS = ROOT / "docs"
PAGE = (DOCS / "your-data.md").read_text(encoding="utf-8")
SCRIPT = runpy.run_path(str(DOCS / "your_data.py"))
STEPS = list(SCRIPT["steps"](PAGE))
COMMANDS_OF_PAGE = [shlex.split(step.text)[1:] for step in STEPS if not step.is_python]
TRAININGS = [words[1:] for words in COMMANDS_OF_PAGE if words[0] == "train"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the page begins with, written by its own code."""
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for step in STEPS[:2]:
            exec(step.text, {})
    return folder


def table() -> list[dict[str, Any]]:
    """The table of results on the page."""
    rows = re.findall(
        r"^\| (digits|pulse) \| (\d+) \| ([\d.]+) ± [\d.]+ \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE
    )
    names = ("latent", "own", "svd", "pca", "ratio")
    return [{"set": name} | dict(zip(names, map(float, numbers), strict=True)) for name, *numbers in rows]


def test_every_command_is_there_and_every_training_composes(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    assert {words[0] for words in COMMANDS_OF_PAGE} == {"train", "evaluate", "denoise", "export"} <= {"train", *COMMANDS}
    assert len(TRAININGS) == 5
    for words in TRAININGS:
        overrides = [word for word in words if word != "-m"]
        for job in jobs_of(overrides) if "-m" in words else [overrides]:
            assert from_config(composed(*job)).data.signal_length == 64


def test_the_files_are_read_as_the_page_says(files: Path) -> None:
    digits = wavecoder.FileSource(files / "digits.npz", scaling="set")
    assert (digits.train_size, digits.val_size, digits.signal_length, digits.dt) == (1618, 179, 64, 1.0)
    labels = digits.validation_labels()
    assert labels is not None
    assert set(labels.tolist()) == set(range(10))
    pulse = wavecoder.FileSource(files / "pulse.csv", signal_length=64)
    assert pulse.train_size + pulse.val_size == 68_476 // 64
    with pytest.raises(ValueError, match="signal_length=null: must be given"):
        wavecoder.FileSource(files / "pulse.csv")


@pytest.mark.parametrize("name", ["digits", "pulse"])
def test_the_references_of_the_table_are_those_of_scikit_learn(name: str, files: Path) -> None:
    words = next(words for words in TRAININGS if f"hydra.run.dir=outputs/{name}" in words)
    data = dict(word.split("=", 1) for word in words if word.startswith("data."))
    length = None if name == "digits" else int(data["data.signal_length"])
    source = wavecoder.FileSource(files / data["data.path"], scaling=data["data.scaling"], signal_length=length)
    x = torch.cat(list(training_signals(source, "cpu"))).double().numpy()
    new = source.validation_set("cpu").evaluate(source.times("cpu")).double().numpy()
    rows = [row for row in table() if row["set"] == name]
    assert len(rows) == 4
    for row in rows:
        rank = int(row["latent"])
        for column, kind in (("svd", TruncatedSVD(rank, algorithm="arpack")), ("pca", PCA(rank))):
            made = kind.inverse_transform(kind.fit(x).transform(new))
            assert np.square(made - new).mean() == pytest.approx(row[column], abs=6e-4)
        assert row["ratio"] == pytest.approx(row["own"] / row["svd"], abs=0.02)


def test_links_anchors_and_pictures() -> None:
    headings = re.findall(r"^#+ (.*)$", PAGE, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    files = [DOCS / link for link in links if not link.startswith(("#", "http"))]
    assert all(file.exists() for file in files)
    pictures = [file for file in files if file.suffix == ".png"]
    assert {picture.stem.removeprefix("your-data-") for picture in pictures} == set(SCRIPT["PICTURES"])
    assert all(picture.stat().st_size < 200_000 for picture in pictures)


@pytest.mark.slow
def test_the_whole_page_runs(tmp_path: Path) -> None:
    """With trainings of two epochs: what is said of results is not tested here."""
    folder, pictures = tmp_path / "folder", tmp_path / "pictures"
    pictures.mkdir()
    quick = ["--with", "trainer.max_epochs=2", "num_seeds=2"]
    done = run_command(
        tmp_path, sys.executable, str(DOCS / "your_data.py"), str(folder), "--pictures", str(pictures), *quick, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No Bayes" in done.stdout
    assert len(re.findall(r"^\| (digits|pulse) \|", done.stdout, re.MULTILINE)) == 8
    for name in ("clean.csv", "clean.png", "digits-clean.npz", "denoiser.onnx", "outputs/pulse-evaluated/evaluation.json"):
        assert (folder / name).stat().st_size > 0
    assert {picture.name for picture in pictures.iterdir()} == {f"your-data-{name}.png" for name in SCRIPT["PICTURES"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "pulse"])
def test_the_autoencoder_keeps_what_the_svd_loses(name: str, files: Path, tmp_path: Path) -> None:
    """Two of the eight seeds of the page: less than two thirds of the error, and close to what the table says."""
    words = next(words for words in TRAININGS if f"hydra.run.dir=outputs/{name}" in words)
    overrides = [word for word in words if not word.startswith(("hydra.run.dir", "num_seeds"))]
    command = [sys.executable, "-m", "wavecoder", "train", *overrides, "num_seeds=2", f"hydra.run.dir={tmp_path}", "logger=none"]
    done = run_command(files, *command)
    assert done.returncode == 0, done.stderr
    metrics = record_of(tmp_path)["metrics"]
    assert metrics["val/mse/over_svd"]["max"] < 2 / 3
    latent = record_of(tmp_path)["latent_dim"]
    (said,) = (row for row in table() if row["set"] == name and row["latent"] == latent)
    assert metrics["val/mse"]["mean"] == pytest.approx(said["own"], rel=0.25)
