"""A terminal of any size: a command runs in a pseudo-terminal, and an emulator tells what stands on its screen."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyte

_LINES = 200  # of a screen, so that nothing scrolls away
_PATIENCE = 280  # seconds


class Terminal:
    """A command in a terminal of so many columns.

    Args:
        command: What runs.
        columns: The width of the terminal.
        folder: Where it runs.
        environment: What is added to the environment.
        lines: The height of the terminal.
    """

    def __init__(
        self, command: Sequence[str], columns: int, folder: Path, environment: dict[str, str] | None = None, lines: int = _LINES
    ) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._text = ""
        self.seen: list[str] = []  # every screen that differed from the one before
        self._fd, of_command = pty.openpty()
        fcntl.ioctl(of_command, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        apart = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "CI")
        plain = {key: value for key, value in os.environ.items() if key not in apart}

        def take_terminal() -> None:  # so that Ctrl-C reaches the command and all that it starts, as from a shell
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGINT, signal.default_int_handler)

        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=plain | {"TERM": "xterm-256color", "OMP_NUM_THREADS": "1"} | (environment or {}),
            stdin=of_command,
            stdout=of_command,
            stderr=of_command,
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(of_command)

    @property
    def text(self) -> str:
        """What stands on the screen, without empty lines at its end."""
        if self.screen.dirty:  # reading all of it takes a while
            self._text = "\n".join(line.rstrip() for line in self.screen.display).rstrip()
            self.screen.dirty.clear()
        return self._text

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Read what the command prints until something holds."""
        deadline = time.monotonic() + _PATIENCE
        while not holds():
            assert time.monotonic() < deadline, self.text
            assert self._read() or holds(), f"it has ended:\n{self.text}"

    def wait(self) -> int:
        """Read until the command has ended; its exit status."""
        deadline = time.monotonic() + _PATIENCE
        while self._read():
            assert time.monotonic() < deadline, self.text
        status = self.process.wait(_PATIENCE)
        os.close(self._fd)
        return status

    def _read(self) -> bool:
        """Take in what was printed, waiting a moment for it; whether the command may print more."""
        if not select.select([self._fd], [], [], 0.05)[0]:
            return self.process.poll() is None
        try:
            printed = os.read(self._fd, 65536)
        except OSError:  # the other end is closed
            return False
        self._stream.feed(printed)
        if printed and (not self.seen or self.seen[-1] != self.text):
            self.seen.append(self.text)
        return bool(printed)
