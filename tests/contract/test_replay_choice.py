"""Which rejects a replay chooses, on the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import table_rows
from clickhouse_connect.driver.client import Client
from databases import migrated, settings_of

import builders
from tidegate.contracts.position import Position
from tidegate.contracts.topics import Stream
from tidegate.errors import UsageError
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.replay.choice import chosen, portions
from tidegate.replay.criteria import Criteria
from tidegate.replay.run import dry_run
from tidegate.tokens import TokenFile

RECEIVED = datetime.fromtimestamp(builders.RECEIVED_AT / 1e6, UTC)
COLUMNS = ["fleet", "id", "received_at", "stream", "epoch", "partition", "offset", "index", "kind", "code"]
COLUMNS += ["path", "original", "original_encoding", "origin", "replayed_under"]


def id_of(stream: Stream, offset: int) -> str:
    return Position(table_rows.EPOCH, stream, 0, offset, 0).id()


def reject(client: Client, stream: Stream, offset: int, **changed: Any) -> None:
    values: dict[str, Any] = {
        "fleet": "demo",
        "id": id_of(stream, offset),
        "received_at": RECEIVED,
        "stream": stream,
        "epoch": table_rows.EPOCH,
        "partition": 0,
        "offset": offset,
        "index": 0,
        "kind": "value",
        "code": "wrong_type",
        "path": "channel",
        "original": "{}",
        "original_encoding": "utf8",
        "origin": "",
        "replayed_under": "",
    }
    client.insert("rejects", [list((values | changed).values())], column_names=COLUMNS)


@pytest.fixture(scope="module")
def client(clickhouse: ClickHouseServer) -> Iterator[Client]:
    """1 is open, 2 came again and is stored, 3 came again under 1.a and was refused; 4 to 6 differ."""
    settings = settings_of(clickhouse)
    with migrated(settings) as client:
        for offset in (1, 2, 3):
            reject(client, "client_events", offset)
        table_rows.store(
            client, "client_events", builders.success(), offset=12, origin=id_of("client_events", 2)
        )
        reject(client, "client_events", 13, origin=id_of("client_events", 3), replayed_under="1.a")
        reject(client, "client_events", 4, fleet="other", kind="required", code="missing_field")
        reject(client, "device_logs", 5)
        reject(client, "client_events", 7, kind="key", code="key_reused")
        reject(client, "client_events", 6, received_at=RECEIVED - timedelta(days=1))
        yield client


def offsets(client: Client, version: str = "1.b", **criteria: Any) -> list[int]:
    wanted = Criteria(**criteria)
    database = client.database or ""
    wanted.check(client, database)
    found = [
        int(row.id.split("-")[2])
        for portion in portions(client, database, wanted)
        for block in chosen(client, database, wanted, portion, version)
        for row in block
    ]
    return sorted(found)


DAY = 86_400_000_000


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({}, [1, 3, 4, 5, 6]),
        ({"version": "1.a"}, [1, 4, 5, 6]),
        ({"version": "1.a", "again": True}, [1, 3, 4, 5, 6]),
        ({"kinds": ["required"]}, [4]),
        ({"kinds": ["key"]}, [7]),
        ({"codes": ["wrong_type"], "streams": ["device_logs"]}, [5]),
        ({"fleets": ["other"]}, [4]),
        ({"since": builders.RECEIVED_AT}, [1, 3, 4, 5]),
        ({"until": builders.RECEIVED_AT}, [6]),
        ({"since": -62_135_596_800_000_000, "until": 253_402_300_799_999_999}, [1, 3, 4, 5, 6]),
        ({"since": builders.RECEIVED_AT - DAY, "until": builders.RECEIVED_AT - DAY + 1}, [6]),
        ({"where": "offset < 4 -- a comment"}, [1, 3]),
        ({"where": "path = 'channel' OR 1"}, [1, 3, 4, 5, 6]),
        ({"where": "id IN (SELECT id FROM rejects WHERE offset = 4)"}, [4]),
    ],
)
def test_open_rejects_are_chosen_once(client: Client, criteria: dict[str, Any], expected: list[int]) -> None:
    assert offsets(client, **criteria) == expected


@pytest.mark.parametrize(
    "where",
    [
        "nonsense = 1",
        "offset <",
        "1) OR (1",
        "1) UNION ALL SELECT * FROM rejects WHERE (1",
        "1 /*",
        "1; DROP TABLE rejects",
        "SELECT 1; SELECT 1",
        "offset = 'x'",
    ],
)
def test_a_condition_that_is_none_is_wrong_usage(client: Client, where: str) -> None:
    with pytest.raises(UsageError, match="--where"):
        offsets(client, where=where)
    assert offsets(client) == [1, 3, 4, 5, 6]


def test_the_view_of_what_is_open(client: Client) -> None:
    rows = client.query("SELECT offset FROM rejects_open ORDER BY offset").result_rows
    assert [row[0] for row in rows] == [1, 3, 4, 5, 6, 7]


def test_what_is_behind_its_fleets_retention_is_not_sent(
    clickhouse: ClickHouseServer, tmp_path: Path
) -> None:
    """It was stored as received today, and once more by each replay. Rejects go by the hour, not at once."""
    days = {"short": 2, "demo": 0}
    changed = {"fleet_retention_days": "short=2", "data_dir": str(tmp_path)}
    settings = settings_of(clickhouse, **changed)
    for fleet in days:
        TokenFile(settings.tokens_path).create(fleet, fleet=fleet, role="ingest")
    line = builders.envelope(builders.success(), fleet="").decode()
    with migrated(settings) as client:
        for offset, (fleet, age) in enumerate((f, a) for f in days for a in (0, 1, 2, 3)):
            received = datetime.now(UTC) - timedelta(days=age)
            original = line.replace('"fleet":""', f'"fleet":"{fleet}"')
            reject(client, "client_events", offset, fleet=fleet, received_at=received, original=original)
        report = dry_run(settings, client, Criteria(), lambda _: None)
    assert (report.chosen, report.passing, report.expired) == (8, 6, 2)
