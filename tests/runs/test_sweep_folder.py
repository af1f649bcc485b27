"""What lies in a sweep's folder and no command has put there: files for folders, folders for files, pipes, links to elsewhere."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from damages import folder_instead
from processes import Run, run_command, run_script
from run_files import completed, records

import wavecoder
from wavecoder.paper.report import write_report
from wavecoder.runs import status
from wavecoder.runs.limits import SettingError
from wavecoder.runs.results import RESULTS
from wavecoder.runs.store import DATABASE, read_sweep
from wavecoder.runs.tasks import TASKS, is_locked

QUICK = ("debug=quick", "logger=none", "data.train_size=128", "data.val_size=64", "~callbacks.figures")
SWEEP = ("-m", "hydra.sweep.dir=s", *QUICK, "latent=1,2")
LONGEST = 100  # seconds after which a command is stuck


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete sweep of two jobs with a report; tests only copy it."""
    folder = tmp_path_factory.mktemp("whole")
    assert run_script("train.py", folder, *SWEEP).returncode == 0
    write_report(folder / "s")
    return folder / "s"


@pytest.fixture
def sweep(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "s"))


def file_instead(path: Path) -> None:
    remove(path)
    path.write_text("x")


def pipe_instead(path: Path) -> None:
    remove(path)
    os.mkfifo(path)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def test_what_is_of_the_wrong_kind_is_set_aside(sweep: Path, run_train: Run) -> None:
    first, second = sorted(records(sweep))
    for name in ("summary.csv", "multirun.yaml"):
        folder_instead(sweep / name)
    for name in (TASKS, first):
        file_instead(sweep / name)
    done = run_train(*SWEEP)
    assert (done.returncode, done.stderr) == (0, "")
    for name, kind in {"summary.csv": "folder", "multirun.yaml": "folder", TASKS: "file", first: "file"}.items():
        said = f"s/{name}: is a {kind}, and must not be; it is set aside as {name}.damaged"
        assert done.stdout.splitlines().count(said) == 1
        assert (sweep / f"{name}.damaged").exists()
    assert sorted(completed(sweep)) == [first, second]
    assert (sweep / "summary.csv").is_file()
    assert "is set aside" not in run_train(*SWEEP).stdout


def test_a_report_sets_aside_what_is_in_its_place(sweep: Path, tmp_path: Path) -> None:
    for name in ("report.html", "report.md"):
        folder_instead(sweep / name)
    file_instead(sweep / "figures")
    done = run_command(tmp_path, sys.executable, "-m", "wavecoder", "report", "s")
    assert (done.returncode, done.stdout) == (0, "The report is s/report.html\n")
    kinds = {"report.html": "folder", "report.md": "folder", "figures": "file"}
    said = [f"s/{name}: is a {kind}, and must not be; it is set aside as {name}.damaged" for name, kind in kinds.items()]
    assert done.stderr.splitlines() == said
    folder_instead(sweep / "figures" / "summary.svg")
    assert write_report(sweep).is_file()
    assert (sweep / "figures" / "summary.svg").is_file()


def test_nothing_waits_for_a_pipe(sweep: Path, tmp_path: Path) -> None:
    first, second = sorted(records(sweep))
    (tasks,) = sweep.glob(f"{TASKS}/*/tasks.json")
    of_job = (RESULTS, "reconstructions.npz", ".fingerprint", "checkpoints/last.ckpt")
    of_hydra = (f".hydra/{name}.yaml" for name in ("config", "hydra", "overrides"))
    for path in (tasks, sweep / DATABASE, sweep / "summary.csv", *(sweep / first / name for name in (*of_job, *of_hydra))):
        pipe_instead(path)
    for command in (("status", "s"), ("report", "s"), ("evaluate", "s", "--output", "evaluated"), ("train", *SWEEP)):
        done = run_command(tmp_path, sys.executable, "-m", "wavecoder", *command, timeout=LONGEST)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), (command, done.stderr)
    assert sorted(completed(sweep)) == [first, second]
    for name in (".hydra/config.yaml", ".hydra/hydra.yaml", "checkpoints/last.ckpt"):
        pipe_instead(sweep / second / name)
        with pytest.raises(SettingError, match=r"is damaged") as caught:
            wavecoder.load(sweep / second)
        assert "\n" not in str(caught.value)
    pipe_instead(sweep / second / RESULTS)
    pipe_instead(sweep / second / "train.log")
    done = run_command(tmp_path, sys.executable, "-m", "wavecoder", "train", *SWEEP, timeout=LONGEST)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"job {second} failed: {sweep}/{second}/train.log: Not a regular file\n" in done.stdout


