"""Runs and sweeps whose files are damaged, run again: they resume, and lose no more than what is damaged."""

import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from damages import DAMAGES, Touch
from processes import JOB, Run, run_command
from run_files import record_of, records

import wavecoder
from wavecoder.paper.report import write_report
from wavecoder.runs.limits import SettingError
from wavecoder.runs.results import CHECKSUM, write_results
from wavecoder.training.files import read_arrays

WAVECODER = str(Path(sys.executable).with_name("wavecoder"))


@pytest.mark.slow
def test_a_run_with_a_damaged_record_or_damaged_arrays_is_made_again_from_its_checkpoint(run_train: Run, tmp_path: Path) -> None:
    arguments, run = (*JOB, "trainer.max_epochs=2", "hydra.run.dir=run"), tmp_path / "run"
    assert run_train(*arguments).returncode == 0
    whole, arrays = record_of(run), (run / "reconstructions.npz").read_bytes()
    (run / "results.json").write_text("{")
    leftovers = [run / ".results.json.0123abcd", run / "checkpoints" / ".last.ckpt.00000000", run / "tb" / ".SVD.0123abcd" / "x"]
    for file in leftovers:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    done = run_train(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    file = run / "results.json"
    expected = [
        f"{file}: is damaged; the run counts as unfinished",
        f"{file}: is set aside as results.json.damaged, and made again",
        "run resumes from its last checkpoint",
    ]
    assert done.stdout.splitlines()[:3] == expected
    assert (run / "results.json.damaged").read_text() == "{"
    assert not any(file.exists() for file in leftovers)
    assert record_of(run)["metrics"] == whole["metrics"]
    assert record_of(run)["timing"]["resumed_at_step"] == whole["timing"]["steps"]

    (run / "reconstructions.npz").write_bytes(arrays[:500])
    done = run_train(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "reconstructions.npz: is damaged" in done.stdout.splitlines()[0]
    assert (run / "reconstructions.npz").read_bytes() == arrays

    DAMAGES["half of it"](run / "checkpoints" / "last.ckpt")
    refused = run_command(tmp_path, WAVECODER, "evaluate", "run")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "last.ckpt: is damaged" in refused.stderr
    done = run_train(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "it is set aside as last.ckpt.damaged" in done.stdout.splitlines()[0]
    assert record_of(run)["metrics"] == whole["metrics"]
    assert run_command(tmp_path, WAVECODER, "evaluate", "run").returncode == 0

    (run / "results.json").write_text("")
    (run / ".fingerprint").write_text("of another configuration")
    done = run_train(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "run: its configuration has changed, so it starts from the beginning" in done.stdout


ALIASES = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9 if level else 'x')}]\n" for level in range(9))
"""Nine lines that stand for 9**8 values."""


def of_another_character(file: Path) -> None:
    record = json.loads(file.read_text())
    first = record["config_fingerprint"][0]
    record["config_fingerprint"] = ("1" if first == "0" else "0") + record["config_fingerprint"][1:]
    file.write_text(json.dumps(record))


def without_a_fingerprint(file: Path) -> None:
    kept = ("config_fingerprint", CHECKSUM)
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key not in kept}))


def of_an_earlier_version(file: Path) -> None:
    record = json.loads(file.read_text())
    del record[CHECKSUM]
    file.write_text(json.dumps(record))
    of_another_character(file)


def file_instead(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


SET_ASIDE = "is set aside as"
OF_ONE_RUN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a wrong character": ("results.json", of_another_character, SET_ASIDE),
    "a wrong character, and no checksum": ("results.json", of_an_earlier_version, SET_ASIDE),
    "no fingerprint": ("results.json", without_a_fingerprint, SET_ASIDE),
    "no record": ("results.json", Path.unlink, "is missing, and made again"),
    "a wrong fingerprint": (".fingerprint", lambda file: file.write_text("0123456789abcdef"), "it is made again"),
    "an empty fingerprint": (".fingerprint", lambda file: file.write_text(""), "it is made again"),
    "a folder for a record": ("results.json", DAMAGES["a folder"], SET_ASIDE),
    "a folder for a fingerprint": (".fingerprint", DAMAGES["a folder"], SET_ASIDE),
    "a folder for the best": ("checkpoints/best.ckpt", DAMAGES["a folder"], SET_ASIDE),
    "a folder in tb": ("tb/autoencoder/hparams.yaml", DAMAGES["a folder"], SET_ASIDE),
    "a file for tb": ("tb", file_instead, SET_ASIDE),
    "a file for figures": ("figures", lambda folder: folder.write_text("x"), SET_ASIDE),
    "a file for Hydra's folder": (".hydra", file_instead, SET_ASIDE),
}


