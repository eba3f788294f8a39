"""Named queries over the rollups: what the statistics of the read side are computed from.

A `Selection` says which rows of which level. Windows are half open, whole minutes, seconds since 1970 UTC.
What a rollup keeps: `docs/data-dictionary.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tidegate.contracts.topics import Stream
from tidegate.store.queries import Query, Where

Level = Literal["1m", "1h", "1d"]
SECONDS: Mapping[Level, int] = {"1d": 86_400, "1h": 3600, "1m": 60}
"""Length of a bucket, the coarsest level first."""

LAST_SECOND = 2**32 - 1

_START: Mapping[Level, str] = {"1m": "toStartOfMinute", "1h": "toStartOfHour", "1d": "toStartOfDay"}

DIMENSIONS: Mapping[Stream, tuple[str, ...]] = {
    "connection_logs": (
        "fleet",
        "network_type",
        "ssid",
        "ap",
        "band",
        "geohash",
        "operator",
        "outcome",
        "stage",
        "clock_skew",
    ),
    "client_events": (
        "fleet",
        "site",
        "ssid",
        "ap",
        "band",
        "geohash",
        "outcome",
        "stage",
        "failure_code",
        "sub_failure_code",
        "clock_skew",
    ),
    "device_logs": ("fleet", "site", "device_model", "log_action", "outcome", "stage", "clock_skew"),
}
"""What a stream's rollups tell events apart by, and can be grouped and filtered by."""

FAILURE_CLASS: Mapping[Stream, tuple[str, ...]] = {
    "connection_logs": ("stage",),
    "client_events": ("failure_code", "sub_failure_code", "stage"),
    "device_logs": ("stage",),
}
"""The dimensions that tell one class of failures from another."""

LEVELS_OF_QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
LATENCIES: Mapping[Stream, Mapping[str, str]] = {
    "connection_logs": {"duration": "duration"},
    "client_events": {name: f"{name}_latency" for name in ("dhcp", "aaa", "dns", "connect")},
    "device_logs": {},
}
"""What has quantiles, with the column that keeps them: milliseconds, `duration` seconds."""


def _quantiles(column: str) -> str:
    return f"quantilesTimingMerge({', '.join(map(str, LEVELS_OF_QUANTILES))})({column})"


def _of(outcome: str) -> str:
    return f"sumIf(events, outcome = '{outcome}')"


_DECIDED = "nullIf(sumIf(events, outcome IN ('success', 'failure')), 0)"
_COMMON: Mapping[str, str] = {
    "events": "sum(events)",
    "successes": _of("success"),
    "failures": _of("failure"),
    "success_rate": f"{_of('success')} / {_DECIDED}",
    "failure_rate": f"{_of('failure')} / {_DECIDED}",
    "clients": "uniqMerge(clients)",
}
_OWN: Mapping[Stream, Mapping[str, str]] = {
    "connection_logs": {
        "inbytes": "sum(inbytes)",
        "outbytes": "sum(outbytes)",
        "insecure": "sum(insecure)",
        "roaming": "sum(roaming)",
        "rssi": "sum(rssi_sum) / nullIf(sum(rssi_count), 0)",
    },
    "client_events": {},
    "device_logs": {"pending": "sum(pending)", "applied": "sum(applied)"},
}
METRICS: Mapping[Stream, Mapping[str, str]] = {
    stream: {
        **_COMMON,
        **own,
        **{
            f"{name}_p{round(level * 100)}": f"{_quantiles(column)}[{LEVELS_OF_QUANTILES.index(level) + 1}]"
            for name, column in LATENCIES[stream].items()
            for level in (0.5, 0.95, 0.99)
        },
    }
    for stream, own in _OWN.items()
}
"""What groups can be ranked by: name and expression."""

