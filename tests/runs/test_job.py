"""One run: killed and resumed, changed, complete already, in a folder of something else."""

import os
import signal
from pathlib import Path
from unittest import mock

import pytest
from conftest import composed
from filelock import SoftFileLock
from held import HELD, hold, release
from processes import JOB, OWN_NETWORKS, Run, kill, start, until
from run_files import made_up_record, record_of

from wavecoder.runs import job, locks, threads
from wavecoder.runs.fingerprints import note_fingerprint
from wavecoder.runs.results import LAST_CHECKPOINT, SCHEMA, read_record, write_results
from wavecoder.training.callbacks.checkpoint import LastCheckpoint
from wavecoder.training.files import write_atomically


def test_a_killed_run_resumes_to_the_same_numbers(run_train: Run, tmp_path: Path) -> None:
    linear = (*JOB, "experiment=theorem", "latent=2", HELD)
    assert run_train(*linear, "hydra.run.dir=whole", environment=OWN_NETWORKS).returncode == 0
    hold(tmp_path)
    process = start(tmp_path, *linear, "hydra.run.dir=killed", environment=OWN_NETWORKS)
    until((tmp_path / "killed" / "checkpoints" / "last.ckpt").exists, process)
    kill(process)
    release(tmp_path)
    assert record_of(tmp_path / "killed")["status"] == "unfinished"
    done = run_train(*linear, "hydra.run.dir=killed", environment=OWN_NETWORKS)
    assert (done.returncode, done.stderr) == (0, "")
    assert "killed resumes from its last checkpoint" in done.stdout
    whole, killed = (record_of(tmp_path / name) for name in ("whole", "killed"))
    assert 0 < killed["timing"]["resumed_at_step"] < killed["timing"]["steps"] == whole["timing"]["steps"]
    assert killed["place"]["host"] == os.uname().nodename
    for part in ("metrics", "references", "subspace", "config_fingerprint"):
        assert killed[part] == whole[part], part


@pytest.mark.slow
def test_a_changed_configuration_is_never_mixed_with_the_old(run_train: Run, tmp_path: Path) -> None:
    for epochs in (2, 3):
        done = run_train(*JOB, f"trainer.max_epochs={epochs}", "hydra.run.dir=run")
        assert (done.returncode, done.stderr) == (0, "")
    assert "run: its configuration has changed, so it starts from the beginning" in done.stdout
    timing = record_of(tmp_path / "run")["timing"]
    assert (timing["resumed_at_step"], timing["steps"]) == (0, 30)


