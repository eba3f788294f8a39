"""`site_events`, the narrow copy of client events sorted by site: its columns, and where a window is read.

A refresh copies the minutes that are over (migration 0012). Readers ask which slices of a window the copy has
whole, by the number of events in `site_minutes`, and read the rest from `client_events`: the answer is that
of all events, whatever was copied yet. (docs/decisions/0032-events-by-site.md)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tidegate.store.queries import Query, Where

# Each column by itself: ClickHouse then matches the few texts of its dictionary, not each row's.
DISASSOCIATION = (
    "ifNull(if(isNull(event_description), sub_event_description ILIKE '%disassoc%',"
    " event_description ILIKE '%disassoc%'), false)"
)
_REFUSED_AS_FULL = (
    "outcome = 'failure' AND stage = 'association'"
    " AND match(lower(concat(ifNull(failure, ''), ' ', ifNull(sub_failure, ''))),"
    " '\\\\bfull\\\\b|too many|unable to handle|max(imum)? (number|client)')"
)

COLUMNS: Mapping[str, str] = {
    "fleet": "fleet",
    "site": "site",
    "minute": "toStartOfMinute(received_at, 'UTC')",
    "received_at": "received_at",
    "moment": "if(clock_skew, received_at, event_time)",
    "client": "cityHash64(mac)",  # told apart as well as the MACs are, in 8 bytes
    "mac": "mac",
    "ssid": "ssid",
    "ap": "toLowCardinality(coalesce(ap_name, bssid, ''))",
    "band": "band",
    "vendor": "vendor",
    "protocol": "ifNull(events.protocol, '')",
    "randomised": "randomised",
    "outcome": "outcome",
    "stage": "stage",
    "action": "action",
    "failure_code": "failure_code",
    "failure": "failure",
    "sub_failure_code": "sub_failure_code",
    "sub_failure": "sub_failure",
    "refused": f"({_REFUSED_AS_FULL})::Bool",
    "disassociation": f"{DISASSOCIATION}::Bool",
    "rssi": "rssi",
    "took": "ifNull(dateDiff('millisecond', association_time, network_time), -1)",
    "epoch": "epoch",
    "partition": "partition",
    "offset": "offset",
    "`index`": "`index`",
}
"""Each column of the copy, and what it is of `client_events AS events`. The types are the same."""

HOUR = 3600
FINE_HOURS = 1  # whole hours before the one under way of which each minute is held against the copy's


def expressions(columns: Iterable[str] = COLUMNS) -> str:
    """What `SELECT … FROM client_events AS events` needs to have these columns."""
    return ", ".join(name if COLUMNS[name] == name else f"{COLUMNS[name]} AS {name}" for name in columns)


class Copied(NamedTuple):
    """What the copy has whole: the seconds from `since` to `until`, without the `late` hours."""

    since: int = 0
    until: int = 0
    late: tuple[int, ...] = ()


def copied(fleet: str, since: int, until: int, fine: int) -> Query:
    """One row: up to when (s) the copy may have events of [since, until), whole hours, the slices that it
    does not have whole, and the quarters that site_levels does not have whole. A slice is an hour, from
    `fine` on a minute."""
    slice_ = "if(minute >= toDateTime({fine:UInt32}, 'UTC'), minute, toStartOfHour(minute, 'UTC'))"
    within = (
        "fleet = {fleet:String} AND minute >= toDateTime({since:UInt32}, 'UTC')"
        " AND minute < toDateTime({until:UInt32}, 'UTC')"
    )
    sql = (
        "SELECT if(max(last) = 0, 0, max(last) + 60),"
        f" arraySort(groupUniqArrayIf(toUnixTimestamp({slice_}), there != known)),"
        " arraySort(groupUniqArrayIf(toUnixTimestamp(toStartOfFifteenMinutes(minute)), there != levelled))"
        " FROM ("
        "SELECT minute, sum(of_minutes) AS there, sum(of_copy) AS known, sum(of_levels) AS levelled,"
        " maxIf(toUnixTimestamp(minute), of_copy > 0) AS last FROM ("
        "SELECT minute, sum(events) AS of_minutes, 0 AS of_copy, 0 AS of_levels"
        f" FROM site_minutes WHERE {within} GROUP BY minute UNION ALL"
        f" SELECT minute, 0, there, 0 FROM"
        f" (SELECT minute, count() AS there FROM site_events WHERE {within} GROUP BY fleet, minute) UNION ALL"
        f" SELECT minute, 0, 0, sum(events) FROM site_levels FINAL WHERE {within} GROUP BY minute"
        ") GROUP BY minute)"
    )
    return Query("insight_copied", sql, {"fleet": fleet, "since": since, "until": until, "fine": fine})


def of_slices(since: int, until: int, fine: int, apart: Iterable[int]) -> Copied:
    """What the answer of `copied` says of the hours from `since` on: those that differ at either end are no
    part of it, those between are late."""
    slices = sorted(apart)
    until = min([until, *(at for at in slices if at >= fine)])
    hours = [at for at in slices if at < min(fine, until)]
    while hours and hours[0] == since:
        since += HOUR
        del hours[0]
    end = -(-until // HOUR) * HOUR
    while hours and hours[-1] == end - HOUR:
        until = end = hours.pop()
    return Copied(since, until, tuple(hours)) if since < until else Copied()


def source(
    fleet: str,
    site: str | None,
    since: int,
    until: int,
    copied: Copied,
    columns: Iterable[str],
    only: str = "",
) -> tuple[str, Mapping[str, Any]]:
    """Where to read these columns of the events received in [since, until): what stands behind FROM, and its
    parameters. `only` is a condition on columns of the copy."""
    columns = list(columns)
    names = ", ".join(columns)
    begin, end = max(since, copied.since), min(until, copied.until)
    if begin >= end:
        where = _of(fleet, site, since, until, "received_at")
        return f"({_from_events(columns, where, only)})", where.parameters
    hour = "toStartOfHour({}, 'UTC')"
    late = [at for at in copied.late if begin <= at < end]
    mine = _of(fleet, site, begin, end, "minute", begin="copied_since", end="copied_until")
    if late:
        mine.add(f"toUnixTimestamp({hour.format('minute')}) NOT IN {{late:Array(UInt32)}}", late=late)
    if only:
        mine.add(only)
    parts = [f"SELECT {names} FROM site_events {mine}"]
    parameters = {**mine.parameters, "since": since, "until": until}
    outside = []
    if since < begin:
        outside.append("received_at < toDateTime({copied_since:UInt32}, 'UTC')")
    if end < until:
        outside.append("received_at >= toDateTime({copied_until:UInt32}, 'UTC')")
    if late:
        outside.append(f"toUnixTimestamp({hour.format('received_at')}) IN {{late:Array(UInt32)}}")
    if outside:
        rest = _of(fleet, site, since, until, "received_at")
        rest.add(f"({' OR '.join(outside)})")
        parts.append(_from_events(columns, rest, only))
        parameters |= rest.parameters
    return f"({' UNION ALL '.join(parts)})", parameters


def _from_events(columns: list[str], where: Where, only: str) -> str:
    if not only:
        return f"SELECT {expressions(columns)} FROM client_events AS events {where}"
    needed = [name for name in COLUMNS if name in columns or name in only]
    inner = f"SELECT {expressions(needed)} FROM client_events AS events {where}"
    return f"SELECT {', '.join(columns)} FROM ({inner}) WHERE {only}"


def _of(
    fleet: str,
    site: str | None,
    since: int,
    until: int,
    column: str,
    *,
    begin: str = "since",
    end: str = "until",
) -> Where:
    where = Where()
    where.add("fleet = {fleet:String}", fleet=fleet)
    where.add("site = {site:String}", site=site)
    where.add(f"{column} >= toDateTime({{{begin}:UInt32}}, 'UTC')", **{begin: since})
    where.add(f"{column} < toDateTime({{{end}:UInt32}}, 'UTC')", **{end: until})
    return where
