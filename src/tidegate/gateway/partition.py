"""Which partition an event goes to: all events of one device to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zlib import crc32

from tidegate.contracts.formats import parse_mac
from tidegate.contracts.forms import Event
from tidegate.contracts.topics import Stream


def seed(fleet: str) -> int:
    """The hash of a fleet, which a device's key continues."""
    return crc32(fleet.encode("utf-8") + b"\0")


def device_key(stream: Stream, value: Any, header: str | None) -> str | None:
    """What names the device of an event: the client's MAC, the log's parent, the connection log's
    device_id, else the ``X-Device-Id`` header; None if nothing does."""
    if stream == "client_events":
        return parse_mac(value.mac)
    if stream == "device_logs":
        key: str = value.parent.id
        return key
    return getattr(value, "device_id", None) or header


def partition_of(stream: Stream, event: Event, header: str | None, start: int, partitions: int) -> int | None:
    """The partition of one event, None where any will do. `start` is the fleet's seed."""
    key = device_key(stream, event.value, header)
    return None if key is None else crc32(key.encode("utf-8"), start) % partitions


def group(
    stream: Stream, events: Sequence[Event], header: str | None, start: int, partitions: int
) -> dict[int | None, list[int]]:
    """The indexes of a batch's events by partition, in order; None collects those that may go anywhere."""
    groups: dict[int | None, list[int]] = {}
    if stream == "client_events":  # the hot path: no call an event but the cached parse
        for index, event in enumerate(events):
            mac = parse_mac(event.value.mac)  # type: ignore[attr-defined]
            place = crc32(mac.encode(), start) % partitions
            if place in groups:
                groups[place].append(index)
            else:
                groups[place] = [index]
        return groups
    for index, event in enumerate(events):
        groups.setdefault(partition_of(stream, event, header, start, partitions), []).append(index)
    return groups
