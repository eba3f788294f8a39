"""Keys under which something lands once: a request's Idempotency-Key, an event's `event_id`.

The gateway writes with each raw record which of its lines came under a request's key: header `keys`, an entry
for each *piece*, lines of one request that stand together in the record. The worker drops a piece whose key
it has seen before. The key of an event stands in the event itself.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b, sha256
from typing import NamedTuple

import msgspec

from tidegate.contracts import json_text

HEADER = "keys"  # of a raw record
KEY_BYTES = 16
FLEET_BYTES = 4  # with which a key begins: whose it is
DIGEST_BYTES = 8
_PIECE = struct.Struct(f"<{KEY_BYTES}s{DIGEST_BYTES}sII")
_VALUE = msgspec.json.Decoder(str | int)

Change = tuple[
    bytes, bytes | None
]  # a record of the dedup table's changelog: key, and value or None to delete


class BadKeys(ValueError):
    """A header `keys` that no gateway wrote."""


class Piece(NamedTuple):
    """Lines of one request in one raw record: `lines` of them from line `first` on.

    `digest` tells the content of the piece from another under the same key.
    """

    key: bytes  # 16
    digest: bytes  # 8
    first: int
    lines: int


class EventKey(NamedTuple):
    """The key of a line with an `event_id`.

    `is_replayed`: an operator put the line back; that another content came first does not hold it up.
    """

    key: bytes
    digest: bytes
    line: bytes  # as it came
    is_replayed: bool = False


def request_key(fleet: str, key: bytes) -> bytes:
    """The key of a request's first piece in each partition."""
    return _key(b"request", fleet, key)


def event_key(fleet: str, event_id: str) -> bytes:
    """The key of a line with an `event_id`."""
    return _key(b"event", fleet, event_id.encode("utf-8"))


def piece_key(key: bytes, number: int) -> bytes:
    """The key of a request's piece `number` in a partition, from that of its first."""
    if number == 0:
        return key
    rest = blake2b(b"%d" % number, key=key, digest_size=KEY_BYTES - FLEET_BYTES, person=b"piece").digest()
    return fleet_of(key) + rest


def fleet_of(key: bytes) -> bytes:
    """What tells the keys of one fleet from another's: 4 bytes."""
    return key[:FLEET_BYTES]


def digest(*parts: bytes) -> bytes:
    """What tells one content from another under the same key; 8 bytes."""
    found = sha256()  # three times as fast as BLAKE2 where the processor knows it
    for part in parts:
        found.update(part)
    return found.digest()[:DIGEST_BYTES]


def event_id(fields: bytes) -> str | None:
    """The `event_id` among the fields of a JSON object, text or a whole number; None where there is none.

    `fields` is an event's unknown fields (`forms.Event.extra`) or the event itself. The older wrapper around
    an event is looked into.
    """
    if b"event_id" not in fields:  # within the wrapper its quotes are escaped
        return None
    try:
        found = json_text.fields(fields)
        if found.keys() == {"data"}:
            found = json_text.fields(msgspec.json.decode(found["data"], type=str).encode("utf-8"))
        value = str(_VALUE.decode(found["event_id"]))
    except (KeyError, msgspec.DecodeError, ValueError, RecursionError):
        return None
    return value or None


def write_pieces(pieces: Sequence[Piece]) -> bytes:
    """The header's value."""
    return b"".join([_PIECE.pack(*piece) for piece in pieces])


def read_pieces(value: bytes) -> list[Piece]:
    """The pieces of a header, in the order of their lines. Raises BadKeys where they overlap or are cut."""
    try:
        pieces = [Piece(*found) for found in _PIECE.iter_unpack(value)]
    except struct.error as error:
        raise BadKeys(str(error)) from error
    end = 0
    for piece in pieces:
        if piece.first < end or not piece.lines:
            raise BadKeys(f"a piece of {piece.lines} lines at {piece.first}, behind one that ends at {end}")
        end = piece.first + piece.lines
    return pieces


def _key(kind: bytes, fleet: str, key: bytes) -> bytes:
    own, name = _fleet(fleet)
    return own + blake2b(name + key, digest_size=KEY_BYTES - FLEET_BYTES, person=kind).digest()


@lru_cache(maxsize=1024)
def _fleet(fleet: str) -> tuple[bytes, bytes]:
    """What a fleet's keys begin with, and its name with its length in front: no fleet and key together read
    as another fleet and another key."""
    name = fleet.encode("utf-8")
    return (
        blake2b(name, digest_size=FLEET_BYTES, person=b"fleet").digest(),
        len(name).to_bytes(4, "big") + name,
    )
