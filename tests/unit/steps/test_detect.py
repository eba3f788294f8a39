"""detect: what is an incident and what is none, told once, numbered without a gap."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.contracts.alerts import Acknowledgement, Alert
from tidegate.contracts.counts import MINUTE, ApCount, Count, PartialCounts, Signal
from tidegate.lookups import alert_rules
from tidegate.steps.detect import Context, Detector, Unit, detector, iso, no_silence
from tidegate.steps.detect.state import HASHES, Before
from tidegate.steps.sketch import values_of
from tidegate.steps.usual import Usual

START = 29_803_680 * MINUTE  # 2026-09-01 00:00 UTC
RULES = alert_rules.load("")
Key = tuple[str, str, str]


def context(silenced: Callable[[str, str, str, int], str] = no_silence) -> Context:
    return Context(RULES, lambda fleet, site: UTC, lambda code, sub_code: ("it fails", "mend it"), silenced)


def clients(*numbers: int) -> bytes:
    """The sketch of clients."""
    return b"".join(number.to_bytes(8, "big") for number in sorted(set(numbers)))


def minute(
    site: str = "a",
    succeeded: int = 20,
    failing: tuple[int, ...] = (),
    *,
    stage: str = "dhcp",
    code: int = 903,
    retries: int = 1,
    signals: tuple[Signal, ...] = (),
    latencies: dict[str, dict[int, int]] | None = None,
    ap: Callable[[int], str] = lambda client: f"AP{client % 5}",
) -> PartialCounts:
    """A minute of a site: clients 1 to `succeeded` connect, those of `failing` fail `retries` times each."""
    counts = [Count("net", "", "success", succeeded)] if succeeded else []
    aps = [ApCount(f"AP{number}", "", succeeded // 5) for number in range(5)]
    if failing:
        sketch = clients(*failing)
        counts.append(Count("net", stage, "failure", retries * len(failing), code, 1, sketch))
        for name in sorted({ap(client) for client in failing}):
            own = [client for client in failing if ap(client) == name]
            aps.append(ApCount(name, stage, retries * len(own), clients(*own)))
    seen = clients(*range(1, succeeded + 1), *failing)
    return PartialCounts(
        *("client_events", "demo", site, 0), counts, latencies or {}, seen, aps, list(signals)
    )


class Fleet:
    """A detector, and the minutes that it is given."""

    def __init__(self, silenced: Callable[[str, str, str, int], str] = no_silence) -> None:
        self.detector = Detector(context(silenced))
        self.now = START
        self.changes: list[Alert] = []

    def give(self, *sites: PartialCounts, minutes: int = 1) -> list[Alert]:
        found: list[Alert] = []
        for _ in range(minutes):
            found += self.detector.close(self.now, {(one.stream, one.fleet, one.site): one for one in sites})
            self.now += MINUTE
        self.changes += found
        return found

    def usual(self, hours: int = 6, sites: tuple[str, ...] = ("a",)) -> None:
        """Hours in which a client in fifty fails."""
        rng = random.Random(1)
        for _ in range(hours * 60):
            self.give(
                *(
                    minute(site, failing=(rng.randrange(500, 900),) if rng.random() < 0.4 else ())
                    for site in sites
                )
            )
        assert self.changes == []

    def start_again(self) -> None:
        """As after a crash: from what the table has."""
        encoded = [msgspec.msgpack.encode(unit) for unit in self.detector.units.values()]
        units = [msgspec.msgpack.decode(one, type=Unit) for one in encoded]
        self.detector = Detector(self.detector.context, units)


def states(changes: list[Alert]) -> list[tuple[int, str]]:
    return [(one.sequence, one.state) for one in changes]


def test_failing_clients_open_one_alert_that_says_whom_and_why() -> None:
    fleet = Fleet()
    fleet.usual()
    begun = fleet.now
    for turn in range(10):
        fleet.give(minute(succeeded=10, failing=tuple(range(100 + turn, 110 + turn))))
    [opened, *more] = fleet.changes
    assert (opened.signal, opened.scope.site, opened.scope.stage, opened.state) == (
        "stage_failures",
        "a",
        "dhcp",
        "open",
    )
    assert opened.started_at == iso(begun) and len(opened.incident) == len(opened.id)
    assert (opened.cause.code, opened.cause.sub_code, opened.cause.reason) == (903, 1, "it fails")
    assert opened.impact.clients >= 10 and 0.005 < opened.impact.usual < 0.05
    assert opened.action == "mend it" and "dhcp" in opened.summary
    assert all(one.id == opened.id for one in more)
    fleet.give(minute(), minutes=30)
    assert fleet.changes[-1].state == "resolved" and fleet.changes[-1].impact.clients == 19
    assert [one.sequence for one in fleet.changes] == list(range(1, len(fleet.changes) + 1))


def test_a_client_that_retries_is_no_incident() -> None:
    fleet = Fleet()
    fleet.usual()
    for _ in range(3):
        fleet.give(minute(succeeded=5, failing=(7777,), retries=12), minutes=10)
        fleet.give(minute(succeeded=5), minutes=30)
    assert fleet.changes == []


def test_half_of_ten_clients_fail_from_the_first_minute_on() -> None:
    fleet = Fleet()
    fleet.give(minute(succeeded=6))
    [opened] = fleet.give(minute(succeeded=6, failing=tuple(range(100, 107))))
    assert opened.rule == "hard-floor" and opened.state == "open"
    assert fleet.give(minute(succeeded=6, failing=tuple(range(100, 107))), minutes=15) == []


def test_a_site_that_always_fails_a_little_is_learned() -> None:
    fleet = Fleet()
    rng = random.Random(3)
    for _ in range(24 * 60):
        fleet.give(minute(failing=tuple(rng.randrange(100, 900) for _ in range(rng.randrange(6)))))
    late = [
        one for one in fleet.changes if one.state != "resolved" and one.updated_at > iso(START + 360 * MINUTE)
    ]
    assert late == []


def test_twenty_four_cycles_in_four_hours_are_three_notices_at_most() -> None:
    fleet = Fleet()
    fleet.usual()
    for _ in range(24):
        fleet.give(minute(succeeded=10, failing=tuple(range(100, 112))), minutes=5)
        fleet.give(minute(), minutes=5)
    fleet.give(minute(), minutes=45)
    assert len([one for one in fleet.changes if one.state in ("open", "flapping", "resolved")]) <= 3


def test_what_comes_back_again_and_again_is_flapping_until_it_is_quiet() -> None:
    fleet = Fleet()
    fleet.usual()
    for _ in range(5):
        fleet.give(minute(succeeded=4, failing=tuple(range(100, 130))), minutes=3)
        fleet.give(minute(succeeded=60), minutes=14)
    told = [one.state for one in fleet.changes]
    assert told.count("open") == 2 and told.count("flapping") == 1
    flapping = next(one for one in fleet.changes if one.state == "flapping")
    fleet.give(minute(), minutes=40)
    assert fleet.changes[-1].state == "resolved" and fleet.changes[-1].id == flapping.id


def test_one_access_point_is_told_as_the_cause() -> None:
    fleet = Fleet()
    fleet.usual()
    for turn in range(15):
        fleet.give(minute(succeeded=40, failing=(100 + turn, 130 + turn), ap=lambda client: "AP3"))
    [opened, *_] = fleet.changes
    assert "AP3" in (opened.scope.ap, opened.cause.value)
    assert len({one.id for one in fleet.changes}) == 1


def test_sites_that_fail_for_one_cause_are_one_incident() -> None:
    fleet = Fleet()
    sites = ("a", "b", "c")
    fleet.usual(sites=sites)
    for turn in range(8):
        fleet.give(
            *(minute(site, 5, tuple(range(100 + turn, 110 + turn)), stage="dns", code=904) for site in sites)
        )
    opened = [one for one in fleet.changes if one.sequence == 1]
    assert sorted(one.scope.site for one in opened) == ["a", "b", "c"]
    assert len({one.incident for one in opened}) == 1 and len({one.id for one in opened}) == 3


def test_stages_of_one_site_are_one_incident() -> None:
    fleet = Fleet()
    fleet.usual()
    fleet.give(minute(succeeded=5, failing=tuple(range(100, 110)), stage="dhcp"), minutes=5)
    fleet.give(minute(succeeded=5, failing=tuple(range(100, 110)), stage="aaa", code=902), minutes=5)
    opened = [one for one in fleet.changes if one.sequence == 1]
    assert {one.scope.stage for one in opened} == {"dhcp", "aaa"} and len(
        {one.incident for one in opened}
    ) == 1


def test_silence_is_told_where_there_is_traffic_and_nowhere_else() -> None:
    fleet = Fleet()
    fleet.usual(hours=26, sites=("a", "b"))
    fleet.give(minute("a"), minutes=25)
    [opened] = fleet.changes
    assert (opened.signal, opened.scope.site, opened.started_at) == (
        "no_events",
        "b",
        iso(fleet.now - 25 * MINUTE),
    )
    fleet.give(minute("a"), minute("b"), minutes=12)
    assert states(fleet.changes) == [(1, "open"), (2, "resolved")]


def test_a_site_that_comes_where_another_was_forgotten_is_folded() -> None:
    fleet = Fleet()
    fleet.give(minute("a"), minute("b"))
    fleet.give(minute("a"), minutes=8 * 1440)
    assert {site for _, _, site in fleet.detector.units} == {"a", "b"}
    fleet.give(minute("a"))
    assert {site for _, _, site in fleet.detector.units} == {"a"}
    fleet.give(minute("a"), minute("c"))
    assert {(site, unit.minute) for (_, _, site), unit in fleet.detector.units.items()} == {
        ("a", fleet.now - MINUTE),
        ("c", fleet.now - MINUTE),
    }


def test_a_client_counts_once_in_a_quarter_of_an_hour() -> None:
    fleet = Fleet()
    fleet.usual(hours=2)
    fleet.give(minute(failing=(901, 902)), minutes=10)
    fleet.give(minute(failing=(902, 903)), minutes=5)
    assert fleet.detector.units["client_events", "demo", "a"].usual["dhcp"].now[0] == 3


def test_clocks_disassociations_and_slow_stages_are_signals() -> None:
    fast, slow = {"dns": {16: 20}}, {"dns": {40: 20}}
    fleet = Fleet()
    for _ in range(6 * 60):
        fleet.give(minute(latencies=fast))
    assert fleet.changes == []
    everybody = clients(*range(1, 15))
    fleet.give(minute(signals=(Signal("clock_skew", "", 30, everybody),), latencies=fast), minutes=6)
    once = [
        Signal("disassociations", "", 3, clients(client, client + 1, client + 2))
        for client in range(1, 15, 3)
    ]
    for one in once:
        fleet.give(minute(signals=(one,), latencies=fast))  # each client once: planned restarts
    assert {one.signal for one in fleet.changes} == {"clock_skew"}
    fleet.give(minute(latencies=fast), minutes=20)
    fleet.give(minute(signals=(Signal("disassociations", "", 30, everybody),), latencies=fast), minutes=6)
    fleet.give(minute(latencies=slow), minutes=8)
    opened = [(one.signal, one.scope.stage) for one in fleet.changes if one.sequence == 1]
    assert opened == [("clock_skew", ""), ("disassociations", ""), ("slow_stage", "dns")]


def test_before_an_hour_is_over_nobody_knows_how_many_are_usually_thrown_off() -> None:
    pick, fleet = random.Random(4), Fleet()

    def left(number: int) -> PartialCounts:
        events = pick.choices(range(70), [1 / (20 + rank) for rank in range(70)], k=number)
        thrown = Signal("disassociations", "", number, clients(*set(events)))
        return minute(succeeded=70, signals=(thrown,))

    for _ in range(3 * 60):  # who is there most comes and goes most
        fleet.give(left(15))
    assert fleet.changes == []
    for _ in range(10):
        fleet.give(left(200))
    assert [(one.signal, one.sequence) for one in fleet.changes][:1] == [("disassociations", 1)]


def test_each_client_fails_now_and_then_where_all_try_again_and_again() -> None:
    pick, fleet = random.Random(4), Fleet()

    def tried(succeeded: int, *failing: int, retries: int = 1) -> PartialCounts:
        of_forty = minute(succeeded=40, failing=failing, retries=retries)
        return msgspec.structs.replace(
            of_forty, counts=[Count("net", "", "success", succeeded), *of_forty.counts[1:]]
        )

    for _ in range(60):  # ten tries a minute, of which one in fifty fails: within minutes most have failed
        fleet.give(tried(392, *pick.sample(range(1, 41), 8)))
    assert fleet.changes == []
    for _ in range(3):
        fleet.give(tried(100, *range(1, 25), retries=4))
    assert fleet.changes


def test_what_comes_late_changes_nothing_that_was_told() -> None:
    fleet = Fleet()
    fleet.usual()
    fleet.give(minute(succeeded=5, failing=tuple(range(100, 112))), minutes=6)
    told = list(fleet.changes)
    assert told
    again = {("client_events", "demo", "a"): minute(succeeded=500)}
    assert fleet.detector.close(fleet.now - 3 * MINUTE, again) == []
    assert fleet.detector.close(fleet.now - MINUTE, again) == []


def test_an_acknowledgement_is_answered_once() -> None:
    fleet = Fleet()
    fleet.usual()
    fleet.give(minute(succeeded=5, failing=tuple(range(100, 112))), minutes=6)
    [opened, *_] = fleet.changes
    ack = Acknowledgement(fleet="demo", id=opened.id, by="eve", at=iso(fleet.now))
    [acked] = fleet.detector.acknowledge(ack)
    assert (acked.state, acked.by, acked.id) == ("acked", "eve", opened.id)
    assert acked.sequence == fleet.changes[-1].sequence + 1
    fleet.start_again()
    assert fleet.detector.acknowledge(ack) == []  # the control topic is read from its start
    assert (
        fleet.detector.acknowledge(msgspec.structs.replace(ack, fleet="other", at=iso(fleet.now + MINUTE)))
        == []
    )
    fleet.give(minute(), minutes=30)
    assert fleet.changes[-1].state == "resolved"
    assert fleet.detector.acknowledge(msgspec.structs.replace(ack, at=iso(fleet.now))) == []


def test_a_silenced_alert_is_told_as_such_and_opens_when_the_silence_ends() -> None:
    fleet = Fleet(lambda fleet, rule, site, at: "2026-09-01T06:20:00Z" if at < START + 380 * MINUTE else "")
    fleet.usual()
    fleet.give(minute(succeeded=5, failing=tuple(range(100, 112))), minutes=40)
    told = [one.state for one in fleet.changes]
    assert told[0] == "silenced" and fleet.changes[0].until == "2026-09-01T06:20:00Z"
    assert "open" in told[1:]
    assert [one.sequence for one in fleet.changes] == list(range(1, len(told) + 1))


def test_a_network_that_is_not_secure_is_told_from_three_devices_on() -> None:
    fleet = Fleet()

    def logs(*devices: int) -> PartialCounts:
        signal = Signal("insecure", "Cafe", len(devices), clients(*devices))
        counts = [Count("Cafe", "", "success", len(devices))]
        return PartialCounts("connection_logs", "demo", "", 0, counts, {}, clients(*devices), [], [signal])

    assert fleet.give(logs(1, 2)) == []
    [opened] = fleet.give(logs(3))
    assert (opened.signal, opened.scope.ssid, opened.scope.stream) == (
        "insecure_network",
        "Cafe",
        "connection_logs",
    )


def test_a_thorough_breakdown_is_told_within_two_minutes() -> None:
    fleet = Fleet()
    fleet.usual()
    fleet.give(minute(succeeded=1, failing=(101, 102, 103)))
    [opened] = fleet.give(minute(succeeded=1, failing=(103, 104, 105)))
    assert (opened.state, opened.rule) == ("open", "stage-failures")


def test_a_gap_at_a_site_with_few_events_is_no_silence() -> None:
    fleet = Fleet()
    rng = random.Random(9)
    for _ in range(2 * 24 * 60):
        fleet.give(*([minute(succeeded=rng.choice((1, 1, 4)))] if rng.random() < 0.4 else []))
    assert fleet.changes == []
    fleet.give(minutes=60)
    assert states(fleet.changes) == [(1, "open")]


def leaving(*thrown: int, times: int = 1) -> PartialCounts:
    sketch = clients(*thrown)
    return minute(signals=(Signal("disassociations", "", times * len(thrown), sketch),) if thrown else ())


def test_a_rush_throws_some_clients_off_twice_and_an_access_point_the_same_ones() -> None:
    fleet = Fleet()
    rng = random.Random(4)
    for _ in range(6 * 60):  # a client leaves now and then
        fleet.give(leaving(*([rng.randrange(1, 21)] if rng.random() < 0.2 else [])))
    for _ in range(60):  # most of them within a quarter of an hour
        fleet.give(leaving(*rng.sample(range(1, 21), 2)))
    for start in range(1, 21, 4):
        fleet.give(leaving(*range(start, start + 4)))  # planned restarts
        fleet.give(minute(), minutes=3)
    fleet.give(minute(), minutes=15)
    assert fleet.changes == []
    fleet.give(leaving(3, 4, 5, 6, 7, 8, times=2), minutes=4)
    [opened] = fleet.changes
    assert (opened.signal, opened.state) == ("disassociations", "open")


def test_everybody_thrown_off_at_a_quiet_site_is_told_though_the_same_ones_often_leave() -> None:
    fleet = Fleet()

    def left(events: int, *thrown: int) -> PartialCounts:
        return minute(succeeded=6, signals=(Signal("disassociations", "", events, clients(*thrown)),))

    for at in range(6 * 20):  # two of six clients come and go, one of them at once
        fleet.give(left(2 + (at % 8 == 0), 1, 2))
        fleet.give(minute(succeeded=6), minutes=2)
    assert fleet.changes == []
    fleet.give(left(10, *range(1, 7)))
    fleet.give(left(5, 2, 3, 4))
    [opened] = fleet.changes
    assert (opened.signal, opened.state) == ("disassociations", "open")


HOURS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 14), st.integers(1, 3)), min_size=20, max_size=60
)


@settings(max_examples=40)
@given(HOURS, st.data())
def test_a_restart_changes_nothing_and_sequences_have_no_gap(
    given: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    straight, halting = Fleet(), Fleet()
    for succeeded, failing, minutes in given:
        one = minute(succeeded=succeeded, failing=tuple(range(100, 100 + failing)))
        straight.give(one, minutes=minutes)
        if data.draw(st.booleans(), "starts again"):
            halting.start_again()
        halting.give(one, minutes=minutes)
    assert straight.changes == halting.changes
    by_id: dict[str, list[Alert]] = {}
    for change in straight.changes:
        by_id.setdefault(change.id, []).append(change)
    for changes in by_id.values():
        assert [one.sequence for one in changes] == list(range(1, len(changes) + 1))
        assert [one.state for one in changes].count("resolved") <= 1
        assert all(one.state != "resolved" for one in changes[:-1])


@pytest.mark.parametrize("share", [0.01, 0.04])
def test_what_is_usual_raises_no_alert_in_a_week(share: float) -> None:
    fleet = Fleet()
    rng = random.Random(5)
    for at in range(7 * 24 * 60):
        busy = 2 + (18 if 8 <= at // 60 % 24 < 18 else 0)
        attempts = rng.randrange(busy + 1)
        failing = tuple(rng.randrange(100, 400) for _ in range(attempts) if rng.random() < share)
        fleet.give(minute(succeeded=attempts - len(failing), failing=tuple(set(failing))))
    assert [one for one in fleet.changes if one.sequence == 1] == []


def test_a_fleet_has_room_for_so_many_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    """A location that no file has is a site all the same, and a sender can make up any number of them."""
    monkeypatch.setattr(detector, "MOST_UNITS", 3)
    fleet = Fleet()
    others = msgspec.structs.replace(minute("x"), fleet="other")
    fleet.give(*(minute(site) for site in "abcde"), others)
    fleet.give(*(minute(site) for site in "ebafg"))
    found = sorted((place[1], place[2]) for place in fleet.detector.units)
    assert found == [("demo", "a"), ("demo", "b"), ("demo", "c"), ("other", "x")]


def test_codes_that_a_sender_made_up_do_not_pile_up() -> None:
    """A unit is a record of its table's changelog: one that is too long would be refused at every try."""
    fleet = Fleet()
    fleet.usual()
    for turn in range(30):
        found = minute(succeeded=10, failing=tuple(range(100 + turn, 110 + turn)))
        made_up = [Count("net", "dhcp", "failure", 1, turn * 500 + one, 7) for one in range(500)]
        fleet.give(msgspec.structs.replace(found, counts=[*found.counts, *made_up]))
    assert fleet.changes
    [unit] = fleet.detector.units.values()
    assert len(msgspec.msgpack.encode(unit)) < 100_000


