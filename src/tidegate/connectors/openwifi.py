"""TIP OpenWiFi: the topics that its gateway writes into Kafka.

The key of a record is the access point's serial number, the value ``{"system": {…}, "payload": {…}}``, as
the pages "SDK Kafka" of OpenWiFi's documentation show. ``connection``, ``healthcheck`` and
``device_event_queue`` say what became of an access point: device logs. ``state`` comes each minute or so,
with every association that there is: an Intermediate event for each. It does not say that a client came or
left, so none of them is a Success.

Offsets are committed when the gateway has acknowledged what stands before them, so a record may be read
again: its events are told by their content, and land once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import re
import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from tidegate.connectors.allowed_networks import Allowed
from tidegate.connectors.gateway_client import GatewayClient
from tidegate.connectors.record import Fields, Record, document_of, identified, iso, without_nothing
from tidegate.contracts.topics import Stream
from tidegate.errors import RetryLater
from tidegate.kafka.group import group_options
from tidegate.settings import Settings
from tidegate.telemetry import CONNECT_DROPPED, CONNECT_EVENTS

log = logging.getLogger(__name__)

NAME = "openwifi"
TOPICS = ("connection", "device_event_queue", "healthcheck", "state")
AT_ONCE = 100  # records between two commits
BATCH_EVENTS = 500
POLL_SECONDS = 0.5
MOST_PAUSE = 30.0
TOLD_SECONDS = 15.0  # between lines about the same trouble
FETCH_KIB = 16_384  # of records that wait in memory
_RADIO = re.compile(r"#/radios/(\d{1,3})")


def events(topic: str, serial: str, document: Fields, written: float) -> Iterator[tuple[Stream, Record]]:
    """The events of a record, which was `written` at that time, epoch seconds; none of a keep-alive."""
    body = _object(document.get("payload")) or document
    if topic == "state":
        for place, made in _associations(body, serial, written):
            yield "client_events", Record(identified(NAME, made), {"macAddress": "station"}, place)
        return
    entry = _entry(topic, body, serial, written)
    if entry is not None:
        kept = {NAME: {"topic": topic, **body}}
        names = {"datetime": "timestamp", "parent.id": "serial", "action": "type"}
        yield "device_logs", Record(identified(NAME, without_nothing(entry) | kept), names, "payload")


def _entry(topic: str, body: Fields, serial: str, written: float) -> dict[str, Any] | None:
    gone, capabilities = _object(body.get("disconnection")), _object(body.get("capabilities"))
    if topic == "connection" and not gone and not capabilities:
        return None
    at = gone.get("timestamp") or body.get("timestamp") or written
    device = gone.get("serialNumber") or body.get("serial") or serial
    parent = without_nothing({"id": device, "model": capabilities.get("model")})
    common = {"datetime": iso(at), "parent": parent}
    if topic == "connection":
        action = "disconnection" if gone else "connection"
        return {**common, "action": action, "notes": _text(body.get("firmware"))}
    if topic == "healthcheck":
        return {**common, "action": topic, "variable_name": "sanity", "new_value": _plain(body.get("sanity"))}
    return {**common, "action": body.get("type") or "events"}


def _associations(body: Fields, serial: str, written: float) -> Iterator[tuple[str, dict[str, Any]]]:
    state = _object(body.get("state"))
    unit = _object(state.get("unit"))
    at = unit.get("localtime") or written
    device = body.get("serial") or serial
    radios = _list(state.get("radios"))
    for number, interface in enumerate(_objects(state.get("interfaces"))):
        addresses = {
            one.get("mac"): (_list(one.get("ipv4_addresses")) or [None])[0]
            for one in _objects(interface.get("clients"))
            if isinstance(one.get("mac"), str)
        }
        for ssid_number, ssid in enumerate(_objects(interface.get("ssids"))):
            channel = _channel(ssid, radios)
            for index, found in enumerate(_objects(ssid.get("associations"))):
                place = f"payload.state.interfaces[{number}].ssids[{ssid_number}].associations[{index}]"
                station = found.get("station")
                address = addresses.get(station) if isinstance(station, str) else None
                yield (
                    place,
                    without_nothing(
                        {
                            "macAddress": station,
                            "eventType": "Intermediate",
                            "timestamp": at,
                            "bssid": found.get("bssid") or ssid.get("bssid"),
                            "ssid": ssid.get("ssid"),
                            "channel": channel,
                            "associatedAPName": device,
                            "categoryCode": 1,
                            "category": "Association",
                            "eventDescription": "State",
                            "rssi": found.get("rssi"),
                            "ip": address,
                            NAME: {"topic": "state", "serial": device, "association": found},
                        }
                    ),
                )


def _channel(ssid: Fields, radios: list[Any]) -> Any:
    found = _RADIO.fullmatch(str(_object(ssid.get("radio")).get("$ref", "")))
    number = int(found[1]) if found else len(radios)
    return _object(radios[number]).get("channel") if number < len(radios) else None


def _object(value: Any) -> Fields:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _objects(value: Any) -> list[Fields]:
    return [_object(one) for one in _list(value)]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else None


class OpenWifi:
    """Consumes in a group of its own, `connect_group`."""

    def __init__(self, settings: Settings, gateway: GatewayClient, allowed: Allowed) -> None:
        bootstrap = settings.connect_kafka_bootstrap or settings.kafka_bootstrap
        self._bootstrap = bootstrap
        self._gateway = gateway
        self._told_at = float("-inf")
        self._consumer = Consumer(
            {
                **group_options(
                    dataclasses.replace(settings, kafka_bootstrap=bootstrap),
                    settings.connect_group,
                    "tidegate-connect",
                    self._told,
                ),
                "auto.offset.reset": "earliest",
                "queued.max.messages.kbytes": FETCH_KIB,
            }
        )
        self._stopping = False

    async def start(self) -> str:
        self._consumer.subscribe(list(TOPICS))
        self._running = asyncio.create_task(self._run())
        return f"{', '.join(TOPICS)} of {self._bootstrap}"

    def delivering(self) -> asyncio.Task[None]:
        return self._running

    async def stop(self, seconds: float) -> None:
        """What is not committed by then is read again."""
        self._stopping = True
        await asyncio.wait([self._running], timeout=seconds)
        self._running.cancel()
        await asyncio.to_thread(self._consumer.close)

    async def _run(self) -> None:
        while not self._stopping:
            messages = await asyncio.to_thread(self._consumer.consume, AT_ONCE, POLL_SECONDS)
            found = [message for message in messages if message.error() is None]
            if not found or not await self._until_in(found):
                continue
            try:
                await asyncio.to_thread(self._consumer.commit, asynchronous=False)
            except KafkaException as error:  # another one has the partitions now, and reads it again
                log.info("not committed: %s", error.args[0].str())

    async def _until_in(self, messages: list[Message]) -> bool:
        """Have the events of records delivered; False where the process is told to end before."""
        waiting: dict[Stream, list[Record]] = {}
        for message in messages:
            for stream, record in _read(message):
                waiting.setdefault(stream, []).append(record)
        for stream, records in waiting.items():
            for first in range(0, len(records), BATCH_EVENTS):
                if not await self._is_in(stream, records[first : first + BATCH_EVENTS]):
                    return False
        return True

    async def _is_in(self, stream: Stream, records: list[Record]) -> bool:
        pause = 0.5
        while True:
            try:
                refused = await self._gateway.deliver(stream, [record.event for record in records])
                break
            except RetryLater as error:
                if self._stopping:
                    return False
                await asyncio.sleep(max(error.after_seconds, pause) * random.uniform(0.5, 1.0))
                pause = min(2 * pause, MOST_PAUSE)
        for one in refused:
            log.warning("a record is refused at %s: %s", records[one.index].path(one.path), one.detail)
        CONNECT_EVENTS.labels(NAME, "refused").inc(len(refused))
        CONNECT_EVENTS.labels(NAME, "acknowledged").inc(len(records) - len(refused))
        return True

    def _told(self, error: KafkaError) -> None:
        if time.monotonic() - self._told_at > TOLD_SECONDS:
            self._told_at = time.monotonic()
            log.warning("Kafka: %s", error.str())


def _read(message: Message) -> list[tuple[Stream, Record]]:
    kind, milliseconds = message.timestamp()
    written = milliseconds / 1000 if kind else time.time()
    topic, position = message.topic(), f"{message.topic()} {message.partition()} {message.offset()}"
    try:
        document = document_of(message.value() or b"")
        if not isinstance(document, dict):
            raise ValueError("no JSON object")
    except ValueError as error:
        log.warning("%s is no record of OpenWiFi: %s", position, error)
        CONNECT_DROPPED.labels(NAME, "malformed").inc()
        return []
    serial = (message.key() or b"").decode("utf-8", "replace")
    found = list(events(str(topic), serial, document, written))
    if not found:
        CONNECT_EVENTS.labels(NAME, "unread").inc()
    return found
