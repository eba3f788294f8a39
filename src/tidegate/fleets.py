"""fleets: the fleets that exist, from the tokens file, reread when it changes.

Trouble with the file is never held against an event: while it is missing or broken, the fleets read
before stay known, and before any were read there is nothing to decide with.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from tidegate import tokens
from tidegate.errors import RetryLater, UsageError
from tidegate.file_signature import Signature, signature

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0


class Fleets:
    """`name in fleets` says whether a fleet exists; a name that is not known has the file looked at
    again first, so that a fleet made a moment ago is never refused. Raises RetryLater from the
    constructor when the file is missing or broken."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signature: Signature | None = None
        self._checked = 0.0
        self._complaint = ""
        self._known: frozenset[str] = frozenset()
        if (trouble := self._refresh()) is not None:
            raise RetryLater(trouble, after_seconds=2.0)

    def __contains__(self, name: object) -> bool:
        if time.monotonic() - self._checked > CHECK_SECONDS or name not in self._known:
            self._complain(self._refresh())
        return name in self._known

    def _refresh(self) -> str | None:
        """Reread the file if it changed; what is wrong with it, if anything is."""
        self._checked = time.monotonic()
        found = signature(self._path)
        if found is not None and found == self._signature:
            return None
        try:
            content = tokens.read(self._path)
        except UsageError as error:
            return str(error)
        if content is None:
            return f"tokens_file {self._path} is not there, so it is unknown which fleets exist"
        self._known = content.known_fleets()
        self._signature = found
        return None

    def _complain(self, trouble: str | None) -> None:
        if trouble and trouble != self._complaint:
            log.error("%s; the fleets read before stay known", trouble)
        self._complaint = trouble or ""
