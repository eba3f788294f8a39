"""Minutes: every frame counts once, whatever a worker that starts again sends a second time."""

from __future__ import annotations

from collections import Counter
from functools import partial as partial_of

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.contracts.counts import (
    MINUTE,
    ApCount,
    Count,
    CountBlock,
    MinuteCounts,
    MinutesClosed,
    PartialCounts,
    Signal,
    check,
)
from tidegate.steps.aggregate import merge_all
from tidegate.worker.minutes import (
    GRACE,
    KEEP_MINUTES,
    LatestBlock,
    Minute,
    Minutes,
    partition_of,
    split_by_site,
)
from tidegate.worker.producer import MARK
from tidegate.worker.publish_minutes import AcksInOrder

NOW = 30_000_000 * MINUTE
PARTITIONS = 3


def partial(site: str, events: int = 1, *, minute: int = NOW, ssid: str = "net") -> PartialCounts:
    return PartialCounts(
        "client_events", "demo", site, minute, [Count(ssid, "", "success", events)], {"dns": {3: events}}
    )


def block(
    start: int,
    partials: list[PartialCounts],
    *,
    generation: int = 1,
    source: int = 0,
    read_to: int = 0,
) -> CountBlock:
    return CountBlock("client_events", source, start, generation, partials, read_to)


class Topic:
    """What the partitions of `tidegate.partials` make of the blocks that are sent to them."""

    def __init__(self) -> None:
        self.tables: list[dict[bytes, bytes]] = [{} for _ in range(PARTITIONS)]
        self.changelogs: list[dict[bytes, bytes]] = [{} for _ in range(PARTITIONS)]  # compacted
        self.minutes = [Minutes(table) for table in self.tables]

    def send(self, *blocks: CountBlock, now: int = NOW) -> Counter[str]:
        outcomes: Counter[str] = Counter()
        for partition, record in enumerate(split_by_site(blocks, PARTITIONS)):
            outcomes.update(self.minutes[partition].merge(partition, record, now)._asdict())
            for key, value in self.minutes[partition].table_records():
                if value is None:
                    del self.changelogs[partition][key]
                else:
                    self.changelogs[partition][key] = value
            assert self.changelogs[partition] == self.tables[partition]
        return outcomes

    def start_again(self) -> None:
        self.tables = [dict(changelog) for changelog in self.changelogs]
        self.minutes = [Minutes(table) for table in self.tables]
        for minutes in self.minutes:
            minutes.recovered(range(PARTITIONS))

    def published(self) -> dict[tuple[str | None, str], int]:
        """Events by site and minute, of all minutes that changed."""
        found = {}
        for partition, minutes in enumerate(self.minutes):
            for target, key, value in minutes.publish():
                document = msgspec.json.decode(value, type=MinuteCounts)
                assert target == partition == partition_of(document.fleet, document.site or "", PARTITIONS)
                assert key == f"{document.fleet}/{document.site or ''}".encode()
                found[document.site, document.minute] = sum(count.events for count in document.counts)
        return found

    def totals(self) -> Counter[str]:
        self.start_again()
        totals: Counter[str] = Counter()
        for (site, _), events in self.published().items():
            totals[site or ""] += events
        return totals


def test_blocks_that_follow_each_other_add_up() -> None:
    topic = Topic()
    topic.send(block(0, [partial("a", 2), partial("b", 1)]))
    topic.send(block(5, [partial("a", 3)]))
    assert topic.totals() == {"a": 5, "b": 1}


def test_partitions_of_the_raw_topic_are_counted_apart() -> None:
    topic = Topic()
    topic.send(block(0, [partial("a", 2)], source=0), block(0, [partial("a", 3)], source=1))
    assert topic.totals() == {"a": 5}


def test_a_block_that_comes_twice_counts_once() -> None:
    topic = Topic()
    for _ in range(2):
        topic.send(block(0, [partial("a", 2), partial("b", 1)]))
    assert topic.totals() == {"a": 2, "b": 1}


def test_a_shorter_second_try_takes_the_longer_first_one_back() -> None:
    topic = Topic()
    topic.send(block(0, [partial("a", 2), partial("b", 1)]))  # frames 0 and 1; its commit never came
    topic.send(block(0, [partial("a", 1)]))  # frame 0 alone
    topic.send(block(1, [partial("a", 1), partial("b", 1)]))  # frame 1
    assert topic.totals() == {"a": 2, "b": 1}


