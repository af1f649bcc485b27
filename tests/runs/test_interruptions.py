"""Runs that are told to end in the middle of an epoch, and runs whose checkpoints are damaged."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from damages import DAMAGES
from processes import OWN_NETWORKS, Run, kill, run_script, start, until
from run_files import record_of
from same_end import assert_same_end, temporary

from wavecoder.training.checkpoints import read_checkpoint

RUN = ("debug=quick", "data.train_size=640", "data.val_size=64", "trainer.max_epochs=2", "num_seeds=2", "~callbacks.figures")
CHUNKS = (*RUN, "~callbacks.progress", "engine.steps_per_execution=2", "+callbacks.pause._target_=held.PauseInEpoch")
"""A run of two epochs of five chunks of two steps, which pauses in the second epoch where a file `pause` is beside its folder."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    done = run_script("train.py", folder, *CHUNKS, "hydra.run.dir=run", environment=OWN_NETWORKS)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "run"


def told(process: subprocess.Popen[bytes], kind: signal.Signals) -> int:
    """The status with which a process ends that is sent a signal."""
    process.send_signal(kind)
    try:
        return process.wait(60)
    finally:
        kill(process)


def assert_same_runs(run: Path, whole: Path) -> None:
    assert record_of(run)["status"] == "completed"
    assert_same_end(run, whole)
    assert all(name.endswith(".damaged") for name in temporary(run))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [
        (signal.SIGTERM, -signal.SIGTERM, ("Ended by SIGTERM at step 14; the same command resumes it\n", "")),
        (signal.SIGUSR2, -signal.SIGUSR2, ("Ended by SIGUSR2 at step 14; the same command resumes it\n", "")),
        (signal.SIGINT, 130, ("", "\nInterrupted; the same command resumes it\n")),
    ],
)
def test_a_run_told_to_end_in_an_epoch_says_so_and_resumes_there(
    run_train: Run, tmp_path: Path, whole: Path, kind: signal.Signals, status: int, said: tuple[str, str]
) -> None:
    (tmp_path / "pause").touch()
    others = tmp_path / "tmp"
    others.mkdir()
    process = start(tmp_path, *CHUNKS, "hydra.run.dir=run", environment=OWN_NETWORKS | {"TMPDIR": str(others)}, keep=True)
    until((tmp_path / "paused").exists, process)
    assert told(process, kind) == status
    assert not list(others.iterdir()), "temporary files of libraries"
    printed = (tmp_path / "printed.txt").read_text().splitlines(keepends=True)
    assert "".join(printed[1:]) == said[0]  # the first describes the run
    assert (tmp_path / "errors.txt").read_text() == said[1]
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 14
    (tmp_path / "pause").unlink()
    done = run_train(*CHUNKS, "hydra.run.dir=run", environment=OWN_NETWORKS)
    assert (done.returncode, done.stderr) == (0, "")
    assert "run resumes from its last checkpoint\n" in done.stdout
    assert record_of(tmp_path / "run")["timing"]["resumed_at_step"] == 14
    assert_same_runs(tmp_path / "run", whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "hook", "status", "said"),
    [
        (signal.SIGTERM, "on_fit_start", -signal.SIGTERM, "Ended by SIGTERM; the same command resumes it\n"),
        (signal.SIGUSR2, "on_test_end", -signal.SIGUSR2, "Ended by SIGUSR2; the same command resumes it\n"),
        (signal.SIGINT, "on_test_end", 130, "\nInterrupted; the same command resumes it\n"),
    ],
)
def test_a_run_told_to_end_before_or_after_its_training_says_so_too(
    run_train: Run, tmp_path: Path, kind: signal.Signals, hook: str, status: int, said: str
) -> None:
    arguments = (*RUN, "hydra.run.dir=run", "+callbacks.pause._target_=held.PauseAt", f"+callbacks.pause.hook={hook}")
    (tmp_path / "pause").touch()
    process = start(tmp_path, *arguments, environment=OWN_NETWORKS, keep=True)
    until((tmp_path / "paused").exists, process)
    assert told(process, kind) == status
    assert (tmp_path / "errors.txt").read_text() == said
    (tmp_path / "pause").unlink()
    done = run_train(*arguments, environment=OWN_NETWORKS)
    assert (done.returncode, done.stderr) == (0, "")
    assert "run resumes from its last checkpoint\n" in done.stdout or hook == "on_fit_start"
    assert record_of(tmp_path / "run")["status"] == "completed"


@pytest.mark.slow
def test_a_run_told_to_end_while_it_is_being_imported_says_so_too(tmp_path: Path) -> None:
    process = start(tmp_path, *RUN, "hydra.run.dir=run", keep=True)
    until((tmp_path / "run" / ".hydra" / "overrides.yaml").exists, process)
    assert told(process, signal.SIGTERM) == -signal.SIGTERM
    assert (tmp_path / "errors.txt").read_text() == "Ended by SIGTERM; the same command resumes it\n"