_TOUCHED = ("ap", "site", "ssid", "geohash", "device_model")
TOUCHED: Mapping[Stream, tuple[str, ...]] = {
    stream: ("clients", *(name for name in _TOUCHED if name in dimensions))
    for stream, dimensions in DIMENSIONS.items()
}
"""What a class of failures can touch: the clients, and the dimensions that are things in the field."""


_OF_FAILURES = frozenset({"outcome", "stage", "failure_code", "sub_failure_code"})
_CODES = frozenset({"failure_code", "sub_failure_code"})


def countable(stream: Stream) -> tuple[str, ...]:
    """What can be counted distinct."""
    return ("clients", *DIMENSIONS[stream])


def _distinct(name: str) -> str:
    """How many different ones; an empty text and -1 say that there was none."""
    if name == "clients":
        return "uniqMerge(clients)"
    if name == "clock_skew":
        return "uniqExact(clock_skew)"
    return f"uniqExactIf({name}, {name} != {'-1' if name in _CODES else repr('')})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows of the rollups, and how they are grouped. `fleet` None sees every fleet; `step` None is
    one group of the whole window; `filters` has the values that a dimension may have."""

    stream: Stream
    level: Level
    fleet: str | None
    since: int
    until: int
    step: Level | None = None
    by: Sequence[str] = ()
    filters: Mapping[str, Sequence[str | int | bool]]
    limit: int

    @property
    def table(self) -> str:
        return f"{self.stream}_{self.level}"

    def where(self) -> Where:
        where = Where()
        where.add("fleet = {own_fleet:String}", own_fleet=self.fleet)
        where.add("bucket >= toDateTime({since:UInt32}, 'UTC')", since=self.since)
        where.add("bucket < toDateTime({until:UInt32}, 'UTC')", until=self.until)
        for name, values in self.filters.items():
            kind = "Int64" if name in _CODES else {"clock_skew": "Bool"}.get(name, "String")
            where.add(f"{name} IN {{of_{name}:Array({kind})}}", **{f"of_{name}": list(values)})
        return where

    @property
    def time(self) -> str:
        """Start of the group in seconds; 0 without a step."""
        return "toUInt32(0)" if self.step is None else f"toUnixTimestamp({_START[self.step]}(bucket))"


def coarsest(since: int, until: int, step: Level | None, kept_since: Mapping[Level, int]) -> Level | None:
    """The coarsest level that answers for a window exactly: its buckets fill the window and each step, and
    none of them has been deleted. `kept_since` has the time since when a level is whole. None if no level
    does."""
    for level, seconds in SECONDS.items():
        fills = since % seconds == 0 and until % seconds == 0
        if fills and (step is None or seconds <= SECONDS[step]) and since >= kept_since[level]:
            return level
    return None


def _grouped(
    name: str,
    selection: Selection,
    values: Sequence[str],
    *,
    keys: Sequence[str] = (),
    order: str = "sum(events) DESC",
    only: str | None = None,
    per_step: int | None = None,
) -> Query:
    """Rows of time, the values of `by` and `keys`, and `values`. One more than the limit tells of others."""
    where = selection.where()
    if only is not None:
        where.add(only)
    groups = ["time", *selection.by, *keys]
    columns = [f"{selection.time} AS time", *selection.by, *keys, *values]
    best = "" if per_step is None else " LIMIT {per_step:UInt64} BY time"
    sql = (
        f"SELECT {', '.join(columns)} FROM {selection.table} {where}"
        f" GROUP BY {', '.join(groups)} ORDER BY time, {', '.join([order, *groups[1:]])}{best}"
        " LIMIT {limit:UInt64}"
    )
    parameters: dict[str, Any] = {**where.parameters, "limit": selection.limit + 1}
    return Query(name, sql, parameters if per_step is None else {**parameters, "per_step": per_step})


def outcomes(selection: Selection) -> Query:
    """Values: events; those of each outcome; clients; failures by stage as (stages, counts)."""
    values = [
        "sum(events)",
        *(_of(outcome) for outcome in ("success", "failure", "intermediate", "unknown")),
        "uniqMerge(clients)",
        "sumMapIf([toString(stage)], [toUInt64(events)], outcome = 'failure')",
    ]
    return _grouped("stats_outcomes", selection, values)


def latency(selection: Selection, names: Sequence[str]) -> Query:
    """Values: events; for each name its quantiles, NaN where nothing was measured."""
    columns = LATENCIES[selection.stream]
    return _grouped("stats_latency", selection, ["sum(events)", *(_quantiles(columns[n]) for n in names)])


def class_keys(selection: Selection) -> tuple[str, ...]:
    """What tells failure classes apart beyond the groups."""
    return tuple(name for name in FAILURE_CLASS[selection.stream] if name not in selection.by)


def texts(selection: Selection, recent: int) -> Query:
    """The texts that events had: code, sub-code, texts of class and sub-class. Of the events received in the
    window and a day around it, and of those since `recent` (s): a code keeps its text."""
    where = Where()
    where.add("fleet = {own_fleet:String}", own_fleet=selection.fleet)
    where.add("outcome = 'failure'")
    where.add(
        "(minute >= toDateTime({recent:UInt32}, 'UTC') OR minute >= toDateTime({begin:UInt32}, 'UTC')"
        " AND minute < toDateTime({end:UInt32}, 'UTC'))",
        recent=recent,
        begin=max(0, selection.since - SECONDS["1d"]),
        end=min(selection.until + SECONDS["1d"], LAST_SECOND),
    )
    sql = (
        "SELECT failure_code, sub_failure_code, max(failure), max(sub_failure)"
        f" FROM site_minutes {where} GROUP BY failure_code, sub_failure_code"
    )
    return Query("stats_texts", sql, where.parameters)


def failures(selection: Selection) -> Query:
    """Keys: the class. Values: events, share of the group's failures, clients."""
    groups = ", ".join(["time", *selection.by])
    values = [
        "sum(events)",
        f"sum(events) / sum(sum(events)) OVER (PARTITION BY {groups})",
        "uniqMerge(clients)",
    ]
    keys = class_keys(selection)
    return _grouped("stats_failures", selection, values, keys=keys, only="outcome = 'failure'")


