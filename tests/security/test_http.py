"""Attacks over HTTP on the running gateway and API, each bounded and on loopback.

Each one succeeded before its mend: the docstrings say how.
"""

from __future__ import annotations

import gzip
import json
import random
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import metrics
import psutil
import pytest
import roles
import zstandard
from gateways import CLIENT_EVENTS, CONNECTION_LOGS, GatewayProcess, prepare_topics, total
from handmade_http import Wire, exchange
from waiting import await_

import builders
from tidegate.local.broker import Broker
from tidegate.local.child import Child, free_port
from tidegate.tokens import Role

MIB = 1 << 20
STALL = 0.25  # seconds in which /healthz is answered, whatever else a role does
QUICK = {
    "http_head_seconds": 1.5,
    "http_body_seconds": 3.0,
    "http_idle_seconds": 1.5,
    "http_stall_seconds": 2.0,
    "http_connections": 20,
}


class Served:
    """A role that serves HTTP: where, as which process."""

    def __init__(self, child: Child, url: str) -> None:
        self.child = child
        self.url = url
        self.host = url.removeprefix("http://")

    def memory(self) -> int:
        """Resident bytes."""
        assert self.child.pid is not None
        return int(psutil.Process(self.child.pid).memory_info().rss)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, trust_env=False)

    def head(self, method: str = "GET", path: str = "/healthz", *lines: str) -> bytes:
        """The start of a request, without the empty line that ends a head."""
        return "".join(
            f"{line}\r\n" for line in (f"{method} {path} HTTP/1.1", f"Host: {self.host}", *lines)
        ).encode()


@contextmanager
def serving(role: str, broker: Broker, folder: Path, **values: object) -> Iterator[Served]:
    if role == "gateway":
        prepare_topics(broker.bootstrap)
        gateway = GatewayProcess(broker.bootstrap, folder, **values).start()
        try:
            yield Served(gateway.child, gateway.url)
        finally:
            assert gateway.stop() == 0, gateway.child.tail()
        return
    listen = f"127.0.0.1:{free_port()}"
    settings = {"api_listen": listen, "data_dir": folder, "clickhouse_url": f"http://127.0.0.1:{free_port()}"}
    child = roles.role("api", folder, settings | values)
    child.start()
    try:
        await_(lambda: roles.get(listen, "/healthz")[0] == 200, child.tail)
        yield Served(child, f"http://{listen}")
    finally:
        assert child.stop(30.0) == 0, child.tail()


