"""The table `audit`: what operators and readers did that no other table says. Rows are only added."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from clickhouse_connect.driver.client import Client

from tidegate.audit_file import operator
from tidegate.store.client import infrastructure


class Entry(NamedTuple):
    """Columns of `audit`, in order."""

    at: datetime
    kind: str
    id: str
    by: str
    fleet: str
    subject: str
    details: str  # JSON


SETTINGS = {"async_insert": 0, "insert_deduplicate": 0}  # of an insert


def new_id() -> str:
    return secrets.token_hex(8)


def note(
    client: Client,
    database: str,
    kind: str,
    *,
    id: str,
    fleet: str = "",
    subject: str = "",
    details: Mapping[str, Any],
) -> None:
    """Add an entry of this process's operator. Raises RetryLater: whether it was added is unknown then."""
    entry = made(kind, id=id, by=operator(), fleet=fleet, subject=subject, details=details)
    with infrastructure():
        client.insert(f"{database}.audit", [entry], column_names=Entry._fields, settings=SETTINGS)


def made(
    kind: str, *, id: str, by: str, fleet: str = "", subject: str = "", details: Mapping[str, Any]
) -> Entry:
    """An entry of now."""
    return Entry(datetime.now(UTC), kind, id, by, fleet, subject, msgspec.json.encode(details).decode())


def entries(client: Client, database: str) -> list[Entry]:
    """Every entry, by time."""
    with infrastructure():
        rows = client.query(
            f"SELECT {', '.join(f'`{name}`' for name in Entry._fields)} FROM {database}.audit ORDER BY at, id"
        ).result_rows
    return [Entry(row[0].replace(tzinfo=UTC), *row[1:]) for row in rows]