def test_members_of_an_ensemble_set_aside_what_is_in_their_place(tmp_path: Path, run_train: Run) -> None:
    command = ("-m", "hydra.sweep.dir=s", *QUICK, "seed=0,1", "stack_seeds=true")
    assert run_train(*command).returncode == 0
    first, second = sorted(records(tmp_path / "s"))
    file_instead(tmp_path / "s" / first)
    remove(tmp_path / "s" / second)
    for name in (".hydra", "checkpoints"):
        (tmp_path / "s" / second).mkdir(exist_ok=True)
        file_instead(tmp_path / "s" / second / name)
    done = run_train(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "divided among the folders of its 2 jobs" in done.stdout
    assert done.stdout.count("is a file, and must not be; it is set aside as") == 3
    assert sorted(completed(tmp_path / "s")) == [first, second]


COMMANDS: dict[str, Callable[[Path], object]] = {
    "results": read_sweep,
    "report": write_report,
    "status": status.show_status,
    "cancel": status.cancel_sweep,
}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing may change."""
    folder = tmp_path / "elsewhere"
    (folder / "token").mkdir(parents=True)
    (folder / "victim").write_text("precious")
    before = {path: path.lstat().st_mtime_ns for path in (folder, *folder.rglob("*"))}
    yield folder
    assert {path: path.lstat().st_mtime_ns for path in (folder, *folder.rglob("*"))} == before
    assert (folder / "victim").read_text() == "precious"


@pytest.mark.parametrize("name", [DATABASE, f"{DATABASE}-journal", TASKS, ".stacks", ".lock", "figures", f"{TASKS}/more"])
def test_links_out_of_a_sweep_are_refused_by_every_command(
    sweep: Path, tmp_path: Path, elsewhere: Path, run_train: Run, name: str
) -> None:
    remove(sweep / name)
    for end in (elsewhere, elsewhere / "victim", elsewhere / "nothing", sweep / name):
        (sweep / name).symlink_to(end)
        said = f"{sweep / name}: is a link out of the sweep's folder, which must hold none"
        for command, call in COMMANDS.items():
            with pytest.raises(SettingError) as caught:
                call(sweep)
            assert str(caught.value) == said, (command, end)
        (sweep / name).unlink()
    (sweep / name).symlink_to(elsewhere)
    done = run_train("-m", f"hydra.sweep.dir={sweep}", *SWEEP[2:-1], "latent=1,2,3")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {said}\n")


def test_jobs_that_are_links_are_read_and_not_written(sweep: Path, tmp_path: Path, elsewhere: Path, run_train: Run) -> None:
    first, second = sorted(records(sweep))
    (sweep / first).rename(tmp_path / "moved")
    (sweep / first).symlink_to(tmp_path / "moved")
    assert {job["job"]: job["status"] for job in read_sweep(sweep)} == dict.fromkeys((first, second), "completed")
    assert run_train(*SWEEP).returncode == 0
    for end in (elsewhere, sweep / second):
        (sweep / first).unlink()
        (sweep / first).symlink_to(end)
        (sweep / second / RESULTS).unlink(missing_ok=True)
        done = run_train(*SWEEP)
        said = f"error: s/{first}: is a link, and must be a folder of the job's own\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_a_lock_that_is_a_link_is_not_opened(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / ".lock").symlink_to(elsewhere / "victim")
    assert not is_locked(tmp_path / ".lock")


def test_a_search_refuses_links_too(sweep: Path, elsewhere: Path, run_train: Run) -> None:
    for name in (".lock", "study.db", "experiment", f"{min(records(sweep))}/checkpoints"):
        remove(sweep / name)
        (sweep / name).symlink_to(elsewhere)
        done = run_train("-m", "experiment=search", f"hydra.sweep.dir={sweep}", *QUICK)
        kind = "run" if name.endswith("checkpoints") else "sweep"
        said = f"error: {sweep / name}: is a link out of the {kind}'s folder, which must hold none\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
        (sweep / name).unlink()
