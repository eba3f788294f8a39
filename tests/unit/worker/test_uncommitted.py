"""Uncommitted counts: what is counted between two commits."""

from __future__ import annotations

import pyarrow as pa
import pytest

from builders import RECEIVED_AT, device_log, failure, frame, network_log, success
from tidegate import lookups
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.steps.aggregate import aggregate, merge_all
from tidegate.steps.decode import decode_frame
from tidegate.steps.enrich import enrich
from tidegate.steps.unlisted_failures import unlisted
from tidegate.worker.partition import UncommittedCounts

TABLES = lookups.load()
EVENTS = {
    "connection_logs": [network_log(), network_log(network_name="other")],
    "client_events": [success(), failure(), success(ssid="other")],
    "device_logs": [device_log()],
}


def batch(stream: Stream) -> pa.RecordBatch:
    decoded = decode_frame(
        stream, frame(*EVENTS[stream]), fleet=None, device=None, received_at=RECEIVED_AT, fleets=None
    )
    return enrich(stream, decoded.columns, TABLES, geohash_precision=6, clock_skew_seconds=86_400)


@pytest.mark.parametrize("stream", STREAMS)
def test_many_frames_count_as_each_by_itself(stream: Stream) -> None:
    one = batch(stream)
    counts = UncommittedCounts(stream)
    for offset in range(5):
        counts.add(offset, one, 0)
    assert counts.up_to(5) == merge_all(aggregate(stream, one) * 5)


def test_only_frames_below_the_position_count() -> None:
    one = batch("client_events")
    counts = UncommittedCounts("client_events")
    for offset in range(3):
        counts.add(offset, one, 0)
    assert counts.up_to(2) == merge_all(aggregate("client_events", one) * 2)


def test_what_was_not_committed_is_told_again_with_what_came_since() -> None:
    one = batch("client_events")
    counts = UncommittedCounts("client_events")
    for offset in range(3):
        counts.add(offset, one, 0)
    counts.up_to(2)
    assert counts.up_to(3) == merge_all(aggregate("client_events", one) * 3)
    counts.clear()
    assert counts.up_to(9) == []


def test_a_frame_without_rows_counts_nothing() -> None:
    counts = UncommittedCounts("client_events")
    counts.add(0, batch("client_events").slice(0, 0), 0)
    assert counts.up_to(1) == []


def test_what_was_counted_last_can_be_learned_from() -> None:
    counts = UncommittedCounts("client_events")
    counts.add(5, batch("client_events"), 0)
    assert counts.newest is None
    counts.up_to(6)
    assert counts.newest is not None
    odd = failure(failureCode=4711, failure="DHCP pool empty", subFailureCode=None, subFailure=None)
    decoded = decode_frame(
        "client_events", frame(odd), fleet=None, device=None, received_at=RECEIVED_AT, fleets=None
    )
    rows = enrich("client_events", decoded.columns, TABLES, geohash_precision=6, clock_skew_seconds=86_400)
    counts.add(6, rows, 0)
    counts.up_to(7)
    assert counts.newest is not None
    found = unlisted(counts.newest, TABLES.failures)
    assert found.total() == 1
    bare = next(iter(found))._replace(failure=None)
    assert TABLES.failures.with_learned(found).meaning(bare).stage == "dhcp"
