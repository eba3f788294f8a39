"""Takes out, every hour, what is behind its fleet's retention: in the sink that has the first partition."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from tidegate.errors import RetryLater, Stop
from tidegate.service.background import Background
from tidegate.settings import Settings
from tidegate.store.expiry import expire

log = logging.getLogger(__name__)

EVERY_SECONDS, RETRY_SECONDS = 3600.0, 60.0
LOOK_SECONDS = 1.0  # at whether this sink leads
STOP_SECONDS = 10.0


class Expiry(Background):
    """A thread, between enter and exit. `leads` says whether it is this sink's turn; two do no harm."""

    def __init__(self, settings: Settings, client: Client, leads: Callable[[], bool]) -> None:
        super().__init__("expiry", stop_seconds=STOP_SECONDS)
        self._settings = settings
        self._client = client
        self._leads = leads

    def _run(self) -> None:
        due = 0.0
        while self._settings.fleet_retention_days and not self._stopping.wait(LOOK_SECONDS):
            if time.monotonic() < due or not self._leads():
                continue
            due = time.monotonic() + EVERY_SECONDS
            try:
                for table, rows in expire(self._client, self._settings).items():
                    log.info("%s: %d rows are gone, behind their fleet's retention", table, rows)
            except (RetryLater, Stop, Error) as error:
                log.warning("rows behind their fleet's retention are not taken out yet: %s", error)
                due = time.monotonic() + RETRY_SECONDS
