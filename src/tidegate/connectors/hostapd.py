"""hostapd's lines about its stations, by syslog.

hostapd speaks over two channels, and an access point should send both (`hostapd -s`, or what systemd and
OpenWrt collect): its control events (``wlan0: AP-STA-CONNECTED …``), of which one says that a station is in
or is out, and its log of modules (``wlan0: STA … IEEE 802.11: associated (aid 1)``), which says how it got
there. Texts as hostapd 2.10 writes them.

Syslog is not acknowledged. Over TCP a sender is left waiting while the gateway is; over UDP what does not
fit is dropped and counted. Two equal lines are two events: what is sent again under its key is a batch of
this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import socket
import time
import uuid
from collections import deque
from typing import Any, NamedTuple

from tidegate.connectors.allowed_networks import Allowed
from tidegate.connectors.gateway_client import GatewayClient
from tidegate.connectors.record import without_nothing
from tidegate.connectors.syslog import MOST_BYTES, Line, Malformed, parse, read_frame
from tidegate.connectors.syslog_connections import Connections
from tidegate.errors import RetryLater, UsageError
from tidegate.settings import Settings, address
from tidegate.telemetry import CONNECT_DROPPED, CONNECT_EVENTS, CONNECT_WAITING

log = logging.getLogger(__name__)

NAME = "hostapd"
WAITING_BYTES = 16 << 20  # of lines that wait for the gateway
LINE_BYTES = 1024  # what a line costs in memory besides its text, about
BATCH_EVENTS = 500
BATCH_BYTES = 1 << 20
LINGER_SECONDS = 0.2
CONNECTIONS = 256
MOST_PAUSE = 30.0  # seconds between attempts

NOBODY = "00:00:00:00:00:00"
"""What hostapd writes where it speaks of no station."""

_MAC = r"(?P<mac>[0-9a-f]{2}(?::[0-9a-f]{2}){5})"
_CONTROL = re.compile(
    rf"(?:(?P<interface>\S+): )?(?P<event>(?:AP-STA|CTRL-EVENT-EAP)-[A-Z0-9-]+) {_MAC}\b(?P<more>.*)"
)
_MODULE = re.compile(
    rf"(?P<interface>\S+): STA {_MAC} "
    r"(?P<module>IEEE 802\.11|IEEE 802\.1X|WPA|RADIUS|MLME|DRIVER): (?P<said>.*)"
)
_HANDSHAKE = re.compile(r"PTK\w+: Retry limit")


def event(line: Line) -> dict[str, Any] | None:
    """The client event that a line tells of; None where it tells of none."""
    if line.program != NAME:
        return None
    if found := _CONTROL.match(line.text):
        said = _of_control(found["event"])
    elif found := _MODULE.match(line.text):
        said = _of_module(found["module"], found["said"])
    else:
        return None
    if found["mac"] == NOBODY:
        return None
    return without_nothing(
        {
            "macAddress": found["mac"],
            "timestamp": line.time,
            "associatedAPName": line.host or None,
            **said,
            NAME: {"interface": found["interface"], "line": line.text},
        }
    )


def _of_control(event: str) -> dict[str, Any]:
    if event == "AP-STA-CONNECTED":
        return {"eventType": "Success"}
    if event == "AP-STA-POSSIBLE-PSK-MISMATCH":
        return {"eventType": "Failure", "failureCode": 7, "failure": "Incorrect PSK"}
    if event == "AP-STA-DISCONNECTED":
        return _intermediate(1, "Disassociation", event)
    return _intermediate(2 if event.startswith("CTRL-EVENT-EAP") else 1, event)


def _of_module(module: str, said: str) -> dict[str, Any]:
    if module == "IEEE 802.1X" and said.startswith("authentication failed"):
        return {"eventType": "Failure", "failure": "EAP authentication failed", "subFailure": said}
    if module == "WPA" and _HANDSHAKE.match(said):
        return {
            "eventType": "Failure",
            "failureCode": 8,
            "failure": "EAPOL Handshake Failure",
            "subFailure": said,
        }
    return _intermediate(2 if module in ("IEEE 802.1X", "WPA", "RADIUS") else 1, module, said)


def _intermediate(category: int, what: str, more: str | None = None) -> dict[str, Any]:
    return {
        "eventType": "Intermediate",
        "categoryCode": category,
        "category": {1: "Association", 2: "Authentication"}[category],
        "eventDescription": what,
        "subEventDescription": more,
    }


class _Waiting(NamedTuple):
    event: dict[str, Any]
    size: int


class Hostapd(asyncio.DatagramProtocol):
    """Listens for syslog, and delivers what it reads in order. Raises UsageError for a wrong address."""

    def __init__(self, settings: Settings, gateway: GatewayClient, allowed: Allowed) -> None:
        self._listen = settings.connect_syslog_listen
        self._address = address(self._listen, "connect_syslog_listen")
        self._gateway = gateway
        self._allowed = allowed
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._connections = Connections(CONNECTIONS)
        self._stopping = False

    async def start(self) -> str:
        loop = asyncio.get_running_loop()
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._datagrams, _ = await loop.create_datagram_endpoint(
                lambda: self, local_addr=(host, port), family=family
            )
            self._server = await asyncio.start_server(
                self._connected, host, port, family=family, limit=MOST_BYTES
            )
        except OSError as error:
            raise UsageError(f"connect_syslog_listen: cannot listen on {self._listen}: {error}") from error
        own: socket.socket = self._datagrams.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._delivering = asyncio.create_task(self._deliver())
        return f"{self._listen}, UDP and TCP"

    def delivering(self) -> asyncio.Task[None]:
        return self._delivering

    async def stop(self, seconds: float) -> None:
        self._datagrams.close()
        self._server.close()
        self._stopping = True
        self._more.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._delivering
        if self._waiting:
            log.error("%d lines were taken and are not delivered", len(self._waiting))
            CONNECT_DROPPED.labels(NAME, "stopped").inc(len(self._waiting))

    # UDP

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if addr[0] not in self._allowed:
            CONNECT_DROPPED.labels(NAME, "stranger").inc()
        elif len(data) > MOST_BYTES:
            CONNECT_DROPPED.labels(NAME, "malformed").inc()
        elif self._bytes > WAITING_BYTES:
            CONNECT_DROPPED.labels(NAME, "full").inc()
        else:
            self._take(data, addr[0])

    # TCP

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = str(writer.get_extra_info("peername")[0])
        if host not in self._allowed:
            CONNECT_DROPPED.labels(NAME, "stranger").inc()
            writer.transport.abort()
            return
        connection = self._connections.enter(host, writer, time.monotonic())
        if connection is None:
            CONNECT_DROPPED.labels(NAME, "full").inc()
            writer.transport.abort()
            return
        try:
            while not self._stopping:
                await self._room.wait()
                message = await read_frame(reader)
                if message is None:
                    break
                connection.heard = time.monotonic()
                if message.strip():
                    self._take(message, host)
        except Malformed as error:
            log.warning("%s sends what is no syslog frame: %s", host, error)
            CONNECT_DROPPED.labels(NAME, "malformed").inc()
        except OSError:
            pass
        finally:
            self._connections.leave(connection)
            writer.transport.abort()

    def _take(self, message: bytes, host: str) -> None:
        try:
            line = parse(message, time.time())
        except Malformed:
            CONNECT_DROPPED.labels(NAME, "malformed").inc()
            return
        found = event(line if line.host else line._replace(host=host))
        if found is None:
            CONNECT_EVENTS.labels(NAME, "unread").inc()
            return
        size = len(message) + LINE_BYTES
        self._waiting.append(_Waiting(found, size))
        self._count(size)
        self._more.set()

    def _count(self, size: int) -> None:
        self._bytes += size
        CONNECT_WAITING.set(self._bytes)
        if self._bytes > WAITING_BYTES:
            self._room.clear()
        else:
            self._room.set()

    async def _deliver(self) -> None:
        while self._waiting or not self._stopping:
            if not self._waiting:
                self._more.clear()
                await self._more.wait()
                continue
            if len(self._waiting) < BATCH_EVENTS and not self._stopping:
                await asyncio.sleep(LINGER_SECONDS)
            batch: list[_Waiting] = []
            size = 0
            for one in self._waiting:
                size += one.size
                if len(batch) == BATCH_EVENTS or (batch and size > BATCH_BYTES):
                    break
                batch.append(one)
            await self._until_in([one.event for one in batch])
            for _ in batch:
                self._count(-self._waiting.popleft().size)

    async def _until_in(self, events: list[dict[str, Any]]) -> None:
        key = str(uuid.uuid4())
        pause = 0.5
        while True:
            try:
                refused = await self._gateway.deliver("client_events", events, key=key)
                break
            except RetryLater as error:
                await asyncio.sleep(max(error.after_seconds, pause) * random.uniform(0.5, 1.0))
                pause = min(2 * pause, MOST_PAUSE)
        for one in refused:
            log.warning("a line is refused at %s: %s: %.200r", one.path, one.detail, events[one.index][NAME])
        CONNECT_EVENTS.labels(NAME, "refused").inc(len(refused))
        CONNECT_EVENTS.labels(NAME, "acknowledged").inc(len(events) - len(refused))
