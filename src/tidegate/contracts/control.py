"""Signed records of `tidegate.control`: who wrote them, in which epoch, and in which order.

A signature is HMAC-SHA-256 with a key of the roles over epoch, time, key and value of the record. Headers:
``epoch``, ``at`` (milliseconds since 1970; what follows another record of the same key is later than it),
``key-id`` and ``signature`` (hexadecimal). A record without them, or with others, is a stranger's.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from tidegate.keyfile import Keys

LONGEST = 256  # bytes of a header; those here are shorter
MOST_HEADERS = 16
_PURPOSE = b"tidegate.control"  # a key's signature of something else is none of a control record

Headers = list[tuple[str, bytes]]


class Signed(NamedTuple):
    """A record whose signature holds."""

    key: bytes
    value: bytes | None
    epoch: str
    at: int


class Record(NamedTuple):
    """A record to be written, signed."""

    key: bytes
    value: bytes | None
    headers: Headers


class Doubt(StrEnum):
    """Why a record of the control topic is passed over."""

    UNSIGNED = "unsigned"  # no signature
    FORGED = "forged"  # a signature that does not hold
    UNKNOWN_KEY = "unknown_key"  # signed with a key that the key file does not have
    OTHER_EPOCH = "other_epoch"  # signed in an earlier life of the topics
    REPLAYED = "replayed"  # no later than one of its key that was read before
    UNREADABLE = "unreadable"  # signed, and not what stands there


def sign(keys: Keys, *, epoch: str, at: int, key: bytes, value: bytes | None) -> Headers:
    """The headers of a record, by the current key."""
    mac = keys.mac(_message(epoch.encode(), str(at).encode(), key, value))
    return [
        ("epoch", epoch.encode()),
        ("at", str(at).encode()),
        ("key-id", keys.current.encode()),
        ("signature", mac.hex().encode()),
    ]


def verified(
    keys: Keys, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]] | None
) -> Signed | Doubt:
    """The record, or why it is passed over. Costs a stranger's record next to nothing."""
    listed = list(headers or ())
    if len(listed) > MOST_HEADERS or key is None:
        return Doubt.UNSIGNED
    found = {name: text for name, text in listed if isinstance(text, bytes) and len(text) <= LONGEST}
    epoch, at, id, signature = (found.get(name, b"") for name in ("epoch", "at", "key-id", "signature"))
    if not (epoch and id and signature and at.isdigit()):
        return Doubt.UNSIGNED
    name = id.decode("utf-8", "replace")
    if name not in keys.keys:
        return Doubt.UNKNOWN_KEY
    mac = keys.mac(_message(epoch, at, key, value), id=name)
    if not hmac.compare_digest(mac.hex().encode(), signature):
        return Doubt.FORGED
    return Signed(key, value, epoch.decode("utf-8", "replace"), int(at))


def _message(epoch: bytes, at: bytes, key: bytes, value: bytes | None) -> bytes:
    """What is signed. Lengths stand before the parts, so that none can lend bytes to another."""
    parts = (_PURPOSE, epoch, at, key, value or b"")
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
