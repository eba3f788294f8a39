"""The named queries of the read side: SQL with server-side parameters, no value ever in its text.

A `Query` is built from what a reader asked for; `fleet` None sees every fleet and is for superusers alone.
Times go in and come out as integers, microseconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from tidegate.contracts.position import Position
from tidegate.contracts.topics import Stream


class Query(NamedTuple):
    """One statement. The name tells it apart in metrics, errors and ClickHouse's query log."""

    name: str
    sql: str
    parameters: Mapping[str, Any]


Names = Sequence[str]
"""Of one client or device: as it was asked for, and its stored pseudonyms where there may be some."""


class Where:
    """Conditions joined by AND, each with the parameters it uses."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.parameters: dict[str, Any] = {}

    def add(self, condition: str, **parameters: Any) -> None:
        """Add a condition; not at all if one of its parameters is None."""
        if any(value is None for value in parameters.values()):
            return
        self._conditions.append(condition)
        self.parameters.update(parameters)

    def named(self, column: str, names: Names | None) -> None:
        """Add that the column has one of the names."""
        if names is not None and len(names) == 1:
            self.add(f"{column} = {{{column}:String}}", **{column: names[0]})
        elif names is not None:
            self.add(f"{column} IN {{{column}s:Array(String)}}", **{f"{column}s": list(names)})

    def __str__(self) -> str:
        return "WHERE " + " AND ".join(self._conditions) if self._conditions else ""


# Client events

CONNECTION_COLUMNS = (
    "mac",
    "protocol",
    "location_type",
    "location_id",
    "event_type",
    "bssid",
    "channel",
    "toUnixTimestamp64Micro(event_time) AS timestamp",
    "ap_name",
    "ssid",
    "toUnixTimestamp64Micro(association_time) AS association_timestamp",
    "toUnixTimestamp64Micro(authentication_time) AS authentication_timestamp",
    "toUnixTimestamp64Micro(network_time) AS network_timestamp",
    "autotest_session_id",
    "autotest_status_code",
    "autotest_status",
    "dhcp_latency",
    "aaa_latency",
    "dns_latency",
    "failure_code",
    "failure",
    "sub_failure_code",
    "sub_failure",
    "file_id",
)
INTERMEDIATE_COLUMNS = (
    "category_code",
    "type_code",
    "sub_type_code",
    "category",
    "event_description",
    "sub_event_description",
    "vlan",
    "ip",
    "bw_upload",
    "bw_download",
    "rssi",
    "bw_priority",
    "radius_primary_ip",
    "radius_secondary_ip",
    "assoc_count",
    "detailed_role",
    "detailed_google_ou",
    "threshold_rssi",
    "bw_source",
    "cl_count_2ghz",
    "cl_count_5ghz",
    "bst_nbr_rssi",
    "bst_nbr_mac",
    "bst_nbr_cl_cnt",
    "dis_time",
    "nbr_cnt",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientEvents:
    """What to look for in one client's events; None is no condition. The bounds of time are inclusive."""

    fleet: str | None
    macs: Names  # canonical
    event_types: Sequence[str] | None = None
    since: int | None = None
    until: int | None = None
    location_id: int | None = None
    failure_code: int | None = None
    failure_or_type_code: int | None = None
    category_code: int | None = None
    protocol: str | None = None
    ssids: Sequence[str] | None = None

    def where(self) -> Where:
        """The conditions, with their values as query parameters."""
        where = Where()
        where.add("fleet = {fleet:String}", fleet=self.fleet)
        where.named("mac", self.macs)
        _between(where, self.since, self.until)
        where.add("event_type IN {event_types:Array(String)}", event_types=_list(self.event_types))
        where.add("location_id = {location_id:Int64}", location_id=self.location_id)
        where.add("failure_code = {failure_code:Int64}", failure_code=self.failure_code)
        where.add(
            "(failure_code = {code:Int64} OR type_code = {code:Int64})",
            code=self.failure_or_type_code,
        )
        where.add("category_code = {category_code:Int64}", category_code=self.category_code)
        where.add("protocol = {protocol:String}", protocol=self.protocol)
        where.add("ssid IN {ssids:Array(String)}", ssids=_list(self.ssids))
        return where


