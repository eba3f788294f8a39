"""Chooses the partition of an event: all events of one device go to one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any
from zlib import crc32

from tidegate.contracts.formats import parse_mac
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


def partition_of(stream: Stream, value: Any, header: str | None, start: int, partitions: int) -> int | None:
    """The partition of one event, None where any will do. `start` is the fleet's seed."""
    key = device_key(stream, value, header)
    return None if key is None else crc32(key.encode("utf-8"), start) % partitions


def of_key(key: bytes, partitions: int) -> int:
    """The partition of what names no device and came under a key (`contracts.keys`): a retry's too."""
    return crc32(key) % partitions


@lru_cache(maxsize=65_536)  # a fleet's clients come again and again
def _client_partition(mac: str, start: int, partitions: int) -> int:
    return crc32(parse_mac(mac).encode("ascii"), start) % partitions


def group(
    stream: Stream, values: Sequence[Any], header: str | None, start: int, partitions: int
) -> dict[int | None, list[int]]:
    """The indexes of a batch's events by partition, in order; None collects those that may go anywhere."""
    if stream == "client_events":
        chosen: Iterable[int | None] = [_client_partition(value.mac, start, partitions) for value in values]
    else:
        chosen = [partition_of(stream, value, header, start, partitions) for value in values]
    groups: dict[int | None, list[int]] = {}
    for index, partition in enumerate(chosen):
        if partition in groups:
            groups[partition].append(index)
        else:
            groups[partition] = [index]
    return groups
