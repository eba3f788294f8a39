"""Which requests are served: those of programs on this machine, with a user's name and password.

A web page that the user has open elsewhere can make its browser send requests to loopback: an image, a
form, a script, also under a name of its own that resolves to 127.0.0.1 (DNS rebinding). A browser tells by
`Sec-Fetch-Site` and `Origin` who is asking; the rebound name stands in `Host`. Drivers send none of these
but a loopback `Host`.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Mapping
from email.message import Message
from urllib.parse import urlsplit

from tidegate.local.clickhouse.credentials import Credentials, User
from tidegate.local.clickhouse.errors import refusal

REALM = "ClickHouse server HTTP API"
USER_HEADER, PASSWORD_HEADER = "X-ClickHouse-User", "X-ClickHouse-Key"
OWN_SITE = frozenset(["none", "same-origin"])


def check_origin(headers: Message, target: str) -> None:
    """Raises ClickHouseError for a request of a foreign page, or one to a name that is not loopback's."""
    hosts = headers.get_all("Host", [])
    if len(hosts) != 1 or not _loopback(hosts[0]):
        raise refusal(
            "ACCESS_DENIED", f"Host {', '.join(hosts) or 'missing'}: only a loopback address is served"
        )
    named = urlsplit(target).netloc
    if named and not _loopback(named):
        raise refusal("ACCESS_DENIED", f"{named}: only a loopback address is served")
    for site in headers.get_all("Sec-Fetch-Site", []):
        if site.strip().lower() not in OWN_SITE:
            raise refusal(
                "ACCESS_DENIED", f"Requests that a browser makes for another site are refused ({site})"
            )
    for origin in headers.get_all("Origin", []):
        if origin.strip().lower() != f"http://{hosts[0].strip().lower()}":
            raise refusal("ACCESS_DENIED", f"Requests of the page {origin} are refused")


def authenticate(headers: Message, parameters: Mapping[str, str], known: Credentials) -> User:
    """The user of a request, by ClickHouse's three ways: its headers, Basic, or URL parameters.

    Raises ClickHouseError: REQUIRED_PASSWORD (401) without any, AUTHENTICATION_FAILED (403).
    """
    ways = [way for way in (_by_header(headers), _by_basic(headers), _by_url(parameters)) if way is not None]
    if not ways:
        raise refusal(
            "REQUIRED_PASSWORD",
            "Authentication required: give a user and its password (clickhouse-credentials.json has them)",
        )
    if len(ways) > 1:
        raise refusal(
            "AUTHENTICATION_FAILED",
            "Invalid authentication: it is not allowed to use X-ClickHouse headers, HTTP Basic and"
            " authentication by URL parameters simultaneously",
        )
    [(name, password)] = ways
    user = known.user(name, password)
    if user is None:
        raise refusal(
            "AUTHENTICATION_FAILED",
            f"{name}: Authentication failed: password is incorrect, or there is no user with such name."
            " The users of this server are tidegate and analyst, see clickhouse-credentials.json",
        )
    return user


Way = tuple[str, str]


def _by_header(headers: Message) -> Way | None:
    name, password = headers.get(USER_HEADER), headers.get(PASSWORD_HEADER)
    return None if name is None and password is None else (name or "default", password or "")


def _by_basic(headers: Message) -> Way | None:
    given = headers.get("Authorization")
    if given is None:
        return None
    scheme, _, encoded = given.strip().partition(" ")
    if scheme.lower() != "basic":
        raise refusal(
            "AUTHENTICATION_FAILED",
            f"Invalid authentication: '{scheme}' HTTP Authorization scheme is not supported",
        )
    try:
        name, _, password = (
            base64.b64decode(encoded, validate=True).decode("utf-8", "surrogateescape").partition(":")
        )
    except binascii.Error as error:
        raise refusal(
            "AUTHENTICATION_FAILED", "Invalid authentication: the Basic credentials are not base64"
        ) from error
    return name or "default", password


def _by_url(parameters: Mapping[str, str]) -> Way | None:
    name, password = parameters.get("user"), parameters.get("password")
    return None if name is None and password is None else (name or "default", password or "")


def _loopback(authority: str) -> bool:
    """Whether host[:port] is 127.0.0.0/8, [::1] or localhost."""
    host, _, port = authority.strip().rpartition(":")
    if not port.isdigit() or host.count(":") not in (0, host.strip("[]").count(":")):
        host = authority.strip()
    if host.lower() == "localhost":
        return True
    try:
        if host.startswith("[") and host.endswith("]"):
            return ipaddress.IPv6Address(host[1:-1]).is_loopback
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return False
