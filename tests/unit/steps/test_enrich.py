from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from enriched_events import enriched, enriched_frame, row, shipped, with_sites

import builders
from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.lookups.sites import Site
from tidegate.steps.decode import TYPES, decode_frame
from tidegate.steps.enrich import enrich
from tidegate.steps.time import microseconds

RECEIVED = datetime.fromtimestamp(builders.RECEIVED_AT / 1e6, UTC)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_frame_without_an_accepted_line_has_the_schema_and_no_row(stream: Stream) -> None:
    names = {
        "fleet": pa.string(),
        "received_at": pa.int64(),
        "index": pa.uint32(),
        "origin": pa.string(),
        "extra": pa.string(),
    }
    columns = {name: pa.nulls(0, type_) for name, type_ in (TYPES[stream] | names).items()}
    batch = enrich(stream, columns, shipped(), geohash_precision=6, clock_skew_seconds=1)
    assert batch.schema == SCHEMAS[stream]
    assert batch.num_rows == 0


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        ("client_events", [builders.success(), builders.failure(), builders.intermediate()]),
        ("connection_logs", [builders.network_log(), builders.session_log(), builders.legacy_log()]),
        ("device_logs", [builders.device_log()]),
    ],
)
def test_the_schema_is_kept_and_no_required_column_has_a_gap(stream: Stream, events: list[Any]) -> None:
    batch = enriched_frame(stream, builders.frame(*events))
    assert batch.schema == SCHEMAS[stream]
    for field, column in zip(batch.schema, batch.columns, strict=True):
        assert field.nullable or column.null_count == 0, field.name


def test_a_sliced_column_is_read_from_its_own_start() -> None:
    """Buffers are read directly: an offset must not shift a row."""
    whole = enriched_frame(
        "client_events", builders.frame(*(builders.success(timestamp=1_700_000_000 + n) for n in range(20)))
    )
    decoded = decode_frame(
        "client_events",
        builders.frame(*(builders.success(timestamp=1_700_000_000 + n) for n in range(20))),
        fleet=None,
        device=None,
        received_at=0,
        fleets=None,
    )
    part = enrich(
        "client_events",
        {name: column.slice(7, 9) for name, column in decoded.columns.items()},
        shipped(),
        geohash_precision=6,
        clock_skew_seconds=86_400,
    )
    assert part.to_pylist() == whole.slice(7, 9).to_pylist()


# --- time


@pytest.mark.parametrize(
    "sent", [1_505_109_958, 1_505_109_958_000, 1_505_109_958_000_000], ids=["s", "ms", "µs"]
)
def test_times_of_client_events_are_read_by_magnitude(sent: int) -> None:
    found = row("client_events", builders.success(timestamp=sent, associationTimestamp=sent))
    assert found["event_time"] == datetime(2017, 9, 11, 6, 5, 58, tzinfo=UTC)
    assert found["association_time"] == found["event_time"]


def test_the_last_second_of_2299_is_the_boundary_of_each_unit() -> None:
    last = 10_413_791_999
    sent = np.array([last, last + 1, last * 1000 + 999, (last + 1) * 1000, 0])
    assert microseconds(sent).tolist() == [
        last * 1_000_000,
        (last + 1) * 1_000,
        (last * 1000 + 999) * 1_000,
        (last + 1) * 1_000,
        0,
    ]


def test_a_network_form_happened_when_it_was_received() -> None:
    found = row("connection_logs", builders.network_log())
    assert found["event_time"] == RECEIVED
    assert found["clock_skew"] is False


def test_times_in_text_are_not_read_by_magnitude() -> None:
    """Ten seconds into 1970 are ten million µs, which looks like seconds."""
    found = row("connection_logs", builders.session_log(timestamp="1970-01-01T00:00:10Z"))
    assert found["event_time"] == datetime(1970, 1, 1, 0, 0, 10, tzinfo=UTC)
    found = row("device_logs", builders.device_log(datetime="1960-01-01T00:00:10Z", applied_at=None))
    assert found["event_time"] == datetime(1960, 1, 1, 0, 0, 10, tzinfo=UTC)
    assert found["applied_at"] is None


@pytest.mark.parametrize(("seconds", "flag"), [(60, False), (61, True), (-60, False), (-61, True)])
def test_a_clock_is_flagged_beyond_the_setting_either_way(seconds: int, flag: bool) -> None:
    moment = (RECEIVED + timedelta(seconds=seconds)).isoformat()
    found = row("connection_logs", builders.session_log(timestamp=moment), clock_skew_seconds=60)
    assert found["clock_skew"] is flag


