"""The lock that a process holds on a run's folder while it works there."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from wavecoder.runs import results
from wavecoder.runs.limits import SettingError
from wavecoder.training.files import rename_damaged

log = logging.getLogger(__name__)

LONGEST_WAIT = 600  # seconds that a process waits for another one of which nothing is seen


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run's lock, which the operating system releases when the process ends in any way."""
    file = folder / ".lock"
    if file.is_symlink():
        raise SettingError(f"{file}: must be a file that processes lock; remove it if no run of yours has made it")
    if file.is_dir():
        with suppress(FileNotFoundError, NotADirectoryError):  # another process has done so
            log.warning("%s: is a folder, and must not be; it is set aside as %s", file, rename_damaged(file))
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0.5)  # another process may be looking whether this run is running
    except Timeout:
        place = results.read_record(folder).get("place", {})
        holder = f" (process {place['pid']} on {place['host']})" if place else ""
        log.info("%s: another process is working on it%s, waiting", folder.name, holder)
        _wait_for(lock, folder, holder)
    with lock:
        lock.release()  # it is held twice now
        yield


def _wait_for(lock: BaseFileLock, folder: Path, holder: str) -> None:
    """Wait for a run's lock. Where the file system has no locks it is a file, which a process that was killed leaves behind.

    Raises:
        TimeoutError: It is such a file, and nothing has changed in the run's folder for a long time.
    """
    while True:
        with suppress(Timeout):
            lock.acquire(timeout=10)
            return
        changed = max(path.stat().st_mtime for path in (folder, *folder.glob("*"), *folder.glob("*/*")) if path.exists())
        if isinstance(lock, SoftFileLock) and time.time() - changed > LONGEST_WAIT:
            remedy = f"if nothing runs there, remove {folder / '.lock'}"
            raise TimeoutError(f"{folder.name} is locked by another process{holder} that has written nothing; {remedy}")