@pytest.mark.slow
@pytest.mark.parametrize("callbacks", ["lean", "default"])
@pytest.mark.parametrize("by_folder", [False, True])
def test_a_complete_run_with_a_damaged_best_checkpoint_is_made_again(
    run_train: Run, tmp_path: Path, callbacks: str, by_folder: bool
) -> None:
    short = [each for each in JOB if not each.startswith("callbacks.last")]  # which lean has not
    arguments, run = (*short, f"callbacks={callbacks}", "trainer.max_epochs=2", "hydra.run.dir=run"), tmp_path / "run"
    assert run_train(*arguments).returncode == 0
    whole, best = record_of(run), run / "checkpoints" / "best.ckpt"
    content = best.read_bytes()
    DAMAGES["half of it"](best)
    done = run_train("run=run") if by_folder else run_train(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{best}: is damaged; it is set aside as best.ckpt.damaged" in done.stdout.splitlines()[0]
    assert best.read_bytes() == content
    assert (run / "checkpoints" / "best.ckpt.damaged").exists()
    assert record_of(run)["metrics"] == whole["metrics"]
    assert "complete already" in run_train(*arguments).stdout


@pytest.mark.slow
def test_damaged_parts_of_an_unfinished_run_cost_no_more_than_a_line(run_train: Run, tmp_path: Path) -> None:
    arguments = (*(each for each in JOB if each != "logger=none"), "~callbacks.figures", "hydra.run.dir=run")
    assert run_train(*arguments).returncode == 0
    run, metrics = tmp_path / "run", record_of(tmp_path / "run")["metrics"]
    for kind, (name, change, said) in OF_ONE_RUN.items():
        write_results(run, {"status": "unfinished", "config_fingerprint": record_of(run)["config_fingerprint"]})
        change(run / name)
        done = run_train(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), kind
        assert "run resumes from its last checkpoint" in done.stdout, kind
        assert any(str(run / name) in line and said in line for line in done.stdout.splitlines()), kind
        assert record_of(run)["metrics"] == metrics, kind
    file_instead(run / "checkpoints")
    write_results(run, {"status": "unfinished", "config_fingerprint": record_of(run)["config_fingerprint"]})
    done = run_train(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert record_of(run)["metrics"] == metrics
    DAMAGES["a folder"](run / "train.log")
    done = run_train(*arguments)
    assert done.returncode == 2
    assert done.stderr == f"error: {run / 'train.log'}: is a folder, and must be removed: the log is written there\n"


def cut_after(text: str) -> Callable[[Path], object]:
    """Cuts a file after a text."""
    return lambda file: file.write_text((before := file.read_text())[: before.index(text) + len(text)])


def replaced(pattern: str, text: str) -> Callable[[Path], object]:
    """Puts a text in the place of what matches a pattern in a file."""
    return lambda file: file.write_text(re.sub(pattern, text, file.read_text()))


OF_ONE_JOB: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a cut configuration": (".hydra/config.yaml", DAMAGES["half of it"]),
    "many aliases": (".hydra/config.yaml", lambda file: file.write_text(ALIASES)),
    "no configuration": (".hydra/config.yaml", lambda file: file.unlink()),
    "nothing after a key": (".hydra/config.yaml", cut_after("\nengine:\n")),
    "no value of a name": (".hydra/config.yaml", replaced("  name: .*", "  name:")),
    "cut within a line": (".hydra/config.yaml", lambda file: file.write_text(file.read_text()[:-2])),
    "a text for a truth value": (".hydra/config.yaml", replaced("latent_activation: .*", "latent_activation: x")),
    "a class that is not allowed": (".hydra/config.yaml", replaced("wavecoder.networks", "wavecodex.networks")),
    "more seeds than were trained": (".hydra/config.yaml", replaced("num_seeds: .", "num_seeds: 9")),
    "Hydra's settings cut": (".hydra/hydra.yaml", cut_after("\n  overrides:\n")),
    "Hydra's settings cut within a line": (".hydra/hydra.yaml", lambda file: file.write_text(file.read_text()[:-2])),
    "half a checkpoint": ("checkpoints/last.ckpt", DAMAGES["half of it"]),
    "weights of another network": ("checkpoints/last.ckpt", DAMAGES["other shapes"]),
    "half a record": ("results.json", DAMAGES["half of it"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OF_ONE_JOB)
def test_a_damaged_job_is_named_and_left_out_of_the_sweep(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    sweep = Path(shutil.copytree(trained, tmp_path / "s"))
    name, damage = OF_ONE_JOB[kind]
    best = wavecoder.load(sweep).folder
    damage(best / name)
    assert wavecoder.load(sweep).folder.parent == sweep
    assert wavecoder.load(sweep).folder != best
    (line,) = caplog.messages
    assert best.name in line
    assert line.endswith(("the job is left out", "the run counts as unfinished"))
    with pytest.raises(SettingError, match=best.name) as caught:
        wavecoder.load(best)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_commands_leave_a_damaged_job_out_and_name_it(trained: Path, tmp_path: Path) -> None:
    sweep = Path(shutil.copytree(trained, tmp_path / "s"))
    best = wavecoder.load(sweep).folder
    DAMAGES["half of it"](best / ".hydra" / "config.yaml")
    np.save(tmp_path / "in.npy", np.zeros((2, 100), np.float32))
    for command in (
        ("evaluate", "s", "--output", "evaluated"),
        ("denoise", "s", "in.npy", "out.npy"),
        ("export", "s", "out.pt2"),
    ):
        done = run_command(tmp_path, WAVECODER, *command)
        assert (done.returncode, done.stderr.count("\n")) == (0, 1)
        assert done.stderr.endswith("the job is left out\n")
        assert best.name in done.stderr
    (measured,) = json.loads((tmp_path / "evaluated" / "evaluation.json").read_text())["runs"]
    assert Path(measured["folder"]) != best
    for job in sweep.glob("*/results.json"):
        (job.parent / ".hydra" / "config.yaml").write_text("")
    done = run_command(tmp_path, WAVECODER, "evaluate", "s")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.endswith("; none of the 4 jobs can be loaded\n")


@pytest.mark.slow
def test_a_sweep_again_makes_damaged_jobs_again(run_train: Run, tmp_path: Path) -> None:
    command = ("-m", "sweep=s", *JOB, "trainer.max_epochs=2", "latent=1,2,3")
    sweep = tmp_path / "outputs" / "sweeps" / "s"
    assert run_train(*command).returncode == 0
    whole = {name: record["metrics"] for name, record in records(sweep).items()}
    first, second, third = (sweep / name for name in sorted(whole))
    for file in (first / "results.json", first / ".hydra" / "config.yaml", first / "checkpoints" / "last.ckpt"):
        DAMAGES["half of it"](file)
    DAMAGES["half of it"](second / "results.json")
    DAMAGES["half of it"](third / ".hydra" / "config.yaml")
    done = run_train(*command)
    assert (done.returncode, done.stderr) == (0, "")
    for file in (first / "results.json", first / "checkpoints" / "last.ckpt", second / "results.json"):
        assert f"{file}: is damaged" in done.stdout
    assert {name: record["metrics"] for name, record in records(sweep).items()} == whole
    assert wavecoder.load(first).folder == first
    assert wavecoder.load(second).folder == second


@pytest.mark.slow
def test_a_pickle_in_arrays_is_refused_and_not_executed(trained: Path, tmp_path: Path) -> None:
    run, executed = Path(shutil.copytree(trained / "auto-1", tmp_path / "s" / "run")), tmp_path / "executed"
    arrays = read_arrays(run) or {}
    content = io.BytesIO()
    np.savez(content, **arrays | {"times": np.array([Touch(executed)], object)})
    (run / "reconstructions.npz").write_bytes(content.getvalue())
    (tmp_path / "in.npz").write_bytes(content.getvalue())
    assert write_report(tmp_path / "s").exists()
    for command in (
        ("denoise", "s/run", "in.npz", "out.npy", "--key", "times"),
        ("train", "data=file", "data.path=in.npz", "data.key=times"),
    ):
        done = run_command(tmp_path, WAVECODER, *command)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "in.npz" in done.stderr
    assert not executed.exists()
    np.load(io.BytesIO(content.getvalue()), allow_pickle=True)["times"]
    assert executed.exists(), "the payload is one"