def blast_radius(selection: Selection) -> Query:
    """Keys: the class. Values: events, first and last bucket (s), then TOUCHED. The widest first."""
    values = [
        "sum(events)",
        "toUnixTimestamp(min(bucket))",
        "toUnixTimestamp(max(bucket))",
        *map(_distinct, TOUCHED[selection.stream]),
    ]
    keys = class_keys(selection)
    order = "uniqMerge(clients) DESC, sum(events) DESC"
    return _grouped(
        "stats_blast_radius", selection, values, keys=keys, order=order, only="outcome = 'failure'"
    )


def everything(selection: Selection) -> Query:
    """One row of what there is in the window that a failure could touch: TOUCHED."""
    filters = {name: values for name, values in selection.filters.items() if name not in _OF_FAILURES}
    where = replace(selection, filters=filters).where()
    values = ", ".join(map(_distinct, TOUCHED[selection.stream]))
    return Query("stats_everything", f"SELECT {values} FROM {selection.table} {where}", where.parameters)


def top(selection: Selection, metric: str, count: int, *, ascending: bool) -> Query:
    """Values: the metric, events, clients; the best `count` of each step. No value comes last."""
    values = [f"{METRICS[selection.stream][metric]} AS ranked", "sum(events)", "uniqMerge(clients)"]
    order = f"ranked {'ASC' if ascending else 'DESC'} NULLS LAST, sum(events) DESC"
    return _grouped("stats_top", selection, values, order=order, per_step=count)


def distinct(selection: Selection, names: Sequence[str]) -> Query:
    """Values: events, and how many different ones there are of each name."""
    return _grouped("stats_distinct", selection, ["sum(events)", *map(_distinct, names)])
