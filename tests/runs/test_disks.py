"""Disks that fail under a run: full, read-only, removed; a clock that was set back; a lock that is none."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from held import HELD, hold, release
from processes import JOB, OWN_NETWORKS, Run, kill, run_script, start, until
from run_files import record_of

pytestmark = pytest.mark.slow

SHORT = (*JOB, "trainer.max_epochs=3", "latent=1", "logger=tensorboard")


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        pytest.skip(f"file systems cannot be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, in memory, of 32 megabytes unless it is mounted again with another size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", "size=32m", "none", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], timeout=60, check=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing went wrong with."""
    folder = tmp_path_factory.mktemp("whole")
    assert run_script("train.py", folder, *SHORT, "hydra.run.dir=run").returncode == 0
    return folder / "run"


@pytest.mark.parametrize(("size", "status"), [("12k", 2), ("128k", 1), ("900k", 1), ("1300k", 1)])
def test_with_room_again_the_same_command_resumes(
    run_train: Run, disk: Path, whole: Path, tmp_path: Path, size: str, status: int
) -> None:
    _mount("-o", f"remount,size={size}", str(disk))
    done = run_train(*SHORT, "hydra.run.dir=disk/run")
    assert done.returncode == status
    (line,) = done.stderr.splitlines()
    assert line.startswith(("error: hydra.run.dir=disk/run: No space left", f"error: {disk}/run/"))
    assert "No space left on device" in line
    assert line.endswith("; the same command resumes it") or status == 2
    had_checkpoint = (disk / "run" / "checkpoints" / "last.ckpt").exists()
    _mount("-o", "remount,size=32m", str(disk))
    done = run_train(*SHORT, "hydra.run.dir=disk/run")
    assert (done.returncode, done.stderr) == (0, "")
    assert ("resumes from its last checkpoint" in done.stdout) == had_checkpoint
    assert had_checkpoint or size != "1300k"
    assert record_of(disk / "run")["metrics"] == record_of(whole)["metrics"]
    assert not list((disk / "run").rglob(".*.????????"))


def test_jobs_of_a_sweep_that_find_no_room_fail_in_a_line(run_train: Run, disk: Path) -> None:
    arguments = ("-m", *SHORT[:-1], "logger=none", "latent=1,2", "hydra.sweep.dir=disk/s")
    _mount("-o", "remount,size=300k", str(disk))
    done = run_train(*arguments)
    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("job ") and " failed: " in line]
    assert len(failed) == 2
    assert all("No space left on device" in line for line in failed)
    assert "Traceback" not in done.stdout + done.stderr
    _mount("-o", "remount,size=32m", str(disk))
    done = run_train(*arguments)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_that_cannot_be_written_is_one_line(run_train: Run, disk: Path, whole: Path) -> None:
    shutil.copytree(whole, disk / "run")
    _mount("-o", "remount,ro", str(disk))
    for folder in ("disk/new", "disk/run"):
        done = run_train(*SHORT, f"hydra.run.dir={folder}")
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert line.endswith("Read-only file system")


@pytest.mark.parametrize("logger", ["tensorboard", "none"])
def test_a_run_whose_folder_is_removed_ends_in_a_line_and_can_begin_again(
    run_train: Run, whole: Path, tmp_path: Path, logger: str
) -> None:
    arguments = (*SHORT, f"logger={logger}", "hydra.run.dir=runs/run", HELD)
    hold(tmp_path / "runs")
    process = start(tmp_path, *arguments, environment=OWN_NETWORKS, keep=True)
    until((tmp_path / "runs" / "run" / "checkpoints" / "last.ckpt").exists, process)
    shutil.rmtree(tmp_path / "runs" / "run")
    release(tmp_path / "runs")
    assert process.wait(240) == 1
    kill(process)
    (line,) = (tmp_path / "errors.txt").read_text().splitlines()
    assert line.startswith(f"error: {tmp_path}/runs/run/")
    assert line.endswith(": No such file or directory; the same command resumes it")
    assert not (tmp_path / "runs" / "run").exists()
    done = run_train(*arguments, environment=OWN_NETWORKS)
    assert (done.returncode, done.stderr) == (0, "")
    assert record_of(tmp_path / "runs" / "run")["metrics"] == record_of(whole)["metrics"]


def test_a_clock_that_was_set_back_changes_nothing(run_train: Run, whole: Path, tmp_path: Path) -> None:
    arguments = (*SHORT, "hydra.run.dir=runs/run", HELD)
    hold(tmp_path / "runs")
    process = start(tmp_path, *arguments, environment=OWN_NETWORKS)
    until((tmp_path / "runs" / "run" / "checkpoints" / "last.ckpt").exists, process)
    kill(process)
    release(tmp_path / "runs")
    later = time.time() + 100_000
    for path in (tmp_path / "runs").rglob("*"):
        os.utime(path, (later, later))
    done = run_train(*arguments, environment=OWN_NETWORKS)
    assert (done.returncode, done.stderr) == (0, "")
    assert "resumes from its last checkpoint" in done.stdout
    assert record_of(tmp_path / "runs" / "run")["metrics"] == record_of(whole)["metrics"]


def test_a_lock_that_is_a_link_is_refused(run_train: Run, tmp_path: Path) -> None:
    lock = tmp_path / "run" / ".lock"
    lock.parent.mkdir()
    lock.symlink_to(tmp_path / "elsewhere")
    done = run_train(*SHORT, "hydra.run.dir=run")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {lock}: is a link out of the run's folder")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("content", [(), ("file",)])
def test_a_lock_that_is_a_folder_is_set_aside(run_train: Run, tmp_path: Path, content: tuple[str, ...]) -> None:
    lock = tmp_path / "run" / ".lock"
    lock.mkdir(parents=True)
    for name in content:
        (lock / name).touch()
    done = run_train(*SHORT, "hydra.run.dir=run")
    assert done.returncode == 0
    assert "is a folder, and must not be; it is set aside as .lock.damaged" in done.stdout + done.stderr
    assert lock.is_file()
    assert {path.name for path in (tmp_path / "run" / ".lock.damaged").iterdir()} == set(content)
