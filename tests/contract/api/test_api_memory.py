"""The memory of the api process does not grow with what it sends: a million rows, read from /proc."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow.parquet
import pytest
from clickhouse_connect.driver.client import Client
from roles import get
from waiting import await_

from tidegate.local.child import free_port
from tidegate.settings import Settings

ROWS = 1_000_000
GROWTH_BYTES = 64 << 20
NOON = 1_763_640_000  # 2025-11-20 12:00:00 UTC
ENTRIES = """
INSERT INTO device_logs
    (fleet, received_at, event_time, log_action, device_id, old_value, new_value, notes, offset)
SELECT 'demo', {moment}, {moment}, 'config_change', concat('ap-', toString(number % 500)), toString(number),
    hex(sipHash128(number)), hex(sipHash128(number, 1)), number
FROM numbers({rows})
"""
EVENTS = """
INSERT INTO client_events
    (fleet, received_at, event_time, outcome, mac, event_type, association_time, ssid, offset)
SELECT 'demo', {moment}, {moment}, 'success', concat('02:00:00:00:0', toString(number % 9), ':01'), 'Success',
    {moment}, 'net', number
FROM numbers({rows})
"""


@pytest.fixture(scope="module", autouse=True)
def events(store: Client) -> None:
    moment = f"fromUnixTimestamp64Milli(toInt64({NOON * 1000} + number))"
    for statement in (ENTRIES, EVENTS):
        store.command(statement.format(rows=ROWS, moment=moment))


@pytest.fixture(scope="module")
def process(
    settings: Settings, tokens: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, httpx.Client]]:
    """The role as it runs in production: its pid, and a viewer's client."""
    listen = f"127.0.0.1:{free_port()}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")},
        "TIDEGATE_API_LISTEN": listen,
        "TIDEGATE_DATA_DIR": settings.data_dir,
        "TIDEGATE_CLICKHOUSE_URL": settings.clickhouse_url,
        "TIDEGATE_CLICKHOUSE_DATABASE": settings.clickhouse_database,
    }
    with (tmp_path_factory.mktemp("memory") / "api.log").open("wb") as log:
        role = subprocess.Popen(
            [sys.executable, "-m", "tidegate", "api"], env=environment, stdout=log, stderr=log
        )
    headers = {"authorization": f"Bearer {tokens['viewer']}"}
    try:
        with httpx.Client(
            base_url=f"http://{listen}", headers=headers, trust_env=False, timeout=120
        ) as client:

            def ready() -> bool:
                assert role.poll() is None
                return get(listen, "/readyz")[0] == 200

            await_(ready)
            yield role.pid, client
    finally:
        role.terminate()
        try:
            role.wait(30)
        finally:
            role.kill()
            role.wait()


def peak(pid: int) -> int:
    """The most memory that the process has had, bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_a_million_rows_take_no_more_memory_than_a_thousand(
    process: tuple[int, httpx.Client], tmp_path: Path
) -> None:
    pid, client = process
    logs = "/api/v1/inventory_device_log/"
    day = "/V2/analytics/associationdata/2025-11-20/2025-11-20"
    text, packed, associations = (tmp_path / name for name in ("ndjson", "parquet", "csv"))
    for rows in (1000, ROWS):
        few, nowhere = ("&limit=1000", "&location=1") if rows < ROWS else ("", "")
        fetch(client, f"{logs}?format=ndjson{few}", text)
        fetch(client, f"{logs}?format=parquet{few}", packed)
        fetch(client, client.get(f"{day}?format=CSV{nowhere}").text, associations)
        if rows < ROWS:
            before = peak(pid)
    growth = peak(pid) - before
    assert lines(text) == lines(associations) - 1 == ROWS
    assert pyarrow.parquet.ParquetFile(packed).metadata.num_rows == ROWS
    sizes = [path.stat().st_size for path in (text, packed, associations)]
    assert min(sizes) > GROWTH_BYTES / 2 and max(sizes) > 4 * GROWTH_BYTES, sizes
    assert growth < GROWTH_BYTES, (growth, sizes)


def fetch(client: httpx.Client, url: str, path: Path) -> None:
    with client.stream("GET", url) as answer, path.open("wb") as file:
        assert answer.status_code == 200
        for piece in answer.iter_raw():
            file.write(piece)


def lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