def many(first: int, last: int) -> bytes:
    """The sketch of the clients numbered so, by hashes that lie as those of MACs do."""
    rng = random.Random
    return b"".join(sorted(rng(number).randbytes(8) for number in range(first, last)))[: 8 * 1024]


def crowd(attempts: int, failed: int, *, stage: str = "dhcp", shift: int = 0) -> PartialCounts:
    """A minute in which so many clients try, and the last of them fail, one attempt each."""
    failing = many(shift + attempts - failed, shift + attempts)
    counts = [
        Count("net", "", "success", attempts - failed),
        Count("net", stage, "failure", failed, 903, 1, failing),
    ]
    return PartialCounts("client_events", "demo", "a", 0, counts, {}, many(shift, shift + attempts))


def test_a_large_site_s_clients_are_all_counted() -> None:
    """Of each minute the window keeps the sketch of 256 clients: 600 of 3,000 were told as 256 of 256."""
    fleet = Fleet()
    for _ in range(90):
        fleet.give(crowd(3000, 30, shift=random.Random(fleet.now).randrange(10_000)))
    assert fleet.changes == []
    for turn in range(6):
        fleet.give(crowd(3000, 600, shift=100 * turn))
    [opened, *_] = fleet.changes
    assert opened.rule == "stage-failures", "a fifth is not half of all"
    assert opened.impact.clients == pytest.approx(600, rel=0.2)
    assert opened.impact.clients_seen == pytest.approx(3000, rel=0.2)
    fleet.give(crowd(3000, 30), minutes=40)
    resolved = fleet.changes[-1]
    assert resolved.state == "resolved"
    assert resolved.impact.clients == pytest.approx(1100, rel=0.3)
    assert resolved.impact.clients_seen == pytest.approx(3500, rel=0.3)


