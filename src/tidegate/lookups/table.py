"""Lookup files: CSV with a header, UTF-8, plain or gzip; mistakes are named by file, line and column."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from tidegate.errors import RetryLater, UsageError

T = TypeVar("T")
MOST_BYTES = 64 << 20  # of one file; what is more is no lookup, and would fill the memory of every role
MOST_ROWS = 2_000_000
MOST_CHARACTERS = 4096  # of one cell: it stands in every row that is enriched with it
INT64 = 2**63
SHIPPED = Path(__file__).parent / "data"


class BadLookup(UsageError):
    """A lookup file cannot be used as it is; the message says where and what it should hold."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a lookup file. Cells are stripped; a missing optional column reads as ''."""

    file: str
    line: int
    cells: dict[str, str]

    def text(self, column: str, *, required: bool = False, allowed: Sequence[str] = ()) -> str:
        value = self.cells.get(column, "")
        if required and not value:
            self.wrong(column, "is empty")
        if allowed and value not in allowed:
            self.wrong(column, f"{value!r} is none of {', '.join(repr(one) for one in allowed)}")
        return value

    def whole(self, column: str) -> int:
        """A whole number of 64 bits; required."""
        value = self._number(column, int, "a whole number")
        if not -INT64 <= value < INT64:
            self.wrong(column, "is a number of more than 64 bits")
        return value

    def whole_or_none(self, column: str) -> int | None:
        return self.whole(column) if self.cells.get(column) else None

    def real_or_none(self, column: str, low: float, high: float) -> float | None:
        """A number from `low` to `high`, or None for an empty cell."""
        if not self.cells.get(column):
            return None
        value = self._number(column, float, "a number")
        if not low <= value <= high:
            self.wrong(column, f"{value} is not between {low:g} and {high:g}")
        return value

    def wrong(self, column: str, what: str) -> NoReturn:
        raise BadLookup(f"{self.file}, line {self.line}, column {column}: {what}")

    def _number(self, column: str, type_: Callable[[str], T], kind: str) -> T:
        value = self.text(column, required=True)
        try:
            return type_(value)
        except ValueError:
            self.wrong(column, f"{value!r} is not {kind}")


def find(name: str, directory: Path | None) -> Path:
    """The file to read for `name`: the user's, plain or gzip, before the shipped one."""
    for folder in (directory, SHIPPED):
        if folder is not None:
            for candidate in (folder / name, folder / f"{name}.gz"):
                if candidate.is_file():
                    return candidate
    raise RetryLater(f"lookup file {name} is missing")


def read(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> tuple[list[Row], bytes]:
    """The rows of a lookup file and a hash of its content.

    Raises RetryLater where the file cannot be read (a mount may be away), BadLookup where it is wrong.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)  # of a gzip file, the bytes it holds: a bomb ends here
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadLookup(f"{path}: not gzip: {error}") from error
    except OSError as error:
        raise RetryLater(f"lookup file {path}: {error.strerror or error}") from error
    if len(content) > MOST_BYTES:
        raise BadLookup(f"{path}: larger than {MOST_BYTES:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadLookup(f"{path}, line {line}: not UTF-8") from error
    return list(_rows(path, text, required, optional)), hashlib.sha256(content).digest()


def _rows(path: Path, text: str, required: Sequence[str], optional: Sequence[str]) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        for name in required:
            if name not in header:
                raise BadLookup(f"{path}, line 1: column {name} is missing (columns: {', '.join(required)})")
        for name in header:
            if name not in required and name not in optional:
                raise BadLookup(f"{path}, line 1, column {name}: not a column of this file")
        for number, cells in enumerate(reader):
            if number >= MOST_ROWS:
                raise BadLookup(f"{path}, line {reader.line_num}: more than {MOST_ROWS:,} rows")
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise BadLookup(
                    f"{path}, line {reader.line_num}: {len(cells)} cells for {len(header)} columns"
                )
            for name, cell in zip(header, cells, strict=True):
                if len(cell) > MOST_CHARACTERS or "\0" in cell:
                    what = "a zero byte" if "\0" in cell else f"more than {MOST_CHARACTERS:,} characters"
                    raise BadLookup(f"{path}, line {reader.line_num}, column {name}: {what}")
            values = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
            yield Row(str(path), reader.line_num, values)
    except csv.Error as error:
        raise BadLookup(f"{path}, line {reader.line_num}: {error}") from error
