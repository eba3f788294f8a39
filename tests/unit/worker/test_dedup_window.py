"""Windows of keys: what counts as seen, for how long, and what a second process makes of the table."""

from __future__ import annotations

import random

from tidegate.contracts.keys import digest
from tidegate.contracts.topics import StreamPartition
from tidegate.worker.dedup_window import CLAIM_ENTRIES, DedupTable, DedupWindow, Seen

EPOCH = "01K9ZQ4T3M8W5X0R2B7C6D1E9F"
HOUR = 3_600_000_000
OURS = StreamPartition("client_events", 0)


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def entry(number: int, content: bytes = b"a") -> bytes:
    return key(number) + digest(content)


def keys(table: dict[bytes, bytes], limit: int = 1 << 30) -> DedupTable:
    return DedupTable(table, EPOCH, window_seconds=86_400, limit=limit)


def window(table: dict[bytes, bytes] | None = None) -> DedupWindow:
    return keys({} if table is None else table).window("client_events", 0)


def look(found: DedupWindow, offset: int, number: int, content: bytes = b"a") -> Seen:
    return found.seen(offset, key(number), digest(content))


def test_a_key_counts_behind_its_own_position_only() -> None:
    found = window()
    found.claim(5, [entry(1)])
    assert look(found, 6, 1) is Seen.DUPLICATE
    assert look(found, 6, 1, b"b") is Seen.REUSED
    assert look(found, 6, 2) is Seen.NEW
    assert look(found, 5, 1) is Seen.NEW  # the same record, processed again
    assert look(found, 4, 1) is Seen.NEW


def test_a_key_is_told_from_bytes_across_two_entries() -> None:
    """A key may stand by chance where one entry ends and the next begins."""
    found = window()
    one, two = entry(1), entry(2)
    across = one[16:] + two[:8]
    found.claim(1, [one, two, across + digest(b"c")])
    assert found.seen(2, across, digest(b"c")) is Seen.DUPLICATE
    assert look(found, 2, 2) is Seen.DUPLICATE


def test_the_window_is_measured_by_the_logs_clock() -> None:
    found = window()
    found.advance(10 * HOUR)
    found.claim(1, [entry(1)])
    found.advance(34 * HOUR)
    assert look(found, 2, 1) is Seen.DUPLICATE
    found.advance(3 * HOUR)  # a record from before does not turn it back
    found.advance(34 * HOUR + 1)
    assert look(found, 2, 1) is Seen.NEW
    found.claim(2, [entry(1)])
    [change] = found.expire()
    assert change == (f"{EPOCH}-w0-1-0".encode(), None)
    assert look(found, 3, 1) is Seen.DUPLICATE  # the second claim outlives the first
    assert len(found) == 1


def test_another_process_takes_what_lies_before_its_position() -> None:
    table: dict[bytes, bytes] = {}
    first = window(table)
    first.advance(HOUR)
    for offset in range(10):
        first.claim(offset, [entry(offset), entry(100 + offset)])
    foreign = DedupTable(table, "01K9ZQ4T3M8W5X0R2B7C6D1E9G", window_seconds=86_400, limit=1 << 30)
    foreign.window("client_events", 0).claim(0, [entry(7)])
    keys(table).window("client_events", 1).claim(0, [entry(8)])
    [(name, _)] = foreign.window("client_events", 0).claim(1, [entry(9)])
    second = keys(dict(table))
    second.recovered({OURS: 6})
    found = second.window(*OURS)
    assert [look(found, 6, number) for number in range(10)] == [Seen.DUPLICATE] * 6 + [Seen.NEW] * 4
    assert found.clock == HOUR
    assert second.held().keys == 12
    assert (0, (name, None)) in second.forget()  # an ended life's claims go from the changelog
    assert second.forget() == []


def test_the_oldest_go_first_and_the_age_covered_is_told_also_by_the_next_process() -> None:
    table: dict[bytes, bytes] = {}
    found = keys(table, limit=10_000)
    one, two = found.window("client_events", 0), found.window("device_logs", 1)
    for offset in range(20):
        for number, each in enumerate((one, two)):
            each.advance((offset + 1) * HOUR)
            each.claim(offset, [entry(1000 * number + offset)])
    assert found.held().covered_seconds == 86_400
    changes = found.forget()
    assert sum(each.memory for each in (one, two)) <= 10_000
    assert {partition for partition, _ in changes} == {0, 1}
    assert all(value is None for _, (_, value) in changes)
    kept = [look(one, 99, number) is Seen.DUPLICATE for number in range(20)]
    assert kept == sorted(kept) and 0 < sum(kept) < 20
    covered = found.held().covered_seconds
    assert 0 < covered <= sum(kept) * 3600
    for partition, (name, value) in found.marks({OURS: 20, StreamPartition("device_logs", 1): 20}):
        assert partition in (0, 1)
        assert table[name] == value
    again = keys(dict(table))
    again.recovered({OURS: 20, StreamPartition("device_logs", 1): 20})
    assert again.held().covered_seconds == covered
    assert again.held().keys == len(one) + len(two)


def test_a_mark_follows_what_is_committed_and_no_mark_follows_a_mark() -> None:
    found = window()
    assert found.mark(10) is None
    for offset in (3, 4, 7):
        found.claim(offset, [entry(offset)])
    assert found.mark(3) is None
    assert found.mark(5) is not None
    assert found.mark(7) is None
    assert found.mark(8) is not None  # the claim at 7 may share a batch with the mark before
    assert found.mark(9) is None


def test_a_record_with_very_many_keys_makes_several_changes() -> None:
    table: dict[bytes, bytes] = {}
    changes = window(table).claim(3, [entry(number) for number in range(CLAIM_ENTRIES + 1)])
    assert len(changes) == 2
    second = keys(dict(table))
    second.recovered({OURS: 4})
    assert second.held().keys == CLAIM_ENTRIES + 1


def test_processing_again_from_anywhere_gives_the_same() -> None:
    """Crash after any record, with the table as of any later one: each verdict stays."""
    rng = random.Random(7)
    records = [
        [(rng.randrange(12), rng.choice([b"a", b"b"])) for _ in range(rng.randrange(4))] for _ in range(60)
    ]

    def process(found: DedupWindow, first: int) -> list[list[Seen]]:
        verdicts = []
        for offset in range(first, len(records)):
            seen = [look(found, offset, *one) for one in records[offset]]
            new = {
                number: content
                for (number, content), verdict in zip(records[offset], seen, strict=True)
                if verdict is Seen.NEW
            }
            if new:
                found.claim(offset, [entry(*one) for one in new.items()])
            verdicts.append(seen)
        return verdicts

    table: dict[bytes, bytes] = {}
    whole = process(window(table), 0)
    for position in range(0, len(records), 7):
        second = keys(dict(table))
        second.recovered({OURS: position})
        assert process(second.window(*OURS), position) == whole[position:]


def test_a_claim_that_no_worker_wrote_ends_none() -> None:
    """Whoever may write to the changelog could end every worker at its start."""
    table: dict[bytes, bytes] = {}
    keys(table).window("client_events", 0).claim(5, [entry(1)])
    prefix = f"{EPOCH}-w0-".encode()
    assert next(iter(table)).startswith(prefix)
    for rest in (b"x", b"-", b"\xff-1", b"1e3", b" 7"):
        table[prefix + rest] = bytes(64)
    second = keys(table)
    second.recovered({OURS: 6})
    assert look(second.window("client_events", 0), 6, 1) is Seen.DUPLICATE
