"""The records of a sweep in one file, which its jobs' folders can always replace."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from run_files import made_up_record

from wavecoder.runs.plan import Job
from wavecoder.runs.results import write_results
from wavecoder.runs.store import DATABASE, State, Store, read_sweep


def write_job(sweep: Path, name: str, error: float = 0.1) -> None:
    (sweep / name).mkdir(exist_ok=True)
    write_results(sweep / name, made_up_record([error]) | {"config_fingerprint": f"f{name}", "overrides": {"seed": name}})


def errors(sweep: Path) -> dict[str, float]:
    return {job["job"]: job["metrics"]["val/mse"]["mean"] for job in read_sweep(sweep)}


def test_records_follow_the_folders(tmp_path: Path) -> None:
    for name in "abc":
        write_job(tmp_path, name)
    assert errors(tmp_path) == {"a": 0.1, "b": 0.1, "c": 0.1}
    write_job(tmp_path, "b", 0.05)
    write_job(tmp_path, "d", 0.2)
    shutil.rmtree(tmp_path / "a")
    assert list(errors(tmp_path).items()) == [("b", 0.05), ("c", 0.1), ("d", 0.2)], "the best first"


@pytest.mark.parametrize("damage", [b"", b"not a database", b"SQLite format 3\0 and then nothing"])
def test_a_damaged_store_is_made_again(tmp_path: Path, damage: bytes) -> None:
    write_job(tmp_path, "a")
    read_sweep(tmp_path)
    (tmp_path / DATABASE).write_bytes(damage)
    assert errors(tmp_path) == {"a": 0.1}
    (tmp_path / DATABASE).unlink()
    assert errors(tmp_path) == {"a": 0.1}


def test_a_folder_that_cannot_hold_a_store_is_read_all_the_same(tmp_path: Path) -> None:
    write_job(tmp_path, "a")
    (tmp_path / DATABASE).mkdir()
    assert errors(tmp_path) == {"a": 0.1}
    with Store(tmp_path / "missing") as store:
        store.refresh()
        assert store.records() == []
    assert not (tmp_path / "missing").exists()


def test_jobs_that_were_asked_for_are_remembered(tmp_path: Path) -> None:
    jobs = [Job("a", ("seed=1",), "fa"), Job("b", ("seed=2",), "fb")]
    with Store(tmp_path) as store:
        store.remember({job: f"key {job.name}" for job in jobs})
    write_job(tmp_path, "a")
    (tmp_path / "b" / ".hydra").mkdir(parents=True)
    (tmp_path / ".tasks").mkdir()
    with Store(tmp_path) as store:
        store.refresh()
        assert store.jobs() == {job.name: (f"key {job.name}", job) for job in jobs}
        assert store.states() == {"a": State("completed", "fa"), "b": State("unfinished", None)}


@pytest.mark.parametrize("content", [None, "", "- seed=1\n- 'act", "{}"])
def test_a_job_that_is_just_beginning_has_no_choices_yet(tmp_path: Path, content: str | None) -> None:
    """Hydra writes its files one after another, and not at once."""
    (tmp_path / "a" / ".hydra").mkdir(parents=True)
    if content is not None:
        (tmp_path / "a" / ".hydra" / "overrides.yaml").write_text(content)
    assert [(job["job"], job["status"], job["overrides"]) for job in read_sweep(tmp_path)] == [("a", "unfinished", {})]
    (tmp_path / "a" / ".hydra" / "overrides.yaml").write_text("- seed=1\n- latent='5'\n")
    assert read_sweep(tmp_path)[0]["overrides"] == {"seed": "1", "latent": "5"}


def test_a_store_of_another_version_and_damaged_records_are_read_anew(tmp_path: Path) -> None:
    write_job(tmp_path, "a")
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        connection.executescript("CREATE TABLE jobs (job TEXT); CREATE TABLE records (job TEXT);")
    connection.close()
    assert errors(tmp_path) == {"a": 0.1}
    for content in ("", "[]", "{}", '{"status": "comp'):
        (tmp_path / "a" / "results.json").write_text(content)
        assert [(job["job"], job["status"]) for job in read_sweep(tmp_path)] == [("a", "unfinished")]
