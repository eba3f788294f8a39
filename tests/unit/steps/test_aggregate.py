from __future__ import annotations

from typing import Any

import enriched_frames
import msgspec
import pyarrow as pa
import pytest
from enriched_events import enriched_frame
from hypothesis import given
from hypothesis import strategies as st

import builders
from tidegate.contracts.counts import MINUTE, ApCount, Count, PartialCounts, Signal
from tidegate.contracts.topics import Stream
from tidegate.steps.aggregate import (
    EDGES,
    LONGEST_NAME,
    aggregate,
    merge,
    merge_all,
)
from tidegate.steps.sketch import estimate

START = builders.RECEIVED_AT


def bare(count: Count) -> Count:
    """Without its clients."""
    return msgspec.structs.replace(count, clients=b"")


def partials(stream: Stream, *lines: bytes) -> list[PartialCounts]:
    return aggregate(stream, enriched_frame(stream, b"\n".join(lines)))


def at(location: int | None, **fields: Any) -> dict[str, Any]:
    place = None if location is None else {"type": "locallocationid", "id": location}
    return {"locationId": place} | fields


def test_events_are_counted_by_fleet_site_ssid_stage_and_outcome() -> None:
    found = partials(
        "client_events",
        builders.envelope(builders.success(**at(1, ssid="Corp"))),
        builders.envelope(builders.success(**at(1, ssid="Corp"))),
        builders.envelope(builders.failure(**at(1, ssid="Corp"))),
        builders.envelope(builders.failure(**at(1, ssid="Guest", failure="DHCP", failureCode=99))),
        builders.envelope(builders.intermediate(**at(2, ssid=None))),
        builders.envelope(builders.intermediate(**at(None, ssid=None))),
        builders.envelope(builders.success(**at(1, ssid="Corp")), fleet="other"),
    )
    assert [(one.fleet, one.site, [bare(count) for count in one.counts]) for one in found] == [
        ("demo", "", [Count("", "", "intermediate", 1)]),
        (
            "demo",
            "1",
            [
                Count("Corp", "", "success", 2),
                Count("Corp", "authentication", "failure", 1, 7, 14),
                Count("Guest", "dhcp", "failure", 1, 99, 14),
            ],
        ),
        ("demo", "2", [Count("", "", "intermediate", 1)]),
        ("other", "1", [Count("Corp", "", "success", 1)]),
    ]
    assert {one.minute for one in found} == {START // MINUTE * MINUTE}


def test_minutes_are_of_received_time() -> None:
    late = builders.success(timestamp=1)
    lines = [builders.envelope(late, received_at=START + n * 30_000_000) for n in range(5)]
    found = partials("client_events", *lines)
    assert [(one.minute, one.counts[0].events) for one in found] == [
        (START, 2),
        (START + MINUTE, 2),
        (START + 2 * MINUTE, 1),
    ]


def test_latencies_are_histograms_of_the_site() -> None:
    lines = [
        builders.envelope(builders.success(dhcpLatency=ms, aaaLatency=None, dnsLatency=4))
        for ms in (0, 1, 1, 100, 10_000_000)
    ]
    (found,) = partials("client_events", *lines, builders.envelope(builders.failure()))
    assert found.latencies == {"dhcp": {0: 1, 1: 2, 27: 1, 81: 1}, "dns": {9: 5}}
    assert EDGES[26] <= 100 < EDGES[27]


def test_other_streams_have_their_own_site_and_ssid() -> None:
    (log,) = partials("connection_logs", builders.envelope(builders.network_log()))
    assert (log.site, log.counts) == ("", [Count("Office WiFi Main", "", "success", 1)])
    (change,) = partials("device_logs", builders.envelope(builders.device_log()))
    assert (change.site, change.counts) == ("Data Center A", [Count("", "", "success", 1)])


def test_an_empty_frame_counts_nothing() -> None:
    batch = enriched_frame("client_events", builders.frame(builders.success()))
    assert aggregate("client_events", batch.slice(0, 0)) == []


def test_many_sites_do_not_change_the_count() -> None:
    """Beyond a few hundred thousand possible cells another way of counting is taken."""
    lines = [
        builders.envelope(builders.success(**at(n % 300, ssid=f"net {n % 70}", dhcpLatency=n % 977)))
        for n in range(2000)
    ]
    found = partials("client_events", *lines)
    assert [one.site for one in found] == sorted(str(n) for n in range(300))
    assert sum(count.events for one in found for count in one.counts) == 2000
    assert sum(sum(one.latencies["dhcp"].values()) for one in found) == 2000


def test_events_that_have_nothing_in_common_are_counted_where_they_are() -> None:
    """Minutes, sites, networks and codes multiplied to more than 64 bits hold: counts went elsewhere."""
    count = 36_000
    numbers = range(count)
    batch = enriched_frames.rows("client_events", [START + number * MINUTE for number in numbers])
    columns: dict[str, list[Any]] = {
        "site": [f"site {number}" for number in numbers],
        "ssid": [f"net {number}" for number in numbers],
        "ap_name": [f"ap {number}" for number in numbers],
        "outcome": ["failure"] * count,
        "stage": [f"stage {number % 8}" for number in numbers],
        "failure_code": list(numbers),
        "sub_failure_code": list(numbers),
    }
    for name, values in columns.items():
        at_ = batch.schema.get_field_index(name)
        field = batch.schema.field(at_)
        batch = batch.set_column(at_, field, pa.array(values, field.type))
    found = {one.site: one for one in aggregate("client_events", batch)}
    assert len(found) == count
    for number in numbers:
        one = found[f"site {number}"]
        stage = f"stage {number % 8}"
        assert one.minute == START // MINUTE * MINUTE + number * MINUTE
        assert [bare(cell) for cell in one.counts] == [
            Count(f"net {number}", stage, "failure", 1, number, number)
        ]
        assert [(ap.ap, ap.stage, ap.events) for ap in one.aps] == [(f"ap {number}", stage, 1)]


def test_a_name_of_any_length_counts_by_its_beginning() -> None:
    """One event with an SSID of a MiB was a minute that no changelog took: it ended every worker."""
    long = "n" * LONGEST_NAME
    for lines in (
        [builders.success(ssid=long + "x" * 100_000, associatedAPName=long + "y" * 100_000)],
        [builders.success(ssid=long + "x"), builders.success(ssid=long + "y")],
        [builders.success(ssid=long), builders.failure(ssid=long + "x"), builders.success(ssid="Corp")],
    ):
        found = partials("client_events", *map(builders.envelope, lines))
        names = {count.ssid for one in found for count in one.counts}
        assert names <= {long, "Corp"} and {len(ap.ap) for one in found for ap in one.aps} <= {
            LONGEST_NAME,
            len(str(lines[-1]["associatedAPName"])),
        }
        assert sum(count.events for one in found for count in one.counts) == len(lines)


def test_partials_of_different_minutes_do_not_add_up() -> None:
    a = PartialCounts("client_events", "demo", "1", 0, [], {})
    with pytest.raises(ValueError, match="do not add up"):
        merge(a, msgspec.structs.replace(a, minute=MINUTE))


def test_merging_leaves_its_arguments_alone() -> None:
    a = PartialCounts("client_events", "demo", "1", 0, [Count("x", "", "success", 1)], {"dns": {3: 1}})
    b = msgspec.json.decode(msgspec.json.encode(a), type=PartialCounts)
    merged = merge_all([a, b, b])
    assert merged == [
        msgspec.structs.replace(a, counts=[Count("x", "", "success", 3)], latencies={"dns": {3: 3}})
    ]
    assert a == b


@pytest.mark.parametrize("encoding", [msgspec.json, msgspec.msgpack])
def test_partials_survive_the_wire(encoding: Any) -> None:
    found = partials("client_events", builders.frame(builders.success(), builders.failure()))
    assert encoding.decode(encoding.encode(found), type=list[PartialCounts]) == found


def test_a_bucket_is_within_ten_percent_of_its_values() -> None:
    values = range(1, 5001)
    lines = [builders.envelope(builders.success(dnsLatency=ms)) for ms in values]
    (found,) = partials("client_events", *lines)
    histogram = found.latencies["dns"]
    numbers = [bucket for bucket in sorted(histogram) for _ in range(histogram[bucket])]
    for ms, bucket in zip(values, numbers, strict=True):
        assert (EDGES[bucket - 1] * EDGES[bucket]) ** 0.5 == pytest.approx(ms, rel=0.1)


def test_latencies_are_of_successes_alone() -> None:
    waited = builders.failure(dhcpLatency=60_000, dnsLatency=60_000)
    (found,) = partials(
        "client_events", builders.envelope(builders.success(dhcpLatency=1)), builders.envelope(waited)
    )
    assert found.latencies["dhcp"] == {1: 1}
    (found,) = partials("client_events", builders.envelope(waited))
    assert found.latencies == {}


def test_failures_are_told_apart_by_code_with_their_clients() -> None:
    def failed(client: int, code: int | None, sub_code: int | None) -> bytes:
        event = builders.failure(macAddress=f"02:00:00:00:00:0{client}", failure="DHCP pool is empty")
        return builders.envelope(event | {"failureCode": code, "subFailureCode": sub_code})

    (found,) = partials(
        "client_events",
        *(failed(1, 9, None), failed(1, 9, None), failed(2, 9, None), failed(3, 9, 1), failed(3, None, None)),
        builders.envelope(builders.success(macAddress="02:00:00:00:00:04")),
    )
    counts = [
        (one.outcome, one.code, one.sub_code, one.events, estimate(one.clients)) for one in found.counts
    ]
    assert counts == [
        ("success", None, None, 1, 0),
        ("failure", None, None, 1, 1),
        ("failure", 9, None, 3, 2),
        ("failure", 9, 1, 1, 1),
    ]
    assert estimate(found.clients) == 4


def test_attempts_are_told_apart_by_access_point() -> None:
    def at_ap(name: str | None, event: dict[str, Any], client: int) -> bytes:
        fields = {
            "associatedAPName": name,
            "macAddress": f"02:00:00:00:00:0{client}",
            "bssid": "02:aa:aa:aa:aa:aa",
        }
        return builders.envelope(event | fields)

    (found,) = partials(
        "client_events",
        at_ap("AP1", builders.success(), 1),
        at_ap("AP1", builders.failure(), 1),
        at_ap("AP1", builders.failure(), 2),
        at_ap("AP1", builders.failure(), 2),
        at_ap(None, builders.success(), 3),
        at_ap("AP1", builders.intermediate(), 4),
    )
    assert [(one.ap, one.stage, one.events, estimate(one.clients)) for one in found.aps] == [
        ("02:aa:aa:aa:aa:aa", "", 1, 0),
        ("AP1", "", 1, 0),
        ("AP1", "authentication", 3, 2),
    ]


def test_signals_are_events_that_are_no_failures() -> None:
    left = builders.intermediate(eventDescription="Disassociation", subEventDescription="The client left.")
    (found,) = partials(
        "client_events", *(builders.envelope(one) for one in (left, left, builders.intermediate()))
    )
    assert [(one.name, one.events, estimate(one.clients)) for one in found.signals if one.name[0] == "d"] == [
        ("disassociations", 2, 1)
    ]
    (late,) = partials("client_events", builders.envelope(builders.success(timestamp=1)))
    assert [(one.name, one.events) for one in late.signals] == [("clock_skew", 1)]
    logs = [
        builders.network_log(network_name=name, network_type=kind, network_security="opn")
        for name, kind in (("Cafe", "wi"), ("Cafe", "wi"), ("Wire", "et"))
    ]
    (found,) = partials(
        "connection_logs", *(builders.envelope(log, device=f"d{n}") for n, log in enumerate(logs))
    )
    assert [(one.name, one.ssid, one.events) for one in found.signals] == [("insecure", "Cafe", 2)]


def test_a_disassociation_is_told_by_its_own_row_however_frames_are_cut() -> None:
    texts = [("Steering", "Disassociated by the AP"), (None, "Disassociated by the AP"), ("Steering", None)]
    lines = [
        builders.envelope(builders.intermediate(eventDescription=one, subEventDescription=other))
        for one, other in texts
    ]
    apart = merge_all(found for line in lines for found in partials("client_events", line))
    assert partials("client_events", *lines) == apart
    assert {one.name: one.events for one in apart[0].signals}["disassociations"] == 1


CELLS = st.tuples(st.sampled_from(["", "dhcp", "aaa"]), st.sampled_from([None, 1, 2]), st.integers(1, 40))


def _partial(cells: list[tuple[str, int | None, int]]) -> PartialCounts:
    """A partial in which each cell has a client of its own number."""
    parts = []
    for stage, code, client in cells:
        one = client.to_bytes(8, "big")
        parts.append(
            PartialCounts(
                *("client_events", "demo", "a", 0),
                [Count("net", stage, "failure", 1, code, None, one)],
                {"dns": {client: 1}},
                one,
                [ApCount(f"ap{client % 3}", stage, 1, one)],
                [Signal("clock_skew", "", 1, one)],
            )
        )
    return merge_all(parts)[0]


@given(*(st.lists(CELLS, min_size=1, max_size=12) for _ in range(3)))
def test_merging_is_associative_and_commutative(a: Any, b: Any, c: Any) -> None:
    one, two, three = _partial(a), _partial(b), _partial(c)
    assert merge(one, two) == merge(two, one)
    assert merge(merge(one, two), three) == merge(one, merge(two, three)) == _partial(a + b + c)
    assert estimate(_partial(a + b).clients) == len({client for _, _, client in a + b})
