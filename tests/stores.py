"""Settings of a database of one's own, which keeps everything: the events of tests may be years old."""

from __future__ import annotations

import secrets
from typing import Any

from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings, table


def settings_of(clickhouse: ClickHouseServer, **changed: Any) -> Settings:
    """No TTL unless `changed` says so."""
    forever = {row.name: 0 for row in table() if row.name.startswith("ttl_")}
    name = f"t{secrets.token_hex(6)}"
    values = {"clickhouse_url": clickhouse.url, "clickhouse_database": name, **forever, **changed}
    return Settings(**values)
