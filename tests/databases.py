"""Databases of one's own, which keep everything: the events of tests may be years old."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import control_key
from clickhouse_connect.driver.client import Client

from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings, table
from tidegate.store.client import connect
from tidegate.store.migrate import migrate


def settings_of(clickhouse: ClickHouseServer, **changed: Any) -> Settings:
    """No TTL unless `changed` says so."""
    forever = {row.name: 0 for row in table() if row.name.startswith("ttl_")}
    name = f"t{secrets.token_hex(6)}"
    values: dict[str, Any] = {
        "control_key_file": os.environ[control_key.VARIABLE],
        "clickhouse_url": clickhouse.url,
        "clickhouse_database": name,
        **forever,
    }
    return Settings(**values | changed)


@contextmanager
def migrated(settings: Settings) -> Iterator[Client]:
    """A client on the database that `settings` name, made and migrated; it is dropped afterwards."""
    with connect(settings, database="") as admin:
        migrate(admin, settings)
        with connect(settings) as client:
            yield client
        admin.command(f"DROP DATABASE {settings.clickhouse_database} SYNC")