def test_a_complete_run_is_not_repeated(run_train: Run, tmp_path: Path) -> None:
    arguments = (*JOB, "trainer.max_epochs=1", "~callbacks.figures", "hydra.run.dir=run")
    assert run_train(*arguments).returncode == 0
    before = (tmp_path / "run" / "results.json").stat().st_mtime_ns
    again = run_train(*arguments)
    assert (again.returncode, again.stdout, again.stderr) == (0, "run is complete already, nothing to do\n", "")
    assert (tmp_path / "run" / "results.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_run_killed_after_its_last_step_is_measured_to_the_same_numbers(run_train: Run, tmp_path: Path) -> None:
    arguments = (*JOB, "trainer.max_epochs=1", "~callbacks.figures", "hydra.run.dir=run")
    assert run_train(*arguments).returncode == 0
    whole = record_of(tmp_path / "run")
    write_results(tmp_path / "run", {"status": "unfinished", "config_fingerprint": whole["config_fingerprint"]})
    done = run_train(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    again = record_of(tmp_path / "run")
    assert again["metrics"] == whole["metrics"]
    assert again["timing"]["resumed_at_step"] == again["timing"]["steps"] == whole["timing"]["steps"] == 10


@pytest.mark.slow
def test_the_record_of_an_earlier_version_is_replaced(run_train: Run, tmp_path: Path) -> None:
    arguments = (*JOB, "trainer.max_epochs=1", "~callbacks.figures", "hydra.run.dir=run")
    (tmp_path / "run").mkdir()
    write_results(tmp_path / "run", {"status": "completed", "config_fingerprint": "of the same run, as it was then"})
    done = run_train(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "run: its configuration has changed, so it starts from the beginning" in done.stdout
    assert record_of(tmp_path / "run")["schema"] == SCHEMA


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run(tmp_path: Path) -> None:
    hold(tmp_path)
    process = start(tmp_path, *JOB, HELD, "trainer=ddp_cpu", "hydra.run.dir=run", environment=OWN_NETWORKS)
    until((tmp_path / "run" / "checkpoints" / "last.ckpt").exists, process)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    release(tmp_path)
    assert process.wait(240) != 0
    kill(process)


def test_a_folder_with_contents_of_something_else_is_left_alone(run_train: Run, tmp_path: Path) -> None:
    (tmp_path / "mine" / "figures").mkdir(parents=True)
    (tmp_path / "mine" / "figures" / "thesis.png").write_text("mine")
    done = run_train(*JOB, "hydra.run.dir=mine")
    said = "error: hydra.run.dir=mine: holds figures that no run has written; choose another folder\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "figures", "thesis.png"]


def test_seconds_are_those_of_all_sessions() -> None:
    before, after = (LastCheckpoint("folder", 0.0) for _ in range(2))
    state = before.state_dict() | {"seconds": 100.0}
    after.load_state_dict(state)
    assert 100 <= after.seconds < 1000


@pytest.mark.slow
def test_a_lock_that_a_killed_process_left_as_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system without locks, where the lock is a file."""
    monkeypatch.setattr(locks, "FileLock", SoftFileLock)
    monkeypatch.setattr(locks, "LONGEST_WAIT", 0)
    write_results(tmp_path, {"status": "unfinished", "place": {"host": "elsewhere", "pid": 7}})
    (tmp_path / ".lock").write_text("7\nelsewhere\n")
    for path in (tmp_path, *tmp_path.iterdir()):
        os.utime(path, (1, 1))
    with (
        pytest.raises(TimeoutError, match=r"locked by another process \(process 7 on elsewhere\).*remove .*\.lock"),
        locks.locked(tmp_path),
    ):
        pass


def test_processes_that_share_a_run_do_not_leave_the_first_alone_that_makes_arrays_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "LONGEST_WAIT", 0.1)
    complete = made_up_record([0.5]) | {"config_fingerprint": "f"}
    write_results(tmp_path, complete)
    assert job._record_of_first_process(tmp_path, "f") == complete
    write_atomically(tmp_path / "reconstructions.npz", b"damaged")
    (tmp_path / LAST_CHECKPOINT.parent).mkdir()
    (tmp_path / LAST_CHECKPOINT).touch()
    with pytest.raises(TimeoutError, match="the first process of the run has not started"):
        job._record_of_first_process(tmp_path, "f")
    begun = {"status": "unfinished", "resumes": True, "started_by": job._process_group()}
    write_results(tmp_path, begun)
    assert job._record_of_first_process(tmp_path, "f") == begun


@pytest.mark.parametrize(
    ("given", "cores"), [("1", 1), ("", len(os.sched_getaffinity(0))), ("4096", len(os.sched_getaffinity(0)))]
)
def test_threads_follow_what_slurm_gives(monkeypatch: pytest.MonkeyPatch, given: str, cores: int) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
    assert threads._cores() == cores


def test_a_refusal_leaves_an_earlier_run_in_the_folder_as_it_is(run_train: Run, tmp_path: Path) -> None:
    assert run_train(*JOB, "hydra.run.dir=run").returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file() and ".hydra" not in path.parts}
    done = run_train(*JOB, "hydra.run.dir=run", "trainer.devices=3")
    said = "must be a multiple of the 3 processes that share each batch"
    assert (done.returncode, done.stderr.count("\n"), said in done.stderr) == (2, 1, True)
    after = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file() and ".hydra" not in path.parts}
    logs = {path for path in before if path.suffix == ".log"}
    assert after.keys() == before.keys()
    assert {path for path in before if before[path] != after[path]} <= logs


def test_only_a_runs_own_files_are_cleaned_up(run_train: Run, tmp_path: Path) -> None:
    """A run may be kept in a folder with other things, and with other runs."""
    others = ["draft.new", ".bashrc.20240131", "sub/data.json/x", "sub/checkpoints/.last.ckpt.0123abcd"]
    own = [".results.json.0123abcd", "checkpoints/.last.ckpt.0123abcd"]
    for name in (*others, *own):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "results.json").write_text("{")  # of a run that was killed
    assert run_train(*JOB, "hydra.run.dir=.").returncode == 0
    assert [name for name in (*others, *own) if (tmp_path / name).exists()] == others


def test_a_clean_up_that_is_interrupted_leaves_no_record_of_a_complete_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_results(tmp_path, made_up_record([0.5]) | {"config_fingerprint": "before"})
    note_fingerprint(tmp_path, "before")
    (tmp_path / LAST_CHECKPOINT).parent.mkdir()
    (tmp_path / LAST_CHECKPOINT).touch()
    monkeypatch.setattr(job.shutil, "rmtree", mock.Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        job._prepare(tmp_path, read_record(tmp_path), composed(), "now")
    record = read_record(tmp_path)
    assert (record["status"], record["config_fingerprint"]) == ("unfinished", "before")
    assert not (tmp_path / LAST_CHECKPOINT).exists()
