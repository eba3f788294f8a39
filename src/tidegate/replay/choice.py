"""Chooses the rejects to send again: those whose line is not stored, each once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tidegate.contracts.rejects import Code, Kind
from tidegate.contracts.topics import Stream
from tidegate.errors import Stop
from tidegate.replay.criteria import READ_ONLY, Criteria
from tidegate.store.client import infrastructure

log = logging.getLogger(__name__)

BLOCK_ROWS = 1000  # that are in memory at once: a line may be as long as a mebibyte

COLUMNS = (
    "id",
    "fleet",
    "toUnixTimestamp64Micro(received_at)",
    "partition",
    "kind",
    "code",
    "path",
    "original",
    "original_encoding",
    "device",
    "epoch",
    "offset",
    "`index`",
)


class Refused(NamedTuple):
    """A row of `rejects`, as far as its line can be made of it again."""

    id: str
    fleet: str
    received_at: int  # µs
    partition: int
    kind: Kind
    code: Code
    path: str
    original: str
    original_encoding: str
    device: str
    epoch: str = ""
    offset: int = 0
    number: int = 0  # of the line in its frame


class Portion(NamedTuple):
    """What is chosen from at a time: of one stream, received on one day."""

    stream: Stream
    day: date


def portions(client: Client, database: str, criteria: Criteria) -> list[Portion]:
    """Where rejects lie that the criteria mean, replayed or not; oldest first."""
    with infrastructure():
        [[ready]] = client.query(
            "SELECT count() FROM system.columns WHERE database = {database:String} AND table = 'rejects'"
            " AND name = 'replayed_under'",
            parameters={"database": database},
        ).result_rows
        if not ready:
            raise Stop(f"database {database} is of an older version: run `tidegate migrate`")
        rows = client.query(
            f"SELECT stream, toDate(received_at) AS day FROM {database}.rejects"
            f" WHERE stream IN {{streams:Array(String)}} AND {criteria.conditions()}"
            " GROUP BY stream, day ORDER BY day, stream",
            parameters={**criteria.parameters(), "streams": list(criteria.asked_streams())},
            settings=READ_ONLY,
        ).result_rows
    return [Portion(*row) for row in rows]


def chosen(
    client: Client, database: str, criteria: Criteria, portion: Portion, version: str
) -> Iterator[list[Refused]]:
    """The rejects of a portion whose line is not stored, in blocks.

    A line that came again has its first received time, so it is looked for in that day alone. One that was
    sent under this transform_version and refused all the same is left out unless the criteria want it again.
    """
    stream = portion.stream
    # The operator's condition stands in a query of its own: it can choose fewer lines, never a stored one.
    sql = (
        f"SELECT {', '.join(COLUMNS)} FROM"
        f" (SELECT * FROM {database}.rejects WHERE stream = {{stream:String}}"
        f" AND toDate(received_at) = {{day:Date}} AND {criteria.conditions()})"
        f" WHERE id NOT IN (SELECT origin FROM {database}.{stream}"
        " WHERE toDate(received_at) = {day:Date} AND origin > '')"
    )
    if not criteria.again:
        sql += (
            f" AND id NOT IN (SELECT origin FROM {database}.rejects WHERE origin > ''"
            " AND replayed_under = {version:String})"
        )
    parameters = {**criteria.parameters(), "stream": stream, "day": portion.day, "version": version}
    with (
        infrastructure(),
        client.query_row_block_stream(
            sql, parameters=parameters, settings={**READ_ONLY, "max_block_size": BLOCK_ROWS}
        ) as blocks,
    ):
        for block in blocks:
            yield [Refused(*row) for row in block]
