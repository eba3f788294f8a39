"""RADIUS accounting: what access points, switches and VPNs say of their sessions.

An Accounting-Response goes out when the gateway has acknowledged the event, and only then: who gets none
sends again (RFC 2866, 2.1). The start of a client's session is a Success, its stop a disassociation; a
session without a MAC address is a connection log, and a NAS that comes up or goes down an entry of its own.

What comes again is told by its content without Acct-Delay-Time. Where a NAS sends no Event-Timestamp, its
time is that of the receipt, remembered for what comes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from tidegate.connectors import radius_packet
from tidegate.connectors.allowed_networks import Allowed
from tidegate.connectors.gateway_client import GatewayClient
from tidegate.connectors.radius_packet import Forged, Malformed, Request, Value
from tidegate.connectors.record import BadPayload, Payload, Record, content_id, iso, without_nothing
from tidegate.contracts.formats import parse_mac
from tidegate.errors import RetryLater, UsageError
from tidegate.settings import Settings, address
from tidegate.telemetry import CONNECT_DROPPED, CONNECT_EVENTS

log = logging.getLogger(__name__)

NAME = "radius"
IN_FLIGHT = 512  # requests that wait for the gateway
REMEMBERED = 50_000  # of answers, and of times
ANSWER_SECONDS = 60.0  # for which a repeated packet is answered from memory

Attributes = dict[str, Value]
_CHANGING = ("Acct-Delay-Time",)  # between one attempt and the next
_MAC_LENGTHS = (17, 14, 12)  # of a station's id in front of ":<SSID>"


class Radius(asyncio.DatagramProtocol):
    """Listens for accounting. Raises UsageError without a secret, and for a wrong address."""

    def __init__(
        self,
        settings: Settings,
        gateway: GatewayClient,
        allowed: Allowed,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not settings.connect_secret:
            raise UsageError("connect_secret: the secret that is shared with the RADIUS clients")
        self._listen = settings.connect_radius_listen
        self._address = address(self._listen, "connect_radius_listen")
        self._secret = settings.connect_secret.encode()
        self._oldest = settings.idempotency_window_hours * 3600
        self._gateway = gateway
        self._allowed = allowed
        self._clock = clock
        self._tasks: dict[tuple[Any, ...], asyncio.Task[None]] = {}
        self._answers: OrderedDict[tuple[Any, ...], tuple[float, bytes]] = OrderedDict()
        self._times: OrderedDict[str, float] = OrderedDict()

    async def start(self) -> str:
        loop = asyncio.get_running_loop()
        try:
            self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=self._address)
        except OSError as error:
            raise UsageError(f"connect_radius_listen: cannot listen on {self._listen}: {error}") from error
        own: socket.socket = self._transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        return f"{self._listen}, UDP"

    def delivering(self) -> None:
        """Each request has a task of its own."""

    async def stop(self, seconds: float) -> None:
        """What is under way is answered; what comes meanwhile is not, and comes again."""
        self._secret = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if not self._secret:
            return
        if addr[0] not in self._allowed:
            CONNECT_DROPPED.labels(NAME, "stranger").inc()
            return
        try:
            request = radius_packet.parse(data, self._secret)
        except Forged:
            CONNECT_DROPPED.labels(NAME, "secret").inc()
            log.debug("%s has another secret", addr[0])
            return
        except Malformed as error:
            CONNECT_DROPPED.labels(NAME, "malformed").inc()
            log.debug("%s: %s", addr[0], error)
            return
        key = (addr[0], addr[1], request.identifier, request.authenticator)
        now = self._clock()
        found = self._answers.get(key)
        if found is not None and now - found[0] < ANSWER_SECONDS:
            self._transport.sendto(found[1], addr)
        elif key in self._tasks:
            pass  # its answer is under way
        elif len(self._tasks) >= IN_FLIGHT:
            CONNECT_DROPPED.labels(NAME, "full").inc()
        else:
            answer = radius_packet.response(request, self._secret)
            task = asyncio.create_task(self._handle(request, answer, key, addr))
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._tasks.pop(key))

    async def _handle(
        self, request: Request, answer: bytes, key: tuple[Any, ...], addr: tuple[Any, ...]
    ) -> None:
        try:
            payload = self._payload(radius_packet.named(request.attributes), str(addr[0]))
            [record] = payload.records
            refused = await self._gateway.deliver(payload.stream, [record.event])
        except BadPayload as error:
            self._refused(addr, error.path, error.detail)
            return
        except RetryLater:
            CONNECT_EVENTS.labels(NAME, "unanswered").inc()
            return  # said by the gateway client; the NAS sends again
        if refused:
            self._refused(addr, record.path(refused[0].path), refused[0].detail)
            return
        CONNECT_EVENTS.labels(NAME, "acknowledged").inc()
        _remember(self._answers, key, (self._clock(), answer))
        self._transport.sendto(answer, addr)

    def _refused(self, addr: tuple[Any, ...], path: str, detail: str) -> None:
        CONNECT_EVENTS.labels(NAME, "refused").inc()
        log.warning("%s: accounting is refused at %s: %s", addr[0], path, detail)

    def _payload(self, attributes: Attributes, sender: str) -> Payload:
        now = self._clock()
        stamp = attributes.get("Event-Timestamp")
        if isinstance(stamp, int) and stamp < now - self._oldest:
            hours = self._oldest / 3600
            detail = f"it is older than {hours:g} hours, within which the same event lands once"
            raise BadPayload("out_of_range", "Event-Timestamp", detail, found=str(stamp))
        content = {name: value for name, value in attributes.items() if name not in _CHANGING}
        id = content_id(NAME, [sender, content])
        if isinstance(stamp, int):
            at = float(stamp)
        else:
            delay = attributes.get("Acct-Delay-Time", 0)
            at = self._times.get(id, round(now - (delay if isinstance(delay, int) else 0)))
            _remember(self._times, id, at)
        return payload(content, sender, at, id)


def payload(attributes: Attributes, sender: str, at: float, id: str) -> Payload:
    """The event of a request: `at` in epoch seconds, `id` names it. Raises BadPayload."""
    status = attributes.get("Acct-Status-Type")
    if status is None:
        raise BadPayload("missing_field", "Acct-Status-Type", "an Accounting-Request has one")
    known = {NAME: {**attributes, "sender": sender}, "event_id": id}
    if status in ("Accounting-On", "Accounting-Off"):
        nas = attributes.get("NAS-Identifier") or attributes.get("NAS-IP-Address") or sender
        entry = {"datetime": iso(at), "parent": {"id": str(nas)}, "action": status, **known}
        return Payload("device_logs", [Record(entry)])
    if "Acct-Session-Id" not in attributes:
        raise BadPayload("missing_field", "Acct-Session-Id", "an Accounting-Request of a session has one")
    station = attributes.get("Calling-Station-Id")
    mac = _mac(station)
    if mac is None:
        return Payload("connection_logs", [Record(_session(attributes, status, at) | known)])
    names = {"macAddress": "Calling-Station-Id", "ip": "Framed-IP-Address"}
    return Payload("client_events", [Record(_client(attributes, status, mac, at) | known, names)])


def _client(attributes: Attributes, status: Value, mac: str, at: float) -> dict[str, Any]:
    bssid, ssid = _called(attributes.get("Called-Station-Id"))
    common = {
        "macAddress": mac,
        "timestamp": at,
        "bssid": bssid,
        "ssid": ssid,
        "associatedAPName": _text(attributes.get("NAS-Identifier")),
    }
    if status == "Start":
        return without_nothing({**common, "eventType": "Success"})
    if status == "Failed":
        said = _text(attributes.get("Acct-Terminate-Cause"))
        return without_nothing(
            {**common, "eventType": "Failure", "failure": "RADIUS accounting failed", "subFailure": said}
        )
    if status == "Stop":
        cause = _text(attributes.get("Acct-Terminate-Cause"))
        what = {"categoryCode": 1, "category": "Association", "eventDescription": "Disassociation"}
        what = {**what, "subEventDescription": cause}
    else:
        what = {"categoryCode": 3, "category": "Network", "eventDescription": f"Accounting {status}"}
    address = _text(attributes.get("Framed-IP-Address"))
    return without_nothing({**common, "eventType": "Intermediate", **what, "ip": address})


_STATES = {"Start": "connected", "Stop": "disconnected", "Failed": "failed"}


def _session(attributes: Attributes, status: Value, at: float) -> dict[str, Any]:
    device = attributes.get("Calling-Station-Id") or attributes.get("User-Name")
    if not isinstance(device, str) or not device:
        detail = "it, or User-Name, says whose session it is"
        raise BadPayload("missing_field", "Calling-Station-Id", detail)
    seconds = attributes.get("Acct-Session-Time")
    return without_nothing(
        {
            "device_id": device,
            "application_id": _text(attributes.get("NAS-Identifier")),
            "connection_type": "radius",
            "timestamp": iso(at),
            "ip_address": _text(attributes.get("Framed-IP-Address")),
            "status": _STATES.get(str(status), str(status)),
            "duration": seconds if isinstance(seconds, int) else None,
        }
    )


def _called(station: Value | None) -> tuple[str | None, str | None]:
    """BSSID and SSID of an access point's id: a MAC address, and behind a colon the SSID (RFC 3580, 3.20)."""
    if not isinstance(station, str):
        return None, None
    for length in _MAC_LENGTHS:
        head, colon, ssid = station[:length], station[length : length + 1], station[length + 1 :]
        if colon in ("", ":") and (mac := _mac(head)) is not None:
            return mac, ssid or None
    return None, None


def _mac(text: Value | None) -> str | None:
    if not isinstance(text, str):
        return None
    try:
        return parse_mac(text)
    except ValueError:
        return None


def _text(value: Value | None) -> str | None:
    """One attribute as text; of several the first."""
    if isinstance(value, list):
        value = value[0]
    return None if value is None else str(value)


def _remember(memory: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > REMEMBERED:
        memory.popitem(last=False)
