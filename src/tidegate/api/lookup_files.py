"""The lookup files as the API sees them: read at the first call that needs them."""

from __future__ import annotations

import asyncio
import logging

from tidegate.api.problems import Problem
from tidegate.errors import RetryLater, UsageError
from tidegate.lookups import Lookups, load

log = logging.getLogger(__name__)


class LookupFiles:
    """The lookups of a folder. They are read once: a role that wants newer files is started again."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._lookups: Lookups | None = None
        self._lock = asyncio.Lock()

    async def read(self) -> Lookups:
        """Raises Problem `lookups_away` while a file cannot be read, `internal` where one is wrong."""
        async with self._lock:
            if self._lookups is None:
                try:
                    self._lookups = await asyncio.to_thread(load, self._directory)
                except RetryLater as error:
                    log.warning("%s", error)
                    seconds = str(max(1, round(error.after_seconds)))
                    raise Problem("lookups_away", headers={"retry-after": seconds}) from error
                except UsageError as error:
                    log.error("%s", error)
                    raise Problem("internal", "a lookup file is wrong; see `tidegate lookups`") from error
            return self._lookups
