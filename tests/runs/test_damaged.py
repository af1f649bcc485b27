"""Damaged files in the folders of finished runs: every reader names them in a line, and what can be made again is made again."""

import io
import json
import os
import random
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_files import record_of

import wavecoder
from wavecoder.paper.report import write_report
from wavecoder.runs import status
from wavecoder.runs.limits import SettingError
from wavecoder.runs.plan import Job
from wavecoder.runs.results import CHECKSUM, load_record, read_record, write_results
from wavecoder.runs.store import DATABASE, State, Store
from wavecoder.runs.tasks import TASKS, read_batches
from wavecoder.runs.tensorboard import Links
from wavecoder.training.files import DamagedError, read_arrays, write_arrays

WAVECODER = str(Path(sys.executable).with_name("wavecoder"))

BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "half": lambda content: content[: len(content) // 2],
    "short by a byte": lambda content: content[:-2],
    "no text": lambda _: b"\xff\xfe\x00" * 50,
    "nested": lambda _: b"[" * 100_000,
    "list": lambda _: b"[]",
    "mapping": lambda _: b"{}",
    "null": lambda _: b"null",
}
RECORDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no metrics": lambda record: record.pop("metrics"),
    "metrics are a list": lambda record: record.update(metrics=[1]),
    "an error is missing": lambda record: record["metrics"]["val/mse"].pop("mean"),
    "a seed is missing": lambda record: record["metrics"]["val/mse"]["per_seed"].pop(),
    "NaN": lambda record: record["timing"].update(fit_seconds=float("nan")),
    "text for a number": lambda record: record.update(latent_dim="5"),
    "a huge number": lambda record: record.update(seed=10**400),
    "status is a number": lambda record: record.update(status=1),
    "half of a character": lambda record: record.update(network="\ud800"),
    "overrides are lists": lambda record: record.update(overrides={"latent": [1]}),
    "an engine is a text": lambda record: (record.update(engine="x", status="unfinished"), record.pop("metrics")),
    "diverged and no more": lambda record: (record.clear(), record.update(status="diverged")),
    "diverged at no step": lambda record: (
        record.pop("metrics"),
        record.update(status="diverged", error="", diverged={"0": None}),
    ),
    "a seed is no number": lambda record: record.update(diverged={"first": 10}),
    "curves of other members": lambda record: record.update(
        subspace={"steps": [1]} | {name: [[0.1] * 9] for name in ("linear/excess", "linear/largest_angle")},
        metrics=record["metrics"] | dict.fromkeys(("linear/excess", "linear/largest_angle"), record["metrics"]["val/mse"]),
    ),
}


@pytest.fixture
def sweep(trained: Path, tmp_path: Path) -> Path:
    """A copy of a finished sweep that can be damaged."""
    return shutil.copytree(trained, tmp_path / "s", copy_function=os.link)


def damage(file: Path, content: bytes | None) -> None:
    """Give a file another content, or make a folder in its place; other links to it stay as they are."""
    if file.exists():
        file.unlink()
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)


def damaged_records(content: bytes) -> dict[str, bytes | None]:
    """Every damage that is done to a record."""
    found: dict[str, bytes | None] = {"folder": None} | {name: change(content) for name, change in BYTES.items()}
    for name, change in RECORDS.items():
        record = json.loads(content)
        del record[CHECKSUM]  # as of an earlier version, or every change would be noticed by it alone
        change(record)
        found[name] = json.dumps(record).encode()
    return found


