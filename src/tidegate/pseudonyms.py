"""Pseudonyms of clients: keyed, so that who knows a MAC, or a vendor's whole range, cannot check one.

``<key id>.<64 hex digits>``: HMAC-SHA-256 of fleet and MAC under that key of the `pseudonym_key_file`. The
same client has the same pseudonym as long as the key is the same; `tidegate key pseudonym` tells those of a
client under every key of the file.

What is stored in a client's place where `pseudonymise` is on is shorter: of a MAC a MAC, locally administered
and of one station, with 46 bits of the HMAC; of another device id ``<key id>.<32 hex digits>``. A device id
that is a MAC has the pseudonym of the MAC (docs/decisions/0028-stored-pseudonyms.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from tidegate.contracts.formats import parse_mac
from tidegate.keyfile import Keys

LONGEST_MAC = 17  # characters: a station's id, which goes on behind its MAC, is another device's
REMEMBERED, REMEMBERED_FLEETS = 65_536, 64  # stored pseudonyms of a fleet, and fleets


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


def ids(keys: Keys) -> Iterator[str]:
    """The ids of the keys, the current one first."""
    yield keys.current
    yield from (id for id in reversed(list(keys.keys)) if id != keys.current)


def stored(keys: Keys, fleet: str, device: str, *, id: str = "") -> str:
    """What is stored in place of a MAC in any spelling, or of another device id. Raises KeyError."""
    is_mac = len(device) <= LONGEST_MAC
    if is_mac:
        try:
            device = parse_mac(device)
        except ValueError:
            is_mac = False
    kind = b"stored mac\n" if is_mac else b"stored device\n"
    message = kind + fleet_digest(fleet).encode("ascii") + b"\n" + device.encode("utf-8", "surrogatepass")
    mac = keys.mac(message, id=id)
    if not is_mac:
        return f"{id or keys.current}.{mac[:16].hex()}"
    return bytes([mac[0] & 0b1111_1100 | 0b10, *mac[1:6]]).hex(":")


def all_stored(keys: Keys, fleet: str, device: str) -> list[str]:
    """The same under every key, the current one first."""
    return [stored(keys, fleet, device, id=id) for id in ids(keys)]


class OfFleet(dict[str | None, str | None]):
    """Stored pseudonyms of a fleet's devices, remembered; no device has none."""

    def __init__(self, keys: Keys, fleet: str) -> None:
        super().__init__()
        self._keys = keys
        self._fleet = fleet

    def __missing__(self, device: str | None) -> str | None:
        if len(self) >= REMEMBERED:
            self.clear()
        found = self[device] = device and stored(self._keys, self._fleet, device)
        return found


class Stored:
    """Stored pseudonyms under the current key, by fleet."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._fleets: dict[str, OfFleet] = {}

    @property
    def version(self) -> str:
        """What tells these pseudonyms from those of another key."""
        return self._keys.mac(b"version").hex()[:8]

    def of_fleet(self, fleet: str) -> OfFleet:
        found = self._fleets.get(fleet)
        if found is None:
            if len(self._fleets) >= REMEMBERED_FLEETS:
                self._fleets.clear()
            found = self._fleets[fleet] = OfFleet(self._keys, fleet)
        return found

    def of(self, fleet: str, device: str) -> str:
        return self.of_fleet(fleet)[device] or ""
