"""The inventory of access points: what their events do not tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tidegate.contracts.formats import parse_mac
from tidegate.lookups.table import Row

COLUMNS = ("fleet", "macaddress", "devicename", "locationid", "model", "capabilities")


class Listed(NamedTuple):
    """An access point of the inventory."""

    macaddress: str  # canonical
    devicename: str
    location_id: int | None
    model: str
    capabilities: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Inventory:
    by_fleet: Mapping[str, tuple[Listed, ...]]

    def of(self, fleet: str) -> tuple[Listed, ...]:
        return self.by_fleet.get(fleet, ())


def read_inventory(rows: Iterable[Row]) -> Inventory:
    """`capabilities` are whole numbers with blanks between them."""
    found: dict[str, dict[str, Listed]] = {}
    for row in rows:
        listed = found.setdefault(row.text("fleet", required=True), {})
        text = row.text("macaddress", required=True)
        try:
            mac = parse_mac(text)
        except ValueError:
            row.wrong("macaddress", f"{text!r} is not a MAC address")
        if mac in listed:
            row.wrong("macaddress", f"{mac} stands there twice")
        try:
            capabilities = tuple(int(one) for one in row.text("capabilities").split())
        except ValueError:
            row.wrong(
                "capabilities", f"{row.text('capabilities')!r} is not whole numbers with blanks between"
            )
        listed[mac] = Listed(
            mac, row.text("devicename"), row.whole_or_none("locationid"), row.text("model"), capabilities
        )
    return Inventory({fleet: tuple(listed.values()) for fleet, listed in found.items()})