def test_a_damaged_record_is_unfinished_and_named_by_every_reader(
    sweep: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    job = sweep / "auto-1"
    file = job / "results.json"
    (tmp_path / "links").mkdir()
    for name, content in damaged_records(file.read_bytes()).items():
        damage(file, content)
        caplog.clear()
        assert read_record(job)["status"] == "unfinished", name
        jobs = wavecoder.results(sweep).set_index("job")
        assert jobs.status.to_dict() == {job.name: "unfinished"} | dict.fromkeys(set(jobs.index) - {job.name}, "completed"), name
        with pytest.raises(SettingError, match=r"results\.json: is damaged, so the run cannot be loaded") as caught:
            wavecoder.load(job)
        assert "\n" not in str(caught.value)
        assert set(caplog.messages) <= {f"{file}: is damaged; the run counts as unfinished"}
        if content is None:
            file.rmdir()
    assert wavecoder.load(sweep).folder != job
    Links(sweep, tmp_path / "links").refresh()
    status.show_status(sweep)
    status.cancel_sweep(sweep)
    assert "3 completed" in capsys.readouterr().out


def test_any_change_of_a_record_is_noticed(trained: Path, tmp_path: Path) -> None:
    content, whole = (trained / "auto-1" / "results.json").read_bytes(), load_record(trained / "auto-1")
    drawn = random.Random(0)
    for place in drawn.sample(range(len(content)), 300):
        damaged = bytearray(content)
        damaged[place] ^= 1 << drawn.randrange(7)
        (tmp_path / "results.json").write_bytes(damaged)
        try:
            record = load_record(tmp_path)
        except DamagedError:
            continue
        if record["status"] != "outdated":  # the number of its schema is another one
            assert whole.items() <= record.items(), place  # white space, or the name of the checksum, which is ignored then
    record = json.loads(content)
    (tmp_path / "results.json").write_text(json.dumps(record))  # as other programs write it
    assert load_record(tmp_path) == whole
    (tmp_path / "results.json").write_text(json.dumps({key: record[key] for key in whole}))  # of an earlier version
    assert load_record(tmp_path) == whole


def test_what_may_be_missing_from_a_record_is_no_damage(trained: Path, tmp_path: Path) -> None:
    record = record_of(trained / "auto-3")
    needed = []
    for key in record:
        write_results(tmp_path, {name: value for name, value in record.items() if name != key} | {"of a later version": [{}]})
        try:
            load_record(tmp_path)
        except DamagedError:
            needed.append(key)
    assert {"metrics", "num_seeds", "engine"} <= set(needed)
    assert not set(needed) & {"overrides", "place", "origin", "basis", "config_fingerprint", "data_seed"}


def test_arrays_that_do_not_fit_one_another_are_damaged(trained: Path, tmp_path: Path) -> None:
    arrays = read_arrays(trained / "auto-3", 3)
    assert arrays is not None
    assert read_arrays(trained / "auto-3", 2) is None
    changes: dict[str, Callable[[str, np.ndarray], np.ndarray]] = {
        "numbers as text": lambda _, values: values.astype(str),
        "another shape": lambda _, values: values[None],
        "complex": lambda _, values: values * 1j,
    }
    for name in ("times", "shown", "sine", "noisy_0.1", "autoencoder_0.1", "draws_mse_0.1", "svd_0.1"):
        for change, make in changes.items():
            write_arrays(tmp_path, arrays | {name: make(name, arrays[name])})
            assert read_arrays(tmp_path) is None, (name, change)
    for name in ("times", "shown", "sine"):
        write_arrays(tmp_path, {key: values for key, values in arrays.items() if key != name})
        assert read_arrays(tmp_path) is None, name
    objects = io.BytesIO()
    np.savez(objects, **arrays | {"times": np.array([{}], object)})
    (tmp_path / "reconstructions.npz").write_bytes(objects.getvalue())
    assert read_arrays(tmp_path) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config", "hydra", "overrides"])
def test_a_damaged_configuration_is_one_line(sweep: Path, tmp_path: Path, name: str) -> None:
    job = sweep / "auto-1"
    file = job / ".hydra" / f"{name}.yaml"
    content = file.read_bytes()
    others = {
        "date": b"a: 2000-99-99\n",
        "code": b"!!python/object/apply:os.getcwd []\n",
        "open": b"a: [1",
        "binary": b"- !!binary aa\n",
    }
    for kind, damaged in [("folder", None), *((kind, change(content)) for kind, change in BYTES.items()), *others.items()]:
        if kind in ("half", "short by a byte"):
            continue  # which may be YAML
        damage(file, damaged)
        if name == "overrides":
            assert wavecoder.load(job).folder == job
        else:
            with pytest.raises(SettingError, match="auto-1") as caught:
                wavecoder.load(job)
            assert "\n" not in str(caught.value)
        (tmp_path / "links").mkdir(exist_ok=True)
        Links(sweep, tmp_path / "links").refresh()
        if damaged is None:
            file.rmdir()


def test_a_damaged_list_of_tasks_is_left_out(sweep: Path, caplog: pytest.LogCaptureFixture) -> None:
    (file,) = sweep.glob(f"{TASKS}/*/tasks.json")
    content = file.read_bytes()
    changes: dict[str, Any] = {"pid": "1", "tasks": [[{"name": "a"}]], "host": None, "launched": [], "hydra_overrides": [1]}
    changes["token"] = "../elsewhere"
    damages = [None, *(change(content) for change in BYTES.values())]
    damages += [json.dumps(json.loads(content) | {key: value}).encode() for key, value in changes.items()]
    for damaged in damages:
        damage(file, damaged)
        caplog.clear()
        assert list(read_batches(sweep)) == []
        assert caplog.messages == [f"{file}: is damaged and left out"]
        status.show_status(sweep)
        status.cancel_sweep(sweep)
        if damaged is None:
            file.rmdir()


def test_a_damaged_store_is_made_again(sweep: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(sweep / DATABASE, sweep / "whole")
    content = (sweep / "whole").read_bytes()
    at = content.index(b'"mean"') + 9  # a digit of a result
    flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    for damaged in (content[:5000], content[: len(content) // 2], b"no database", flipped):
        damage(sweep / DATABASE, damaged)
        caplog.clear()
        assert (wavecoder.results(sweep).status == "completed").all()
        said = f"{sweep / DATABASE} is damaged, or of another version, and is made again from the jobs' folders"
        assert caplog.messages == [said]
        with sqlite3.connect(sweep / DATABASE) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
    damage(sweep / DATABASE, None)
    assert (wavecoder.results(sweep).status == "completed").all()


def test_a_store_whose_disk_is_full_goes_on_in_memory(tmp_path: Path) -> None:
    job = Job("a", ("seed=1",), "f")
    with Store(tmp_path) as store:
        (tmp_path / "a").mkdir()
        write_results(tmp_path / "a", {"status": "unfinished", "config_fingerprint": "f"})
        store._connection.execute("PRAGMA max_page_count=1")
        store.remember({Job(f"{number}", ("x" * 5000,), "f"): "k" for number in range(20)} | {job: "key"})
        store.refresh()
        assert store.states() == {"a": State("unfinished", "f")}
        assert store.jobs()["a"] == ("key", job)


@pytest.mark.slow
def test_bad_jobs_do_not_cost_the_report_of_all(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(sweep / "auto-1" / "results.json", b"{}")
    arrays = read_arrays(sweep / "auto-3") or {}
    (sweep / "auto-3" / "reconstructions.npz").unlink()
    write_arrays(sweep / "auto-3", arrays | {"autoencoder_0.1": arrays["autoencoder_0.1"][:1]})
    damage(sweep / "pytorch-1" / ".hydra" / "config.yaml", b"\xff")
    damage(sweep / "pytorch-1" / ".hydra" / "hydra.yaml", b"hydra: {runtime: {config_sources: 3}}\n")
    damage(sweep / "pytorch-3" / ".hydra" / "overrides.yaml", b"a: [")
    page = write_report(sweep).read_text()
    for job, said in {
        "auto-1": "unfinished: results.json is damaged",
        "auto-3": "reconstructions.npz is damaged",
        "pytorch-1": ".hydra/config.yaml: is damaged: the report lacks",
        "pytorch-3": ".hydra/overrides.yaml: is damaged: the report lacks",
    }.items():
        assert job in page
        assert said in page