def test_forms_mixed_in_one_frame_keep_their_own_times() -> None:
    mixed = [builders.network_log(), builders.session_log(timestamp="2024-01-15T14:30:25Z")]
    first, second = enriched("connection_logs", *mixed)
    assert first["event_time"] == RECEIVED
    assert second["event_time"] == datetime(2024, 1, 15, 14, 30, 25, tzinfo=UTC)


# --- place


def test_coordinates_become_a_geohash_and_none_become_no_bucket() -> None:
    here, nowhere, zero = enriched(
        "connection_logs",
        builders.network_log(latitude="40.7128", longitude="-74.0060"),
        builders.network_log(latitude=None, longitude=None),
        builders.network_log(latitude="0", longitude="0"),
        geohash_precision=7,
    )
    assert (here["geohash"], nowhere["geohash"], zero["geohash"]) == ("dr5regw", "", "s000000")


def test_a_site_gives_name_and_place() -> None:
    lookups = with_sites(
        site95=Site("Riverside", 40.7128, -74.0060, "America/New_York"), site96=Site("Depot", None, None, "")
    )
    events = [
        builders.success(locationId={"type": "locallocationid", "id": number}) for number in (95, 96, 97)
    ]
    riverside, depot, unknown = enriched(
        "client_events", *events, builders.success(locationId=None), lookups=lookups
    )[:3]
    assert (riverside["site"], riverside["geohash"]) == ("Riverside", "dr5reg")
    assert (riverside["latitude"], riverside["longitude"]) == (40.7128, -74.006)
    assert (depot["site"], depot["geohash"], depot["latitude"]) == ("Depot", "", None)
    assert (unknown["site"], unknown["geohash"]) == ("97", "")
    assert row("client_events", builders.success(locationId=None), lookups=lookups)["site"] == ""


def test_a_site_belongs_to_its_fleet() -> None:
    lookups = with_sites(site95=Site("Riverside", 1.0, 2.0, ""))
    here = {"locationId": {"type": "locallocationid", "id": 95}}
    there = {"locationId": {"type": "locallocationid", "id": 7}}
    lines = [
        builders.envelope(builders.success(**where), fleet=fleet)
        for fleet in ("demo", "other")
        for where in (here, there)
    ]
    batch = enriched_frame("client_events", b"\n".join(lines), lookups=lookups)
    found = {(one["fleet"], one["location_id"]): one["site"] for one in batch.to_pylist()}
    assert found == {
        ("demo", 95): "Riverside",
        ("demo", 7): "7",
        ("other", 95): "95",
        ("other", 7): "7",
    }


# --- radio and network


@pytest.mark.parametrize(
    ("channel", "band"),
    [(1, "2.4"), (14, "2.4"), (15, "6"), (36, "5"), (177, "5"), (181, "6"), (233, "6"), (None, "")],
)
def test_the_band_follows_from_the_channel(channel: int | None, band: str) -> None:
    assert row("client_events", builders.success(channel=channel))["band"] == band


def test_vendor_and_randomised_come_from_the_mac() -> None:
    maker, private = enriched(
        "client_events",
        builders.success(macAddress="00:11:74:88:AF:60"),
        builders.success(macAddress="DA-A1-19-00-00-01"),
    )
    assert (maker["vendor"], maker["randomised"]) == ("Mojo Networks, Inc.", False)
    assert (private["vendor"], private["randomised"], private["mac"]) == ("", True, "da:a1:19:00:00:01")


def test_a_connection_log_takes_them_from_the_bssid() -> None:
    wifi, mobile = enriched(
        "connection_logs",
        builders.network_log(bssid="00:11:74:88:af:60"),
        builders.network_log(bssid=None, network_type="mo", network_mccmnc="31026"),
    )
    assert (wifi["vendor"], wifi["randomised"], wifi["operator"]) == ("Mojo Networks, Inc.", False, "")
    assert (mobile["vendor"], mobile["randomised"]) == ("", False)
    assert (mobile["country"], mobile["operator"]) == ("us", "T-Mobile")


@pytest.mark.parametrize(("security", "flag"), [("opn", True), ("wep", True), ("wpa", False), ("3gp", False)])
def test_open_and_wep_are_insecure(security: str, flag: bool) -> None:
    assert row("connection_logs", builders.network_log(network_security=security))["insecure"] is flag


def test_a_form_without_security_is_not_judged() -> None:
    assert row("connection_logs", builders.session_log())["insecure"] is False
