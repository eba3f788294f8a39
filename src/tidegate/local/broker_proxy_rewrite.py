"""What the proxy changes in requests to the embedded broker and in its answers.

Bytes of Kafka's protocol without the length in front. A request begins with api key (2 bytes), version (2),
correlation id (4) and client id (a string, its length in 2); in flexible versions tagged fields follow.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

JOIN_GROUP, API_VERSIONS, INIT_PRODUCER_ID = 11, 18, 22

NEWEST_API_VERSIONS = 4  # that tansu knows; a newer one it answers in the form of version 3
UNSUPPORTED_VERSION = 35  # error code
SESSION_MS = 10_000  # the longest that a group gets: half of it is what a member waits for

Answer = Callable[[bytes], bytes]


class Request(NamedTuple):
    """What becomes of a request."""

    data: bytes  # to the broker
    answer: Answer | None = None  # what is done to its answer
    refused: bytes | None = None  # the answer, where the broker is not asked


def api_versions(version: int, data: bytes) -> Request:
    if version > NEWEST_API_VERSIONS:
        return Request(data, refused=unsupported(*struct.unpack_from(">i", data, 4)))
    return Request(data, without_tags if version >= 3 else None)


def unsupported(correlation: int) -> bytes:
    """The answer to an ApiVersions request of a version that the broker does not know: as Kafka gives it, in
    the form of version 0, which every client reads, with the versions that it may ask instead.
    """
    versions = (API_VERSIONS, 0, NEWEST_API_VERSIONS)
    return struct.pack(">ihihhh", correlation, UNSUPPORTED_VERSION, 1, *versions)


def without_tags(answer: bytes) -> bytes:
    """An ApiVersions response of version 3 or later without the tagged fields at its end.

    Correlation id (4 bytes), error (2), compact array of key, first and last version (2 each) and tags,
    throttle time (4), tags. One with an error is in the form of version 0 and stays as it is.
    """
    if answer[4:6] != b"\0\0":
        return answer
    count, place = _varint(answer, 6)
    for _ in range(count - 1):
        place = _behind_tags(answer, place + 6)
    return answer[: place + 4] + b"\0"


def init_producer_id(version: int, data: bytes) -> Request:
    """Versions 0 to 2 as version 3: it adds a producer's own id and epoch, -1 for one that has none yet.

    Transactions are refused: tansu shows the records of an aborted one to everybody.

    Behind the header: transactional id (a nullable string, compact from version 2 on), timeout (4 bytes).
    """
    place = _behind_client_id(data)
    if version >= 2:
        length, behind = _varint(data, _behind_tags(data, place))
        length -= 1
    else:
        length, behind = struct.unpack_from(">h", data, place)[0], place + 2
    if length >= 0:
        refused = struct.pack(">ihqh", 0, UNSUPPORTED_VERSION, -1, -1)
        return Request(data, refused=data[4:8] + (b"\0" + refused + b"\0" if version >= 2 else refused))
    if version >= 3:
        return Request(data)
    header = data[:2] + struct.pack(">h", 3) + data[4:place] + b"\0"
    body = b"\0" + data[behind : behind + 4] + struct.pack(">qhb", -1, -1, 0)
    return Request(header + body, None if version == 2 else _without_flexible)


def _without_flexible(answer: bytes) -> bytes:
    """An InitProducerId response of version 3 as version 0 or 1: the same without the tags.

    Correlation id (4 bytes), tags, throttle time (4), error (2), producer id (8), epoch (2), tags.
    """
    place = _behind_tags(answer, 4)
    return answer[:4] + answer[place : place + 16]


def join_group(version: int, data: bytes) -> Request:
    """A session timeout of no more than `SESSION_MS`.

    Behind the header: group id, session timeout (4 bytes).
    """
    place = _behind_client_id(data)
    if version >= 6:
        length, place = _varint(data, _behind_tags(data, place))
        place += length - 1
    else:
        place += 2 + struct.unpack_from(">h", data, place)[0]
    (timeout,) = struct.unpack_from(">i", data, place)
    return Request(data[:place] + struct.pack(">i", min(timeout, SESSION_MS)) + data[place + 4 :])


REQUESTS: dict[int, Callable[[int, bytes], Request]] = {
    API_VERSIONS: api_versions,
    INIT_PRODUCER_ID: init_producer_id,
    JOIN_GROUP: join_group,
}


def _behind_client_id(request: bytes) -> int:
    length: int = struct.unpack_from(">h", request, 8)[0]
    return 10 + max(length, 0)


def _behind_tags(data: bytes, place: int) -> int:
    count, place = _varint(data, place)
    for _ in range(count):
        _, place = _varint(data, place)
        length, place = _varint(data, place)
        place += length
    return place


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """An unsigned varint, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
