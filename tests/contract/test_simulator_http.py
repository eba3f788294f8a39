"""What the sender counts as acked, refused and unsure, against a server that answers by a script."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.contracts.rejects import Code
from tidegate.errors import UsageError
from tidegate.simulate.broken import HTTP_ONLY, KAFKA_ONLY
from tidegate.simulate.pace import Pace
from tidegate.simulate.report import Ledger, Report
from tidegate.simulate.send_http import Options, Sender
from tidegate.simulate.simulation import Plan, Simulation

Answer = Callable[[int, dict[str, str], bytes], bytes | None]  # number, headers, body; None: hang up


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    head = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status} X\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def accepted(body: bytes) -> bytes:
    ids = [f"id-{number}" for number in range(len(body.split(b"\n")))]
    return answer(201, json.dumps({"count": len(ids), "ids": ids}).encode())


class Server:
    """HTTP/1.1 as far as a test needs it."""

    def __init__(self, script: Answer) -> None:
        self._script = script
        self.requests: list[tuple[dict[str, str], bytes]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = head.split("\r\n")[1:-2]
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers["content-length"]))
                self.requests.append((headers, body))
                reply = self._script(len(self.requests), headers, body)
                if reply is None:
                    return
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


async def send(
    script: Answer,
    tmp_path: Path,
    *,
    events: int,
    batch: int = 0,
    invalid: float = 0.0,
    idempotent: bool = False,
) -> tuple[Report, Server, list[str]]:
    """Send `events` to a server; returns also the acked ids of the ledger."""
    server = Server(script)
    listener = await asyncio.start_server(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    path = tmp_path / "ledger"
    report, ledger = Report(), Ledger(path)
    codes = frozenset(Code) - KAFKA_ONLY - HTTP_ONLY
    simulation = Simulation(Plan(start=1_772_618_400_000_000, invalid=invalid, codes=codes))
    options = Options(
        url=f"http://127.0.0.1:{port}", token="t", connections=2, batch=batch, idempotent=idempotent
    )
    try:
        pace = Pace(0, time.monotonic(), events)
        await Sender(options, simulation, report, ledger).run(pace, asyncio.Event(), lambda: None)
    finally:
        ledger.close()
        listener.close()
        await listener.wait_closed()
    ids = [id for line in path.read_text().splitlines() for id in json.loads(line)["ids"]]
    return report, server, ids


async def test_acked_is_what_came_back_with_an_id(tmp_path: Path) -> None:
    report, server, ids = await send(lambda n, h, body: accepted(body), tmp_path, events=1000, batch=100)
    assert report.total("sent") == report.total("acked") == len(ids) == 1000
    assert {headers["content-type"] for headers, _ in server.requests} == {"application/x-ndjson"}
    assert report.total("refused") == report.total("retried") == 0


async def test_a_single_event_is_one_request_with_its_device(tmp_path: Path) -> None:
    def script(number: int, headers: dict[str, str], body: bytes) -> bytes:
        return answer(201, body, f"Location: /api/v1/events/id-{number}")

    report, server, ids = await send(script, tmp_path, events=40)
    assert report.total("acked") == 40
    assert sorted(ids) == sorted(f"id-{number}" for number in range(1, 41))
    assert all(json.loads(body) for _, body in server.requests)
    assert any("x-device-id" in headers for headers, _ in server.requests)


async def test_503_and_429_are_tried_again_and_acked_once(tmp_path: Path) -> None:
    def script(number: int, headers: dict[str, str], body: bytes) -> bytes:
        if number <= 2:
            return answer(503 if number == 1 else 429, b"", "Retry-After: 0.05")
        return accepted(body)

    report, _, ids = await send(script, tmp_path, events=300, batch=100)
    assert report.total("acked") == report.total("sent") == len(ids) == 300
    assert report.total("retried") > 0 and report.total("unsure") == 0


async def test_a_lost_answer_is_unsure_without_a_key_and_sent_again_with_the_same_key(tmp_path: Path) -> None:
    def script(number: int, headers: dict[str, str], body: bytes) -> bytes | None:
        return None if number == 1 else accepted(body)

    report, _, _ = await send(script, tmp_path, events=100, batch=100)
    assert report.total("acked") == report.total("sent") == 100
    assert report.total("unsure") > 0
    report, server, _ = await send(script, tmp_path, events=100, batch=100, idempotent=True)
    assert report.total("unsure") == 0
    (lost, _), *others = server.requests
    assert lost["idempotency-key"] in {headers["idempotency-key"] for headers, _ in others}


async def test_refused_events_are_not_acked(tmp_path: Path) -> None:
    def script(number: int, headers: dict[str, str], body: bytes) -> bytes:
        ids: list[str | None] = []
        for line in body.split(b"\n"):
            try:
                json.loads(line)
                ids.append("taken")
            except ValueError:
                ids.append(None)
        return answer(207, json.dumps({"count": 1, "ids": ids}).encode())

    report, _, ids = await send(script, tmp_path, events=2000, batch=200, invalid=0.2)
    not_json = report.broken[Code.NOT_JSON] + report.broken[Code.NOT_UTF8]
    assert report.total("refused") == not_json > 0
    assert report.total("acked") == len(ids) == 2000 - not_json
    assert report.broken_acked == report.broken.total() - not_json
    assert report.good_refused == 0


async def test_an_unknown_token_ends_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="401"):
        await send(lambda n, h, body: answer(401, b"who?"), tmp_path, events=10)
