from __future__ import annotations

from typing import Any

import msgspec
from enriched_events import enriched_frame, with_sites

import builders
from tidegate.contracts.failures import Failure
from tidegate.contracts.position import parse_id
from tidegate.contracts.topics import Stream
from tidegate.lookups.sites import Site
from tidegate.steps.failures import failure_records

EPOCH = "01K9ZQ4T3M8W5X0R2B7C6D1E9F"


def records(stream: Stream, *events: Any, **options: Any) -> list[tuple[bytes, Failure]]:
    batch = enriched_frame(stream, builders.frame(*events), **options)
    found = failure_records(stream, batch, epoch=EPOCH, partition=3, offset=1042)
    return [(key, msgspec.json.decode(value, type=Failure)) for key, value in found]


def test_only_failures_are_told_each_with_its_position() -> None:
    found = records(
        "client_events", builders.success(), builders.failure(), builders.intermediate(), builders.failure()
    )
    assert len(found) == 2
    positions = [parse_id(failure.id) for _, failure in found]
    assert [(one.epoch, one.stream, one.partition, one.offset) for one in positions if one] == [
        (EPOCH, "client_events", 3, 1042)
    ] * 2
    assert sorted(one.index for one in positions if one) == [1, 3]
    assert records("client_events", builders.success()) == []


def test_a_client_event() -> None:
    lookups = with_sites(site95=Site("Riverside", None, None, ""))
    event = builders.failure(locationId={"type": "locallocationid", "id": 95})
    ((key, failure),) = records("client_events", event, lookups=lookups)
    assert key == b"demo/Riverside"
    assert failure == Failure(
        id=f"{EPOCH}-w3-1042-0",
        stream="client_events",
        fleet="demo",
        site="Riverside",
        event_time="2017-09-11T05:54:40.172449Z",
        received_at="2025-11-21T08:00:00.000000Z",
        stage="authentication",
        code=7,
        sub_code=14,
        reason="Incorrect PSK: Wrong passphrase.",
        action=failure.action,
        client="68:05:71:a4:ef:0e",
        ssid="varsha",
        bssid="00:11:74:8c:94:c0",
        ap_name="Mojo_8C:94:DF",
        clock_skew=True,
    )
    assert failure.action


def test_a_connection_log() -> None:
    event = builders.session_log(status="auth failed", timestamp="2025-11-21T08:00:00Z")
    ((key, failure),) = records("connection_logs", event)
    assert key == b"demo/"
    assert (failure.site, failure.code, failure.client) == (None, None, "DEV-001-XR7H9")
    assert (failure.stage, failure.reason) == ("authentication", "established: auth failed")
    assert failure.clock_skew is False


def test_a_device_log() -> None:
    event = builders.device_log(is_applied=False, notes=None)
    ((key, failure),) = records("device_logs", event)
    assert key == b"demo/Data Center A"
    assert (failure.stage, failure.reason, failure.client) == ("configuration", "config_change", "device-001")


def test_text_that_json_must_escape_stays_one_document() -> None:
    event = builders.failure(failure='two\nlines "quoted" \u2028 ü', subFailure=None)
    ((_, failure),) = records("client_events", event)
    assert failure.reason is not None
    assert failure.reason.startswith('two\nlines "quoted" \u2028 ü')


def test_documents_carry_null_for_what_did_not_come() -> None:
    batch = enriched_frame("client_events", builders.frame(builders.failure(ssid=None)))
    ((_, value),) = failure_records("client_events", batch, epoch=EPOCH, partition=0, offset=0)
    document = msgspec.json.decode(value)
    assert document["ssid"] is None
    assert set(document) == set(Failure.__struct_fields__)
