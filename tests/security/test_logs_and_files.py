"""What clients and files put into logs, terminals, metrics and memory: each attack worked before."""

from __future__ import annotations

import gzip
import io
import json
import logging
import re
import tracemalloc
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from api_server import client_of
from databases import migrated, settings_of
from gateways import CLIENT_EVENTS, GatewayProcess, running_gateway
from rich.console import Console

import builders
from tidegate.contracts.rejects import Code, Fault, Kind
from tidegate.local.broker import Broker
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.log_format import escaped
from tidegate.lookups import BadLookup, load, table
from tidegate.replay import report
from tidegate.replay.choice import Refused
from tidegate.telemetry import configure_logging
from tidegate.tokens import TokenFile

FORGED = "2026-01-01 00:00:00,000 ERROR   gateway tidegate: all tokens are void"
HOSTILE = [
    f"x\n{FORGED}",
    f"x\r\n{FORGED}",
    f"x\u2028{FORGED}",
    f"x\x85{FORGED}",
    "\x1b[2J\x1b[31mred",
    "\x9b31m",
    "\u202egnp.exe",
    "\u2066\u200b\ufeff",
    "\x00\x07\x08\x7f",
    "\ud800",
]
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


@pytest.mark.parametrize("text", HOSTILE)
def test_nobody_writes_a_line_of_the_log(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line end in what a client sent began a line of its own; colours and directions reached terminals."""
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    configure_logging("gateway", "info")
    log = logging.getLogger("tidegate")
    log.warning("found %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("failed at %s", text)
    lines = written.getvalue().split("\n")
    assert not UNSAFE.search(written.getvalue())
    messages = [line for line in lines if line and not line.startswith("    | ")]
    assert len(messages) == 2 and all(" gateway tidegate: f" in line for line in messages)


@pytest.mark.parametrize("text", HOSTILE)
def test_json_logs_are_an_object_a_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    configure_logging("gateway", "info", "json")
    log = logging.getLogger("tidegate")
    log.warning("found %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("failed at %s", text)
    assert written.getvalue().isascii() and not UNSAFE.search(written.getvalue().replace("\n", ""))
    first, second = [json.loads(line) for line in written.getvalue().splitlines()]
    assert first.keys() == {"time", "level", "role", "logger", "message"}
    assert (first["level"], first["role"], first["message"]) == ("warning", "gateway", f"found {text}")
    assert (second["level"], second["message"]) == ("error", f"failed at {text}")
    assert "ValueError" in second["exception"]
    assert datetime.fromisoformat(first["time"]).utcoffset() == timedelta(0)


def test_escapes_are_read_and_plain_text_stays() -> None:
    assert escaped("a\nb\x1b[0m\u202e") == "a\\nb\\x1b[0m\\u202e"
    assert escaped("gäste 📶 \\n") == "gäste 📶 \\n"


@pytest.mark.parametrize("text", HOSTILE[:-1])
def test_a_refused_line_writes_nothing_into_the_operators_terminal(text: str) -> None:
    """`tidegate replay` shows samples of refused lines: a sender cleared the screen of whoever looked."""
    found = report.Report(dry_run=True, transform_version="1")
    refused = Refused("id", "demo", 0, 0, Kind.VALUE, Code.BAD_FORMAT, text, text, "utf-8", "")
    found.refuses("client_events", refused, Fault(Code.BAD_FORMAT, text, text, "", text))
    console = Console(file=io.StringIO(), width=400, force_terminal=True, color_system=None)
    report.show(found, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert not UNSAFE.search(re.sub("\x1b\\[[0-9;]*m", "", shown)), shown
    assert not any(line.startswith(FORGED) for line in shown.splitlines())


def test_no_client_makes_series_of_metrics(clickhouse: ClickHouseServer, tmp_path: Path) -> None:
    """Every label of the API is of a closed set, whatever paths, methods and headers come."""
    settings = settings_of(clickhouse, data_dir=str(tmp_path))
    token = TokenFile(settings.tokens_path).create("v", fleet="demo", role="viewer")
    with migrated(settings), client_of(settings, token) as client:

        def series() -> set[str]:
            found = re.findall(r"^(tidegate_api_[^ ]+) ", client.get("/metrics").text, re.MULTILINE)
            return {re.sub(r'(le|status)="[^"]*"', "", one) for one in found}

        def strange(number: int) -> None:
            paths = (
                f"/no/such/{number}",
                f"/V2/analytics/files/{number}.csv",
                f"/api/v1/events/{number}",
                f"/problems/{number}",
                f"/V5/devices/aps?macaddress={number}",
                f"/api/v1/stats/client_events/top?by=x{number}&metric=y{number}",
                f"/api/v1/stats/{number}/outcomes",
            )
            for path in paths:
                client.get(path, headers={"x-request-id": str(number), "user-agent": str(number)})
            client.request(f"METHOD{number}"[:20], "/api/v1/inventory_device_log/")

        strange(0)
        series()
        before = series()
        for number in range(1, 8):
            strange(number)
        assert series() == before


@pytest.fixture(scope="module")
def gateway(embedded_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with running_gateway(embedded_broker.bootstrap, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


def test_no_client_makes_series_or_lines_at_the_gateway(gateway: GatewayProcess) -> None:
    def strange(number: int) -> None:
        gateway.post(
            CLIENT_EVENTS, builders.success(ssid=f"s{number}"), headers={"x-device-id": f"d{number}"}
        )
        gateway.post(CLIENT_EVENTS, builders.success(channel=f"c{number}\x1b[31m"))
        gateway.post(CLIENT_EVENTS, b"{}", headers={"content-type": f"x/{number}"})
        gateway.post(CLIENT_EVENTS, b"{}", token=f"tg_{number}")
        gateway.client.get(f"/no/{number}")
        gateway.client.request(f"METHOD{number}", CLIENT_EVENTS)

    def series() -> set[str]:
        found = re.findall(r"^(tidegate_[^ ]+) ", gateway.client.get("/metrics").text, re.MULTILINE)
        return {one for one in found if "le=" not in one}

    strange(0)
    before = series()
    for number in range(1, 6):
        strange(number)
    assert series() == before
    assert "\x1b" not in gateway.child.tail()


# Lookup files


def lookups(folder: Path, content: bytes, name: str = "sites.csv") -> Path:
    (folder / name).write_bytes(content)
    return folder


HEAD = b"fleet,location_id,name,latitude,longitude,timezone\n"


def test_a_lookup_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    """A gzip file of some hundred KiB took as much memory as it said."""
    bomb = gzip.compress(HEAD + b"\n" * (128 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(BadLookup, match=r"sites\.csv\.gz: larger than 67,108,864 bytes"):
            load(str(lookups(tmp_path, bomb, "sites.csv.gz")))
        assert tracemalloc.get_traced_memory()[1] < 300 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (HEAD + b"demo,%d,x,,,\n" % 10**30, "line 2, column location_id: is a number of more than 64 bits"),
        (
            HEAD + b"demo," + b"9" * 5000 + b",x,,,\n",
            "line 2, column location_id: more than 4,096 characters",
        ),
        (HEAD + b"demo,1," + b"x" * 5000 + b",,,\n", "line 2, column name: more than 4,096 characters"),
        (HEAD + b"demo,1,x" + b"y" * 200_000 + b",,,\n", "line 2: field larger than field limit"),
        (HEAD + b"demo,1,a\0b,,,\n", "line 2"),
        (b"\x1f\x8b\x08\x00broken", "not UTF-8"),
    ],
)
def test_a_lookup_that_is_too_much_is_told_by_its_line(tmp_path: Path, content: bytes, says: str) -> None:
    """Such cells went through, and an answer that held one was a 500."""
    with pytest.raises(BadLookup, match=re.escape(says)):
        load(str(lookups(tmp_path, content)))


def test_a_lookup_with_too_many_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MOST_ROWS", 100)
    rows = b"".join(b"demo,%d,x,,,\n" % number for number in range(101))
    with pytest.raises(BadLookup, match="line 102: more than 100 rows"):
        table.read(lookups(tmp_path, HEAD + rows) / "sites.csv", tuple(HEAD.decode().strip().split(",")))


def test_truncated_gzip_is_told(tmp_path: Path) -> None:
    packed = gzip.compress(HEAD * 10)
    for content in (packed[:-9], packed[:20] + b"\0" * 40):
        with pytest.raises(BadLookup, match="not gzip"):
            load(str(lookups(tmp_path, content, "sites.csv.gz")))