def test_a_block_behind_a_later_one_is_a_repeat() -> None:
    topic = Topic()
    topic.send(block(0, [partial("a", 2)]))
    topic.send(block(5, [partial("a", 3)]))
    assert topic.send(block(0, [partial("a", 2)]))["repeated"] == PARTITIONS
    assert topic.totals() == {"a": 5}


def test_a_worker_that_lost_its_partition_does_not_overrule_its_successor() -> None:
    topic = Topic()
    topic.send(block(0, [partial("a", 4)], generation=2))
    topic.send(block(0, [partial("a", 9)], generation=1))
    assert topic.totals() == {"a": 4}


def test_only_minutes_that_changed_are_published() -> None:
    topic = Topic()
    topic.send(block(0, [partial("a"), partial("b")]))
    assert len(topic.published()) == 2
    topic.send(block(1, [partial("a")]))
    assert {site for site, _ in topic.published()} >= {"a"}
    assert topic.published() == {}


def test_latencies_and_ssids_survive_the_merge() -> None:
    topic = Topic()
    topic.send(block(0, [partial("a", 2, ssid="x")]))
    topic.send(block(1, [partial("a", 3, ssid="y")]))
    [(_, _, value)] = [one for minutes in topic.minutes for one in minutes.publish()]
    document = msgspec.json.decode(value, type=MinuteCounts)
    assert document.counts == [Count("x", "", "success", 2), Count("y", "", "success", 3)]
    assert document.latencies == {"dns": {3: 5}}
    assert document.minute == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize("minutes", [-KEEP_MINUTES, 6])
def test_what_is_far_from_its_time_is_not_counted(minutes: int) -> None:
    topic = Topic()
    topic.send(block(0, [partial("a")]))
    assert topic.send(block(1, [partial("a", minute=NOW + minutes * MINUTE)]))["late"] == 1
    assert topic.totals() == {"a": 1}


def test_old_minutes_leave_the_table() -> None:
    topic = Topic()
    for number in range(3 * KEEP_MINUTES):
        minute = NOW + number * MINUTE
        topic.send(block(number, [partial("a", minute=minute)]), now=minute)
    assert sum(map(len, topic.tables)) == KEEP_MINUTES


def test_a_partition_is_not_read_further_than_now() -> None:
    """One record that its sender dated a year ahead closed every minute of it: alerts saw none of them."""
    topic = Topic()
    topic.send(block(0, [partial("a")], read_to=NOW + 365 * 24 * 60 * MINUTE))
    told = [
        msgspec.json.decode(value, type=MinutesClosed).closed
        for minutes in topic.minutes
        for _, value in minutes.close(1)
    ]
    assert len(told) == 3 and set(told) == {"2027-01-15T08:03:00Z"}


def test_counts_that_no_topic_takes_are_left_out() -> None:
    """The broker refused the record, and the worker ended, and again behind its committed position."""
    sites = [partial(f"{number}-{'s' * (10 * number)}") for number in range(1, 60)]
    blocks = [block(0, sites)]
    whole = [len(record) for record in split_by_site(blocks, PARTITIONS)]
    most = max(whole) // 2
    records = split_by_site(blocks, PARTITIONS, most_bytes=most)
    assert all(2 <= len(record) <= most for record in records)
    kept = [msgspec.json.decode(record, type=list[CountBlock])[0] for record in records]
    assert all((one.start, one.generation) == (blocks[0].start, blocks[0].generation) for one in kept)
    assert 5 < sum(len(one.partials) for one in kept) < 59


def test_a_minute_that_no_changelog_takes_begins_again() -> None:
    table: dict[bytes, bytes] = {}
    minutes = Minutes(table, most_bytes=2000)
    [record] = split_by_site([block(0, [partial("a" * 1500, 2), partial("b", 3)])], 1)
    [later] = split_by_site([block(1, [partial("a" * 1500, 2), partial("b", 3)])], 1)
    minutes.merge(0, record, NOW)
    minutes.merge(0, later, NOW)
    assert max(map(len, table.values())) <= 2000
    told = [msgspec.json.decode(value, type=MinuteCounts) for _, _, value in minutes.publish()]
    assert [(one.site, sum(count.events for count in one.counts)) for one in told] == [("b", 6)]