def connection_attempts(wanted: ClientEvents, *, limit: int) -> Query:
    """The newest successes and failures of a client, both kinds together."""
    return _client_events("connection_attempts", CONNECTION_COLUMNS, wanted, 0, limit)


def client_events(wanted: ClientEvents, *, offset: int, limit: int) -> Query:
    """A page of a client's events of every type, newest first."""
    return _client_events(
        "client_events", (*CONNECTION_COLUMNS, *INTERMEDIATE_COLUMNS), wanted, offset, limit
    )


def client_events_count(wanted: ClientEvents) -> Query:
    where = wanted.where()
    return Query("client_events_count", f"SELECT count() FROM client_events {where}", where.parameters)


def _client_events(name: str, columns: Sequence[str], wanted: ClientEvents, offset: int, limit: int) -> Query:
    where = wanted.where()
    sql = (
        f"SELECT {', '.join(columns)} FROM client_events {where}"
        " ORDER BY event_time DESC, id DESC LIMIT {limit:UInt64} OFFSET {offset:UInt64}"
    )
    return Query(name, sql, {**where.parameters, "limit": limit, "offset": offset})


# Device logs

DEVICE_LOG_COLUMNS = (
    "id",
    "toUnixTimestamp64Micro(event_time) AS datetime",
    "device_id",
    "device_name",
    "device_model",
    "device_location",
    "log_action",
    "variable_name",
    "old_value",
    "new_value",
    "is_pending",
    "is_applied",
    "toUnixTimestamp64Micro(applied_at) AS applied_at",
    "user",
    "change_request_id",
    "rollback_available",
    "notes",
)


class Mark(NamedTuple):
    """A place in the list of device logs: an entry that the page before ended or the one after began with."""

    time: int
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLogs:
    """What to look for in device logs; None is no condition. The bounds of time are inclusive."""

    fleet: str | None
    since: int | None = None
    until: int | None = None
    device_ids: Names | None = None
    action: str | None = None
    is_pending: bool | None = None
    is_applied: bool | None = None
    variable_name: str | None = None

    def where(self) -> Where:
        where = Where()
        where.add("fleet = {fleet:String}", fleet=self.fleet)
        _between(where, self.since, self.until)
        where.named("device_id", self.device_ids)
        where.add("log_action = {action:String}", action=self.action)
        where.add("is_pending = {is_pending:Bool}", is_pending=self.is_pending)
        where.add("is_applied = {is_applied:Bool}", is_applied=self.is_applied)
        where.add("variable_name = {variable_name:String}", variable_name=self.variable_name)
        return where


def device_logs(
    wanted: DeviceLogs, *, limit: int, older: Mark | None = None, newer: Mark | None = None
) -> Query:
    """Entries newest first, from the newest or from behind the mark `older`.

    With the mark `newer` the entries in front of it come nearest first: the caller turns them around.
    """
    where = wanted.where()
    beside(where, older, newer)
    direction = "ASC" if newer is not None else "DESC"
    sql = (
        f"SELECT {', '.join(DEVICE_LOG_COLUMNS)} FROM device_logs {where}"
        f" ORDER BY event_time {direction}, id {direction} LIMIT {{limit:UInt64}}"
    )
    return Query("device_logs", sql, {**where.parameters, "limit": limit})


def beside(where: Where, older: Mark | None, newer: Mark | None) -> None:
    """Leaves the entries behind the mark `older`, or those in front of the mark `newer`."""
    if older is not None:
        where.add(
            "(event_time, id) < (fromUnixTimestamp64Micro({mark:Int64}, 'UTC'), {mark_id:String})"
            " AND event_time <= fromUnixTimestamp64Micro({mark:Int64}, 'UTC')",
            mark=older.time,
            mark_id=older.id,
        )
    elif newer is not None:
        where.add(
            "(event_time, id) > (fromUnixTimestamp64Micro({mark:Int64}, 'UTC'), {mark_id:String})"
            " AND event_time >= fromUnixTimestamp64Micro({mark:Int64}, 'UTC')",
            mark=newer.time,
            mark_id=newer.id,
        )


