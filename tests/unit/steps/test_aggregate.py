from __future__ import annotations

from typing import Any

import msgspec
import pytest
from enriching import enriched_frame

import builders
from tidegate.contracts.topics import Stream
from tidegate.steps.aggregate import (
    BUCKETS,
    EDGES,
    MINUTE,
    Count,
    Partial,
    aggregate,
    merge,
    merge_all,
    quantile,
)

START = builders.RECEIVED_AT


def partials(stream: Stream, *lines: bytes) -> list[Partial]:
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
    assert [(one.fleet, one.site, one.counts) for one in found] == [
        ("demo", "", [Count("", "", "intermediate", 1)]),
        (
            "demo",
            "1",
            [
                Count("Corp", "", "success", 2),
                Count("Corp", "authentication", "failure", 1),
                Count("Guest", "dhcp", "failure", 1),
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


def test_partials_of_different_minutes_do_not_add_up() -> None:
    a = Partial("client_events", "demo", "1", 0, [], {})
    with pytest.raises(ValueError, match="do not add up"):
        merge(a, msgspec.structs.replace(a, minute=MINUTE))


def test_merging_leaves_its_arguments_alone() -> None:
    a = Partial("client_events", "demo", "1", 0, [Count("x", "", "success", 1)], {"dns": {3: 1}})
    b = msgspec.json.decode(msgspec.json.encode(a), type=Partial)
    merged = merge_all([a, b, b])
    assert merged == [
        msgspec.structs.replace(a, counts=[Count("x", "", "success", 3)], latencies={"dns": {3: 3}})
    ]
    assert a == b


@pytest.mark.parametrize("encoding", [msgspec.json, msgspec.msgpack])
def test_partials_survive_the_wire(encoding: Any) -> None:
    found = partials("client_events", builders.frame(builders.success(), builders.failure()))
    assert encoding.decode(encoding.encode(found), type=list[Partial]) == found


def test_quantiles_are_within_ten_percent() -> None:
    values = range(1, 5001)
    lines = [builders.envelope(builders.success(dnsLatency=ms)) for ms in values]
    (found,) = partials("client_events", *lines)
    for q in (0.01, 0.5, 0.9, 0.99, 1.0):
        estimate = quantile(found.latencies["dns"], q)
        assert estimate == pytest.approx(values[round(q * 4999)], rel=0.1)


def test_quantiles_at_the_edges() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({0: 3}, 0.5) == 0.0
    assert quantile({BUCKETS - 1: 1}, 0.5) == 2.0**20
    assert quantile({0: 1, BUCKETS - 1: 1}, 0.0) == 0.0
    assert quantile({0: 1, BUCKETS - 1: 1}, 1.0) == 2.0**20
