"""How busy a site is at an hour of its own week."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tidegate.simulate.fleet import City, Kind

# Share of the site's clients that are there at each full hour, 0 to 23.
_WORKDAY: dict[Kind, tuple[float, ...]] = {
    "office": tuple(
        n / 100
        for n in (3, 3, 3, 3, 3, 4, 8, 25, 65, 92, 97, 95, 78, 85, 98, 96, 90, 70, 38, 18, 10, 7, 5, 4)
    ),
    "retail": tuple(
        n / 100
        for n in (2, 2, 2, 2, 2, 2, 3, 6, 18, 35, 48, 60, 80, 74, 58, 56, 66, 85, 95, 78, 40, 15, 6, 3)
    ),
    "campus": tuple(
        n / 100
        for n in (14, 9, 7, 6, 6, 7, 12, 30, 68, 88, 93, 95, 99, 92, 94, 90, 84, 72, 60, 52, 45, 38, 28, 20)
    ),
}
# The weekend beside a working day: offices stand empty, shops fill up.
_SATURDAY: dict[Kind, float] = {"office": 0.10, "retail": 1.25, "campus": 0.40}
_SUNDAY: dict[Kind, float] = {"office": 0.06, "retail": 0.80, "campus": 0.35}
FLOOR = 0.03  # printers, cameras and night staff are always there


@cache
def zone(city: City) -> tzinfo:
    """The city's time zone; without a tz database on the machine, whole hours by its longitude."""
    try:
        return ZoneInfo(city.timezone)
    except ZoneInfoNotFoundError:
        return timezone(timedelta(hours=round(city.longitude / 15)))


def presence(city: City, time_us: int) -> float:
    """The share of a site's clients that are there, 0 to 1, at `time_us` (µs since 1970 UTC)."""
    local = datetime.fromtimestamp(time_us / 1e6, UTC).astimezone(zone(city))
    hours = _WORKDAY[city.kind]
    part = local.minute / 60
    share = hours[local.hour] * (1 - part) + hours[(local.hour + 1) % 24] * part
    if local.weekday() == 5:
        share *= _SATURDAY[city.kind]
    elif local.weekday() == 6:
        share *= _SUNDAY[city.kind]
    return min(1.0, max(FLOOR, share))