def device_logs_count(wanted: DeviceLogs) -> Query:
    where = wanted.where()
    return Query("device_logs_count", f"SELECT count() FROM device_logs {where}", where.parameters)


def device_log(wanted: DeviceLogs, position: Position, days: Sequence[date]) -> Query:
    """The entry at a position. `days` are the received days of its batch."""
    where = wanted.where()
    _at(where, position, days)
    sql = f"SELECT {', '.join(DEVICE_LOG_COLUMNS)} FROM device_logs {where} LIMIT 1"
    return Query("device_log", sql, where.parameters)


def replayed_device_log(wanted: DeviceLogs, position: Position, received_at: int) -> Query:
    """The entry that was refused at a position, came again and was stored; `received_at` is its own."""
    where = wanted.where()
    _of_origin(where, position, received_at)
    sql = f"SELECT {', '.join(DEVICE_LOG_COLUMNS)} FROM device_logs {where} LIMIT 1"
    return Query("replayed_device_log", sql, where.parameters)


def device_log_of_source(wanted: DeviceLogs, source_id: str) -> Query:
    """The newest entry to which its sender gave this id."""
    where = wanted.where()
    where.add("source_id = {source_id:String}", source_id=source_id)
    sql = (
        f"SELECT {', '.join(DEVICE_LOG_COLUMNS)} FROM device_logs {where}"
        " ORDER BY event_time DESC, device_logs.id DESC LIMIT 1"
    )
    return Query("device_log_of_source", sql, where.parameters)


# Access points


def access_points(fleet: str | None) -> Query:
    """The devices that events have shown: fleet, MACs of the radios, name, location, SSIDs, first and last
    event (µs). Radios that share a name and a location are one device."""
    where = Where()
    where.add("fleet = {fleet:String}", fleet=fleet)
    sql = (
        "SELECT fleet, arraySort(groupArray(bssid)), any(device) AS device_name, location,"
        " arraySort(groupUniqArrayArray(radio_ssids)),"
        " toUnixTimestamp64Micro(min(first)), toUnixTimestamp64Micro(max(last))"
        " FROM (SELECT fleet, bssid, argMaxMerge(name) AS device, argMaxMerge(location_id) AS location,"
        " groupUniqArrayArray(ssids) AS radio_ssids, min(first_seen) AS first, max(last_seen) AS last"
        f" FROM access_points {where} GROUP BY fleet, bssid)"
        " GROUP BY fleet, if(ifNull(device, '') = '', bssid, assumeNotNull(device)), location"
    )
    return Query("access_points", sql, where.parameters)


# Single events

EVENT_COLUMNS = "toUnixTimestamp64Micro(received_at), toUnixTimestamp64Micro(event_time), outcome, stage"
LEDGER = (
    "SELECT min(first) <= {offset:UInt64} AND max(last) >= {offset:UInt64}, max(last),"
    " arrayDistinct(arrayFlatten("
    "groupArrayIf(days, first <= {offset:UInt64} AND last >= {offset:UInt64})))"
    " FROM sink_batches WHERE epoch = {epoch:String} AND stream = {stream:String}"
    " AND partition = {partition:UInt32} HAVING count() > 0"
)


def ledger_at(position: Position) -> Query:
    """What the sink's ledger knows of a position: one row (planned, last offset planned, received days of
    the batches that hold it), or none for a partition that it does not know."""
    return Query(
        "ledger_at",
        LEDGER,
        {
            "epoch": position.epoch,
            "stream": position.stream,
            "partition": position.partition,
            "offset": position.offset,
        },
    )


def epoch_known(epoch: str) -> Query:
    """Whether the sink has seen an epoch."""
    sql = "SELECT count() > 0 FROM epochs WHERE epoch = {epoch:String}"
    return Query("epoch_known", sql, {"epoch": epoch})


def event_at(fleet: str | None, position: Position, days: Sequence[date]) -> Query:
    """The stored row at a position: when it came, when it happened, its outcome."""
    where = Where()
    where.add("fleet = {fleet:String}", fleet=fleet)
    _at(where, position, days)
    return Query(
        "event_at", f"SELECT {EVENT_COLUMNS} FROM {position.stream} {where} LIMIT 1", where.parameters
    )


