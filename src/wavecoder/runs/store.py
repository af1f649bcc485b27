"""The records of a sweep's jobs in one file, so that those of thousands are read in a second.

`sweep.db`, an SQLite file in the sweep's folder, repeats what the jobs' folders say. It is brought up to date whenever it is read
and made again from the folders if it is missing or damaged. Jobs never write to it, so it needs no locks that work on a cluster.
"""

import json
import logging
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wavecoder.runs import results
from wavecoder.runs.foreign import refuse_links_of_sweep
from wavecoder.runs.plan import Job

DATABASE = "sweep.db"
_TABLES = """
CREATE TABLE IF NOT EXISTS records (
    job TEXT PRIMARY KEY, stamp TEXT NOT NULL, modified REAL NOT NULL,
    status TEXT NOT NULL, fingerprint TEXT, record TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    job TEXT PRIMARY KEY, key TEXT NOT NULL, fingerprint TEXT NOT NULL, overrides TEXT NOT NULL, checksum INTEGER NOT NULL);
"""
_RECORDS = "SELECT job, stamp, modified, status, fingerprint, record, checksum FROM records"
_JOBS = "SELECT job, key, fingerprint, overrides, checksum FROM jobs"

log = logging.getLogger(__name__)


class Store:
    """The records of a sweep's jobs.

    Args:
        folder: The sweep's. If it cannot be written, the records are read from the jobs' folders every time.

    Raises:
        SettingError: There are links that lead out of the folder, through which commands would read and write.
    """

    def __init__(self, folder: Path) -> None:
        refuse_links_of_sweep(folder)
        self.folder = folder
        try:
            self._connection = _opened(folder / DATABASE)
        except (sqlite3.Error, OSError):
            self._connection = _connected(":memory:")

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _write(self, *statements: tuple[str, Iterable[tuple[Any, ...]]]) -> None:
        """Execute statements with all their rows, in memory from now on if the file cannot be written any more."""
        try:
            _execute(self._connection, statements)
        except sqlite3.OperationalError:
            kept = sqlite3.connect(":memory:", isolation_level=None)
            self._connection.backup(kept)
            self._connection.close()
            self._connection = kept
            _execute(self._connection, statements)

    def refresh(self) -> None:
        """Read the records that have changed, and forget those of jobs whose folders are gone."""
        known = dict(self._connection.execute("SELECT job, stamp FROM records"))
        found = dict(_stamps(self.folder))
        changed = [job for job, (stamp, _) in found.items() if not stamp or known.get(job) != stamp]
        gone = known.keys() - found.keys()
        if not changed and not gone:
            return
        rows = []
        for job in changed:
            record = results.read_record(self.folder / job)
            if "overrides" not in record:  # it has just begun, or is of an earlier version
                record["overrides"] = results.read_overrides(self.folder / job)
            stamp, modified = found[job]
            stamp = "" if "damaged" in record else stamp  # so that every command that reads it says so
            row = (job, stamp, modified, record["status"], record.get("config_fingerprint"), json.dumps(record))
            rows.append((*row, _checksum(row)))
        self._write(
            ("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", rows),
            ("DELETE FROM records WHERE job = ?", [(job,) for job in gone]),
        )

    def records(self) -> list[dict[str, Any]]:
        """The record of every job that has begun, with its name as `job`."""
        rows = self._connection.execute("SELECT job, record FROM records ORDER BY job")
        return [{"job": job, **json.loads(record)} for job, record in rows]

    def states(self) -> dict[str, "State"]:
        """The state of every job that has begun, by name."""
        rows = self._connection.execute("SELECT job, status, fingerprint, modified FROM records")
        return {job: State(status, fingerprint, modified) for job, status, fingerprint, modified in rows}

    def jobs(self) -> dict[str, tuple[str, Job]]:
        """All jobs that any command has asked for, by name, each after the key of its configuration (see `Composer.key`)."""
        rows = self._connection.execute("SELECT job, key, overrides, fingerprint FROM jobs")
        return {job: (key, Job(job, tuple(json.loads(overrides)), fingerprint)) for job, key, overrides, fingerprint in rows}

    def remember(self, jobs: Mapping[Job, str]) -> None:
        """Keep jobs that a command has asked for, with the keys of their configurations."""
        rows = [(job.name, key, job.fingerprint, json.dumps(job.overrides)) for job, key in jobs.items()]
        self._write(("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?)", [(*row, _checksum(row)) for row in rows]))


def _opened(file: Path) -> sqlite3.Connection:
    """The file's content, made anew if it is damaged or of another version.

    Raises:
        sqlite3.OperationalError: It cannot be written, or is in use.
    """
    try:
        return _connected(file)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        log.warning("%s is damaged, or of another version, and is made again from the jobs' folders", file)
        for each in (file, file.with_name(f"{file.name}-journal")):
            each.unlink(missing_ok=True)
        return _connected(file)


def _connected(file: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=30, isolation_level=None)
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES}")  # which fails if it cannot be written
        _check(connection)
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    """Compare all rows with their checksums, which SQLite itself has none of.

    Raises:
        sqlite3.DatabaseError: The file is damaged, or of another version.
    """
    try:
        for columns in (_RECORDS, _JOBS):
            for *row, checksum in connection.execute(columns):
                if _checksum(tuple(row)) != checksum:
                    raise sqlite3.DatabaseError("a row is damaged")
    except sqlite3.OperationalError as error:  # no such column, no text
        raise sqlite3.DatabaseError(str(error)) from error


def _checksum(row: tuple[Any, ...]) -> int:
    return zlib.crc32(repr(row).encode(errors="surrogatepass"))


def _execute(connection: sqlite3.Connection, statements: Iterable[tuple[str, Iterable[tuple[Any, ...]]]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement, rows in statements:
            connection.executemany(statement, rows)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself has ended it if the disk is full
            connection.execute("ROLLBACK")
        raise


@dataclass(frozen=True)
class State:
    """How far a job is: what its record says, and when that was written, in seconds since 1970."""

    status: str = "not begun"
    fingerprint: str | None = None
    modified: float = field(default=0.0, compare=False)


def _stamps(folder: Path) -> Iterator[tuple[str, tuple[str, float]]]:
    """For each job's folder, what changes when its record changes, and when that was."""
    for entry in os.scandir(folder) if folder.is_dir() else ():
        if entry.name.startswith("."):
            continue
        if not (os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()):  # noqa: PTH112 - links may lead in a circle
            continue
        try:
            state = os.stat(os.path.join(entry.path, results.RESULTS))  # noqa: PTH116, PTH118 - ten thousand times
        except FileNotFoundError:
            if os.path.isdir(os.path.join(entry.path, ".hydra")):  # noqa: PTH112, PTH118
                yield entry.name, ("", 0.0)
            continue
        except OSError:  # a record that is a link to itself, or may not be read: as of a damaged one
            yield entry.name, ("", 0.0)
            continue
        yield entry.name, (f"{state.st_mtime_ns} {state.st_size} {state.st_ino}", state.st_mtime)


def read_sweep(folder: Path) -> list[dict[str, Any]]:
    """The results of every job of a sweep, best `val/mse` first; jobs that failed or are not finished come last.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    if not os.path.lexists(folder / DATABASE) and not any(_stamps(folder)):
        return []  # and nothing is written into what is no sweep's folder
    with Store(folder) as store:
        store.refresh()
        return sorted(store.records(), key=results.rank)