@pytest.fixture(scope="module", params=["gateway", "api"])
def role(
    request: pytest.FixtureRequest, embedded_broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Gateway and API in turn, with the limits as they are by default."""
    with serving(request.param, embedded_broker, tmp_path_factory.mktemp(request.param)) as served:
        yield served


@pytest.fixture(scope="module", params=["gateway", "api"])
def quick(
    request: pytest.FixtureRequest, embedded_broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The same with short times and few connections."""
    folder = tmp_path_factory.mktemp(f"quick-{request.param}")
    with serving(request.param, embedded_broker, folder, **QUICK) as served:
        yield served


@pytest.fixture(scope="module")
def gateway(embedded_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    prepare_topics(embedded_broker.bootstrap)
    process = GatewayProcess(embedded_broker.bootstrap, tmp_path_factory.mktemp("gateway")).start()
    yield process
    assert process.stop() == 0, process.child.tail()


# Heads and trailers


def test_a_head_without_end_costs_64_kib(role: Served) -> None:
    """39 MiB of headers took the API from 268 to 955 MiB, without a token."""
    before = role.memory()
    with Wire(role.url) as wire:
        wire.send(role.head())
        line = b"x-%06d: " + b"a" * 8_000 + b"\r\n"
        sent = sum(len(line) for number in range(40 * MIB // len(line)) if wire.try_send(line % number))
        assert sent < 8 * MIB, "the server went on reading"
    assert exchange(role.url, role.head(), *[line % number for number in range(10)]).status == 431
    assert role.memory() - before < 24 * MIB
    assert role.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "lines",
    [
        [b"x: " + b"a" * 70_000 + b"\r\n"],
        [b"x%d: 1\r\n" % number for number in range(101)],
        [b"x: " + b"a" * 33_000 + b"\r\n", b"y: " + b"a" * 33_000 + b"\r\n"],
    ],
    ids=["one long header", "many short ones", "two parts"],
)
def test_a_head_that_is_too_large_is_told_so(role: Served, lines: list[bytes]) -> None:
    """It was kept whole, however many headers it had."""
    answer = exchange(role.url, role.head(), b"".join(lines), b"\r\n")
    assert answer.status == 431
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "head_too_large"
    assert answer.headers["connection"] == "close"


def test_a_head_of_less_is_taken(role: Served) -> None:
    lines = [f"x{number}: {'a' * 6_000}" for number in range(10)]
    assert exchange(role.url, role.head("GET", "/healthz", *lines) + b"\r\n").status == 200


def test_a_long_target_is_part_of_the_head(role: Served) -> None:
    """It was taken at any length."""
    assert exchange(role.url, role.head("GET", "/" + "a" * 70_000), b"\r\n").status == 431


def test_trailers_without_end_behind_a_refusal(gateway: GatewayProcess) -> None:
    """A POST answered 401, then 48 MiB of trailers: 111 → 1,067 MiB, without a token."""
    served = Served(gateway.child, gateway.url)
    before = served.memory()
    with Wire(served.url) as wire:
        wire.send(served.head("POST", CONNECTION_LOGS, "Transfer-Encoding: chunked") + b"\r\n1\r\n{\r\n")
        answer = wire.answer()
        assert answer.status == 401
        assert answer.headers["connection"] == "close"
        wire.try_send(b"0\r\n")
        line = b"x: " + b"a" * 8_000 + b"\r\n"
        sent = sum(len(line) for _ in range(48 * MIB // len(line)) if wire.try_send(line))
        assert sent < 8 * MIB, "the server went on reading"
    assert served.memory() - before < 24 * MIB


def test_trailers_of_a_request_that_is_taken(gateway: GatewayProcess) -> None:
    """They were gathered without end, and as if they were headers."""
    served = Served(gateway.child, gateway.url)
    token = f"Authorization: Bearer {gateway.token[Role.INGEST]}"
    head = served.head("POST", CONNECTION_LOGS, token, "Transfer-Encoding: chunked")
    body = json.dumps(builders.network_log()).encode()
    chunks = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    assert exchange(served.url, head + b"\r\n" + chunks + b"checksum: 1\r\n\r\n").status == 201
    flood = [b"x: " + b"a" * 8_000 + b"\r\n"] * 10
    answer = exchange(served.url, head + b"\r\n" + chunks, *flood)
    assert answer.status == 431
    assert answer.json()["path"] == "trailers"


def test_extensions_of_a_chunk_without_end(gateway: GatewayProcess) -> None:
    """They were read for ever."""
    served = Served(gateway.child, gateway.url)
    token = f"Authorization: Bearer {gateway.token[Role.INGEST]}"
    head = served.head("POST", CONNECTION_LOGS, token, "Transfer-Encoding: chunked")
    answer = exchange(served.url, head + b"\r\n1;", *[b"a" * 16_000] * 8)
    assert (answer.status, answer.json()["code"]) == (431, "head_too_large")


def test_many_one_byte_chunks_are_a_body_like_any_other(gateway: GatewayProcess) -> None:
    served = Served(gateway.child, gateway.url)
    token = f"Authorization: Bearer {gateway.token[Role.INGEST]}"
    head = served.head("POST", CONNECTION_LOGS, token, "Transfer-Encoding: chunked")
    body = json.dumps([builders.network_log()] * 300).encode()
    assert len(body) > 65_536
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    assert exchange(served.url, head + b"\r\n" + chunks + b"0\r\n\r\n").status == 201


# A request that could be read two ways


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Content-Length: 5", "Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        (["Transfer-Encoding: chunked", "Content-Length: 5"], b"0\r\n\r\n"),
        (["Content-Length: 5", "Content-Length: 6"], b"hello"),
        (["Content-Length: 5", "Content-Length: 5"], b"hello"),
        (["Content-Length: 5, 5"], b"hello"),
        (["Content-Length: +5"], b"hello"),
        (["Content-Length: 0x5"], b"hello"),
        (["Content-Length: 99999999999999999999999"], b"hello"),
        (["Content-Length : 5"], b"hello"),
        (["Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n"),
        (["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n"),
        (["Transfer-Encoding: xchunked"], b"0\r\n\r\n"),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        (["Transfer-Encoding: \x0bchunked"], b"0\r\n\r\n"),
        (["Transfer-Encoding:", " chunked"], b"0\r\n\r\n"),
        (["X: a", " folded"], b""),
        (["X: a\nContent-Length: 5"], b"hello"),
        (["X: a\rContent-Length: 5"], b"hello"),
        (["X: a\0b"], b""),
        (["X\0: ab"], b""),
        ([": nameless"], b""),
        (["no colon"], b""),
        (["Transfer-Encoding: chunked"], b"5\nhello\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"5\r\nhello!\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"-5\r\nhello\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        (["Host: other.example"], b""),
    ],
)
def test_a_request_that_could_be_read_two_ways_is_refused(
    gateway: GatewayProcess, lines: list[str], body: bytes
) -> None:
    """Most of it was refused, in plain text; a second Host, and gzip under chunked, passed."""
    served = Served(gateway.child, gateway.url)
    token = f"Authorization: Bearer {gateway.token[Role.INGEST]}"
    smuggled = served.head("POST", CONNECTION_LOGS, token) + b"\r\n"
    with Wire(served.url) as wire:
        wire.send(served.head("POST", CONNECTION_LOGS, token, *lines) + b"\r\n" + body + smuggled)
        answer = wire.answer()
        assert answer.status == 400, answer
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] in ("bad_request", "duplicate_header")
        assert answer.json()["detail"]
        assert answer.headers["connection"] == "close"
        assert wire.rest() == b"", "what stood behind it was read as a request"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/1.1\n\n",
        b"GET /healthz HTTP/1.2\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example:443 HTTP/1.1\r\nHost: example:443\r\n\r\n",
        b"GET healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"{}\r\n\r\n",
    ],
)
def test_what_is_no_request_is_answered_as_a_problem(role: Served, request_: bytes) -> None:
    """It was a line of plain text that named nothing."""
    answer = exchange(role.url, request_)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "bad_request"
    assert answer.json()["detail"] not in ("", "Invalid HTTP request received.")
    page = role.get(answer.json()["type"])
    assert page.status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_two_authorization_headers(gateway: GatewayProcess, scheme: str) -> None:
    """The second won: a viewer's, then an ingest's, wrote."""
    served = Served(gateway.child, gateway.url)
    body = json.dumps(builders.network_log()).encode()
    head = served.head(
        "POST",
        CONNECTION_LOGS,
        f"Authorization: {scheme} {gateway.token[Role.VIEWER]}",
        f"authorization: Bearer {gateway.token[Role.INGEST]}",
        f"Content-Length: {len(body)}",
    )
    answer = exchange(served.url, head + b"\r\n" + body)
    assert answer.status == 400
    assert (answer.json()["code"], answer.json()["path"]) == ("duplicate_header", "Authorization")


def test_two_authorization_headers_at_the_api(role: Served) -> None:
    """The same at a reader."""
    lines = ["Authorization: Bearer a", "Authorization: Bearer b"]
    assert exchange(role.url, role.head("GET", "/V5/devices/aps", *lines) + b"\r\n").status == 400


@pytest.mark.parametrize("header", ["X-Device-Id", "Idempotency-Key", "Content-Type"])
def test_other_headers_that_come_twice(gateway: GatewayProcess, header: str) -> None:
    """The last one won without a word."""
    served = Served(gateway.child, gateway.url)
    token = f"Authorization: Bearer {gateway.token[Role.INGEST]}"
    answer = exchange(
        served.url,
        served.head("POST", CONNECTION_LOGS, token, f"{header}: a", f"{header}: b", "Content-Length: 2")
        + b"\r\n{}",
    )
    assert (answer.status, answer.json()["path"]) == (400, header)


# Time


def test_a_connection_that_says_nothing_ends(quick: Served) -> None:
    """It stayed for ever."""
    with Wire(quick.url) as wire:
        assert wire.closes()


def test_a_head_that_comes_drop_by_drop_ends(quick: Served) -> None:
    """It stayed as long as a byte came now and then."""
    with Wire(quick.url) as wire:
        wire.send(quick.head())
        began = time.monotonic()
        while wire.try_send(b"x: y\r\n"):
            time.sleep(0.2)
            assert time.monotonic() - began < 30, "it stays"
            if _readable(wire):
                break
        assert wire.answer().json()["code"] == "timeout"


def test_a_connection_that_is_idle_behind_an_answer_ends(quick: Served) -> None:
    """It stayed for 75 seconds at the gateway, and for ever where it had begun a head."""
    with Wire(quick.url) as wire:
        wire.send(quick.head() + b"\r\n")
        assert wire.answer().status == 200
        assert wire.closes()
    with Wire(quick.url) as wire:
        wire.send(quick.head() + b"\r\n")
        assert wire.answer().status == 200
        wire.send(b"GET /heal")
        assert wire.answer().status == 408
        assert wire.closes()


def test_blank_lines_do_not_keep_a_connection(quick: Served) -> None:
    """Each started the wait anew."""
    with Wire(quick.url) as wire:
        began = time.monotonic()
        while wire.try_send(b"\r\n") and not _readable(wire):
            time.sleep(0.2)
            assert time.monotonic() - began < 30, "it stays"


def test_a_body_that_comes_drop_by_drop_ends(embedded_broker: Broker, tmp_path: Path) -> None:
    """It kept its connection, and what it had sent in memory."""
    prepare_topics(embedded_broker.bootstrap)
    gateway = GatewayProcess(embedded_broker.bootstrap, tmp_path, **QUICK).start()
    try:
        served = Served(gateway.child, gateway.url)
        token = f"Authorization: Bearer {gateway.token[Role.INGEST]}"
        with Wire(gateway.url) as wire:
            wire.send(served.head("POST", CONNECTION_LOGS, token, "Content-Length: 1000") + b"\r\n")
            began = time.monotonic()
            while wire.try_send(b" ") and not _readable(wire):
                time.sleep(0.2)
                assert time.monotonic() - began < 30, "it stays"
            answer = wire.answer()
            assert (answer.status, answer.json()["code"]) == (408, "timeout")
            assert wire.closes()
        assert total(gateway, "tidegate_gateway_held_bytes") == 0
        assert gateway.post(CONNECTION_LOGS, builders.network_log()).status_code == 201
    finally:
        assert gateway.stop() == 0, gateway.child.tail()


def test_a_reader_that_reads_nothing_is_cut_off(quick: Served) -> None:
    """Its connection, and the answers in memory, stayed for ever."""
    with Wire(quick.url) as wire:
        request = quick.head("GET", "/openapi.json") + b"\r\n"
        for _ in range(90):
            wire.send(request)

        def cut_off() -> bool:
            return (
                metrics.sample(
                    quick.get("/metrics").text, 'tidegate_http_ended_connections_total{reason="stalled"}'
                )
                > 0
            )

        await_(cut_off)


def test_connections_are_capped(quick: Served) -> None:
    """They were as many as there were files for, and each was kept."""
    wires = []
    try:
        refused = None
        for _ in range(60):
            wire = Wire(quick.url)
            wires.append(wire)
            wire.send(quick.head() + b"\r\n")
            answer = wire.answer()
            if answer.status == 503:
                refused = answer
                break
        assert refused is not None, "60 connections are open at a cap of 20"
        assert refused.json()["code"] == "too_many_connections"
        assert refused.headers["retry-after"] == "1"
        assert wires[-1].closes()
        assert len(wires) <= 21
    finally:
        for wire in wires:
            wire.socket.close()
    await_(lambda: _status(quick) == 200)
    text = quick.get("/metrics").text
    assert metrics.sample(text, "tidegate_http_connections") >= 1
    assert metrics.sample(text, 'tidegate_http_ended_connections_total{reason="full"}') >= 1


# Bodies


def small_bomb() -> bytes:
    return gzip.compress(b"[" + b"1," * (16 * MIB - 10) + b"1]")


def at_most_200_fold(body: bytes) -> bytes:
    """Packed with so much noise in front (a string of the first element) that no ratio gives it away."""
    noise = random.Random(1).randbytes(200_000).hex().encode()
    return gzip.compress(b'["' + noise + b'",' + body)


BOMBS: dict[str, tuple[bytes, str, str]] = {
    "millions of numbers": (small_bomb(), "gzip", "application/json"),
    "the same behind noise": (at_most_200_fold(b"1," * (15 * MIB) + b"1]"), "gzip", "application/json"),
    "as zstd": (zstandard.compress(b"[" + b"1," * (16 * MIB - 10) + b"1]"), "zstd", "application/json"),
    "empty lines": (gzip.compress(b"\n" * (32 * MIB - 1)), "gzip", "application/x-ndjson"),
    "empty lines as they are": (b"\n" * (8 * MIB), "identity", "application/x-ndjson"),
    "numbers as they are": (b"[" + b"1," * (4 * MIB - 1) + b"1]", "identity", "application/json"),
    "deep nesting": (at_most_200_fold(b"[" * (30 * MIB)), "gzip", "application/json"),
    "members of an envelope": (
        b'{"clientEvents":[],' + b",".join(b'"%x":1' % number for number in range(700_000)) + b"}",
        "identity",
        "application/json",
    ),
    "lists of an envelope": (
        b'{"clientEvents":[' + b"1," * (4 * MIB - 20) + b"1]}",
        "identity",
        "application/json",
    ),
    "a wide window": (
        zstandard.ZstdCompressor(
            compression_params=zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
        ).compress(b" " * 1000 + b"[]"),
        "zstd",
        "application/json",
    ),
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_a_small_body_that_becomes_large_costs_little(gateway: GatewayProcess, name: str) -> None:
    """31 KiB of gzip, 32 MiB of `[1,1,…]`: 413 after 1.2 GiB of memory, the event loop blocked for 0.8 s;
    32 MiB of newlines for 1.5 s."""
    served = Served(gateway.child, gateway.url)
    body, encoding, media = BOMBS[name]
    gateway.post(CLIENT_EVENTS, [builders.success()])  # what is made once is made
    with Watch(served) as watch:
        answers = [
            gateway.post(CLIENT_EVENTS, body, headers={"content-encoding": encoding, "content-type": media})
            for _ in range(3)
        ]
    for answer in answers:
        assert answer.status_code in (400, 413, 422), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert watch.grown() < 160 * MIB
    assert watch.longest() < STALL
    assert total(gateway, "tidegate_gateway_held_bytes") == 0


def test_many_bombs_at_once_are_unpacked_one_after_another(gateway: GatewayProcess) -> None:
    """Each took its 1.2 GiB."""
    served = Served(gateway.child, gateway.url)
    body, encoding, media = BOMBS["the same behind noise"]
    statuses: list[int] = []

    def post() -> None:
        headers = {
            "authorization": f"Bearer {gateway.token[Role.INGEST]}",
            "content-encoding": encoding,
            "content-type": media,
        }
        answer = httpx.post(served.url + CLIENT_EVENTS, content=body, headers=headers, timeout=60)
        statuses.append(answer.status_code)

    with Watch(served) as watch:
        threads = [threading.Thread(target=post) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(statuses) <= {413, 503} and 413 in statuses
    assert watch.grown() < 160 * MIB
    assert watch.longest() < STALL


def test_a_batch_of_the_largest_size_lets_others_through(gateway: GatewayProcess) -> None:
    """It was checked in one go: 10,000 events, each with something to say about it."""
    served = Served(gateway.child, gateway.url)
    lines = [json.dumps(builders.success(channel="wrong", ssid="x" * 2_000))] * 10_000
    body = zstandard.compress("\n".join([*lines[:-1], json.dumps(builders.success())]).encode())
    headers = {"content-encoding": "gzip", "content-type": "application/x-ndjson"}
    body = gzip.compress(zstandard.decompress(body), 1)
    with Watch(served) as watch:
        answer = gateway.post(CLIENT_EVENTS, body, headers=headers)
    assert answer.status_code == 207, answer.text[:300]
    assert watch.longest() < STALL


class Watch:
    """Asks for /healthz all the while, and looks at the memory of the process.

    What others on the machine take is left out of a wait: it counts as far as the process itself was at work
    meanwhile, in whichever thread.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self._begun = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._waits: list[float] = []
        self._before = self._most = served.memory()

    def __enter__(self) -> Watch:
        self._thread.start()
        assert self._begun.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def grown(self) -> int:
        return self._most - self._before

    def longest(self) -> float:
        """Seconds."""
        assert self._waits
        return max(self._waits)

    def _run(self) -> None:
        assert self._served.child.pid is not None
        at_work = (~self._served.child.pid << 3) | 2  # the kernel's clock of its CPU time
        with httpx.Client(base_url=self._served.url, timeout=60) as client:
            while not self._over.is_set():
                began, worked = time.monotonic(), time.clock_gettime(at_work)
                assert client.get("/healthz").status_code == 200
                passed = time.monotonic() - began
                self._waits.append(min(passed, time.clock_gettime(at_work) - worked))
                self._begun.set()
                self._most = max(self._most, self._served.memory())
                time.sleep(0.002)


def _status(served: Served) -> int:
    return roles.get(served.host, "/healthz")[0]


def _readable(wire: Wire) -> bool:
    return bool(select.select([wire.socket], [], [], 0)[0])