def replayed(fleet: str | None, position: Position, received_at: int) -> Query:
    """As `event_at`, for a line refused at this position that came again; `received_at` (µs) is its own."""
    where = Where()
    where.add("fleet = {fleet:String}", fleet=fleet)
    _of_origin(where, position, received_at)
    return Query(
        "replayed", f"SELECT {EVENT_COLUMNS} FROM {position.stream} {where} LIMIT 1", where.parameters
    )


def reject_at(fleet: str | None, position: Position) -> Query:
    """The reject at a position, with why."""
    where = Where()
    where.add("fleet = {fleet:String}", fleet=fleet)
    _at(where, position, None)
    where.add("stream = {stream:String}", stream=position.stream)
    sql = (
        "SELECT toUnixTimestamp64Micro(received_at), kind, code, path, found, allowed, detail"
        f" FROM rejects {where} LIMIT 1"
    )
    return Query("reject_at", sql, where.parameters)


def is_duplicate(position: Position, days: Sequence[date]) -> Query:
    """Whether a line at a position was dropped as a duplicate, as far as the ledger tells: no fleet has it
    as a row or a reject, and its batch counts duplicates."""
    row, reject = Where(), Where()
    _at(row, position, days)
    _at(reject, position, None)
    reject.add("stream = {stream:String}", stream=position.stream)
    sql = (
        "SELECT max(duplicates) > 0 AND max(lines) > {line:UInt32}"
        f" AND NOT (SELECT count() > 0 FROM {position.stream} {row})"
        f" AND NOT (SELECT count() > 0 FROM rejects {reject})"
        " FROM sink_batches WHERE epoch = {epoch:String} AND stream = {stream:String}"
        " AND partition = {partition:UInt32} AND first <= {offset:UInt64} AND last >= {offset:UInt64}"
    )
    return Query("is_duplicate", sql, row.parameters | reject.parameters)


def is_gone(fleet: str | None, position: Position) -> Query:
    """Whether a line at a position was stored and has gone: with an erasure, or at the end of its fleet's
    retention, of which whole frames are on record."""
    erased, expired = Where(), Where()
    for where in (erased, expired):
        where.add("`table` IN {tables:Array(String)}", tables=[position.stream, "rejects"])
        where.add("stream = {stream:String}", stream=position.stream)
        where.add("epoch = {epoch:String}", epoch=position.epoch)
        where.add("partition = {partition:UInt32}", partition=position.partition)
        where.add("offset = {offset:UInt64}", offset=position.offset)
    erased.add("`index` = {line:UInt32}", line=position.index)
    expired.add("fleet = {fleet:String}", fleet=fleet)
    sql = (
        f"SELECT (SELECT count() > 0 FROM erasures {erased}) OR (SELECT count() > 0 FROM expiries {expired})"
    )
    return Query("is_gone", sql, erased.parameters | expired.parameters)


def tables_present(names: Sequence[Stream]) -> Query:
    """How many of the tables are there: for /readyz."""
    return Query(
        "tables_present",
        "SELECT count() FROM system.tables"
        " WHERE database = currentDatabase() AND name IN {names:Array(String)}",
        {"names": list(names)},
    )


def _at(where: Where, position: Position, days: Sequence[date] | None) -> None:
    # The day prunes ClickHouse's partitions: the offset alone would read a column of the whole table.
    where.add("toDate(received_at) IN {days:Array(Date)}", days=None if days is None else list(days))
    where.add("epoch = {epoch:String}", epoch=position.epoch)
    where.add("partition = {partition:UInt32}", partition=position.partition)
    where.add("offset = {offset:UInt64}", offset=position.offset)
    where.add("`index` = {line:UInt32}", line=position.index)


def _of_origin(where: Where, position: Position, received_at: int) -> None:
    where.add(
        "toDate(received_at) = toDate(fromUnixTimestamp64Micro({received:Int64}, 'UTC'))",
        received=received_at,
    )
    where.add("origin = {origin:String}", origin=position.id())


def _between(where: Where, since: int | None, until: int | None) -> None:
    where.add("event_time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')", since=since)
    where.add("event_time <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')", until=until)


def _list(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)
