"""`site_levels`, coverage, roaming, capacity and stability of each site by received minute.

A refresh counts the quarters of an hour that are over out of `site_events` (migration 0013). Readers ask
which quarters of a window have the events that `site_minutes` has, and count the others by the same query. So
each figure is one of its minute, whatever window it is asked for in (docs/decisions/0033).

What a minute tells of a client's way depends on what the client did before: its line. It goes by the quarter
in which events were received, within it by the time of the device; what was received more than four quarters
before is no part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Literal, NamedTuple

from clickhouse_connect.driver.client import Client

from tidegate.store import site_events
from tidegate.store.client import literal

QUARTER = 900  # s
LINE_QUARTERS = 4  # of a client's line, before the one that is counted
OVER_SECONDS = 120  # behind its end, from which on a quarter is counted
LINE_SECONDS = LINE_QUARTERS * QUARTER
QUICK_MILLIS = 2000  # a connection that takes longer is slow
COVERED_DBM = -72  # median RSSI of a client's minute, from which on it is covered
FULL_CLIENTS = 60  # of an access point in a quarter of an hour, beyond which it is overloaded
RETURN_SECONDS = 60  # a client that is back so soon was thrown off, or roamed in vain

COUNTS = {
    "events": "Events",
    "told": "Minutes of clients by the time of the device, with an RSSI",
    "covered": "Those of them with a median RSSI of -72 dBm or more",
    "tries": "Successes and failures",
    "declined": "Those of them that were refused because the access point is full",
    "crowded": "Others, at access points with more than sixty clients in the quarter of an hour",
    "successes": "Successes",
    "roams": "Attempts at another access point of the SSID of clients that were connected, within the hour",
    "swift": "Those of them that connected within two seconds",
    "back": "Successes back at the access point that was left so within a minute",
    "thrown": "Attempts within a minute behind the client's disassociation",
}
"""The counts of a row, and what they are."""

START = f"intDiv(toUnixTimestamp(minute), {QUARTER}) * {QUARTER}"
"""SQL: the second in which the quarter of a minute begins."""

_ATTEMPT = "outcome IN ('success', 'failure')"
_SLOT = f"intDiv(toUnixTimestamp(minute), {QUARTER})"

Part = Literal["minutes", "quarters", "lines"]
Source = Callable[[Part, Sequence[str], str], str]
"""What stands behind FROM to read columns of the events of a part, where a condition holds: those of the
minutes that are counted, of their quarters, and of these with LINE_SECONDS in front."""


def counted(keys: Sequence[str], source: Source, *, own: str, of_quarters: str = "1") -> str:
    """Rows of `keys`, which are fleet and site or site alone, the minute and COUNTS, of the minutes for which
    the condition `own` holds, `of_quarters` in their quarters."""
    key = ", ".join(keys)
    whose = ", ".join(f"any({name}) AS of_{name}" for name in keys)
    of = ", ".join(f"of_{name} AS {name}" for name in keys)
    by = ", ".join(f"of_{name}" for name in keys)
    steps = ("roams", "swift", "back", "thrown")

    def filled(given: dict[str, str]) -> str:
        return ", ".join(f"{given.get(name, 'toUInt64(0)')} AS {name}" for name in COUNTS)

    minutes = (
        f"SELECT {whose}, any(minute) AS at, count() AS there, count(rssi) AS heard,"
        f" countIf(rssi < {COVERED_DBM}) AS weak, countIf({_ATTEMPT}) AS tried, countIf(refused) AS full,"
        f" countIf(outcome = 'success') AS good"
        f" FROM {source('minutes', (*keys, 'client', 'minute', 'moment', 'rssi', 'outcome', 'refused'), '')}"
        f" GROUP BY cityHash64({key}, client, minute, toStartOfMinute(moment))"
    )
    sums = {
        "events": "sum(there)",
        "told": "countIf(heard > 0)",
        "covered": "countIf(heard > 0 AND 2 * weak <= heard)",  # the upper median where there are two
        "tries": "sum(tried)",
        "declined": "sum(full)",
        "successes": "sum(good)",
    }
    stations = (
        f"SELECT {whose}, groupArrayIf(minute, {_ATTEMPT} AND NOT refused AND {of_quarters}) AS tried"
        f" FROM {source('quarters', (*keys, 'client', 'ap', 'minute', 'outcome', 'refused'), '')}"
        f" GROUP BY cityHash64({key}, ap, {_SLOT}) HAVING uniqExact(client) > {FULL_CLIENTS}"
    )
    marks = {name: f"countIf(bitTest(mark, {place}))" for place, name in enumerate(steps)}
    moves = (
        f"SELECT {of}, toDateTime(intDiv(mark, 16) * 60, 'UTC') AS minute, mark FROM ({_lines(keys, source)})"
    )
    return (
        f"SELECT {key}, minute, {', '.join(f'sum(levels.{name}) AS {name}' for name in COUNTS)} FROM ("
        f"SELECT {of}, at AS minute, {filled(sums)} FROM ({minutes}) GROUP BY {by}, at UNION ALL"
        f" SELECT {of}, minute, {filled({'crowded': 'count()'})} FROM ({stations}) ARRAY JOIN tried AS minute"
        f" GROUP BY {by}, minute UNION ALL"
        f" SELECT {key}, minute, {filled(marks)} FROM ({moves} ARRAY JOIN marks AS mark) WHERE {own}"
        f" GROUP BY {key}, minute) AS levels GROUP BY {key}, minute"
    )


def _lines(keys: Sequence[str], source: Source) -> str:
    """A row a client: whose it is, and `marks`, of each attempt that tells something: its minute times 16,
    and a bit for each of roams, swift, back and thrown."""
    # Numbers, an array each: tuples would be gathered one by one. A step has the line in the frame in front,
    # then the minute of the quarter, whether it was quick, and what it was. A station is of one network.
    kept = {
        "slot": f"toUInt32({_SLOT})",
        "at": "toUnixTimestamp64Micro(moment)",
        "frame": "offset",
        "step": f"toUInt64(`index`) * 128 + intDiv(toUnixTimestamp(minute) % {QUARTER}, 60) * 8"
        f" + 4 * (took BETWEEN 0 AND {QUICK_MILLIS})"
        " + multiIf(outcome = 'success', 1, outcome = 'failure', 2, 3)",
        "network": "cityHash64(ifNull(ssid, ''))",
        "station": "cityHash64(ifNull(ssid, ''), ap)",
    }
    needed = (
        "client",
        "minute",
        "moment",
        "offset",
        "`index`",
        "outcome",
        "ssid",
        "ap",
        "took",
        "disassociation",
    )
    columns = ", ".join(f"line.{place} AS {name}" for place, name in enumerate(kept, 1))
    # A client's line as arrays, and each of them moved by one: half of what window functions take.
    before = ", ".join(
        f"arrayPushFront(arrayPopBack({name}), 0) AS {name}_before"
        for name in ("slot", "at", "step", "network", "station")
    )
    roams = (
        f"arrayMap((m, n, s, q, m_before, n_before, s_before, q_before) -> bitAnd(m_before, 3) = 1"
        f" AND bitAnd(m, 3) <= 2 AND n_before = n AND s_before != s AND q_before + {LINE_QUARTERS} >= q,"
        " step, network, station, slot, step_before, network_before, station_before, slot_before)"
    )
    known = f"q_before + {LINE_QUARTERS} >= q"
    soon = f"abs(intDiv(t, 1000000) - intDiv(t_before, 1000000)) <= {RETURN_SECONDS}"
    back = (
        "r_before AND bitAnd(m_before, 7) = 5 AND bitAnd(m, 3) = 1 AND s_first = s"
        f" AND q_first + {LINE_QUARTERS} >= q AND {soon}"
    )
    marks = (
        "arrayFilter(mark -> bitAnd(mark, 15) > 0, arrayMap((r, m, s, q, t, r_before, m_before, q_before,"
        " t_before, s_first, q_first) -> toUInt32((q * 15 + bitAnd(intDiv(m, 8), 15)) * 16"
        f" + r + 2 * (r AND bitAnd(m, 7) = 5) + 4 * ({back})"
        f" + 8 * (bitAnd(m_before, 3) = 3 AND bitAnd(m, 3) <= 2 AND {known} AND {soon})),"
        " roams, step, station, slot, at, arrayPushFront(arrayPopBack(roams), 0), step_before, slot_before,"
        " at_before, arrayPushFront(arrayPopBack(station_before), 0),"
        " arrayPushFront(arrayPopBack(slot_before), 0)))"
    )
    whose = ", ".join(f"of_{name}" for name in keys)
    # One in another, so that no expression is put in place of its name over and over.
    lines = (
        f"SELECT {', '.join(f'any({name}) AS of_{name}' for name in keys)},"
        f" arraySort(arrayZip({', '.join(f'groupArray({each})' for each in kept.values())})) AS line"
        f" FROM {source('lines', (*keys, *needed), f'({_ATTEMPT} OR disassociation)')}"
        f" GROUP BY cityHash64({', '.join(keys)}, client)"
    )
    moved = f"SELECT *, {before} FROM (SELECT {whose}, {columns} FROM ({lines}))"
    return f"SELECT {whose}, {marks} AS marks FROM (SELECT *, {roams} AS roams FROM ({moved}))"


class Levelled(NamedTuple):
    """What the table has whole: the seconds from `since` to `until`, without the quarters from `late` on."""

    since: int = 0
    until: int = 0
    late: tuple[int, ...] = ()

    def of(self, since: int, until: int) -> tuple[int, int]:
        """The part of a window that lies in it, but for `late`; empty ends where it begins."""
        begin = max(since, self.since)
        return begin, max(begin, min(until, self.until))


def begins(since: int) -> int:
    """The first second of what the figures from `since` on depend on."""
    return since // QUARTER * QUARTER - LINE_SECONDS


def of_quarters(since: int, until: int, now: float, apart: Iterable[int]) -> Levelled:
    """What the table has of a window, where the quarters `apart`, from `begins(since)` on, have other events
    there than in the minutes: a quarter with one of them in its lines may be told otherwise, too."""
    begin = since // QUARTER * QUARTER
    end = min(-(-until // QUARTER) * QUARTER, (int(now) - OVER_SECONDS) // QUARTER * QUARTER)
    behind = {at + number * QUARTER for at in apart for number in range(LINE_QUARTERS + 1)}
    late = sorted(at for at in behind if begin <= at < end)
    while late and late[0] == begin:
        begin += QUARTER
        del late[0]
    while late and late[-1] == end - QUARTER:
        end = late.pop()
    return Levelled(begin, end, tuple(late)) if begin < end else Levelled()


def rest(since: int, until: int, levelled: Levelled) -> list[tuple[int, int]]:
    """The parts of a window that the table does not have whole, in order."""
    begin, end = levelled.of(since, until)
    if begin >= end:
        return [(since, until)]
    parts = [
        (since, begin),
        *((max(at, begin), min(at + QUARTER, end)) for at in levelled.late),
        (end, until),
    ]
    return [(first, last) for first, last in parts if first < last]


def quarters(parts: Sequence[tuple[int, int]], before: int) -> list[int]:
    """The quarters (s) in which parts of a window lie, and so many before each."""
    return sorted(
        {
            at - number * QUARTER
            for first, last in parts
            for at in range(first // QUARTER * QUARTER, last, QUARTER)
            for number in range(before + 1)
        }
    )


def refreshed(database: str, due: str) -> str:
    """What the view writes: the quarters of its `due` (fleet, quarter), out of the copy."""
    quarter = "(fleet, toStartOfFifteenMinutes(minute))"
    own = f"{quarter} IN ({due})"
    lines = (
        f"SELECT fleet, arrayJoin(arrayMap(before -> quarter - before * {QUARTER},"
        f" range({LINE_QUARTERS + 1}))) FROM {due}"
    )

    def source(part: Part, columns: Sequence[str], only: str) -> str:
        before, which = (LINE_SECONDS, lines) if part == "lines" else (0, due)
        where = f"minute >= (SELECT minOrNull(quarter) - {before} FROM {due}) AND {quarter} IN ({which})"
        if only:
            where += f" AND {only}"
        return f"(SELECT {', '.join(columns)} FROM {database}.site_events WHERE {where})"

    return counted(("fleet", "site"), source, own=own)


def recount(client: Client, database: str, fleet: str, day: date) -> None:
    """Count a received day of a fleet, and the hour behind it, whose lines begin in it, as far as their
    quarters are over, out of the events themselves."""
    client.command(
        f"INSERT INTO {database}.site_levels (fleet, site, minute, {', '.join(COUNTS)})"
        f" {_of_day(database, literal(fleet), day)}",
        settings={"insert_deduplicate": 0},
    )


def _of_day(database: str, fleet: str, day: date) -> str:
    begins = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    over = f"toUnixTimestamp(toStartOfFifteenMinutes(now('UTC') - toIntervalSecond({OVER_SECONDS})))"
    end = f"toDateTime(least({begins + 86_400 + LINE_SECONDS}, {over}), 'UTC')"
    own = f"(minute >= toDateTime({begins}, 'UTC') AND minute < {end})"

    def source(part: Part, columns: Sequence[str], only: str) -> str:
        begin = begins - (LINE_SECONDS if part == "lines" else 0)
        needed = [name for name in site_events.COLUMNS if name in columns or name in only]
        return (
            f"(SELECT {', '.join(columns)} FROM (SELECT {site_events.expressions(needed)}"
            f" FROM {database}.client_events AS events WHERE fleet = {fleet}"
            f" AND received_at >= toDateTime({begin}, 'UTC') AND received_at < {end})"
            f"{f' WHERE {only}' if only else ''})"
        )

    return counted(("fleet", "site"), source, own=own)
