"""The rollups: what each stream counts by minute, hour and day, described once.

Table `<stream>_1m` is fed from the stream's table, `<stream>_1h` from the minute and `<stream>_1d` from the
hour, by materialized views `<table>_mv`. The three have the same columns. An hour's view passes the block on
with its bucket rewritten: an insert pays once for the grouping of its rows, and the engine merges the rest.
They are partitioned by received day like the events: one block of the sink stays one block here, which its
token can recognise. (docs/decisions/0006-rollups.md)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tidegate.contracts.topics import Stream


class Level(NamedTuple):
    """One length of the buckets."""

    suffix: str  # of the table
    word: str
    start: str  # ClickHouse's function of a bucket's start
    partition: str  # key of the table


LEVELS = (
    Level("1m", "minute", "toStartOfMinute", "toYYYYMMDD(received_day)"),
    Level("1h", "hour", "toStartOfHour", "toYYYYMM(received_day)"),
    Level("1d", "day", "toStartOfDay", "toYYYYMM(received_day)"),
)


class Column(NamedTuple):
    """A column of a rollup, and what fills it."""

    name: str
    type: str
    comment: str
    expression: str  # on the columns of the stream's table; in a measure an aggregate

    def declaration(self) -> str:
        return f"    {self.name} {self.type} COMMENT '{self.comment.replace(chr(39), chr(39) * 2)}'"

    def selected(self) -> str:
        return self.name if self.expression == self.name else f"{self.expression} AS {self.name}"


@dataclass(frozen=True, slots=True)
class Rollup:
    """What one stream counts, at every level."""

    title: str
    dimensions: tuple[Column, ...]
    measures: tuple[Column, ...]
    order: tuple[str, ...]  # of the dimensions behind fleet and bucket
    leading: tuple[str, ...] = ()  # those in front of the bucket: one site's day is one range of rows


def _dimension(name: str, comment: str, expression: str = "") -> Column:
    return Column(name, "LowCardinality(String)", comment, expression or name)


def _sum(name: str, comment: str, expression: str, type: str = "UInt64") -> Column:
    return Column(name, f"SimpleAggregateFunction(sum, {type}) CODEC(ZSTD(1))", comment, expression)


def _clients(comment: str, type: str, column: str) -> Column:
    return Column("clients", f"AggregateFunction(uniq, {type})", comment, f"uniqState({column})")


_LEVELS_OF_QUANTILES = "(0.25, 0.5, 0.75, 0.9, 0.95, 0.99)"


def _quantiles(name: str, comment: str, argument: str, type: str = "Nullable(Int64)") -> Column:
    return Column(
        name,
        f"AggregateFunction(quantilesTiming{_LEVELS_OF_QUANTILES}, {type})",
        comment,
        f"quantilesTimingState{_LEVELS_OF_QUANTILES}({argument})",
    )


def _latency(name: str, what: str) -> Column:
    return _quantiles(
        f"{name}_latency",
        f"Quantiles of the {what} latency of successes, milliseconds; from 30 s on 30 s",
        f"if(outcome = 'success', if({name}_latency < 0, 0, {name}_latency), NULL)",
    )


_EVENTS = _sum("events", "Events", "count()")
_OUTCOME = _dimension("outcome", "success, failure, intermediate or unknown")
_STAGE = _dimension("stage", "Stage of a failure; empty otherwise")

ROLLUPS: Mapping[Stream, Rollup] = {
    "client_events": Rollup(
        "Client events",
        dimensions=(
            _dimension("site", "Site"),
            _dimension("ssid", "SSID; empty if not sent", "ifNull(ssid, '')"),
            _dimension("ap", "Name of the access point, else its bssid", "coalesce(ap_name, bssid, '')"),
            _dimension("band", "2.4, 5 or 6 (GHz); empty if unknown"),
            _dimension("geohash", "Geohash of the site"),
            _OUTCOME,
            _STAGE,
            Column(
                "failure_code",
                "Int64",
                "Vendor code of the failure class; -1 for none",
                "ifNull(failure_code, -1)",
            ),
            Column(
                "sub_failure_code",
                "Int64",
                "Vendor code of the failure within its class; -1 for none",
                "ifNull(sub_failure_code, -1)",
            ),
        ),
        measures=(
            _EVENTS,
            _clients("Distinct clients", "String", "mac"),
            _latency("dhcp", "DHCP"),
            _latency("aaa", "AAA"),
            _latency("dns", "DNS"),
            _quantiles(
                "connect_latency",
                "Quantiles of association to network of successes, milliseconds; from 30 s on 30 s",
                "if(outcome = 'success', if(network_time < association_time, 0,"
                " dateDiff('millisecond', association_time, network_time)), NULL)",
            ),
        ),
        order=(
            *("ssid", "ap", "band", "geohash", "outcome", "stage", "failure_code"),
            "sub_failure_code",
        ),
        leading=("site",),
    ),
    "connection_logs": Rollup(
        "Connection logs",
        dimensions=(
            _dimension("network_type", "wi, mo, bl or et; empty if not sent", "ifNull(network_type, '')"),
            _dimension("ssid", "Name of the network; empty if not sent", "ifNull(network_name, '')"),
            _dimension("ap", "bssid of the access point; empty if not sent", "ifNull(bssid, '')"),
            _dimension(
                "band",
                "2.4, 5 or 6 (GHz), from the frequency; empty if unknown",
                "multiIf(isNull(frequency), '', frequency < 2, '', frequency < 3, '2.4', frequency < 4.9, '',"
                " frequency < 5.925, '5', frequency < 7.2, '6', '')",
            ),
            _dimension("geohash", "Geohash, at most five characters", "substring(geohash, 1, 5)"),
            _dimension("operator", "Mobile operator"),
            _OUTCOME,
            _STAGE,
        ),
        measures=(
            _EVENTS,
            _sum("inbytes", "Bytes received", "sum(ifNull(inbytes, 0))", "Int64"),
            _sum("outbytes", "Bytes sent", "sum(ifNull(outbytes, 0))", "Int64"),
            _sum("insecure", "Events on open or WEP networks", "sum(toUInt64(insecure))"),
            _sum("roaming", "Events while roaming", "sum(toUInt64(ifNull(roaming, false)))"),
            _sum(
                "rssi_sum",
                "Sum of the RSSI, dBm",
                "sum(if(ifNull(quality_metric, '') = 'rssi', ifNull(quality_value, 0), 0))",
                "Float64",
            ),
            _sum(
                "rssi_count",
                "Events with an RSSI",
                "sum(toUInt64(ifNull(quality_metric, '') = 'rssi' AND isNotNull(quality_value)))",
            ),
            _clients("Distinct devices", "Nullable(String)", "device_id"),
            _quantiles(
                "duration",
                "Quantiles of the duration, whole seconds; from 30,000 s on 30,000 s",
                "if(duration < 0, 0, duration)",
                "Nullable(Float64)",
            ),
        ),
        order=("network_type", "ssid", "ap", "band", "geohash", "operator", "outcome", "stage"),
    ),
    "device_logs": Rollup(
        "Device logs",
        dimensions=(
            _dimension("device_model", "Model; empty if not sent", "ifNull(device_model, '')"),
            _dimension("site", "Location of the device; empty if not sent", "ifNull(device_location, '')"),
            _dimension("log_action", "The document's `action`"),
            _OUTCOME,
            _STAGE,
        ),
        measures=(
            _EVENTS,
            _sum("pending", "Operations still to be done", "sum(toUInt64(ifNull(is_pending, false)))"),
            _sum("applied", "Operations done", "sum(toUInt64(ifNull(is_applied, false)))"),
            _clients("Distinct devices", "String", "device_id"),
        ),
        order=("site", "device_model", "log_action", "outcome", "stage"),
    ),
}


def _head(level: Level) -> tuple[Column, ...]:
    moment = "if(clock_skew, received_at, event_time)"
    return (
        _dimension("fleet", "Fleet"),
        Column(
            "bucket",
            "DateTime('UTC') CODEC(Delta, ZSTD(1))",
            f"Start of the {level.word}: event_time, or received_at where clock_skew",
            f"{level.start}({moment})",
        ),
        Column(
            "received_day",
            "Date CODEC(Delta, ZSTD(1))",
            "Received day of the events; partitions and TTL go by it",
            "toDate(received_at)",
        ),
        Column(
            "clock_skew",
            "Bool",
            "Device time was not to be trusted: bucket is the received time",
            "clock_skew",
        ),
    )


def template(stream: Stream) -> str:
    """The statements that make a stream's rollups, with the places of a migration (`${database}` …)."""
    return "\n\n".join([*(_table(stream, level) for level in LEVELS), *_views(stream)])


