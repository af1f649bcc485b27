"""Tables and sentences for terminals of any width: columns are left out or continued below, nothing is cut within a word."""

import errno
import logging
import shlex
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from rich.console import Console
from rich.text import Text

from wavecoder.runs.text import plain, plain_lines

_GAP = "  "  # between two columns
_UNLIMITED = 10_000  # columns: the width of what is no terminal
_LEAST_ROOM = 24  # columns for the names of rows


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: What stands above it; it may have several lines, as may cells.
        cells: What stands in each row.
        is_text: Whether it is aligned to the left; numbers are aligned to the right.
        left_out: Where there is no room for all, columns with the highest number go first; those with 0 stay.
    """

    heading: str
    cells: tuple[str, ...]
    is_text: bool = False
    left_out: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "heading", plain_lines(self.heading))
        object.__setattr__(self, "cells", tuple(map(plain_lines, self.cells)))

    @property
    def width(self) -> int:
        return max(len(line) for cell in (self.heading, *self.cells) for line in cell.split("\n"))


@dataclass(frozen=True)
class Table:
    """A table that fits the width it is given.

    Where there is no room for all columns, some are left out, in the order of `Column.left_out`. If that does not suffice, what
    names a row is one text at its end, in several lines, if that is what is too long; otherwise columns are continued below.

    Attributes:
        title: What it shows.
        names: The columns that tell rows apart.
        columns: All others.
        notes: Sentences below the table.
    """

    title: str
    names: tuple[Column, ...]
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()

    def lines(self, width: int = _UNLIMITED) -> list[str]:
        """Its lines, for so many columns of a terminal."""
        return [line for line, _ in self._styled_lines(width)]

    def print(self, console: Console) -> None:
        """Print it as wide as a terminal is, or with all columns where there is none."""
        lines = (Text(line, style) for line, style in self._styled_lines(width_of(console)))
        console.print(Text("\n").join(lines), soft_wrap=True)

    def _styled_lines(self, width: int) -> Iterator[tuple[str, str]]:
        for line in wrap(self.title, width):
            yield line, "bold"
        yield "", ""
        kept, notes = list(self.columns), list(self.notes)
        gone: list[Column] = []
        while _total((*self.names, *kept)) > width and (least := max(column.left_out for column in kept)):
            gone += [column for column in kept if column.left_out == least]
            kept = [column for column in kept if column.left_out < least]
        if _total((*self.names, *kept)) > width and 2 * _total(self.names) > width:
            blocks = [self._names_last(kept, width)]
        else:
            blocks = list(_blocks(self.names, kept, width))
        for block in blocks:
            yield from _block_lines(block)
            yield "", ""
        if gone:
            headings = dict.fromkeys(column.heading.partition("\n")[0] for column in self.columns if column in gone)
            notes.append(f"Left out for lack of room: {', '.join(headings)}")
        for note in notes:
            for line in wrap(note, width):
                yield line, ""

    def _names_last(self, columns: Sequence[Column], width: int) -> list[Column]:
        """Columns with what tells each row apart as one text at its end."""
        room = max(_LEAST_ROOM, width - _total(columns) - len(_GAP))
        texts = []
        for row in range(len(columns[0].cells)):
            chosen = [(column.heading, column.cells[row]) for column in self.names if column.cells[row]]
            text = " ".join(f"{key}={cell}" if len(self.names) > 1 else cell for key, cell in chosen)
            texts.append("\n".join(wrap(text, room)))
        heading = self.names[0].heading if len(self.names) == 1 else "job"
        return [*columns, Column(heading, tuple(texts), is_text=True)]


def _total(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _blocks(names: Sequence[Column], columns: Sequence[Column], width: int) -> Iterator[list[Column]]:
    """Columns in as few blocks as fit below one another, each after the columns that name the rows."""
    block: list[Column] = []
    for column in columns:
        if block and _total((*names, *block, column)) > width:
            yield [*names, *block]
            block = []
        block.append(column)
    yield [*names, *block]


def _block_lines(columns: Sequence[Column]) -> Iterator[tuple[str, str]]:
    def row(cells: Sequence[str], bottom: bool = False) -> Iterator[str]:
        split = [cell.split("\n") for cell in cells]
        height = max(map(len, split))
        for number in range(height):
            parts = []
            for column, lines in zip(columns, split, strict=True):
                at = number - (height - len(lines)) if bottom else number
                text = lines[at] if 0 <= at < len(lines) else ""
                parts.append(text.ljust(column.width) if column.is_text else text.rjust(column.width))
            yield _GAP.join(parts).rstrip()

    for line in row([column.heading for column in columns], bottom=True):
        yield line, "bold"
    yield "─" * _total(columns), ""
    for cells in zip(*(column.cells for column in columns), strict=True):
        for line in row(cells):
            yield line, ""


def width_of(console: Console) -> int:
    """The columns of a terminal; what is none, as a pipe or a file, has room for everything."""
    return console.width if console.is_terminal else _UNLIMITED


def wrap(text: str, width: int, indent: str = "") -> list[str]:
    """A sentence in lines of a width, broken between words alone, without what a terminal would obey."""
    text = plain(text)
    if len(text) <= width:
        return [text]
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


class LogFile(logging.FileHandler):
    """A log that cannot be written, as on a full disk, is named once; a run does not need it, and goes on."""

    _has_failed = False

    def _open(self) -> TextIOWrapper:
        if Path(self.baseFilename).is_fifo():  # a pipe, which would be waited for until somebody reads it
            raise OSError(errno.EINVAL, "Not a regular file", self.baseFilename)
        return super()._open()

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._has_failed:
            self._has_failed = True
            print(f"{self.baseFilename}: {error.strerror}; messages are missing from it", file=sys.stderr)


class SafeFormatter(logging.Formatter):
    """Formats what is logged without what a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        return plain_lines(super().format(record))


class PlainFormatter(SafeFormatter):
    """Formats what is logged to the console: on a terminal in lines that are broken between words."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not sys.stdout.isatty():
            return text
        width = Console().width
        return "\n".join(part for line in text.split("\n") for part in wrap(line, width))


def say(console: Console, text: str) -> None:
    """Print a sentence, on a terminal broken between words."""
    for line in wrap(text, width_of(console)):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def command_lines(words: Sequence[str], width: int, indent: str = "  ") -> list[str]:
    """A command as it can be copied into a shell, continued on the next line where the terminal ends.

    Args:
        words: The command and its arguments.
        width: The columns of the terminal.
        indent: Before each line.
    """
    lines, line = [], indent
    for word in map(plain, map(shlex.quote, words)):
        if line.strip() and len(line) + len(word) + len("  \\") > width:
            lines.append(f"{line} \\")
            line = indent + "  "
        line += word if not line.strip() else f" {word}"
    return [*lines, line]
