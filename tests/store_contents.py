"""Everything that a database of Tidegate holds, as values that two databases can be compared by."""

from __future__ import annotations

from typing import Any

from clickhouse_connect.driver.client import Client

from tidegate.contracts.topics import STREAMS
from tidegate.store.migrate import LEVELS

ROWS = (*STREAMS, "rejects", "sink_gaps", "sink_groups", "webhook_deliveries")
ROLLUPS = tuple(f"{stream}_{level}" for stream in STREAMS for level in LEVELS)
SUMMED = (*ROLLUPS, "site_minutes", "access_points")


def rows(client: Client, table: str, where: str = "1") -> list[tuple[Any, ...]]:
    """Every row, whole, in an order of its own."""
    found = client.query(f"SELECT toString(tuple(*)) AS row FROM {table} WHERE {where} ORDER BY row")
    return [tuple(row) for row in found.result_rows]


def groups(client: Client, table: str, where: str = "1") -> list[tuple[Any, ...]]:
    """Every row of a table of aggregates, merged, its states as the values that they stand for."""
    found = client.query(
        f"SELECT toString(tuple({_finalized(client, table)})) AS row FROM {table} FINAL"
        f" WHERE {where} ORDER BY row"
    )
    return [tuple(row) for row in found.result_rows]


def _finalized(client: Client, table: str) -> str:
    columns = client.query(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
        " ORDER BY position",
        parameters={"table": table},
    ).result_rows
    return ", ".join(
        f"finalizeAggregation(`{name}`)"
        if type_.startswith("AggregateFunction")
        else f"arraySort(`{name}`)"
        if "groupUniqArray" in type_
        else f"`{name}`"
        for name, type_ in columns
    )


def everything(client: Client) -> dict[str, list[tuple[Any, ...]]]:
    """By table: events, rejects, rollups and the ledger, without what each run has of its own."""
    found = {table: rows(client, table) for table in ROWS}
    found |= {table: groups(client, table) for table in SUMMED}
    found["alerts"] = rows(client, "alerts FINAL")
    return found
