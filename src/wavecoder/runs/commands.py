"""The commands beside `wavecoder train`: their arguments, and what they call. Heavy imports happen when a command runs."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from wavecoder.runs import completion, targets
from wavecoder.runs.cli import INTERRUPTED, exit_with_error
from wavecoder.runs.limits import MOST_NOISE, SettingError, is_noise
from wavecoder.runs.text import plain_lines


def report() -> None:
    """Write the report of a sweep, also of one that is not complete."""
    arguments = _sweep_parser(report).parse_args()

    with _one_line_errors():
        from wavecoder.paper.report import write_report

        print(f"The report is {write_report(arguments.sweep)}")


def status() -> None:
    """Show what the jobs of a sweep are doing."""
    arguments = _sweep_parser(status).parse_args()

    with _one_line_errors():
        from wavecoder.runs.status import show_status

        show_status(arguments.sweep)


def cancel() -> None:
    """End the jobs of a sweep, on Slurm too; its command resumes it."""
    arguments = _sweep_parser(cancel).parse_args()

    with _one_line_errors():
        from wavecoder.runs.status import cancel_sweep

        cancel_sweep(arguments.sweep)


def tensorboard() -> None:
    """Show the curves of a run, a sweep or all runs in TensorBoard, until Ctrl-C."""
    parser = _parser(tensorboard)
    folder = Path("outputs")
    parser.add_argument("folder", type=_path, nargs="?", default=folder, help=f"of a run, of a sweep, or of many ({folder})")
    parser.add_argument("--host", default="localhost", help="0.0.0.0 to be reached from other machines (localhost)")
    parser.add_argument("--port", type=int, default=6006, help="of the address to open in a browser (6006)")
    arguments = parser.parse_args()

    with _one_line_errors():
        from wavecoder.runs.tensorboard import serve

        sys.exit(serve(arguments.folder, arguments.host, arguments.port))


def denoise() -> None:
    """Clean noisy signals in a file with a trained network, and say how far the result can be trusted."""
    parser = _parser(denoise)
    parser.add_argument("run", type=_path, help="folder of the run, or of a sweep, of which the best job is taken")
    parser.add_argument("input", type=_path, help="rows of signals or a recording: .npy .npz .csv .tsv .parquet .wav .flac")
    parser.add_argument("output", type=_path, help="file to write, of any of these kinds; a picture is written beside it")
    parser.add_argument("--noise", type=_noise, metavar="STD", help="standard deviation of the noise; estimated if not given")
    _add_seed(parser)
    parser.add_argument("--windows", action="store_true", help="overlapping windows also for signals of the run's length or less")
    parser.add_argument(
        "--level",
        choices=("keep", "match"),
        help="whether signals are given the power of the training signals, and theirs back: match (the default for recordings), "
        "keep (for rows)",
    )
    parser.add_argument("--key", help="which array of a .npz file, or column of a .parquet, .csv or .tsv file")
    parser.add_argument("--force", action="store_true", help="replace output and picture if they exist")
    parser.add_argument("--device", default="cpu", help="where the network computes, for example cuda (default: cpu)")
    arguments = _parse_with_targets(parser)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what is half-written is removed on the way out
    with _one_line_errors():
        from wavecoder.runs.denoise import denoise as write

        write(**vars(arguments))


def export() -> None:
    """Write a trained network as ONNX or as a program of torch.export, for other programs."""
    parser = _parser(export)
    parser.add_argument("run", type=_path, help="folder of the run, or of a sweep, of which the best job is taken")
    parser.add_argument("output", type=_path, help="file to write: .onnx or .pt2")
    _add_seed(parser)
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    arguments = _parse_with_targets(parser)

    with _one_line_errors():
        from wavecoder.runs.export import export as write

        print(plain_lines(write(arguments.run, arguments.output, arguments.seed, arguments.force)))


def evaluate() -> None:
    """Measure trained runs again: on new signals, at other noise levels, on other distributions."""
    parser = _parser(evaluate)
    parser.add_argument("runs", type=_path, nargs="+", metavar="RUN", help="folder of a run, or of a sweep for its best job")
    numbers, names = _list_of(float, "numbers"), _list_of(str, "names")
    parser.add_argument("--noise", type=numbers, metavar="STD,…", help="noise levels in place of the runs' own, as 0.05,0.3,2")
    parser.add_argument("--families", type=names, metavar="NAME,…", help="families of signals in place of the training's")
    parser.add_argument("--sigma", type=float, help="standard deviation of the frequency in place of the training's")
    parser.add_argument(
        "--data-seed", type=int, metavar="N", help="which signals are drawn; the run's own data.seed repeats its results"
    )
    parser.add_argument("--output", type=_path, metavar="FOLDER", help="new folder for figures and evaluation.json")
    parser.add_argument("--device", default="cpu", help="where to compute, as cpu or cuda")
    given = _parse_with_targets(parser)

    with _one_line_errors():
        from wavecoder.runs.evaluate import evaluate as measure_again
        from wavecoder.runs.measure import Wanted

        wanted = Wanted(given.noise, given.families, given.sigma, given.data_seed)
        measure_again(given.runs, wanted, given.output, given.device)


COMMANDS = {command.__name__: command for command in (report, status, cancel, tensorboard, evaluate, denoise, export)}
"""All commands but `train`, by name, in the order in which help shows them."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        exit_with_error(SettingError(f"{message}; {self.prog} --help says what is allowed"))


