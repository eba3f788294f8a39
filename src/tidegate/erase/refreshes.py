"""Waiting for refreshes of views that began before something was erased: they may write it back."""

from __future__ import annotations

import time
from collections.abc import Collection

from clickhouse_connect.driver.client import Client

from tidegate.errors import RetryLater
from tidegate.settings import Settings
from tidegate.store.client import infrastructure, literal

ENDED_SECONDS = 300.0  # within which a refresh ends
POLL_SECONDS = 0.2


def await_ended(client: Client, settings: Settings, views: Collection[str]) -> None:
    """Let the refreshes of these views end that run now, on every replica. Raises RetryLater where one does
    not."""
    source = "system.view_refreshes"
    if settings.clickhouse_cluster:
        source = f"clusterAllReplicas({literal(settings.clickhouse_cluster)}, {source})"
    deadline = time.monotonic() + ENDED_SECONDS
    left: set[tuple[str, str]] | None = None
    while left is None or left:
        with infrastructure():
            rows = client.query(
                f"SELECT hostName(), view FROM {source} WHERE database = {{database:String}}"
                " AND view IN {views:Array(String)} AND startsWith(toString(status), 'Running')",
                parameters={"database": settings.clickhouse_database, "views": list(views)},
            ).result_rows
        running = {(str(host), str(view)) for host, view in rows}
        left = running if left is None else left & running
        if left and time.monotonic() > deadline:
            names = " and ".join(sorted({view for _, view in left}))
            raise RetryLater(f"{names}: a refresh does not end; erase again")
        if left:
            time.sleep(POLL_SECONDS)
