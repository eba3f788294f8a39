"""Which addresses a webhook may be sent to: public ones over https, and what `webhook_allow` lists.

Whoever may create a webhook chooses where Tidegate connects to. So every address that a name resolves to must
be public, the connection goes to an address that was checked, and addresses that carry another one (mapped
and translated IPv4, 6to4, Teredo) do not hide it. Address blocks: the IANA special-purpose registries.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from tidegate.errors import UsageError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_V4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(block), what)
    for block, what in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "AS112"),
        ("192.52.193.0/24", "AMT"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "AS112"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_V6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(block), what)
    for block, what in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("64:ff9b:1::/48", "local-use NAT64"),
        ("100::/64", "discard"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "protocol assignments"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "AS112"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_MAPPED = IPv6Network("::ffff:0:0/96")
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?")
MOST_URL = 2048


class BadField(UsageError):
    """A value that an endpoint cannot have; `field` names it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class Allowed(NamedTuple):
    """What `webhook_allow` lists: networks and names of hosts that need be neither public nor https."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    def has(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self.networks)


class Target(NamedTuple):
    """A URL that may be connected to, at these addresses and no others."""

    scheme: str
    host: str  # as TLS and the Host header name it
    port: int
    path: str  # with the query
    addresses: tuple[Address, ...]


def allowed(text: str) -> Allowed:
    """Parse the setting: addresses, CIDR blocks and host names, separated by commas. Raises UsageError."""
    networks: list[Network] = []
    hosts: set[str] = set()
    for item in filter(None, (part.strip().casefold() for part in text.split(","))):
        try:
            networks.append(ip_network(item.strip("[]")))
            continue
        except ValueError:
            pass
        if "/" in item or not _HOST.fullmatch(item) or _numeric(item):
            raise UsageError(f"webhook_allow: {item!r} is no address, CIDR block or host name")
        hosts.add(item.rstrip("."))
    return Allowed(tuple(networks), frozenset(hosts))


def refusal(address: Address) -> str:
    """Why no webhook goes to an address, for example ``private (10.0.0.0/8)``; empty for a public one."""
    if isinstance(address, IPv4Address):
        return next((f"{what} ({block})" for block, what in _V4 if address in block), "")
    plain = IPv6Address(int(address))  # without its zone
    for network, what in ((_MAPPED, "IPv4-mapped"), (_NAT64, "NAT64 of")):
        if plain in network:
            inner = IPv4Address(int(plain) & 0xFFFFFFFF)
            reason = refusal(inner)
            return f"{what} {inner}, which is {reason}" if reason else ""
    for block, what in _V6:
        if plain in block:
            return f"{what} ({block})"
    return "" if plain in _GLOBAL_UNICAST else f"not global unicast ({_GLOBAL_UNICAST})"


def split(url: str) -> SplitResult:
    """The parts of a webhook's URL. Raises BadField for what is none; the message does not quote it."""
    if len(url) > MOST_URL:
        raise BadField("url", f"longer than {MOST_URL} characters")
    if any(ord(char) <= 32 or ord(char) >= 127 for char in url):
        raise BadField("url", "holds a space, control or non-ASCII character (write it percent-encoded)")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadField("url", "is no URL") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise BadField("url", "is not https://host/path")
    if "@" in parts.netloc:
        raise BadField("url", "names a user or password, which are not sent")
    if port == 0:
        raise BadField("url", "port 0")
    host = parts.hostname
    if ":" not in host and not _HOST.fullmatch(host):
        raise BadField("url", "its host is neither a name nor an address")
    return parts


def target(url: str, allow: Allowed, addresses: Sequence[Address]) -> Target:
    """What may be connected to for `url`, whose host has these addresses. Raises BadField."""
    parts = split(url)
    host = str(parts.hostname)
    if not addresses:
        raise BadField("url", f"{host} has no address")
    named = host.rstrip(".") in allow.hosts
    for address in addresses:
        if named or allow.has(address):
            continue
        if reason := refusal(address):
            where = host if str(address) == host else f"{host} has address {address}, which"
            raise BadField("url", f"{where} is {reason}")
        if parts.scheme != "https":
            raise BadField("url", "is not https")
    default = 443 if parts.scheme == "https" else 80
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, parts.port or default, path, tuple(addresses))


def addresses_of(found: Iterable[tuple[object, ...]]) -> list[Address]:
    """The distinct addresses in an answer of getaddrinfo, in its order."""
    addresses: dict[Address, None] = {}
    for entry in found:
        sockaddr = entry[4]
        assert isinstance(sockaddr, tuple)
        addresses[ip_address(str(sockaddr[0]).partition("%")[0])] = None
    return list(addresses)


def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a host; empty where it has none or the resolver does not answer."""
    try:
        return addresses_of(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return []


def check(url: str, allow: Allowed) -> Target:
    """Resolve and check a URL as it is now. Raises BadField naming the address that will not do."""
    parts = split(url)
    return target(url, allow, resolve(str(parts.hostname), parts.port or 443))


def _numeric(host: str) -> bool:
    """Whether a resolver would read a name as an IPv4 address in one of its old forms (127.1, 0x7f.1)."""
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True