def test_a_minute_is_closed_when_every_raw_partition_is_read_past_its_end() -> None:
    topic = Topic()
    closed = [f"2027-01-15T0{8 + number // 60}:{number % 60:02d}:00Z" for number in range(3)]

    def told(sources: int = 2) -> list[list[str]]:
        return [
            [msgspec.json.decode(value, type=MinutesClosed).closed for _, value in minutes.close(sources)]
            for minutes in topic.minutes
        ]

    topic.send(block(0, [partial("a")], read_to=NOW + MINUTE + GRACE))
    assert told() == [[], [], []]  # the other raw partition has said nothing yet
    topic.send(block(0, [], source=1, read_to=NOW + MINUTE + GRACE - 1))
    assert told() == [["2027-01-15T07:59:00Z"]] * 3
    topic.send(block(0, [], source=1, read_to=NOW + 2 * MINUTE + GRACE))
    assert told() == [[closed[0]]] * 3
    assert told() == [[], [], []]
    topic.send(block(1, [], read_to=NOW + 9 * MINUTE))
    assert told() == [[closed[1]]] * 3


def test_minutes_of_a_partition_that_moved_on_are_not_told_again() -> None:
    """The worker that lost it kept them in memory, and told them at its next assignment: fewer events than
    the new owner had counted by then, for the same minute."""
    table: dict[bytes, bytes] = {MARK: b""}
    minutes = Minutes(table)
    for partition, site in enumerate(("a", "b")):
        minutes.merge(partition, msgspec.json.encode([block(0, [partial(site)])]), NOW)
    minutes.recovered([1])
    assert [(partition, key) for partition, key, _ in minutes.publish()] == [(1, b"demo/b")]
    minutes.recovered([0, 1])
    assert [(partition, key) for partition, key, _ in minutes.publish()] == [(1, b"demo/b")]


def test_what_was_revoked_is_not_told() -> None:
    minutes = Minutes({})
    minutes.merge(0, msgspec.json.encode([block(0, [partial("a")], read_to=NOW + 9 * MINUTE)]), NOW)
    minutes.revoked()
    assert not list(minutes.publish()) and not list(minutes.close(1))
    minutes.recovered([0])
    assert [key for _, key, _ in minutes.publish()] == [b"demo/a"]


def test_a_record_is_acked_behind_those_before_it() -> None:
    """One that changed nothing was acked at once, and Faust committed it over the one before, whose changes
    the changelog did not have yet."""
    acked: list[str] = []
    acks = AcksInOrder()
    first, second, third = (acks.add(partial_of(acked.append, name)) for name in "abc")
    second()
    assert acked == []
    first()
    assert acked == ["a", "b"]
    acks.forget()
    third()
    assert acked == ["a", "b"], "its partition was revoked"
    acks.add(partial_of(acked.append, "d"))()
    assert acked == ["a", "b", "d"]


def test_a_value_that_cannot_be_read_does_not_stop_the_merge() -> None:
    topic = Topic()
    topic.send(block(0, [partial("a", 2)]))
    for changelog in topic.changelogs:
        for key in changelog:
            changelog[key] = b'{"of": "another version"}'
    topic.start_again()
    topic.send(block(1, [partial("a", 3)]))
    assert topic.totals() == {"a": 3}


frames = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=30)


@settings(max_examples=300)
@given(frames, st.data())
def test_counts_are_exact_however_often_workers_die(sites: list[str], data: st.DataObject) -> None:
    """Each site in `sites` is one frame. A life takes frames from the committed position on, sends blocks
    at moments of its own, and dies with a block sent and not committed."""
    topic = Topic()
    committed = 0
    generation = 0
    while committed < len(sites):
        generation += 1
        position = committed
        while position < len(sites):
            position = data.draw(st.integers(position + 1, len(sites)), "end of block")
            taken = merge_all(partial(site) for site in sites[committed:position])
            topic.send(block(committed, taken, generation=generation))
            if data.draw(st.booleans(), "merger starts again"):
                topic.start_again()
            if position < len(sites) and data.draw(st.booleans(), "worker dies"):
                break
            committed = position
    assert topic.totals() == Counter(sites)


