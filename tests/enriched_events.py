"""Events through decode and enrich, with the shipped lookups unless a test brings its own."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import pyarrow as pa

import builders
from tidegate.contracts.native import Decoder
from tidegate.contracts.topics import Stream
from tidegate.lookups import Lookups, load
from tidegate.lookups.sites import Site, Sites
from tidegate.steps.decode import decode_frame
from tidegate.steps.enrich import enrich


@lru_cache
def shipped() -> Lookups:
    return load()


def with_sites(**sites: Site) -> Lookups:
    """The shipped lookups and sites of fleet demo: site95=Site(…) stands for location id 95."""
    found = {("demo", int(name.removeprefix("site"))): site for name, site in sites.items()}
    return replace(shipped(), sites=Sites(found))


def enriched_frame(
    stream: Stream,
    value: bytes,
    *,
    lookups: Lookups | None = None,
    geohash_precision: int = 6,
    clock_skew_seconds: int = 86_400,
    native: Decoder | None = None,
) -> pa.RecordBatch:
    """A raw frame of good lines, enriched."""
    decoded = decode_frame(
        stream, value, fleet=None, device=None, received_at=builders.RECEIVED_AT, fleets=None, native=native
    )
    assert not decoded.refused
    batch = enrich(
        stream,
        decoded.columns,
        lookups or shipped(),
        geohash_precision=geohash_precision,
        clock_skew_seconds=clock_skew_seconds,
    )
    batch.validate(full=True)
    return batch


def enriched(stream: Stream, *events: Any, **options: Any) -> list[dict[str, Any]]:
    """The rows of a frame of these events of fleet demo, in the order of the events."""
    rows = enriched_frame(stream, builders.frame(*events), **options).to_pylist()
    return sorted(rows, key=lambda row: int(row["index"]))


def row(stream: Stream, event: Any, **options: Any) -> dict[str, Any]:
    """The row of a single event."""
    (found,) = enriched(stream, event, **options)
    return found
