"""The producers of clients/: each event is stored once, whatever becomes of the gateway meanwhile."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import metrics
import pytest
from gateways import GatewayProcess, prepare_topics, read_all
from roles import assert_verified
from toolchains import need
from up_rig import Up, await_
from up_rig import running as running_up

from clients.programs import SOURCES, built, run_in
from clients.relay import relay
from tidegate.contracts.formats import parse_mac
from tidegate.local.broker import Broker
from tidegate.tokens import Role

pytestmark = pytest.mark.timeout(600)

CLIENTS = SOURCES.parents[1] / "clients"
TESTS = SOURCES / "producers"


def python() -> list[str]:
    return [sys.executable, str(TESTS / "produce.py")]


def typescript() -> list[str]:
    need("node", "npm")
    names = ("package.json", "package-lock.json", "tsconfig.json", "src/producer.ts")
    sources = {name: CLIENTS / "typescript" / name for name in names}

    def build(folder: Path) -> None:
        run_in(folder, "npm", "ci", "--silent", "--no-audit", "--no-fund")
        run_in(folder, "npm", "run", "--silent", "build")

    folder = built("producer-typescript", {**sources, "produce.mjs": TESTS / "produce.mjs"}, build)
    return ["node", str(folder / "produce.mjs")]


def java() -> list[str]:
    need("java", "javac")
    sources = {
        "Producer.java": CLIENTS / "java/src/main/java/tidegate/Producer.java",
        "Produce.java": TESTS / "Produce.java",
    }

    def build(folder: Path) -> None:
        run_in(folder, "javac", "-Xlint:all,-try", "-Werror", "--release", "17", "-d", "classes", *sources)

    return ["java", "-cp", str(built("producer-java", sources, build) / "classes"), "Produce"]


PRODUCERS = [python, typescript, java]
by_language = pytest.mark.parametrize("producer", PRODUCERS, ids=lambda producer: producer.__name__)


class Run:
    """A producer under way: how much its buffer took, and what it was told is refused."""

    def __init__(self, command: list[str], events: list[dict[str, Any]], pause: float) -> None:
        self.sent = 0
        self.refused: list[tuple[dict[str, Any], dict[str, Any]]] = []
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        self._threads = [
            threading.Thread(target=self._write, args=(events, pause), daemon=True),
            threading.Thread(target=self._read, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, events: list[dict[str, Any]], pause: float) -> None:
        assert self.process.stdin is not None
        try:
            for event in events:
                self.process.stdin.write(json.dumps(event, ensure_ascii=False).encode() + b"\n")
                self.process.stdin.flush()
                time.sleep(pause)
            self.process.stdin.close()
        except BrokenPipeError:
            pass

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            kind, *rest = line.decode().rstrip("\n").split("\t")
            if kind == "sent":
                self.sent += 1
            else:
                event, reason = map(json.loads, rest)
                self.refused.append((event, reason))

    def end(self) -> None:
        """It has had all acknowledged and ends by itself."""
        assert self.process.stderr is not None
        status = self.process.wait(120)
        assert status == 0, self.process.stderr.read().decode()
        for thread in self._threads:
            thread.join(30)


@contextlib.contextmanager
def running(command: list[str], events: list[dict[str, Any]], pause: float = 0.0) -> Iterator[Run]:
    run = Run(command, events, pause)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.wait()
        for stream in (run.process.stdin, run.process.stdout, run.process.stderr):
            if stream is not None and not stream.closed:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def events(mark: str, count: int) -> list[dict[str, Any]]:
    """Client events that differ; one in 97 has no time."""
    chance = random.Random(count)
    found: list[dict[str, Any]] = []
    for number in range(count):
        event = {
            "macAddress": f"02:00:00:00:00:{chance.randrange(64):02x}",
            "eventType": "Success",
            "timestamp": int(time.time() * 1_000_000) - number,
            "ssid": mark,
            "associatedAPName": f"Café {chance.randrange(10**9)}",
            "number": number,
        }
        if number % 97 == 96:
            del event["timestamp"]
        found.append(event)
    return found


def good(sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in sent if "timestamp" in event]


def assert_refused(run: Run, sent: list[dict[str, Any]]) -> None:
    assert [event for event, _ in run.refused] == [event for event in sent if "timestamp" not in event]
    assert {reason["path"] for _, reason in run.refused} == {"timestamp"}
    assert {reason["code"] for _, reason in run.refused} == {"missing_field"}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("up"), "--simulate", "0") as one:
        yield one


@by_language
def test_each_event_is_stored_once_though_the_gateway_is_killed(
    producer: Callable[[], list[str]], up: Up
) -> None:
    sent = events(uuid.uuid4().hex, 1000)
    command = [*producer(), f"http://{up.listens['gateway']}", up.tokens()["ingest"], str(1 << 20)]
    kills = 0
    with running(command, sent, pause=0.003) as run:
        while run.process.poll() is None and kills < 2:
            await_(partial(has_reached, run, (kills + 1) * 300), up.said)
            up.kill("gateway")
            kills += 1
            await_(lambda: is_up(up), up.said)
        run.end()
    assert kills == 2
    assert_refused(run, sent)
    assert_verified(
        {
            "kafka_bootstrap": up.listens["kafka"],
            "clickhouse_url": up.clickhouse_url,
            "data_dir": up.data,
        }
    )
    mark = sent[0]["ssid"]
    wanted = [
        [parse_mac(one["macAddress"]), one["timestamp"], one["associatedAPName"], one["number"]]
        for one in good(sent)
    ]

    def stored() -> list[list[Any]]:
        found = up.sql(
            "SELECT mac, toUnixTimestamp64Micro(event_time), ap_name,"
            " JSONExtractInt(extra, 'number') AS number"
            f" FROM tidegate.client_events WHERE ssid = '{mark}' ORDER BY number FORMAT JSONCompactEachRow"
            " SETTINGS output_format_json_quote_64bit_integers = 0"
        )
        return [json.loads(line) for line in found.splitlines()]

    await_(lambda: len(stored()) >= len(wanted), up.said)
    assert stored() == wanted


def has_reached(run: Run, sent: int) -> bool:
    return run.sent >= sent or run.process.poll() is not None


def is_up(up: Up) -> bool:
    try:
        return bool(up.pid("gateway"))
    except LookupError:
        return False


@by_language
def test_lost_answers_a_full_buffer_and_a_gateway_that_asks_for_time(
    producer: Callable[[], list[str]], embedded_broker: Broker, tmp_path: Path
) -> None:
    """No gateway at first; then one that takes 800 events a second, whose first three answers are lost."""
    mark = uuid.uuid4().hex
    sent = events(mark, 1800)
    most = 60_000
    prepare_topics(embedded_broker.bootstrap)
    gateway = GatewayProcess(embedded_broker.bootstrap, tmp_path, gateway_rate_events_per_second=800)
    address = urlsplit(gateway.url)
    assert address.hostname is not None and address.port is not None
    with relay(address.hostname, address.port, lose=3) as between, contextlib.ExitStack() as stack:
        stack.callback(gateway.stop)
        url = f"http://127.0.0.1:{between.port}"
        run = stack.enter_context(running([*producer(), url, gateway.token[Role.INGEST], str(most)], sent))
        await_(lambda: run.sent > 0, gateway.child.tail)
        before = -1
        while before != run.sent:
            before = run.sent
            time.sleep(1)
        smallest = min(len(json.dumps(event, separators=(",", ":"))) for event in sent)
        assert 0 < run.sent <= most // smallest < len(sent), "what is not acknowledged is bounded"
        gateway.start()
        run.end()
        assert between.lose == 0
        text = gateway.client.get("/metrics").text
    assert_refused(run, sent)
    series = 'tidegate_gateway_requests_total{status="429",stream="client_events"}'
    told_to_wait = metrics.sample(text, series)
    assert 0 < told_to_wait <= 12, "it comes again when it was asked to, and not before"
    lines = read_all(embedded_broker.bootstrap, "client_events")
    ours = [line["event"] for line in lines.values() if line["event"].get("ssid") == mark]
    assert sorted(ours, key=lambda event: int(event["number"])) == good(sent)
