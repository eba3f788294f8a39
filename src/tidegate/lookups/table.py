"""Lookup files: CSV with a header, UTF-8, plain or gzip; mistakes are named by file, line and column."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from tidegate.errors import RetryLater, UsageError

T = TypeVar("T")
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
        """A whole number; required."""
        return self._number(column, int, "a whole number")

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
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError) as error:
        raise BadLookup(f"{path}: not gzip: {error}") from error
    except OSError as error:
        raise RetryLater(f"lookup file {path}: {error.strerror or error}") from error
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
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise BadLookup(
                    f"{path}, line {reader.line_num}: {len(cells)} cells for {len(header)} columns"
                )
            values = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
            yield Row(str(path), reader.line_num, values)
    except csv.Error as error:
        raise BadLookup(f"{path}, line {reader.line_num}: {error}") from error
