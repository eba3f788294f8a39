"""What a simulation did, as a file: a JSON line for each incident and hard negative that is over."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from tidegate.simulate.incidents import Truth


def line(truth: Truth) -> str:
    """The JSON of an incident; times ISO 8601 UTC, `first` null where no event showed it."""
    document = truth._asdict()
    for name in ("start", "end", "first"):
        document[name] = _iso(document[name])
    return json.dumps(document, ensure_ascii=False)


class TruthFile:
    """Appends to a file; without a path, nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("a", encoding="utf-8") if path is not None else None

    def write(self, truths: Iterable[Truth]) -> None:
        if self._file is not None:
            self._file.writelines(line(truth) + "\n" for truth in truths)
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _iso(time: int) -> str | None:
    return datetime.fromtimestamp(time / 1e6, UTC).isoformat().replace("+00:00", "Z") if time else None
