"""Signals that end a process: what is said before it dies of one. Imports nothing heavy: the command line begins with it."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

ENDING = (*([signal.SIGUSR2] if hasattr(signal, "SIGUSR2") else []), signal.SIGTERM)
"""Signals that end a process: SIGUSR2, by which Slurm announces a time limit, and SIGTERM."""


class SayAndEnd:
    """A handler that prints one line, and lets the signal end the process as if it had no handler.

    Args:
        line: Makes the line from what happened.
    """

    def __init__(self, line: Callable[[str], str]) -> None:
        self._line = line

    def __call__(self, number: int, frame: FrameType | None) -> None:
        kind = signal.Signals(number)
        if os.environ.get("LOCAL_RANK", "0") == "0":  # the first of processes that share a run speaks for all
            with suppress(OSError):  # nobody listens any more
                os.write(2, f"{self._line(f'Ended by {kind.name}')}\n".encode())  # print() fails where it has interrupted another
        die_of(kind)


def die_of(kind: signal.Signals) -> NoReturn:
    """End this process by a signal, whatever handles it."""
    signal.signal(kind, signal.SIG_DFL)
    signal.raise_signal(kind)
    raise SystemExit(128 + kind)  # where the signal is blocked


def ends_process(handler: Any) -> bool:
    """Whether a signal with this handler ends the process, and nothing else."""
    return handler == signal.SIG_DFL or isinstance(handler, SayAndEnd)


@contextmanager
def saying_when_ended(line: Callable[[str], str]) -> Iterator[None]:
    """Let no signal end this process without a word; what handles or ignores one already is left alone.

    Args:
        line: Makes the line that is printed from what happened, as "Ended by SIGTERM".
    """
    is_main = threading.current_thread() is threading.main_thread()  # others have no handlers
    silent = [kind for kind in ENDING if is_main and signal.getsignal(kind) == signal.SIG_DFL]
    for kind in silent:
        signal.signal(kind, SayAndEnd(line))
    try:
        yield
    finally:
        for kind in silent:
            signal.signal(kind, signal.SIG_DFL)
