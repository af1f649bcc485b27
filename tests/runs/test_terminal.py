"""What stands on the screen of a terminal of 80, 100 and 140 columns: runs, sweeps, after Ctrl-C, completion in a shell."""

import os
import re
import shutil
import sys
from itertools import takewhile
from pathlib import Path

import pytest
from processes import ROOT, run_command
from run_files import only_run, record_of, records
from terminal import Terminal

from wavecoder.runs.typed import print_next_of_run

TRAIN = (sys.executable, str(ROOT / "src" / "train.py"))
WAVECODER = str(Path(sys.executable).with_name("wavecoder"))
WIDTHS = [80, pytest.param(100, marks=pytest.mark.slow), pytest.param(140, marks=pytest.mark.slow)]
ONE_SEED = ("debug=quick", "data.train_size=640", "data.val_size=64")
LONG = (*ONE_SEED, "trainer.max_epochs=1000", "~callbacks.figures", "logger=none", "callbacks.last.every_seconds=0")


def words_of(text: str) -> set[str]:
    return set(text.split())


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_run_shows_its_progress_and_whole_numbers(tmp_path: Path, columns: int) -> None:
    terminal = Terminal([*TRAIN, *ONE_SEED, "trainer.max_epochs=40", "logger=none"], columns, tmp_path)
    assert terminal.wait() == 0, terminal.text
    bars = [line for screen in terminal.seen for line in screen.splitlines() if line.startswith("epoch ")]
    assert bars
    assert all(re.search(r"epoch \d+/40 ━.* (\d:\d\d:\d\d|-:--:--) left", bar) for bar in bars), "the time left is there"
    run = only_run(tmp_path)
    head = next(line for line in terminal.text.splitlines() if line.startswith("error"))
    row = next(line for line in terminal.text.splitlines() if line.startswith("sine/mean_mse_noise_0.1"))
    assert "…" not in terminal.text
    assert len(row) <= columns
    assert f"{record_of(run)['metrics']['sine/mean_mse_noise_0.1']['mean']:#.3g}" in words_of(row)
    assert {"autoencoder", "SVD", "Bayes"} <= words_of(head)
    assert str(run.relative_to(tmp_path)) in words_of(terminal.text), "its folder is one word on the screen"


@pytest.mark.slow
def test_what_is_said_to_be_next_works_when_it_is_copied(tmp_path: Path) -> None:
    """Commands are copied from the screen into a shell; TensorBoard alone is not started."""
    for arguments in (ONE_SEED, ("-m", *ONE_SEED, "latent=1,5")):
        terminal = Terminal([*TRAIN, *arguments], 120, tmp_path)  # in which each word has room
        assert terminal.wait() == 0, terminal.text
        lines = terminal.text.splitlines()
        (at,) = (number for number, line in enumerate(lines) if line.startswith(("To clean signals", "For a page")))
        copied = list(takewhile(lambda line: not line.startswith("To see curves"), lines[at + 1 :]))
        done = run_command(tmp_path, "bash", "-c", "\n".join(copied))
        assert (done.returncode, done.stderr) == (0, ""), copied
    assert (tmp_path / "clean.npy").exists()
    assert list(tmp_path.glob("outputs/sweeps/*/*/report.html"))


