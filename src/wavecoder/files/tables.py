"""Tables: .csv and .tsv through pandas, .parquet through pyarrow. A row is a signal; a single column is one long recording."""

import csv
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from wavecoder.files.base import LABEL_NAMES, FileError, Stored, require_package, signal_shape

_SHOWN = 40  # characters of a cell in a message


class Text(Stored):
    """Numbers in a .csv or .tsv file, with or without a line of names.

    Attributes:
        names: Those of the columns, or of the one that was chosen; None if it has none.
        label_column: The position of the labels among them; None if there are none.
    """

    suffixes = (".csv", ".tsv")

    def __init__(self, path: Path, key: str | None = None, labels: str | None = None) -> None:
        self.path = path
        self._separator = "\t" if path.suffix.lower() == ".tsv" else ","
        first = self._first_line()
        names = (labels,) if labels is not None else LABEL_NAMES
        self._has_names = (
            any(name in first for name in names) or not any(_is_number(cell) for cell in first) or _are_counted(first)
        )
        if key is None and self._has_names and first[0] == "" and len(first) > 1:
            raise FileError(path, "the first column has no name: it looks like row numbers; write the table without them")
        if labels is not None and labels not in first:
            there = f"; its columns are {', '.join(first)}" if self._has_names and len(first) <= 12 else ""
            raise FileError(path, f"has no column of labels named {labels}{there}")
        self.names = first if self._has_names else None
        self.label_column = next((first.index(name) for name in names if self._has_names and name in first), None)
        self._count = len(first)
        self._columns = [number for number in range(self._count) if number != self.label_column]
        if key is not None:
            self._choose(key)

    def _choose(self, key: str) -> None:
        """Take one column alone, as a recording."""
        if self.names is None or key not in self.names:
            there = f"one of its columns, {', '.join(self.names[:12])}" if self.names else "left out: its columns have no names"
            raise FileError(self.path, f"key={key}: must be {there}")
        self._columns, self.label_column, self.names = [self.names.index(key)], None, [key]

    @property
    def _needed(self) -> str:
        return "tabs" if self._separator == "\t" else "commas, and points in numbers,"

    def _first_line(self) -> list[str]:
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                for line in csv.reader(file, delimiter=self._separator):
                    if any(";" in cell for cell in line):
                        raise FileError(self.path, f"has semicolons between its values; {self._needed} are needed")
                    if line:
                        return [cell.strip() for cell in line]
        except (UnicodeDecodeError, csv.Error) as error:
            raise FileError(self.path, f"is not a text file ({error})") from error
        raise FileError(self.path, "is empty")

    @cached_property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Known when the file has been read once."""
        if len(self._columns) > 1:
            return signal_shape(self.path, self._table[0].shape)
        return signal_shape(self.path, (sum(map(len, self._chunks(100_000))),))

    @cached_property
    def _table(self) -> tuple[ndarray, ndarray | None]:
        """The rows and their labels."""
        chunks = list(self._chunks(10_000))
        if not chunks:
            raise FileError(self.path, "holds no rows")
        labels = None
        if self.label_column is not None:
            labels = np.concatenate([chunk.iloc[:, self.label_column].to_numpy() for chunk in chunks])
            labels = labels.astype(str) if labels.dtype.kind == "O" else labels
        return np.concatenate([self._numbers(chunk) for chunk in chunks]), labels

    def blocks(self, size: int) -> Iterator[ndarray]:
        if self.is_recording:
            yield from (self._numbers(chunk)[:, 0] for chunk in self._chunks(size))
        else:
            rows = self.read()
            yield from (rows[first : first + size] for first in range(0, len(rows), size))

    def read(self) -> ndarray:
        return self._table[0] if len(self._columns) > 1 else super().read()

    def labels(self, name: str | None) -> ndarray | None:
        return self._table[1]

    def _chunks(self, size: int) -> Iterator[Any]:
        """Data frames of at most `size` rows."""
        import pandas as pd

        arguments: dict[str, Any] = {"header": None, "names": range(self._count), "index_col": False, "encoding": "utf-8-sig"}
        arguments["skip_blank_lines"] = self._count > 1  # in a recording they are gaps
        arguments |= {"sep": self._separator, "skiprows": int(self._has_names), "skipinitialspace": True}
        row = 0
        try:
            with pd.read_csv(self.path, chunksize=size, on_bad_lines="error", **arguments) as reader:
                for chunk in reader:
                    self._require_numbers(chunk, row)
                    row += len(chunk)
                    yield chunk
        except pd.errors.EmptyDataError:
            return
        except (pd.errors.ParserError, UnicodeDecodeError, OverflowError) as error:
            raise FileError(self.path, f"cannot be read: {str(error).strip().removeprefix('Error tokenizing data. ')}") from error

    def _numbers(self, chunk: Any) -> ndarray:
        return chunk.iloc[:, self._columns].to_numpy(dtype=np.float64)

    def _require_numbers(self, chunk: Any, first: int) -> None:
        import pandas as pd

        for column in self._columns:
            values = chunk[column]
            if values.dtype.kind in "iuf":
                missing = values.isna().to_numpy() if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)
            else:
                missing = pd.to_numeric(values.astype(str), errors="coerce").isna().to_numpy()
            if missing.any():
                row = int(missing.argmax())
                cell = values.iloc[row]
                found = "is empty or nan" if pd.isna(cell) else f"is {str(cell)[:_SHOWN]!r}"
                raise FileError(self.path, f"row {first + row}, column {column} (counted from 0) {found}; numbers are needed")


class Parquet(Stored):
    """A .parquet file: a column for each sample, or one column of lists of equal length."""

    suffixes = (".parquet",)

    def __init__(self, path: Path, key: str | None = None, labels: str | None = None) -> None:
        self.path = path
        self._arrow = require_package(path, "pyarrow", "parquet")
        self._parquet = require_package(path, "pyarrow.parquet", "parquet")
        try:
            file = self._parquet.ParquetFile(path)
        except (self._arrow.ArrowInvalid, OSError) as error:
            raise FileError(path, f"is not a .parquet file, or damaged ({error})") from error
        with file:
            schema, count = file.schema_arrow, file.metadata.num_rows
        self._labels = labels or next((name for name in LABEL_NAMES if name in schema.names), None)
        if labels is not None and labels not in schema.names:
            raise FileError(path, f"has no column of labels named {labels}")
        self._columns = [name for name in schema.names if name != self._labels]
        if key is not None:
            if key not in schema.names:
                raise FileError(path, f"key={key}: must be one of its columns, {', '.join(schema.names[:12])}")
            self._columns = [key]
        types = self._arrow.types
        kinds = {name: schema.field(name).type for name in self._columns}
        lists = [name for name in self._columns if types.is_list(kinds[name]) or _is_fixed(types, kinds[name])]
        if lists and len(self._columns) > 1:
            raise FileError(path, f"key=null: must name the column of signals, one of {', '.join(lists)}")
        for name, kind in kinds.items():
            value = kind.value_type if name in lists else kind
            if not (types.is_floating(value) or types.is_integer(value)):
                raise FileError(path, f"column {name} holds values of type {kind}; numbers are needed")
        self._list = bool(lists)
        if count == 0 or not self._columns:
            raise FileError(path, "holds no values")
        length = self._length_of_lists() if self._list else len(self._columns)
        self.shape = signal_shape(path, (count, length))

    def _length_of_lists(self) -> int:
        first = next(self._batches(1)).column(0)[0].as_py()
        if not first:
            raise FileError(self.path, "row 0 (counted from 0) is empty")
        return len(first)

    def blocks(self, size: int) -> Iterator[ndarray]:
        first = 0
        for batch in self._batches(size):
            block = self._lists(batch, first) if self._list else self._columns_of(batch, first)
            first += len(block)
            yield block[:, 0] if self.is_recording else block

    def _batches(self, size: int) -> Iterator[Any]:
        try:
            with self._parquet.ParquetFile(self.path) as file:
                yield from file.iter_batches(size, columns=self._columns)
        except (self._arrow.ArrowInvalid, OSError) as error:
            raise FileError(self.path, f"is damaged ({error})") from error

    def _lists(self, batch: Any, first: int) -> ndarray:
        column = batch.column(0)
        lengths = np.array(column.value_lengths().fill_null(0).to_pylist())
        width = 1 if self.is_recording else self.shape[1]
        if (lengths != width).any():
            row = int((lengths != width).argmax())
            raise FileError(
                self.path,
                f"row {first + row} (counted from 0) has {lengths[row]} values and row 0 has {width}; all must have as many",
            )
        return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)

    def _columns_of(self, batch: Any, first: int) -> ndarray:
        columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
        by_name = dict(zip(batch.schema.names, columns, strict=True))
        return np.stack([by_name[name] for name in self._columns], axis=1)

    def labels(self, name: str | None) -> ndarray | None:
        if self._labels is None:
            return None
        with self._parquet.ParquetFile(self.path) as file:
            values = file.read(columns=[self._labels]).column(0).to_pandas().to_numpy()
        return values.astype(str) if values.dtype.kind == "O" else values


def _is_fixed(types: Any, kind: Any) -> bool:
    return bool(types.is_fixed_size_list(kind) or types.is_large_list(kind))


def _are_counted(names: list[str]) -> bool:
    """Whether the columns are called 0, 1, 2 and so on, as pandas calls them, with or without one of row numbers."""
    names = names[names[0] == "" :]  # without that of row numbers
    return len(names) > 2 and names == [str(number) for number in range(len(names))]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
