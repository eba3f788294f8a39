"""The transform with keys: a line that was here before is a duplicate or a reject, the others are taken."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from builders import RECEIVED_AT, body, envelope, success
from tidegate import lookups
from tidegate.contracts import keys
from tidegate.contracts.frames import BOM, envelope_prefix, read_headers, read_rejects
from tidegate.contracts.rejects import Code
from tidegate.steps import frame as module
from tidegate.steps.decode import decode_frame
from tidegate.steps.enrich import enrich as enrich_rightly
from tidegate.steps.frame import FrameSteps, Outputs, Record
from tidegate.worker.dedup_window import DedupTable, DedupWindow
from tidegate.worker.transform import Transform

EPOCH = "01K9ZQ4T3M8W5X0R2B7C6D1E9F"
TABLES = lookups.load()
FLEETS = {"demo"}


def transform() -> Transform:
    return Transform(
        FrameSteps(
            "client_events",
            TABLES,
            epoch=EPOCH,
            transform_version="7",
            geohash_precision=6,
            clock_skew_seconds=86_400,
            max_record_bytes=1_000_000,
        )
    )


def window() -> DedupWindow:
    return DedupTable({}, EPOCH, window_seconds=86_400, limit=1 << 30).window("client_events", 2)


def record(offset: int, *lines: bytes, pieces: list[keys.Piece] | None = None) -> Record:
    headers = [] if pieces is None else [(keys.HEADER, keys.write_pieces(pieces))]
    return Record(2, offset, offset - 1, b"\n".join(lines), headers, RECEIVED_AT)


def piece(name: str, content: str, first: int, lines: int) -> keys.Piece:
    return keys.Piece(keys.request_key("demo", name.encode()), keys.digest(content.encode()), first, lines)


def line(ssid: str, **fields: Any) -> bytes:
    return envelope(success(ssid=ssid, **fields))


def taken(outputs: Outputs) -> list[tuple[int, str]]:
    """Index and SSID of the rows, after a check of the arithmetic."""
    head = read_headers(outputs.headers)  # it refuses what does not add up
    assert head.duplicates == outputs.duplicates
    names = [str(name) for name in outputs.batch.column("ssid").to_pylist()]
    indexes = [int(index or 0) for index in outputs.batch.column("index").to_pylist()]
    return sorted(zip(indexes, names, strict=True))


def refused(outputs: Outputs) -> list[tuple[int, Code]]:
    return [(reject.index, reject.code) for reject in read_rejects(outputs.headers)]


def test_pieces_that_were_here_before_are_dropped_and_the_rest_keeps_its_lines() -> None:
    seen, run = window(), transform()
    first = run(record(1, line("a"), line("b"), line("c"), pieces=[piece("k", "x", 1, 2)]), FLEETS, seen)
    assert taken(first) == [(0, "a"), (1, "b"), (2, "c")]
    [(name, value)] = first.claims
    assert (name, len(value or b"")) == (f"{EPOCH}-w2-1-0".encode(), 8 + 24)
    lines = [line("p"), line("q")[:-9], line("b"), line("c"), line("r"), line("d"), line("e")]
    pieces = [piece("k", "x", 2, 2), piece("l", "y", 4, 1), piece("k", "other", 5, 2)]
    again = run(record(2, *lines, pieces=pieces), FLEETS, seen)
    assert taken(again) == [(0, "p"), (4, "r")]
    assert again.duplicates == 2
    assert refused(again) == [(1, Code.NOT_JSON), (5, Code.KEY_REUSED), (6, Code.KEY_REUSED)]
    assert {reject.fleet for reject in read_rejects(again.headers)[1:]} == {"demo"}
    assert len(again.claims) == 1  # of piece l alone


@pytest.mark.parametrize("mark", [BOM, BOM + BOM])
def test_the_mark_of_a_line_behind_repeats_is_the_lines_own(mark: bytes) -> None:
    """Where the lines left began with one it was taken for their record's: a line of it alone was none any
    more, those behind it had other indexes, and the counts did not add up."""
    seen, run = window(), transform()
    run(record(1, line("a"), pieces=[piece("k", "x", 0, 1)]), FLEETS, seen)
    lines = [line("a"), mark, line("b"), mark + line("c")]
    again = run(record(2, *lines, pieces=[piece("k", "x", 0, 1)]), FLEETS, seen)
    assert (taken(again), again.duplicates) == ([(2, "b")], 1)
    assert refused(again) == [(1, Code.NOT_JSON), (3, Code.NOT_JSON)]


def test_a_record_of_nothing_but_repeats_is_a_frame_without_rows() -> None:
    seen, run = window(), transform()
    sent = [piece("k", "x", 0, 2)]
    run(record(1, line("a"), line("b"), pieces=sent), FLEETS, seen)
    again = run(record(2, line("a"), line("b"), pieces=sent), FLEETS, seen)
    assert (taken(again), again.duplicates, again.lines, list(again.claims)) == ([], 2, 2, [])


def test_small_records_together_come_to_the_same_as_each_alone() -> None:
    rng = Random(3)
    records = []
    for offset in range(40):
        pieces: list[keys.Piece] = []
        lines: list[bytes] = []
        for _ in range(rng.randrange(1, 5)):
            name, count = f"k{rng.randrange(25)}", rng.randrange(1, 3)
            if rng.random() < 0.8:
                pieces.append(piece(name, f"{count}", len(lines), count))
            lines += [line(f"{name}-{number}") for number in range(count)]
        records.append(record(offset, *lines, pieces=pieces))
    alone, together, run = window(), window(), transform()
    expected = [run(one, FLEETS, alone) for one in records]
    found = [
        outputs for at in range(0, 40, 4) for outputs in run.many(records[at : at + 4], FLEETS, together)
    ]
    assert [taken(one) for one in found] == [taken(one) for one in expected]
    assert [one.headers for one in found] == [one.headers for one in expected]
    assert [list(one.claims) for one in found] == [list(one.claims) for one in expected]
    assert sum(one.duplicates for one in found) > 10


def test_records_with_new_keys_go_through_the_steps_together(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def decode(*args: Any, **options: Any) -> Any:
        calls.append(args)
        return decode_frame(*args, **options)

    monkeypatch.setattr(module, "decode_frame", decode)
    records = [record(offset, line("a"), pieces=[piece(f"k{offset}", "x", 0, 1)]) for offset in range(5)]
    outputs = transform().many(records, FLEETS, window())
    assert len(calls) == 1
    assert [len(one.claims) for one in outputs] == [1] * 5


def test_an_event_id_lands_once_within_a_record_and_behind_it() -> None:
    seen, run = window(), transform()
    one, changed = line("a", event_id="1"), line("b", event_id="1")
    first = run(record(1, one, one, changed, line("c")), FLEETS, seen)
    assert taken(first) == [(0, "a"), (3, "c")]
    assert (first.duplicates, refused(first)) == (1, [(2, Code.KEY_REUSED)])
    again = run(record(2, one, line("c")), FLEETS, seen)
    assert (taken(again), again.duplicates) == ([(1, "c")], 1)
    other_fleet = line("a", event_id="1").replace(b'"demo"', b'"deme"')
    third = run(record(3, other_fleet), {"deme"}, seen)
    assert taken(third) == [(0, "a")]


def test_the_id_of_a_refused_line_is_not_used_up() -> None:
    seen, run = window(), transform()
    bad = line("a", event_id="1", channel=1000)
    assert refused(run(record(1, bad), FLEETS, seen)) == [(0, Code.OUT_OF_RANGE)]
    assert taken(run(record(2, line("a", event_id="1")), FLEETS, seen)) == [(0, "a")]


def test_the_id_of_a_line_on_which_a_step_fails_is_not_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def enrich(stream: Any, columns: Any, *rest: Any, **options: Any) -> Any:
        if "POISON" in columns["ssid"].to_pylist():
            raise RuntimeError("a bug")
        return enrich_rightly(stream, columns, *rest, **options)

    seen, run = window(), transform()
    lines = [line("a", event_id="1"), line("POISON", event_id="2"), line("a", event_id="1")]
    with monkeypatch.context() as patched:
        patched.setattr(module, "enrich", enrich)
        outputs = run(record(1, *lines), FLEETS, seen)
    assert (taken(outputs), outputs.duplicates, refused(outputs)) == ([(0, "a")], 1, [(1, Code.CRASH)])
    again = run(record(2, *lines), FLEETS, seen)
    assert (taken(again), again.duplicates) == ([(1, "POISON")], 2)


def test_a_replayed_line_is_taken_although_its_id_came_with_another_content() -> None:
    seen, run = window(), transform()
    run(record(1, line("a", event_id="1")), FLEETS, seen)
    origin = f"{EPOCH}-w0-3-4"
    prefix = envelope_prefix("demo", RECEIVED_AT, origin=origin)
    replayed = prefix + body(success(ssid="b", event_id="1")) + b"}"
    assert taken(run(record(2, replayed), FLEETS, seen)) == [(0, "b")]


@pytest.mark.parametrize("header", [b"x", keys.write_pieces([piece("k", "x", 0, 1)])[:-1]])
def test_a_header_that_no_gateway_wrote_costs_the_keys_only(header: bytes) -> None:
    outputs = transform()(Record(2, 1, 0, line("a"), [(keys.HEADER, header)], RECEIVED_AT), FLEETS, window())
    assert (taken(outputs), list(outputs.claims)) == ([(0, "a")], [])


def test_a_piece_that_is_longer_than_its_record_drops_what_is_there() -> None:
    seen, run = window(), transform()
    run(record(1, line("a"), pieces=[piece("k", "x", 0, 9)]), FLEETS, seen)
    again = run(record(2, line("a"), pieces=[piece("k", "x", 0, 9)]), FLEETS, seen)
    assert (taken(again), again.duplicates) == ([], 1)


def test_a_record_that_is_too_large_uses_no_key_up() -> None:
    seen, run = window(), transform()
    random = Random(1)
    big = [line(random.randbytes(100_000).hex()) for _ in range(8)]
    outputs = run(record(1, *big, pieces=[piece("k", "x", 0, 8)]), FLEETS, seen)
    assert refused(outputs) == [(0, Code.TOO_LARGE)]
    assert len(seen) == 0
