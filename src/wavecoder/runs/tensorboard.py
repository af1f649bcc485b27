"""`wavecoder tensorboard`: the curves of one run, of a sweep or of many, under names that tell them apart.

TensorBoard calls a run by its path. So it is shown a folder of links: to each run, named by the choices in which it differs from
the others, and to each reference once for all runs in which it has the same errors. Runs write their own folders alone, so that
they cannot get in one another's way, and each stays complete.
"""

import errno
import os
import socket
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from wavecoder.runs import results
from wavecoder.runs.limits import SettingError
from wavecoder.runs.plan import STACKS
from wavecoder.runs.settings import OF_SWEEPS
from wavecoder.runs.store import DATABASE, Store
from wavecoder.runs.text import plain

CURVES, AUTOENCODER = "tb", "autoencoder"  # a run's folder of curves, and in it that of its own; conf/logger/tensorboard.yaml
_EVERY = 5  # seconds between two looks for new runs, as often as TensorBoard looks for new points
_HIGHEST_PORT = 65535
_LONGEST = 120  # characters of a name
_SAME = 5  # digits in which the errors of a reference agree if it is the same
_APART = {"hydra", "hydra/launcher", "callbacks", "logger"}  # groups that are not part of a network

Choices = Mapping[str, str]
Errors = tuple[tuple[str, str], ...]


def serve(folder: Path, host: str, port: int) -> int:
    """Show the curves of all runs in a folder until the process is interrupted; runs that begin later appear too.

    Args:
        folder: A run's, a sweep's or one that holds many.
        host: Where TensorBoard is reached.
        port: Where TensorBoard is reached.

    Returns:
        The exit status.

    Raises:
        SettingError: There is nothing to show, or TensorBoard cannot be reached there.
    """
    if not folder.is_dir():
        raise SettingError(f"{folder}: no such folder")
    _check_address(host, port)
    with TemporaryDirectory(prefix="wavecoder-tensorboard-") as temporary:
        links = Links(folder, Path(temporary))
        links.refresh()
        if not any(Path(temporary).iterdir()):
            raise SettingError(f"{folder}: nothing to show: no run in it has curves, which logger=none leaves out")
        end = threading.Event()
        thread = threading.Thread(target=_keep_fresh, args=(links, end), daemon=True)
        thread.start()
        try:
            return _run_tensorboard(temporary, host, port, f"{folder.resolve().name} - TensorBoard")
        finally:
            end.set()
            thread.join()


def _check_address(host: str, port: int) -> None:
    """Refuse where nothing can listen: TensorBoard itself says so in several lines, or with a traceback."""
    if not 0 <= port <= _HIGHEST_PORT:
        raise SettingError(f"--port {port}: must be 0 to {_HIGHEST_PORT}; 0 takes one that is free")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SettingError(f"--host {host}: there is no such host ({getattr(error, 'strerror', None) or error})") from error
    addresses, refused = {(family, address[:2]) for family, _, _, _, address in found}, []
    for family, address in addresses:
        try:
            socket.create_server(address, family=family).close()
        except OSError as error:
            refused.append(error)
    if any(error.errno == errno.EADDRINUSE for error in refused):
        raise SettingError(f"--port {port}: is taken on {host}; choose another, or 0 for one that is free")
    if len(refused) == len(addresses):
        raise SettingError(f"--host {host} --port {port}: cannot be used here ({os.strerror(refused[0].errno or 0)})")


def _run_tensorboard(logdir: str, host: str, port: int, title: str) -> int:
    from tensorboard import default, program  # type: ignore[import-untyped]  # takes a second to import

    board = program.TensorBoard(plugins=default.get_plugins())
    board.configure(("", "--logdir", logdir, "--host", host, "--port", str(port), "--window_title", title))
    try:
        return 1 if board.main() else 0
    except KeyboardInterrupt:  # before it serves; from then on it takes Ctrl-C as its end itself
        return 0


def _keep_fresh(links: "Links", end: threading.Event) -> None:
    while not end.wait(_EVERY):
        with suppress(OSError):  # a run's folder is removed while it is looked at
            links.refresh()


