"""Pseudonyms of clients: keyed, so that who knows a MAC, or a vendor's whole range, cannot check one.

``<key id>.<64 hex digits>``: HMAC-SHA-256 of fleet and MAC under that key of the `pseudonym_key_file`. The
same client has the same pseudonym as long as the key is the same; `tidegate key pseudonym` tells those of a
client under every key of the file.
"""

from __future__ import annotations

import hashlib

from tidegate.keyfile import Keys


def fleet_digest(fleet: str) -> str:
    """What stands for a fleet, in 64 hex digits; ClickHouse: ``lower(hex(SHA256(fleet)))``."""
    return hashlib.sha256(fleet.encode()).hexdigest()


def of_mac(keys: Keys, fleet: str, mac: str, *, id: str = "") -> str:
    """The pseudonym of a canonical MAC under the key `id`, or the current one. Raises KeyError."""
    return of_digest(keys, fleet_digest(fleet), mac, id=id)


def of_digest(keys: Keys, digest: str, mac: str, *, id: str = "") -> str:
    """The same, from the digest of the fleet."""
    message = b"mac\n" + digest.encode("ascii") + b"\n" + mac.encode("ascii", "replace")
    return f"{id or keys.current}.{keys.mac(message, id=id).hex()}"
