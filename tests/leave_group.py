"""Take a member out of its consumer group, from outside and without a word to it."""

from __future__ import annotations

import socket
import struct

LEAVE_GROUP, VERSION, NO_ERROR = 13, 1, 0


def give_up(bootstrap: str, group: str, member: str) -> None:
    """What a group does to a member that it hears nothing of, without waiting for a timeout. The member
    learns of it from its next heartbeat or commit.

    Raises RuntimeError when the broker refuses.
    """
    header = struct.pack(">hhi", LEAVE_GROUP, VERSION, 1) + _text("test")
    request = header + _text(group) + _text(member)
    host, port = bootstrap.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as answer:
            (size,) = struct.unpack(">i", answer.read(4))
            _correlation, _throttled, error = struct.unpack(">iih", answer.read(size)[:10])
    if error != NO_ERROR:
        raise RuntimeError(f"{bootstrap} does not take {member} out of {group}: error {error}")


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()
