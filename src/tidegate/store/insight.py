"""Named queries of the insight calls: how sites, stages and clients do, and what their failures share.

Windows are half open, in whole minutes of the time in which events were received, seconds since 1970 UTC:
an event that comes late counts when it comes, as in `tidegate.health`. A client's own events alone go by the
time of its device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tidegate.store import site_events, site_levels
from tidegate.store.queries import Names, Query, Where
from tidegate.store.site_events import Copied
from tidegate.store.site_levels import QUARTER, Levelled

ATTEMPT_STAGES = ("association", "authentication", "aaa", "dhcp", "dns", "network")
"""The stages of a connection attempt in their order: an attempt that fails in one has passed those before."""

DIMENSIONS: Mapping[str, str] = {
    "ssid": "ifNull(ssid, '')",
    "ap": "ap",
    "band": "band",
    "vendor": "vendor",
    "protocol": "protocol",
    "randomised": "if(randomised, 'randomised MAC', 'own MAC')",
}
"""What attempts are told apart by, to see what the failing ones share: name, and expression on `site_events`.
Those of the whole fleet by site too."""

_AP = "coalesce(ap_name, bssid, '')"
_ATTEMPT = "outcome IN ('success', 'failure')"
_CONNECT = "dateDiff('millisecond', association_time, network_time)"


HOUR = 3600
LEAST_HOURS = 6  # of a window, from which on they are read from the tables of hours: a second part costs, too


class Counted(NamedTuple):
    """The hours, from one second to another, that the tables of hours have."""

    since: int = 0
    until: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Events of a fleet, and of one site where `site` is not None. What of it is whole hours that are
    `counted` is read from the tables of hours, what is `copied` from the copy that is sorted by site, service
    levels of what is `levelled` from site_levels."""

    fleet: str
    since: int
    until: int
    site: str | None = None
    counted: Counted = Counted()
    copied: Copied = Copied()
    levelled: Levelled = Levelled()

    def minutes(self, *columns: str) -> tuple[str, Mapping[str, Any]]:
        """Where to read columns of site_minutes: what stands behind FROM, and its parameters."""
        return self._of_rollups(("site_minutes", "minute"), ("site_hours", "hour"), columns)

    def buckets(self, level: str, *columns: str, only: str = "") -> tuple[str, Mapping[str, Any]]:
        """The same of client events by `level`, 1m or 1h, where the condition `only` holds."""
        return self._of_rollups(
            (f"client_events_{level}", "bucket"), ("site_states", "bucket"), columns, only
        )

    def events(self, *columns: str, only: str = "") -> tuple[str, Mapping[str, Any]]:
        """The same of the events themselves, where the condition `only` holds: columns of site_events."""
        return site_events.source(self.fleet, self.site, self.since, self.until, self.copied, columns, only)

    def _of(self, column: str) -> Where:
        where = Where()
        where.add("fleet = {fleet:String}", fleet=self.fleet)
        where.add("site = {site:String}", site=self.site)
        where.add(f"{column} >= toDateTime({{since:UInt32}}, 'UTC')", since=self.since)
        where.add(f"{column} < toDateTime({{until:UInt32}}, 'UTC')", until=self.until)
        return where

    def _of_rollups(
        self, fine: tuple[str, str], coarse: tuple[str, str], columns: Sequence[str], only: str = ""
    ) -> tuple[str, Mapping[str, Any]]:
        (table, time), (hours, hour) = fine, coarse
        where = self._of(time)
        if only:
            where.add(only)
        since = max(-(-self.since // HOUR) * HOUR, self.counted.since)
        until = min(self.until // HOUR * HOUR, self.counted.until)
        if until - since < LEAST_HOURS * HOUR:
            return f"{table} {where}", where.parameters
        before, behind = "toDateTime({hours_since:UInt32}, 'UTC')", "toDateTime({hours_until:UInt32}, 'UTC')"
        whole = Where()
        whole.add("fleet = {fleet:String}", fleet=self.fleet)
        whole.add("site = {site:String}", site=self.site)
        whole.add(f"{hour} >= {before}")
        whole.add(f"{hour} < {behind}")
        if only:
            whole.add(only)
        where.add(
            f"({time} < {before} OR {time} >= {behind})",
            hours_since=since,
            hours_until=until,
        )
        named = ", ".join(columns)
        coarser = ", ".join(hour if column == time else column for column in columns)
        sql = f"(SELECT {named} FROM {table} {where} UNION ALL SELECT {coarser} FROM {hours} FINAL {whole})"
        return sql, where.parameters


def _failed(stage: str) -> str:
    return f"sumIf(events, outcome = 'failure' AND stage = '{stage}')"


_COUNTS = ", ".join(
    [
        "sumIf(events, outcome = 'success')",
        "sumIf(events, outcome = 'failure')",
        *map(_failed, ATTEMPT_STAGES),
    ]
)
"""Successes, failures, and failures in each of ATTEMPT_STAGES."""


# Fleets and sites


def fleets() -> Query:
    """Every fleet that has client events: for superusers alone."""
    return Query(
        "insight_fleets", "SELECT DISTINCT fleet FROM client_events_1d ORDER BY fleet LIMIT 1000", {}
    )


def counted_hours(fleet: str) -> Query:
    """One row: from when (s) and up to when both tables of hours have every hour of the fleet. What is of a
    device's clock may have been received up to a day before it says that it happened."""
    sql = (
        "SELECT max(since), min(until) FROM ("
        "SELECT toUnixTimestamp(min(hour)) AS since, toUnixTimestamp(max(hour)) + 3600 AS until"
        " FROM site_hours WHERE fleet = {fleet:String} UNION ALL"
        " SELECT toUnixTimestamp(toDateTime(min(received_day) + 1, 'UTC')),"
        " toUnixTimestamp(max(bucket)) + 3600 FROM site_states WHERE fleet = {fleet:String})"
    )
    return Query("insight_counted_hours", sql, {"fleet": fleet})


def newest(window: Window) -> Query:
    """Each site that had events in a window: the newest one's received time (µs)."""
    source, parameters = window.minutes("site", "newest")
    sql = f"SELECT site, toUnixTimestamp64Micro(max(newest)) FROM {source} GROUP BY site"
    return Query("insight_newest", sql, parameters)


def site_known(fleet: str, site: str) -> Query:
    """One row if there is anything of the site: the newest day (date) of its events."""
    sql = (
        "SELECT max(minute) FROM site_minutes WHERE fleet = {fleet:String} AND site = {site:String}"
        " HAVING count() > 0"
    )
    return Query("insight_site_known", sql, {"fleet": fleet, "site": site})


# How the attempts of sites went


def attempts(window: Window) -> Query:
    """A row a site: the counts of _COUNTS, timed and quick successes, disassociations, skewed, events."""
    sums = ("timed", "quick", "disassociations", "skewed", "events")
    source, parameters = window.minutes("site", "outcome", "stage", *sums)
    sql = (
        f"SELECT site, {_COUNTS}, {', '.join(f'sum({name})' for name in sums)}"
        f" FROM {source} GROUP BY site ORDER BY site"
    )
    return Query("insight_attempts", sql, parameters)


def series(window: Window, step: int) -> Query:
    """Rows of time (s), the counts of _COUNTS, disassociations and skewed events of each step, in order."""
    if step % HOUR:
        window = replace(window, counted=Counted())
    source, parameters = window.minutes("minute", "outcome", "stage", "events", "disassociations", "skewed")
    sql = (
        f"SELECT intDiv(toUnixTimestamp(minute), {{step:UInt32}}) * {{step:UInt32}} AS time, {_COUNTS},"
        f" sum(disassociations), sum(skewed) FROM {source} GROUP BY time ORDER BY time"
    )
    return Query("insight_series", sql, {**parameters, "step": step})


def sparklines(window: Window, step: int) -> Query:
    """A row a site and step with attempts: site, time (s), successes, failures."""
    if step % HOUR:
        window = replace(window, counted=Counted())
    source, parameters = window.minutes("site", "minute", "outcome", "events")
    sql = (
        "SELECT site, intDiv(toUnixTimestamp(minute), {step:UInt32}) * {step:UInt32} AS time,"
        " sumIf(events, outcome = 'success'), sumIf(events, outcome = 'failure')"
        f" FROM {source} GROUP BY site, time ORDER BY site, time"
    )
    return Query("insight_sparklines", sql, {**parameters, "step": step})


def clients(window: Window) -> Query:
    """A row a site and stage, in which clients failed, and one a site with stage '': distinct clients, those
    that failed."""
    source, parameters = window.buckets("1m", "site", "stage", "outcome", "clients")
    sql = (
        "SELECT site, stage, uniqMerge(clients), uniqMergeIf(clients, outcome = 'failure')"
        f" FROM {source} GROUP BY GROUPING SETS ((site), (site, stage))"
        " HAVING stage != '' OR grouping(stage) = 1"
    )
    return Query("insight_clients", sql, parameters)


_PARTS = ("connect", "aaa", "dhcp", "dns")


def latencies(window: Window, level: str) -> Query:
    """A row a site: median and 95th percentile (ms) of connect, aaa, dhcp and dns of its successes, NaN of
    none. `level` 1m or 1h: the rollup that is read."""
    names = [f"{part}_latency" for part in _PARTS]
    source, parameters = window.buckets(level, "site", *names, only="outcome = 'success'")
    columns = ", ".join(
        f"quantilesTimingMerge(0.25, 0.5, 0.75, 0.9, 0.95, 0.99)({part}_latency) AS {part}" for part in _PARTS
    )
    parts = ", ".join(f"{part}[2], {part}[5]" for part in _PARTS)
    sql = f"SELECT site, {parts} FROM (SELECT site, {columns} FROM {source} GROUP BY site)"
    return Query(f"insight_latencies_{level}", sql, parameters)


def usual(window: Window) -> Query:
    """What is usual in a window, by site and stage ('' is the whole attempt): site, stage, attempts that
    reached it and that failed in it, hours, timed and quick successes.

    Hours in which an incident was under way do not count: those whose share of failures is more than three
    times, and more than five points above, the site's median hour.
    """
    source, parameters = window.minutes("site", "minute", "outcome", "stage", "events", "timed", "quick")
    stages = ["", *ATTEMPT_STAGES]
    names = ", ".join(f"'{stage}'" for stage in stages)
    failed = ", ".join(["bad", *(f"of_{stage}" for stage in ATTEMPT_STAGES)])
    reached = ["good + bad"]
    for place in range(len(ATTEMPT_STAGES)):
        reached.append(" + ".join(["good", *(f"of_{stage}" for stage in ATTEMPT_STAGES[place:])]))
    hourly = (
        "SELECT site, toStartOfHour(minute) AS hour, sumIf(events, outcome = 'success') AS good,"
        " sumIf(events, outcome = 'failure') AS bad, sum(timed) AS of_timed, sum(quick) AS of_quick, "
        + ", ".join(f"{_failed(stage)} AS of_{stage}" for stage in ATTEMPT_STAGES)
        + f" FROM {source} GROUP BY site, hour"
    )
    sql = (
        "SELECT site, stage, sumIf(reached, calm), sumIf(failed, calm), countIf(calm),"
        " sumIf(of_timed, calm), sumIf(of_quick, calm) FROM ("
        "SELECT *, quantileExactIf(0.5)(failed / reached, reached >= 20) OVER (PARTITION BY site, stage)"
        " AS median, isNaN(median) OR failed / reached <= greatest(3 * median, median + 0.05) AS calm FROM ("
        f"SELECT site, hour, of_timed, of_quick, arrayJoin(arrayZip([{names}], [{', '.join(reached)}],"
        f" [{failed}])) AS one, one.1 AS stage, one.2 AS reached, one.3 AS failed FROM ({hourly}))"
        " WHERE reached > 0) GROUP BY site, stage"
    )
    return Query("insight_usual", sql, parameters)


# Service levels beyond connecting


def levels(window: Window) -> Query:
    """A row a site: minutes of clients with a median RSSI from -72 dBm on, those with an RSSI; roams that
    were quick and not taken back, roams; attempts that were not refused by a full access point nor made at a
    crowded one, attempts; successes, and attempts of clients that were just thrown off."""
    rest = site_levels.rest(window.since, window.until, window.levelled)
    begin, end = window.levelled.of(window.since, window.until)
    where = Where()
    where.add("fleet = {fleet:String}", fleet=window.fleet)
    where.add("site = {site:String}", site=window.site)
    parts, parameters = [], dict(where.parameters)
    if begin < end:
        where.add("minute >= toDateTime({levels_since:UInt32}, 'UTC')", levels_since=begin)
        where.add("minute < toDateTime({levels_until:UInt32}, 'UTC')", levels_until=end)
        if late := [at for at in window.levelled.late if begin - QUARTER < at < end]:
            where.add(f"{site_levels.START} NOT IN {{late_quarters:Array(UInt32)}}", late_quarters=late)
        parts.append(f"SELECT * EXCEPT (fleet, minute) FROM site_levels FINAL {where}")
        parameters |= where.parameters
    if rest:
        sql, given = _levels_of_events(window, rest)
        parts.append(f"SELECT * EXCEPT minute FROM ({sql})")
        parameters |= given
    sql = (
        "SELECT site, sum(covered), sum(told), greatest(0, toInt64(sum(swift)) - toInt64(sum(back))),"
        " sum(roams), sum(tries) - sum(declined) - sum(crowded), sum(tries), sum(successes), sum(thrown)"
        f" FROM ({' UNION ALL '.join(parts)}) GROUP BY site HAVING sum(events) > 0"
    )
    return Query("insight_levels", sql, parameters)


def _levels_of_events(window: Window, rest: Sequence[tuple[int, int]]) -> tuple[str, Mapping[str, Any]]:
    """The same counts of these parts of the window, out of events."""
    first, last = rest[0][0], rest[-1][1]
    source = replace(window, since=site_levels.begins(first), until=-(-last // QUARTER) * QUARTER)
    given: dict[str, Any] = {
        "rest_since": first,
        "rest_until": last,
        "rest_begin": first // QUARTER * QUARTER,
    }
    own = (
        "minute >= toDateTime({rest_since:UInt32}, 'UTC') AND minute < toDateTime({rest_until:UInt32}, 'UTC')"
    )
    held: dict[site_levels.Part, str] = {
        "minutes": own,
        "quarters": "minute >= toDateTime({rest_begin:UInt32}, 'UTC')",
        "lines": "",
    }
    if len(rest) > 1:
        given |= {
            "rest_quarters": site_levels.quarters(rest, 0),
            "rest_lines": site_levels.quarters(rest, site_levels.LINE_QUARTERS),
        }
        own += f" AND {site_levels.START} IN {{rest_quarters:Array(UInt32)}}"
        held = {
            "minutes": own,
            "quarters": f"{site_levels.START} IN {{rest_quarters:Array(UInt32)}}",
            "lines": f"{site_levels.START} IN {{rest_lines:Array(UInt32)}}",
        }

    def events(part: site_levels.Part, columns: Sequence[str], only: str) -> str:
        sql, parameters = source.events(*columns, only=" AND ".join(filter(None, (held[part], only))))
        given.update(parameters)
        return sql

    return site_levels.counted(("site",), events, own=f"({own})", of_quarters=f"({own})"), given


# One site


def reasons(window: Window, limit: int) -> Query:
    """Failures by stage, code and sub-code, the most frequent first: texts, action, failures, distinct
    clients, access points, and the first and last (µs)."""
    source, parameters = window.events(
        *("stage", "failure_code", "sub_failure_code", "failure", "sub_failure", "action", "client", "ap"),
        "received_at",
        only="outcome = 'failure'",
    )
    sql = (
        "SELECT stage, failure_code, sub_failure_code, max(ifNull(failure, '')),"
        " max(ifNull(sub_failure, '')), max(action), count() AS failures, uniqExact(client), uniqExact(ap),"
        " toUnixTimestamp64Micro(min(received_at)), toUnixTimestamp64Micro(max(received_at))"
        f" FROM {source} GROUP BY stage, failure_code, sub_failure_code"
        " ORDER BY failures DESC, stage, failure_code, sub_failure_code LIMIT {limit:UInt64}"
    )
    return Query("insight_reasons", sql, {**parameters, "limit": limit})


def heat(window: Window) -> Query:
    """Access point × quarter of an hour, and the whole of them: whether it is the whole, access point, time
    (s), attempts, failures, clients, those that failed."""
    source, parameters = window.events("ap", "minute", "outcome", "client")
    sql = (
        "SELECT grouping(time) AS whole, toString(ap) AS station,"
        f" intDiv(toUnixTimestamp(minute), {QUARTER}) * {QUARTER} AS time,"
        f" countIf({_ATTEMPT}), countIf(outcome = 'failure'),"
        " uniqExact(client), uniqExactIf(client, outcome = 'failure')"
        f" FROM {source} GROUP BY GROUPING SETS ((station, time), ())"
        " ORDER BY whole, station, time"
    )
    return Query("insight_heat", sql, parameters)


def hardest_hit(window: Window, limit: int) -> Query:
    """Clients with the most failures: MAC, vendor, attempts, failures, the newest failure's time (µs), stage,
    code, sub-code and texts, SSID and access point."""
    last = (
        "argMaxIf(tuple(toUnixTimestamp64Micro(received_at), toString(stage), failure_code, sub_failure_code,"
        " toString(failure), toString(sub_failure), ifNull(ssid, ''), toString(ap)),"
        " (received_at, offset, `index`), outcome = 'failure')"
    )
    worst = (
        "GROUP BY mac HAVING countIf(outcome = 'failure') > 0"
        " ORDER BY countIf(outcome = 'failure') DESC, count() DESC, mac LIMIT {limit:UInt64}"
    )
    # Who they are first: either table is sorted by client, so all else is read of a few granules.
    whom, _ = window.events("mac", "outcome", only=_ATTEMPT)
    source, parameters = window.events(
        *("mac", "vendor", "outcome", "received_at", "stage", "failure_code", "sub_failure_code", "failure"),
        *("sub_failure", "ssid", "ap", "offset", "`index`"),
        only=f"{_ATTEMPT} AND mac IN (SELECT mac FROM {whom} {worst})",
    )
    sql = f"SELECT mac, any(vendor), count(), countIf(outcome = 'failure'), {last} FROM {source} {worst}"
    return Query("insight_hardest_hit", sql, {**parameters, "limit": limit})


# What the failing attempts share


def contrast(window: Window, stage: str | None, ssid: str | None = None) -> Query:
    """Attempts that reached the stage (None: all) by each dimension's value and each pair of them: first and
    second dimension ('' of a single one), values, attempts, failures at the stage, failing clients."""
    only = _reaches(stage) if ssid is None else f"{_reaches(stage)} AND ssid = {{ssid:String}}"
    named = ("site", "ssid", "ap", "band", "vendor", "protocol", "randomised", "outcome", "stage", "client")
    source, parameters = window.events(*named, only=only)
    failed = "outcome = 'failure'" if stage is None else "outcome = 'failure' AND stage = {stage:String}"
    expressions = DIMENSIONS if window.site is not None else {"site": "site", **DIMENSIONS}
    places = range(len(expressions))
    columns = ", ".join(f"{expression} AS d{i}" for i, expression in enumerate(expressions.values()))
    values = [f"d{i}" for i in places]
    sets = [f"(d{i})" for i in places] + [f"(d{i}, d{j})" for i in places for j in places if i < j]
    told = f"[{', '.join(f'grouping({value}) = 0' for value in values)}]"
    names = ", ".join(f"'{name}'" for name in expressions)
    texts = ", ".join(f"toString({value})" for value in values)
    sql = (
        f"SELECT arrayFilter((name, told) -> told, [{names}], {told}) AS dimensions,"
        f" arrayFilter((text, told) -> told, [{texts}], {told}) AS texts,"
        " sum(attempts), sum(failures) AS bad, uniqExactArray(failing) FROM ("
        f"SELECT {columns}, count() AS attempts, countIf({failed}) AS failures,"
        f" groupUniqArrayIf(client, {failed}) AS failing FROM {source} GROUP BY {', '.join(values)})"
        f" GROUP BY GROUPING SETS ({', '.join(sets)})"
    )
    sql = (
        "SELECT dimensions[1], dimensions[2], texts[1], texts[2], * EXCEPT (dimensions, texts)"
        f" FROM ({sql}) ORDER BY length(dimensions), bad DESC, dimensions, texts"
    )
    asked = {"ssid": ssid, "stage": stage}
    given = {name: value for name, value in asked.items() if value is not None}
    return Query("insight_contrast", sql, {**parameters, **given})


def _reaches(stage: str | None) -> str:
    """Attempts that came to the stage: those that succeeded or failed in it or behind it."""
    if stage is None:
        return _ATTEMPT
    if stage not in ATTEMPT_STAGES:
        return "(outcome = 'success' OR outcome = 'failure' AND stage = {stage:String})"
    later = ", ".join(f"'{one}'" for one in ATTEMPT_STAGES[ATTEMPT_STAGES.index(stage) :])
    return f"(outcome = 'success' OR outcome = 'failure' AND stage IN ({later}))"


# Changes


def changes(fleet: str, site: str | None, since: int, until: int, limit: int) -> Query:
    """Device logs of a site by the time of the device (s), the newest first. A location that begins with the
    site's name and a blank or a dash is in the site."""
    where = Where()
    where.add("fleet = {fleet:String}", fleet=fleet)
    where.add("event_time >= toDateTime({since:UInt32}, 'UTC')", since=since)
    where.add("event_time < toDateTime({until:UInt32}, 'UTC')", until=until)
    where.add(
        "(device_location = {site:String}"
        " OR startsWith(ifNull(device_location, ''), concat({site:String}, ' '))"
        " OR startsWith(ifNull(device_location, ''), concat({site:String}, '-')))",
        site=site,
    )
    sql = (
        "SELECT toUnixTimestamp64Micro(event_time) AS time, id, device_id, device_name, device_model,"
        " device_location, log_action, variable_name, old_value, new_value, user, notes, outcome"
        f" FROM device_logs {where} ORDER BY event_time DESC, id DESC LIMIT {{limit:UInt64}}"
    )
    return Query("insight_changes", sql, {**where.parameters, "limit": limit})


# One client

CLIENT_COLUMNS: Sequence[str] = (
    "id",
    "toUnixTimestamp64Micro(event_time) AS time",
    "toUnixTimestamp64Micro(received_at) AS received",
    "clock_skew",
    "outcome",
    "event_type",
    "stage",
    "failure_code",
    "sub_failure_code",
    "failure",
    "sub_failure",
    "action",
    f"{_AP} AS ap",
    "bssid",
    "site",
    "ssid",
    "channel",
    "band",
    "protocol",
    "rssi",
    "dateDiff('millisecond', association_time, authentication_time) AS authentication_ms",
    f"{_CONNECT} AS connect_ms",
    "aaa_latency AS aaa_ms",
    "dhcp_latency AS dhcp_ms",
    "dns_latency AS dns_ms",
    "category",
    "event_description",
    "sub_event_description",
    "vlan",
    "ip",
    "file_id",
)
CLIENT_FIELDS = tuple(column.rpartition(" AS ")[2] for column in CLIENT_COLUMNS)


def client(fleet: str, macs: Names, since: int, until: int, limit: int) -> Query:
    """A client's events by the time of its device (s), the newest first."""
    where = Where()
    where.add("fleet = {fleet:String}", fleet=fleet)
    where.named("mac", macs)
    where.add("event_time >= toDateTime64({since:UInt32}, 6, 'UTC')", since=since)
    where.add("event_time < toDateTime64({until:UInt32}, 6, 'UTC')", until=until)
    sql = (
        f"SELECT {', '.join(CLIENT_COLUMNS)} FROM client_events {where}"
        " ORDER BY event_time DESC, client_events.id DESC LIMIT {limit:UInt64}"
    )
    return Query("insight_client", sql, {**where.parameters, "limit": limit})


def client_known(fleet: str, macs: Names) -> Query:
    """One row if the client is known: vendor, randomised, its oldest and newest event (µs)."""
    where = Where()
    where.add("fleet = {fleet:String}", fleet=fleet)
    where.named("mac", macs)
    sql = (
        "SELECT any(vendor), any(randomised), toUnixTimestamp64Micro(min(event_time)),"
        f" toUnixTimestamp64Micro(max(event_time)) FROM client_events {where} HAVING count() > 0"
    )
    return Query("insight_client_known", sql, where.parameters)


# Alerts

ALERT_FIELDS: Sequence[str] = (
    "id",
    "sequence",
    "incident",
    "rule",
    "signal",
    "state",
    "severity",
    "site",
    "stage",
    "ssid",
    "ap",
    "stream",
    "started_at",
    "updated_at",
    "by",
    "until",
    "attempts",
    "failures",
    "usual",
    "clients",
    "clients_seen",
    "aps",
    "aps_seen",
    "code",
    "sub_code",
    "reason",
    "cause_share",
    "cause_dimension",
    "cause_value",
    "summary",
    "action",
)


def alerts(fleet: str, site: str | None, since: int, until: int) -> Query:
    """The newest state of each alert that was under way at some time of the window (s), the worst first."""
    where = Where()
    where.add("fleet = {fleet:String}", fleet=fleet)
    where.add("site = {site:String}", site=site)
    where.add("started_at < toDateTime({until:UInt32}, 'UTC')", until=until)
    where.add(
        "(state != 'resolved' OR updated_at >= toDateTime({since:UInt32}, 'UTC'))",
        since=since,
    )
    moments = {"started_at", "updated_at", "until"}
    columns = ", ".join(
        f"toUnixTimestamp64Micro(`{name}`) AS `{name}_micros`" if name in moments else f"`{name}`"
        for name in ALERT_FIELDS
    )
    sql = (
        f"SELECT {columns} FROM alerts_now {where}"
        " ORDER BY state = 'resolved', severity != 'critical', severity != 'warning', clients DESC, id"
        " LIMIT 500"
    )
    return Query("insight_alerts", sql, where.parameters)
