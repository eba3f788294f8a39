"""Approved networks: which Wi-Fi networks a fleet's devices may join. A fleet without a row is not judged."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tidegate.lookups.table import Row

COLUMNS = ("fleet", "network_name", "bssid")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True, slots=True)
class ApprovedNetworks:
    """The rows of `approved_networks.csv`, and the fleets that have any."""

    fleets: frozenset[str]
    rows: frozenset[tuple[str, str, str]]  # fleet, network name, bssid; '' stands for any

    def approves(self, fleet: str, name: str | None, bssid: str | None) -> bool:
        """Whether a row allows this network; a row's empty cell allows any name, or any access point."""
        if fleet not in self.fleets:
            return True
        name, bssid = name or "", bssid or ""
        return any(key in self.rows for key in ((fleet, name, bssid), (fleet, name, ""), (fleet, "", bssid)))


def read_networks(rows: Iterable[Row]) -> ApprovedNetworks:
    """Raises BadLookup for a row that names neither a network nor an access point."""
    found: set[tuple[str, str, str]] = set()
    for row in rows:
        name = row.text("network_name")
        bssid = row.text("bssid").lower().replace("-", ":")
        if not name and not bssid:
            row.wrong("network_name", "is empty, and so is bssid")
        if bssid and not _MAC.fullmatch(bssid):
            row.wrong("bssid", f"{bssid!r} is no MAC address")
        found.add((row.text("fleet", required=True), name, bssid))
    return ApprovedNetworks(frozenset(fleet for fleet, _, _ in found), frozenset(found))
