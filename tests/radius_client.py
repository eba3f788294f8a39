"""Accounting-Requests as a NAS would write them, and the check of what answers them (RFC 2866, section 3)."""

from __future__ import annotations

import hashlib
import socket
import struct

from tidegate.connectors.radius_packet import KINDS

NUMBERS = {name: number for number, (name, _) in KINDS.items()}


def attribute(name: str, value: str | int | bytes) -> bytes:
    if isinstance(value, int):
        value = struct.pack("!I", value)
    elif isinstance(value, str):
        value = socket.inet_aton(value) if name.endswith("-IP-Address") else value.encode()
    return struct.pack("!BB", NUMBERS[name], len(value) + 2) + value


def request(secret: bytes, attributes: dict[str, str | int | bytes], identifier: int = 7) -> bytes:
    body = b"".join(attribute(name, value) for name, value in attributes.items())
    head = struct.pack("!BBH", 4, identifier, 20 + len(body))
    return head + hashlib.md5(head + bytes(16) + body + secret).digest() + body


def is_answer(answer: bytes, sent: bytes, secret: bytes) -> bool:
    """Whether `answer` is the Accounting-Response to `sent` of somebody with the secret."""
    code, identifier, length = struct.unpack_from("!BBH", answer)
    made = hashlib.md5(answer[:4] + sent[4:20] + answer[20:] + secret).digest()
    return (code, identifier, length, answer[4:20]) == (5, sent[1], len(answer), made)


def exchange(address: tuple[str, int], sent: bytes, seconds: float = 20.0) -> bytes | None:
    """What answers a datagram; None where nothing does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.settimeout(seconds)
        own.sendto(sent, address)
        try:
            return own.recv(4096)
        except TimeoutError:
            return None


def start(now: float, **changed: str | int | bytes) -> dict[str, str | int | bytes]:
    """The start of a session, as an access point reports it (RFC 3580)."""
    return {
        "Acct-Status-Type": 1,
        "Acct-Session-Id": "5F00A1B2C3D4E5F6",
        "Acct-Authentic": 1,
        "User-Name": "till-4",
        "NAS-Identifier": "lobby",
        "NAS-IP-Address": "10.20.0.3",
        "Called-Station-Id": "D4-20-B0-F0-1A-2C:Harbour",
        "Calling-Station-Id": "A4-83-E7-11-22-33",
        "Connect-Info": "CONNECT 54Mbps 802.11a",
        "Event-Timestamp": int(now),
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