def _table(stream: Stream, level: Level) -> str:
    rollup = ROLLUPS[stream]
    columns = [*_head(level), *rollup.dimensions, *rollup.measures]
    settings = "minute_settings" if rollup.leading and level.suffix == "1m" else "rollup_settings"
    order = ", ".join(["fleet", *rollup.leading, "bucket", *rollup.order, "clock_skew", "received_day"])
    return (
        f"CREATE TABLE IF NOT EXISTS ${{database}}.{stream}_{level.suffix} ${{on_cluster}}\n(\n"
        + ",\n".join(column.declaration() for column in columns)
        + "\n)\nENGINE = ${aggregating_merge_tree}\n"
        f"PARTITION BY {level.partition}\n"
        f"ORDER BY ({order})\n"
        f"SETTINGS ${{{settings}}}\n"
        f"COMMENT '{rollup.title} by {level.word}: one row for each combination of what happened';"
    )


def _views(stream: Stream) -> list[str]:
    rollup, [minute, *longer] = ROLLUPS[stream], LEVELS
    keys = [*_head(minute), *rollup.dimensions]
    selected = ",\n".join(f"    {column.selected()}" for column in [*keys, *rollup.measures])
    views = [
        f"{_view_head(stream, minute)}\nSELECT\n{selected}\nFROM ${{database}}.{stream}\n"
        f"GROUP BY {', '.join(column.name for column in keys)};"
    ]
    for finer, level in zip(LEVELS, longer, strict=False):
        views.append(
            f"{_view_head(stream, level)}\n"
            f"SELECT * REPLACE ({level.start}(bucket) AS bucket) FROM ${{database}}.{stream}_{finer.suffix};"
        )
    return views


def _view_head(stream: Stream, level: Level) -> str:
    table = f"${{database}}.{stream}_{level.suffix}"
    return f"CREATE MATERIALIZED VIEW IF NOT EXISTS {table}_mv ${{on_cluster}} TO {table} AS"