def test_signals_of_ones_own_are_cleaned_where_each_seed_has_its_own_sine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its noisy sines are `[seed, copy, time]`, which the command would refuse."""
    monkeypatch.setattr("wavecoder.runs.typed.was_a_command", lambda: True)
    (tmp_path / "reconstructions.npz").touch()
    for per_seed in (True, False):
        print_next_of_run(tmp_path, {"noise": {"eval_std": [0.1]}, "per_seed": per_seed})
        said = capsys.readouterr().out
        assert ("signals.npy clean.npy" in " ".join(said.replace("\\", " ").split())) == per_seed
        assert ("noisy_0.1" in said) == (not per_seed)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 100, 140])
def test_a_sweep_ends_with_whole_words_and_numbers(tmp_path: Path, columns: int) -> None:
    choices = ("activation=leaky_relu,sigmoid", "optimizer.lr=0.001,1e30", "model.widths=[50,25,10],[100,50]", "num_seeds=2")
    sweep = (*TRAIN, "-m", "sweep=mine", *ONE_SEED, "~callbacks.figures", "logger=none", "engine=pytorch", *choices)
    terminal = Terminal(sweep, columns, tmp_path)
    assert terminal.wait() == 1, terminal.text  # four diverge
    table = terminal.text[terminal.text.index("Sweep of 8 jobs") :]
    assert {"leaky_relu", "sigmoid", "diverged", "[50,25,10]", "[100,50]", "0.001"} <= words_of(table.replace("=", " "))
    assert "completed" not in table
    found = [each for each in records(tmp_path / "outputs" / "sweeps" / "mine").values() if each["status"] == "completed"]
    assert len(found) == 4
    for each in found:
        assert f"{each['metrics']['val/mse']['mean']:#.4g}" in words_of(table)
    shown = Terminal([WAVECODER, "status", "outputs/sweeps/mine"], columns, tmp_path)
    assert shown.wait() == 0
    assert "4 diverged" in shown.text
    piped = run_command(tmp_path, *sweep)
    assert "\x1b" not in piped.stdout
    assert "Left out" not in piped.stdout
    assert "seconds" in piped.stdout


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [None, "basic", "joblib"])
def test_ctrl_c_says_in_one_line_how_to_resume_and_that_works(tmp_path: Path, launcher: str | None) -> None:
    of_sweep = () if launcher is None else ("-m", "latent=1,5", f"hydra/launcher={launcher}")
    terminal = Terminal([*TRAIN, *LONG, *of_sweep], 200, tmp_path)
    terminal.wait_until(lambda: bool(list(tmp_path.glob("outputs/*/*/**/checkpoints/last.ckpt"))))
    terminal.type("\x03")
    assert terminal.wait() == 130, terminal.text
    for unwanted in ("Traceback", "Aborted", "Error", "lost"):
        assert unwanted not in terminal.text
    said = terminal.text[terminal.text.index("Interrupted") :]
    assert said.startswith("Interrupted; to resume it:")
    again = Terminal(["bash", "-c", said.removeprefix("Interrupted; to resume it:")], 200, tmp_path)
    again.wait_until(lambda: "resumes from its last checkpoint" in again.text)
    again.type("\x03")
    assert again.wait() == 130, again.text
    assert "Interrupted; the same command resumes it" in again.text


@pytest.mark.slow
def test_ctrl_c_in_a_search_says_that_its_command_resumes_it(tmp_path: Path) -> None:
    terminal = Terminal([*TRAIN, "-m", *LONG, "experiment=search"], 200, tmp_path)
    terminal.wait_until(lambda: bool(list(tmp_path.glob("outputs/sweeps/search/**/checkpoints/last.ckpt"))))
    terminal.type("\x03")
    assert terminal.wait() == 130, terminal.text
    assert terminal.text.endswith("Interrupted; the same command resumes it")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_completion_in_a_shell_never_prints_errors(tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "PS1": "$ ", "HISTFILE": os.devnull, "INPUTRC": os.devnull}
    (tmp_path / "src").symlink_to(ROOT / "src")
    (tmp_path / "other.py").write_text("raise ValueError('this was never meant to be run')")
    (tmp_path / "Notes.txt").touch()
    shell = Terminal(["bash", "--norc", "--noprofile", "-i"], 200, tmp_path, environment)
    shell.wait_until(lambda: shell.text.endswith("$"))
    install = "{} -sc install=bash"
    installs = "; ".join(f'eval "$({install.format(program)})"' for program in ("python src/train.py", "wavecoder train"))
    shell.type(f"{installs}; printf '\\033c'; echo ready\n")
    shell.wait_until(lambda: shell.text.startswith("ready"))
    for typed, completed_to in {
        "python src/train.py activation=ge": "python src/train.py activation=gelu",
        "python src/train.py --shell-completion install=b latent.dmi=3 nonsense activation=ge": "activation=gelu",
        f"{programs}/python src/train.py activation=swish loss=hub": "src/train.py activation=swish loss=huber",
        "wavecoder rep": "wavecoder report",
        "wavecoder train optimizer.weight_d": "wavecoder train optimizer.weight_decay=",
        "wavecoder report No": "wavecoder report Notes.txt",
        "python src/report.py No": "python src/report.py Notes.txt",
        "python other.py No": "python other.py Notes.txt",
        "python no_such.py No": "python no_such.py Notes.txt",
    }.items():
        shell.type(f"{typed}\t")
        shell.wait_until(lambda wanted=completed_to: shell.text.endswith(wanted))
        assert len(shell.text.splitlines()) == 2, "nothing but the prompt"
        shell.type("\x15")
    shell.type("exit\n")
    assert shell.wait() == 0