def _parser(command: Callable[[], None]) -> argparse.ArgumentParser:
    if completion.is_asked_for(sys.argv[1:]):
        sys.exit()  # the shell completes names of files by itself
    parser = _Parser(description=(command.__doc__ or "").splitlines()[0])
    parser.add_argument("--version", action="version", version=f"wavecoder {version('wavecoder')}", help="show the version")
    return parser


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=_seed, default="best", help="which network: best (by validation, the default), mean (of all), or a seed"
    )


def _parse_with_targets(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments of a command that makes a run's network, after packages that they allow are allowed in this process."""
    option = "--allow-targets"
    parser.add_argument(
        option, type=_list_of(str, "names"), default=[], metavar="PACKAGE,…", help="packages of yours that the network is of"
    )
    arguments = parser.parse_args()
    with _one_line_errors():
        targets.allow(vars(arguments).pop(targets.ALLOW_TARGETS), f"{option} {{}}")
    return arguments


def _path(text: str) -> Path:
    if not text.strip():  # which a script makes of a variable that is not set
        raise argparse.ArgumentTypeError("'': must name a file or a folder")
    return Path(text)


def _seed(text: str) -> int | str:
    if text in ("best", "mean"):
        return text
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text}: must be best, mean or a seed")


def _noise(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not is_noise(value):
        raise argparse.ArgumentTypeError(f"{text}: must be a number, 0 or more, at most {MOST_NOISE:g}")
    return value


def _list_of(kind: Callable[[str], Any], what: str) -> Callable[[str], list[Any]]:
    """What reads a list of values with commas between them."""

    def read(text: str) -> list[Any]:
        try:
            return [kind(part.strip()) for part in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text}: must be {what} with commas between them") from None

    return read


def _sweep_parser(command: Callable[[], None]) -> argparse.ArgumentParser:
    """The parser of a command whose only argument is the folder of a sweep."""
    parser = _parser(command)
    parser.add_argument("sweep", type=_path, help="folder of the sweep, for example outputs/sweeps/paper")
    return parser


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """End the process with status 2 and one line on bad input, and with 130 on Ctrl-C, also while modules are imported."""
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would end in a traceback
        print("\nInterrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        from wavecoder.files import FileError  # late, because it imports NumPy

        if isinstance(error, SettingError | FileError | OSError):
            exit_with_error(error)
        raise
