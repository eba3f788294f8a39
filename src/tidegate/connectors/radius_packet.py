"""RADIUS accounting on the wire: RFC 2866, with attributes of RFC 2865, 2868, 2869, 3162, 6911 and 7268.

A request is authentic when its authenticator is the MD5 of the packet, with zeros in the authenticator's
place, and the shared secret behind it. The response's is made from the request's, so that only who has the
secret can have written it.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

REQUEST = 4
RESPONSE = 5
HEAD = 20
MOST_BYTES = 4096
PROXY_STATE = 33

Value = str | int | list[str | int]


class Malformed(ValueError):
    """A datagram that is no Accounting-Request."""


class Forged(ValueError):
    """A request whose authenticator says that its sender has another secret."""


class Request(NamedTuple):
    identifier: int
    authenticator: bytes  # 16
    attributes: list[tuple[int, bytes]]  # in their order


def parse(data: bytes, secret: bytes) -> Request:
    """A datagram; bytes behind the length that it names are padding. Raises Malformed or Forged."""
    if len(data) < HEAD:
        raise Malformed("shorter than a header")
    code, identifier, length = struct.unpack_from("!BBH", data)
    if code != REQUEST:
        raise Malformed(f"code {code} is no Accounting-Request")
    if not HEAD <= length <= min(len(data), MOST_BYTES):
        raise Malformed(f"its length is {length}")
    packet = data[:length]
    expected = hashlib.md5(packet[:4] + bytes(16) + packet[HEAD:] + secret).digest()
    if not hmac.compare_digest(expected, packet[4:HEAD]):
        raise Forged("the authenticator is that of another secret")
    return Request(identifier, packet[4:HEAD], list(_attributes(packet)))


def response(request: Request, secret: bytes) -> bytes:
    """The Accounting-Response, with the Proxy-States of the request as they came."""
    states = b"".join(
        struct.pack("!BB", kind, len(value) + 2) + value
        for kind, value in request.attributes
        if kind == PROXY_STATE
    )
    head = struct.pack("!BBH", RESPONSE, request.identifier, HEAD + len(states))
    return head + hashlib.md5(head + request.authenticator + states + secret).digest() + states


def named(attributes: Iterable[tuple[int, bytes]]) -> dict[str, Value]:
    """The attributes by name, several of one kind as a list; unknown ones in hex, ``Attribute-<number>``."""
    found: dict[str, Any] = {}
    for kind, data in attributes:
        name, read = KINDS.get(kind, (f"Attribute-{kind}", _hex))
        if read is None:
            continue
        value = read(data)
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found


def _attributes(packet: bytes) -> Iterable[tuple[int, bytes]]:
    at = HEAD
    while at < len(packet):
        length = packet[at + 1] if at + 1 < len(packet) else 0
        if length < 2 or at + length > len(packet):
            raise Malformed("an attribute is cut short")
        yield packet[at], packet[at + 2 : at + length]
        at += length


def _hex(data: bytes) -> str:
    return data.hex()


def _text(data: bytes) -> str:
    """Text is UTF-8; what is not is shown, byte by byte."""
    return data.decode("utf-8", "backslashreplace")


def _number(data: bytes) -> Value:
    return int.from_bytes(data, "big") if len(data) == 4 else data.hex()


def _ipv4(data: bytes) -> Value:
    return str(IPv4Address(data)) if len(data) == 4 else data.hex()


def _ipv6(data: bytes) -> Value:
    return str(IPv6Address(data)) if len(data) == 16 else data.hex()


def _one_of(*names: str, first: int = 1) -> Callable[[bytes], Value]:
    def read(data: bytes) -> Value:
        number = _number(data)
        place = number - first if isinstance(number, int) else -1
        return names[place] if 0 <= place < len(names) and names[place] else number

    return read


_STATUS = _one_of(
    "Start", "Stop", "Interim-Update", "", "", "", "Accounting-On", "Accounting-Off", *[""] * 6, "Failed"
)
_CAUSE = _one_of(
    "User-Request",
    "Lost-Carrier",
    "Lost-Service",
    "Idle-Timeout",
    "Session-Timeout",
    "Admin-Reset",
    "Admin-Reboot",
    "Port-Error",
    "NAS-Error",
    "NAS-Request",
    "NAS-Reboot",
    "Port-Unneeded",
    "Port-Preempted",
    "Port-Suspended",
    "Service-Unavailable",
    "Callback",
    "User-Error",
    "Host-Request",
    "Supplicant-Restart",
    "Reauthentication-Failure",
    "Port-Reinitialized",
    "Port-Administratively-Disabled",
)

KINDS: dict[int, tuple[str, Callable[[bytes], Value] | None]] = {
    1: ("User-Name", _text),
    4: ("NAS-IP-Address", _ipv4),
    5: ("NAS-Port", _number),
    8: ("Framed-IP-Address", _ipv4),
    25: ("Class", _hex),
    26: ("Vendor-Specific", _hex),
    30: ("Called-Station-Id", _text),
    31: ("Calling-Station-Id", _text),
    32: ("NAS-Identifier", _text),
    33: ("Proxy-State", None),
    40: ("Acct-Status-Type", _STATUS),
    41: ("Acct-Delay-Time", _number),
    42: ("Acct-Input-Octets", _number),
    43: ("Acct-Output-Octets", _number),
    44: ("Acct-Session-Id", _text),
    45: ("Acct-Authentic", _one_of("RADIUS", "Local", "Remote", "Diameter")),
    46: ("Acct-Session-Time", _number),
    47: ("Acct-Input-Packets", _number),
    48: ("Acct-Output-Packets", _number),
    49: ("Acct-Terminate-Cause", _CAUSE),
    50: ("Acct-Multi-Session-Id", _text),
    51: ("Acct-Link-Count", _number),
    52: ("Acct-Input-Gigawords", _number),
    53: ("Acct-Output-Gigawords", _number),
    55: ("Event-Timestamp", _number),
    61: ("NAS-Port-Type", _number),
    77: ("Connect-Info", _text),
    80: ("Message-Authenticator", None),
    81: ("Tunnel-Private-Group-Id", _text),
    87: ("NAS-Port-Id", _text),
    95: ("NAS-IPv6-Address", _ipv6),
    168: ("Framed-IPv6-Address", _ipv6),
    177: ("Mobility-Domain-Id", _number),
    186: ("WLAN-Pairwise-Cipher", _number),
    187: ("WLAN-Group-Cipher", _number),
    188: ("WLAN-AKM-Suite", _number),
}
"""Number, name and type of what an access point says; None: of no use behind the exchange itself."""
