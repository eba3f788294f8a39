"""Readers that do not read: each attack kept places, queries and memory for as long as it liked."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import metrics
import pytest
from api_server import client_of
from clickhouse_connect.driver.client import Client
from databases import migrated, settings_of
from waiting import await_

from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.tokens import Role, TokenFile

ROWS = 150_000  # some 45 MB, far more than sockets hold
ENTRIES = f"""
INSERT INTO device_logs (fleet, received_at, event_time, log_action, device_id, old_value, new_value, offset)
SELECT arrayJoin(['mine', 'theirs']), now64(6), now64(6), 'config_change', toString(number),
    repeat(hex(sipHash128(number)), 3), hex(sipHash128(number, 1)), number FROM numbers({ROWS})
"""
PATH = "/api/v1/inventory_device_log/?format=ndjson"


class Place(NamedTuple):
    settings: Settings
    tokens: dict[str, str]


@pytest.fixture(scope="module")
def place(clickhouse: ClickHouseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    settings = settings_of(clickhouse, data_dir=str(tmp_path_factory.mktemp("api")))
    file = TokenFile(settings.tokens_path)
    tokens = {
        f"{fleet}{number}": file.create(f"{fleet}{number}", fleet=fleet, role=Role.VIEWER)
        for fleet in ("mine", "theirs")
        for number in range(8)
    }
    with migrated(settings) as store:
        _fill(store)
        yield Place(settings, tokens)


def _fill(store: Client) -> None:
    store.command(ENTRIES)


@contextlib.contextmanager
def readers(client: httpx.Client, tokens: list[str], path: str = PATH) -> Iterator[list[socket.socket]]:
    """A connection for each token that asks for the export and reads nothing but the first bytes."""
    url = client.base_url
    with contextlib.ExitStack() as stack:
        found = []
        for token in tokens:
            sock = stack.enter_context(contextlib.closing(socket.socket()))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(60)
            sock.connect((url.host, url.port))
            head = f"GET {path} HTTP/1.1\r\nhost: {url.host}\r\nauthorization: Bearer {token}\r\n\r\n"
            sock.sendall(head.encode())
            found.append(sock)
        yield found


def status(sock: socket.socket) -> int:
    return int(sock.recv(13).split()[1])


def exported(client: httpx.Client, token: str, **query: str) -> int:
    with client.stream(
        "GET", PATH, params={"format": "ndjson", **query}, headers={"authorization": f"Bearer {token}"}
    ) as answer:
        for _ in answer.iter_raw():
            pass
    return answer.status_code


def total(client: httpx.Client, metric: str) -> float:
    return metrics.total(client.get("/metrics").text, metric)


def ended(client: httpx.Client) -> float:
    """Connections ended for slowness: by the rate of the API, or by the HTTP layer."""
    text = client.get("/metrics").text
    stalled = metrics.sample(text, 'tidegate_http_ended_connections_total{reason="stalled"}')
    return metrics.total(text, "tidegate_api_slow_readers_total") + stalled


def test_readers_that_read_nothing_keep_no_other_fleet_waiting(place: Place) -> None:
    """Eight of them took all places: every other fleet got 503 for ten minutes."""
    theirs = place.tokens["theirs0"]
    mine = [place.tokens[f"mine{number}"] for number in range(4)]
    with client_of(place.settings, None) as client:
        with readers(client, [token for token in mine for _ in range(3)]) as socks:
            answers = sorted(status(sock) for sock in socks)
            assert answers == [200] * 4 + [503] * 8
            assert exported(client, theirs, limit="10") == 200
            assert exported(client, theirs) == 200
            refused = client.get(PATH, headers={"authorization": f"Bearer {mine[0]}"})
            assert refused.status_code == 503 and refused.json()["code"] == "exports_busy"
            assert "fleet" in refused.json()["detail"] and int(refused.headers["retry-after"]) > 0
        assert total(client, "tidegate_api_files_refused_total") >= 9


def test_one_token_keeps_no_other_of_its_fleet_waiting(place: Place) -> None:
    """As above, within a fleet."""
    with client_of(place.settings, None) as client:
        with readers(client, [place.tokens["mine0"]] * 5) as socks:
            assert sorted(status(sock) for sock in socks) == [200] * 2 + [503] * 3
            assert exported(client, place.tokens["mine1"], limit="10") == 200


def test_a_reader_that_stalls_is_ended_and_its_place_is_free(place: Place) -> None:
    """It kept its place, its query and its memory until the export's ten minutes were over."""
    mine = place.tokens["mine0"]
    with client_of(place.settings, None, http_stall_seconds=2.0, api_exports=1) as client:
        before = ended(client)
        with readers(client, [mine]) as [sock]:
            assert status(sock) == 200
            assert exported(client, place.tokens["theirs0"], limit="1") == 503
            await_(lambda: ended(client) > before)
            await_(lambda: exported(client, place.tokens["theirs0"], limit="1") == 200)
            with pytest.raises(ConnectionError):
                while sock.recv(1 << 20):
                    pass
                raise ConnectionResetError("ended, and the rest is missing")
        found = re.findall(r'tidegate_api_files_total\{end="(\w+)"', client.get("/metrics").text)
        assert {"slow", "left"} & set(found)


def test_a_reader_that_drips_is_ended(place: Place) -> None:
    """A few bytes a second kept all of it as well."""
    with client_of(
        place.settings, None, http_stall_seconds=2.0, api_reader_least_bytes_per_second=1 << 20
    ) as client:
        before = ended(client)
        with readers(client, [place.tokens["mine0"]]) as [sock]:
            deadline = time.monotonic() + 60
            with contextlib.suppress(ConnectionError):
                while ended(client) == before:
                    assert sock.recv(4096)
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
        await_(lambda: ended(client) > before)


def test_a_page_that_nobody_reads_is_ended_too(place: Place) -> None:
    """So were answers that are no export, which stand in memory whole."""
    page = "/api/v1/inventory_device_log/?limit=50000"
    with client_of(place.settings, None, http_stall_seconds=2.0) as client:
        before = ended(client)
        with readers(client, [place.tokens["mine0"]], page) as [sock]:
            assert status(sock) == 200
            await_(lambda: ended(client) > before)


def test_a_reader_that_keeps_up_gets_all_of_it(place: Place) -> None:
    with client_of(place.settings, place.tokens["mine0"], http_stall_seconds=5.0) as client:
        text = client.get(PATH).text
        assert len(text.splitlines()) == ROWS