@pytest.mark.slow
def test_a_second_ctrl_c_ends_a_run_at_once(tmp_path: Path) -> None:
    (tmp_path / "pause").write_text("in a chunk that does not end")
    process = start(tmp_path, *CHUNKS, "hydra.run.dir=run", environment=OWN_NETWORKS, keep=True)
    until((tmp_path / "paused").exists, process)
    process.send_signal(signal.SIGINT)
    until((tmp_path / "told").exists, process)
    assert told(process, signal.SIGINT) == 130
    assert (tmp_path / "errors.txt").read_text() == "\nInterrupted; the same command resumes it\n"


# --- damaged checkpoints ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def halfway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was killed in its second epoch, with a checkpoint from there and one of the first epoch's end."""
    folder = tmp_path_factory.mktemp("halfway")
    (folder / "pause").write_text("in a chunk that does not end")
    process = start(folder, *CHUNKS, "callbacks.last.every_steps=2", "hydra.run.dir=run", environment=OWN_NETWORKS)
    until((folder / "paused").exists, process)
    kill(process)
    assert {path.name for path in (folder / "run" / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt", "best.ckpt"}
    return folder / "run"


Continue = Callable[[Callable[[Path], object]], str]


@pytest.fixture
def continue_halfway(run_train: Run, tmp_path: Path, halfway: Path, whole: Path) -> Continue:
    """Runs the command again after something has happened to the checkpoints of that run; returns what it printed.

    It must end as if nothing had happened.
    """

    def run(happens: Callable[[Path], object]) -> str:
        shutil.copytree(halfway, tmp_path / "run")
        happens(tmp_path / "run" / "checkpoints")
        done = run_train(*CHUNKS, "hydra.run.dir=run", environment=OWN_NETWORKS)
        assert (done.returncode, done.stderr) == (0, "")
        assert_same_runs(tmp_path / "run", whole)
        return done.stdout

    return run


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["half of it", "a flipped bit", "no optimiser"])
def test_a_run_whose_checkpoint_is_damaged_completes_by_itself(continue_halfway: Continue, tmp_path: Path, damage: str) -> None:
    printed = continue_halfway(lambda checkpoints: DAMAGES[damage](checkpoints / "last.ckpt"))
    (line,) = (line for line in printed.splitlines() if "last.ckpt" in line)
    assert line.endswith("; it is set aside as last.ckpt.damaged")
    assert "run resumes from the checkpoint before its last" in printed
    assert not (tmp_path / "run" / "checkpoints" / "executed").exists()
    assert record_of(tmp_path / "run")["timing"]["resumed_at_step"] == 10


@pytest.mark.slow
def test_a_run_without_a_sound_checkpoint_starts_from_the_beginning(continue_halfway: Continue) -> None:
    names = ("last.ckpt", "previous.ckpt")
    printed = continue_halfway(lambda checkpoints: [DAMAGES["half of it"](checkpoints / name) for name in names])
    said = [line.partition("; ")[2] for line in printed.splitlines() if ".ckpt" in line]
    assert said == [f"it is set aside as {name}.damaged" for name in names]
    assert "run starts from the beginning" in printed


@pytest.mark.slow
def test_a_run_killed_between_two_renames_resumes_from_the_checkpoint_before(continue_halfway: Continue, tmp_path: Path) -> None:
    continue_halfway(lambda checkpoints: (checkpoints / "last.ckpt").rename(checkpoints / ".last.ckpt.0123abcd"))
    assert record_of(tmp_path / "run")["timing"]["resumed_at_step"] == 10


@pytest.mark.slow
def test_processes_that_share_a_run_stop_and_resume_together(run_train: Run, tmp_path: Path) -> None:
    shared = (*CHUNKS, "trainer=ddp_cpu", "noise.eval_std=[]")
    assert run_train(*shared, "hydra.run.dir=whole", environment=OWN_NETWORKS).returncode == 0
    (tmp_path / "pause").touch()
    process = start(tmp_path, *shared, "hydra.run.dir=run", environment=OWN_NETWORKS, keep=True)
    until((tmp_path / "paused").exists, process)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGUSR2)
    process.send_signal(signal.SIGTERM)  # to the first of them alone
    try:
        assert process.wait(120) == -signal.SIGUSR2  # both are told to all, and this one acts first
        until(lambda: not Path(f"/proc/{child}").exists())
    finally:
        kill(process)
    assert (tmp_path / "printed.txt").read_text().endswith("Ended by SIGUSR2 at step 14; the same command resumes it\n")
    (tmp_path / "pause").unlink()
    done = run_train(*shared, "hydra.run.dir=run", environment=OWN_NETWORKS)
    assert (done.returncode, done.stderr) == (0, "")
    assert record_of(tmp_path / "run")["timing"]["resumed_at_step"] == 14
    assert_same_runs(tmp_path / "run", tmp_path / "whole")
