"""Cuts a request under an Idempotency-Key into pieces, the same at every try and on every gateway.

The events that go to one partition are cut into pieces, each of which stands whole in one frame. So a retry
brings the same pieces again, and each is known or new as a whole.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tidegate.contracts import keys
from tidegate.gateway.examine import Text
from tidegate.gateway.frame_writer import Key
from tidegate.gateway.idempotency import Request

# Constants, not settings: gateways that cut differently would not know each other's pieces.
EVENTS = 500
BYTES = 524_288


class Keyed(NamedTuple):
    """A request under a key. `in_frame`: frames tell the worker of it; an event's own key it sees there."""

    key: bytes
    digest: bytes  # of the whole body
    request: Request
    in_frame: bool = True

    def name(self, number: int, indexes: Sequence[int]) -> Key | None:
        """What the worker knows a piece by: the events `indexes` of the body, the partition's `number`-th.

        With the body they are its content; were they left out, a gateway that refuses more events than the
        one before it would shift what it sends.
        """
        if not self.in_frame:
            return None
        return Key(keys.piece_key(self.key, number), keys.digest(self.digest, array("I", indexes).tobytes()))


class Piece(NamedTuple):
    partition: int
    number: int  # within the partition
    indexes: Sequence[int]


def uncut(groups: Mapping[int, list[int]]) -> list[Piece]:
    """The same of a request without a key: one of each partition, of any size."""
    return [Piece(partition, 0, indexes) for partition, indexes in groups.items()]


def cut(groups: Mapping[int, list[int]], lines: Sequence[Text]) -> list[Piece]:
    """The pieces of a request; `groups` are the indexes of its lines by partition."""
    pieces: list[Piece] = []
    for partition, indexes in groups.items():
        if len(indexes) <= EVENTS and sum(len(lines[index]) for index in indexes) <= BYTES:
            pieces.append(Piece(partition, 0, indexes))
            continue
        begin = size = number = 0
        for at, index in enumerate(indexes):
            size += len(lines[index])
            if at > begin and (at - begin == EVENTS or size > BYTES):
                pieces.append(Piece(partition, number, indexes[begin:at]))
                begin, size, number = at, len(lines[index]), number + 1
        pieces.append(Piece(partition, number, indexes[begin:]))
    return pieces
