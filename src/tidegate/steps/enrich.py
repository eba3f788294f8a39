"""Enrich: the sender's columns become the columns of the stream's table. A pure function on a frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa

from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.topics import Stream
from tidegate.lookups import Lookups
from tidegate.steps import band, geo, intermediate, mac, networks, operator, site, time
from tidegate.steps.distinct_values import Column, whole_numbers, wrap
from tidegate.steps.outcome import outcome

Columns = Mapping[str, Column]


def enrich(
    stream: Stream,
    columns: Columns,
    lookups: Lookups,
    *,
    geohash_precision: int,
    clock_skew_seconds: int,
) -> pa.RecordBatch:
    """A record batch of exactly SCHEMAS[stream].

    `columns` are decode's, all of one length: event times in the sender's unit, MACs canonical.
    Raises KeyError for a column that decode should have given.
    """
    schema = SCHEMAS[stream]
    if not len(columns["fleet"]):
        return pa.RecordBatch.from_pylist([], schema=schema)
    made: dict[str, Column] = dict(columns)
    clocks = _clocks(stream, columns)
    made |= clocks
    made |= _times(clocks["event_time"], columns["received_at"], clock_skew_seconds)
    made |= outcome(stream, columns, lookups)
    if stream in _ENRICH:
        made |= _ENRICH[stream](columns, lookups, geohash_precision)
    return pa.RecordBatch.from_arrays([made[name] for name in _NAMES[stream]], schema=schema)


_NAMES = {stream: schema.names for stream, schema in SCHEMAS.items()}


def _clocks(stream: Stream, columns: Columns) -> dict[str, Column]:
    """The device's times; event_time still in µs. Only client events come in units of the sender's choice."""
    if stream == "connection_logs":
        return {"event_time": columns["timestamp"]}
    if stream == "device_logs":
        return {"event_time": columns["datetime"], "applied_at": time.timestamps(columns["applied_at"])}
    names = ("timestamp", "association_timestamp", "authentication_timestamp", "network_timestamp")
    event, *others = time.normal([columns[name] for name in names])
    association, authentication, network = map(time.timestamps, others)
    return {
        "event_time": event,
        "association_time": association,
        "authentication_time": authentication,
        "network_time": network,
    }


def _times(timestamp: Column, received_at: Column, skew: int) -> dict[str, Column]:
    received = whole_numbers(received_at)
    happened = time.event_times(timestamp, received)
    return {
        "received_at": time.timestamps(received_at),
        "event_time": wrap(happened, time.TIME),
        "clock_skew": time.skewed(happened, received, skew),
    }


def _connection_logs(columns: Columns, lookups: Lookups, precision: int) -> dict[str, Column]:
    vendor, randomised = mac.describe(columns["bssid"], lookups.vendors)
    country, carrier = operator.describe(columns["network_mccmnc"], lookups.operators)
    return {
        "geohash": geo.geohash(columns["latitude"], columns["longitude"], precision),
        "vendor": vendor,
        "randomised": randomised,
        "country": country,
        "operator": carrier,
        "insecure": networks.insecure(columns["network_security"]),
        "unapproved": networks.unapproved(
            columns["fleet"],
            columns["network_type"],
            columns["network_name"],
            columns["bssid"],
            lookups.approved,
        ),
    }


def _client_events(columns: Columns, lookups: Lookups, precision: int) -> dict[str, Column]:
    vendor, randomised = mac.describe(columns["mac"], lookups.vendors)
    where = site.places(columns["fleet"], columns["location_id"], lookups.sites, precision)
    return {
        **where._asdict(),
        "vendor": vendor,
        "randomised": randomised,
        "band": band.bands(columns["channel"]),
        **intermediate.texts(columns, lookups.intermediate),
    }


_ENRICH: dict[Stream, Callable[[Columns, Lookups, int], dict[str, Column]]] = {
    "connection_logs": _connection_logs,
    "client_events": _client_events,
}
