"""Sites: name and place of a fleet's locations."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tidegate.lookups.table import Row

COLUMNS = ("fleet", "location_id", "name", "latitude", "longitude", "timezone")


class Site(NamedTuple):
    name: str
    latitude: float | None  # degrees; both or none
    longitude: float | None
    timezone: str  # IANA name or ''


@dataclass(frozen=True, slots=True)
class Sites:
    """Sites of `sites.csv` by fleet and location id."""

    by_location: Mapping[tuple[str, int], Site]

    def find(self, fleet: str, location_id: int | None) -> Site:
        """The site; one that the table lacks is named by its location id, none by ''."""
        if location_id is None:
            return Site("", None, None, "")
        return self.by_location.get((fleet, location_id)) or Site(str(location_id), None, None, "")


def read_sites(rows: Iterable[Row]) -> Sites:
    """Raises BadLookup for a location that stands there twice, half a coordinate, and no IANA time zone."""
    found: dict[tuple[str, int], Site] = {}
    zones = zoneinfo.available_timezones()
    for row in rows:
        key = (row.text("fleet", required=True), row.whole("location_id"))
        if key in found:
            row.wrong("location_id", f"{key[1]} of fleet {key[0]} stands there twice")
        latitude = row.real_or_none("latitude", -90, 90)
        longitude = row.real_or_none("longitude", -180, 180)
        if (latitude is None) != (longitude is None):
            row.wrong(
                "longitude" if longitude is None else "latitude", "is empty, the other coordinate is not"
            )
        timezone = row.text("timezone")
        if timezone and zones and timezone not in zones:  # a machine without tzdata cannot tell
            row.wrong("timezone", f"{timezone!r} is no IANA time zone")
        found[key] = Site(row.text("name", required=True), latitude, longitude, timezone)
    return Sites(found)