class Links:
    """A folder of links to the curves of runs, and to those of their references.

    Args:
        source: Where the runs are.
        folder: An empty folder for the links.
    """

    def __init__(self, source: Path, folder: Path) -> None:
        self.source = source.resolve()
        self.folder = folder
        self._choices: dict[Path, Choices] = {}
        self._errors: dict[Path, tuple[Errors, int]] = {}

    def refresh(self) -> None:
        """Make the links that are missing, and remove those to what is gone or has another name now.

        Raises:
            SettingError: The system has no links for everybody, as Windows without its developer mode.
        """
        wanted = self._wanted()
        existing = {link.name: link.readlink() for link in self.folder.iterdir()}
        for name, target in existing.items():
            if wanted.get(name) != target:
                (self.folder / name).unlink()
        for name, target in wanted.items():
            if existing.get(name) == target:
                continue
            try:
                (self.folder / name).symlink_to(target, target_is_directory=True)
            except OSError as error:
                instead = f"`tensorboard --logdir {self.source}` shows the same under longer names"
                raise SettingError(f"links cannot be made here ({error.strerror}); {instead}") from error

    def _wanted(self) -> dict[str, Path]:
        """What each link's name should be, and where it leads."""
        runs = list(find_runs(self.source))
        choices = {run: self._choices_of(run) for run in runs}
        sweeps = {run: self._sweep_of(run) for run in runs}
        differing = varied([*choices.values(), *(each for sweep in set(sweeps.values()) for each in _planned(sweep))])
        several = len(set(sweeps.values())) > 1
        names: dict[str, Path] = {}
        for run in runs:
            parts = [describe_choice(key, choices[run][key], differing) for key in differing if key in choices[run]]
            name = " ".join([*parts, *([self._place(run, sweeps[run])] if several else [])])
            names[_unused(name or AUTOENCODER, names)] = run / CURVES / AUTOENCODER
        return names | self._references(choices, differing, names)

    def _references(self, choices: Mapping[Path, Choices], differing: Sequence[str], taken: Iterable[str]) -> dict[str, Path]:
        """Each reference once for all runs in which it has the same errors, named by what these runs have in common."""
        groups: dict[str, dict[Errors, list[Path]]] = defaultdict(lambda: defaultdict(list))
        for run in choices:
            for folder in sorted((run / CURVES).iterdir()):
                if folder.name != AUTOENCODER and not folder.name.startswith(".") and folder.is_dir():
                    groups[folder.name][self._errors_of(folder)[0]].append(run)
        names: dict[str, Path] = {}
        for label, of_label in groups.items():
            for runs in of_label.values():
                common = [key for key in differing if len({choices[run].get(key) for run in runs}) == 1]
                chosen = choices[runs[0]]
                parts = [describe_choice(key, chosen[key], differing) for key in common if key in chosen]
                longest = max(runs, key=lambda run: self._errors_of(run / CURVES / label)[1])
                name = " ".join([label, *(parts if len(of_label) > 1 else [])])
                names[_unused(name, [*names, *taken])] = longest / CURVES / label
        return names

    def _choices_of(self, run: Path) -> Choices:
        """What was chosen for a run on the command line."""
        if run not in self._choices:
            chosen = results.read_record(run).get("overrides") or results.read_overrides(run)
            self._choices[run] = _of_job(chosen)
        return self._choices[run]

    def _errors_of(self, folder: Path) -> tuple[Errors, int]:
        """The errors of a reference, rounded, and its last step."""
        if folder not in self._errors:
            self._errors[folder] = read_errors(folder)
        return self._errors[folder]

    def _sweep_of(self, run: Path) -> Path:
        """The folder of a run's sweep; that of a single run holds others of its day."""
        return run.parent.parent if run.parent.name == STACKS else run.parent

    def _place(self, run: Path, sweep: Path) -> str:
        """What tells a run from one of the same choices elsewhere: its sweep, or when it began."""
        if (sweep / DATABASE).exists():
            return sweep.name
        return f"{sweep.name} {run.name.partition('_')[0]}"


def find_runs(folder: Path) -> Iterator[Path]:
    """The folders of all runs that have curves, in a folder or below it."""
    if (folder / CURVES / AUTOENCODER).is_dir():
        yield folder
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        hidden = entry.name.startswith(".") and entry.name != STACKS
        if not hidden and entry.is_dir(follow_symlinks=False):
            yield from find_runs(Path(entry.path))


def varied(choices: Sequence[Choices]) -> list[str]:
    """The keys in which choices differ, in the order in which they were given."""
    keys = dict.fromkeys(key for chosen in choices for key in chosen)
    return [key for key in keys if len({chosen.get(key) for chosen in choices}) > 1]


def describe_choice(key: str, value: str, keys: Iterable[str]) -> str:
    """A choice in few letters, for a narrow column.

    Args:
        key: What was chosen.
        value: The choice.
        keys: All keys that are told: of those that end alike, none is shortened.

    Example:
        >>> [describe_choice(key, value, ()) for key, value in {"activation": "tanh", "optimizer.lr": "1e-3"}.items()]
        ['tanh', 'lr=1e-3']
    """
    last = key.rpartition(".")[2]
    if last == "_target_":
        return value.rpartition(".")[2]
    if "." not in key and not isinstance(results.as_value(value), float | bool):
        return value
    return f"{key if sum(each.rpartition('.')[2] == last for each in keys) > 1 else last}={value}"


def read_errors(folder: Path) -> tuple[Errors, int]:
    """The errors of a reference in its curves, by name, and the last step."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader  # type: ignore[import-untyped]

    errors: dict[str, str] = {}
    last = 0
    for file in filter(Path.is_file, sorted(folder.glob("events.out.tfevents.*"))):  # a pipe would be waited for
        for event in LegacyEventFileLoader(str(file)).Load():
            last = max(last, event.step)
            errors |= {value.tag: f"{value.simple_value:.{_SAME}g}" for value in event.summary.value}
    return tuple(sorted(errors.items())), last


def _planned(sweep: Path) -> Iterator[Choices]:
    """What is chosen for each job of a sweep, also for those that have not begun, so that names do not change when they do."""
    if (sweep / DATABASE).exists():
        with Store(sweep) as store:
            for _, job in store.jobs().values():
                yield _of_job(results.as_choices(job.overrides))


def _of_job(chosen: Choices) -> Choices:
    """Those of some choices that say what is trained."""
    return {key: value for key, value in chosen.items() if key not in OF_SWEEPS and key.partition(".")[0] not in _APART}


def _unused(name: str, taken: Iterable[str]) -> str:
    """The name as a folder's, with a number if it is taken."""
    name = plain(name).replace(os.sep, "-").lstrip(".")[:_LONGEST] or AUTOENCODER
    number, unused = 1, name
    while unused in set(taken):
        number += 1
        unused = f"{name} ({number})"
    return unused
