"""What a sweep's jobs are doing, and how they are ended."""

import math
import sys
from pathlib import Path

import pytest
from conftest import composed
from filelock import FileLock
from held import HELD, hold
from processes import JOB, OWN_NETWORKS, run_command, start, until
from run_files import checkpoints, made_up_record

from wavecoder.runs.plan import Job
from wavecoder.runs.results import write_results
from wavecoder.runs.status import _states_now, has_ended, show_status
from wavecoder.runs.store import State
from wavecoder.runs.tasks import write_batch


def test_a_sweep_that_runs_is_looked_at_and_cancelled(tmp_path: Path) -> None:
    sweep, jobs = tmp_path / "outputs" / "sweeps" / "mine", ("-m", *JOB, HELD, "~callbacks.figures", "latent=1,5", "sweep=mine")
    hold(sweep)
    process = start(tmp_path, *jobs, environment=OWN_NETWORKS)
    until(lambda: checkpoints(sweep), process)
    shown, cancelled = (
        run_command(tmp_path, sys.executable, "-m", "wavecoder", command, str(sweep)) for command in ("status", "cancel")
    )
    assert process.wait(240) != 0
    after = run_command(tmp_path, sys.executable, "-m", "wavecoder", "status", str(sweep))
    assert shown.stdout.startswith("2 jobs: 1 running, 1 not begun\n")
    assert f"process {process.pid} on " in shown.stdout
    assert cancelled.stdout.startswith("cancelled 0 tasks on Slurm, and 1 commands on this machine")
    assert after.stdout.startswith("2 jobs: 2 lost\n"), "its process ended"


@pytest.mark.parametrize("command", ["status", "cancel", "report"])
def test_a_folder_that_is_no_sweeps_is_one_line(tmp_path: Path, command: str) -> None:
    done = run_command(tmp_path, sys.executable, "-m", "wavecoder", command, "missing")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: missing: ")


def test_failed_before_is_not_tried_and_completed_otherwise_is_not_complete(tmp_path: Path) -> None:
    record = {"status": "failed", "error": "ValueError: no", "config_fingerprint": "f"}
    (tmp_path / "job").mkdir()
    write_results(tmp_path / "job", record)
    job = Job("job", (), "f")
    now = (tmp_path / "job" / "results.json").stat().st_mtime
    assert has_ended(tmp_path / "job", job, now - 1)
    assert not has_ended(tmp_path / "job", job, now + 1), "it failed in an earlier session"
    write_results(tmp_path / "job", made_up_record([0.1]) | {"config_fingerprint": "f"})
    assert has_ended(tmp_path / "job", job, now + 1)
    assert not has_ended(tmp_path / "job", Job("job", (), "another configuration"), 0.0)
    assert _states_now(tmp_path, [job], {"job": State("completed", "of before")}) == {"job": ("not begun", "")}


def test_jobs_that_have_not_begun_are_known_without_the_store(tmp_path: Path) -> None:
    write_batch(tmp_path, composed(), "joblib", [(Job("a", (), "fa"), Job("b", (), "fb"))])
    (tmp_path / "a").mkdir()
    write_results(tmp_path / "a", made_up_record([0.1]) | {"config_fingerprint": "fa", "overrides": {}})
    shown = run_command(tmp_path, sys.executable, "-m", "wavecoder", "status", ".")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("2 jobs: 1 completed, 1 not begun\n")


def test_a_diverged_job_is_called_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_batch(tmp_path, composed(), "joblib", [tuple(Job(name, (), f"f{name}") for name in "abc")])
    (tmp_path / "multirun.yaml").touch()
    for name, errors in {"a": [0.1], "b": [math.nan, 0.2], "c": [math.nan]}.items():
        (tmp_path / name).mkdir()
        write_results(tmp_path / name, made_up_record(errors) | {"config_fingerprint": f"f{name}", "overrides": {}})
    show_status(tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        "3 jobs: 1 completed, 2 diverged",
        "diverged  b  1 of 2 seeds diverged",
        "diverged  c",
        "the best so far: a, val/mse 0.1",
    ]


def test_members_of_an_ensemble_run_where_it_runs_and_their_names_are_shown_whole(tmp_path: Path) -> None:
    members = tuple(Job(f"{'alike,' * 10}[seed]={seed}", (), f"f{seed}") for seed in range(2))
    write_batch(tmp_path, composed(), "joblib", [(Job(".stacks/both", (), "f", members), Job("other", (), "f2"))])
    (tmp_path / ".stacks" / "both").mkdir(parents=True)
    (tmp_path / "multirun.yaml").touch()
    place = {"pid": 12, "host": "n1"}
    write_results(tmp_path / ".stacks" / "both", {"status": "unfinished", "config_fingerprint": "f", "place": place})
    with FileLock(tmp_path / ".stacks" / "both" / ".lock"):
        shown = run_command(tmp_path, sys.executable, "-m", "wavecoder", "status", ".", environment={"COLUMNS": "80"})
    assert (shown.returncode, shown.stderr) == (0, "")
    rows = [f"running  {member.name}  process 12 on n1" for member in members]
    assert shown.stdout.splitlines() == ["3 jobs: 2 running, 1 not begun", *rows]