WRONG: list[dict[str, object]] = [
    {"clients": b"xyz"},
    {"clients": bytes(8 * 1025)},
    {"counts": [Count("net", "dhcp", "failure", 1, 902, 1, b"xyz")]},
    {"counts": [Count("net", "dhcp", "failure", 1 << 60)]},
    {"counts": [Count("net", "dhcp", "failure", -1)]},
    {"counts": [Count("net", "dhcp", "failure", 1, 1 << 70)]},
    {"aps": [ApCount("ap", "dhcp", 1, b"xyz")]},
    {"signals": [Signal("clock_skew", "", 1, b"xyz")]},
    {"latencies": {"dns": {82: 1}}},
    {"latencies": {"dns": {3: -1}}},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_counts_that_no_worker_counts_are_refused_whole(wrong: dict[str, object]) -> None:
    """One such record of a stranger: the sum could not be made, and that ended whoever published it."""
    minutes = Minutes({})
    good = partial("Toronto", 2)
    assert minutes.merge(0, msgspec.json.encode([block(0, [good])]), NOW).merged == 1
    foreign = msgspec.structs.replace(good, **wrong)
    with pytest.raises(ValueError):
        minutes.merge(0, msgspec.json.encode([block(0, [good], source=1), block(5, [foreign])]), NOW)
    with pytest.raises(ValueError):
        check(MinuteCounts("client_events", "demo", "Toronto", "", **{"counts": [], "latencies": {}} | wrong))  # type: ignore[arg-type]
    assert minutes.merge(0, msgspec.json.encode([block(5, [good])]), NOW).merged == 1
    [(_, _, document)] = minutes.publish()
    assert [one.events for one in msgspec.json.decode(document, type=MinuteCounts).counts] == [4]


@pytest.mark.parametrize("minute", [-MINUTE, -(1 << 62), -(1 << 80)])
def test_a_minute_before_all_time_is_late(minute: int) -> None:
    minutes = Minutes({})
    record = msgspec.json.encode([block(0, [partial("Toronto", minute=0)])])
    found = minutes.merge(0, record.replace(b'"minute":0', b'"minute":%d' % minute), NOW)
    assert (found.late, list(minutes.publish())) == (1, [])


STORABLE = [one for one in WRONG if "1180591620717411303424" not in str(one)]  # 2**70 has no place in msgpack


@pytest.mark.parametrize("wrong", [*STORABLE, {"minute": -(1 << 62)}, {"site": "Oslo"}])
def test_a_minute_that_no_worker_kept_ends_none(wrong: dict[str, object]) -> None:
    good = partial("Toronto", 2)
    foreign = msgspec.structs.replace(good, **wrong)
    latest = {0: LatestBlock(0, 1, foreign), 1: LatestBlock(0, 1, good)}
    key = b"client_events\0demo\0Toronto\0%d" % NOW
    table = {key: msgspec.msgpack.encode(Minute(0, NOW, None, latest)), b"odd": b"\x81\xa9partition\xa1\xff"}
    minutes = Minutes(table)
    minutes.recovered([0])
    assert list(minutes.publish()) == []
    minutes.merge(0, msgspec.json.encode([block(0, [good])]), NOW)
    [(_, _, document)] = minutes.publish()
    assert [one.events for one in msgspec.json.decode(document, type=MinuteCounts).counts] == [2]


def test_a_slash_makes_no_site_that_of_another_fleet() -> None:
    """Fleet `acme` at a site `hq/lab` took away what fleet `acme/hq` had counted at its site `lab`."""
    minutes = Minutes({})
    for number, (fleet, site) in enumerate((("acme/hq", "lab"), ("acme", "hq/lab"))):
        counts = msgspec.structs.replace(partial(site, 2 + number), fleet=fleet)
        minutes.merge(0, msgspec.json.encode([block(number, [counts])]), NOW)
    found = [msgspec.json.decode(document, type=MinuteCounts) for _, _, document in minutes.publish()]
    assert sorted((one.fleet, one.site, one.counts[0].events) for one in found) == [
        ("acme", "hq/lab", 3),
        ("acme/hq", "lab", 2),
    ]