def test_a_tenth_of_a_large_site_s_clients_is_not_half_of_them() -> None:
    fleet = Fleet()
    for turn in range(5):
        fleet.give(crowd(3000, 300, shift=300 * turn))
    for one in fleet.changes:
        assert one.rule == "stage-failures"
        assert 0.05 < one.impact.clients / one.impact.clients_seen < 0.5


def test_clients_of_a_large_site_that_fail_again_count_once() -> None:
    """The window has the 256 smallest of 1,000 clients; the others were taken for new ones each minute."""
    same, others = many(0, 1000), many(1000, 1100)
    before = Before([same[: 8 * HASHES], others])
    assert before.distinct() == pytest.approx(1100, rel=0.2)
    known = set(before.known(values_of(same)))
    assert len(known) == HASHES and known <= set(before.hashes)
    assert 10 < len(before.known(values_of(others))) < 45, "a quarter of them"
    assert Before([others]).known(values_of(same)) == values_of(same), "of few clients all are known"


def test_clients_of_a_large_site_that_are_thrown_off_once_are_counted_once() -> None:
    """Estimated, 1,500 clients were more than their 1,500 events, and fewer than none came twice: a sum of -5
    of those divided by zero in the next hour, which ended the fold of all units behind."""
    fleet = Fleet()
    fleet.usual(hours=1)
    for turn in range(70):
        number = 1500 if turn < 40 else 20
        thrown = many(5000 * turn, 5000 * turn + number)
        signal = Signal("disassociations", "", number, thrown)
        counts = [Count("net", "", "success", 3000)]
        fleet.give(PartialCounts("client_events", "demo", "a", 0, counts, {}, thrown, [], [signal]))
        [usual] = [
            one
            for name, one in fleet.detector.units["client_events", "demo", "a"].usual.items()
            if name == "~twice"
        ]
        assert usual.now[0] >= 0 and usual.total[0] >= 0


def test_a_sum_that_cannot_be_divides_by_nothing() -> None:
    usual = Usual()
    usual.total = [-5.0, 0.0]
    assert 0.0 < usual.share(3, [-5.0, 0.0]) < 1.0
