"""Every row with all its columns, and what in it is not as the producer's log and the models have it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from expected import Refusal, expected, rows_of
from row_differences import Differences, micros, unlike, unlike_reject

from chaos.events import NUMBER
from chaos.sent_log import FLEET, Event
from chaos.world import World
from tidegate.contracts import forms
from tidegate.contracts.topics import STREAMS
from tidegate.settings import Settings

CHUNK = 2000  # rows in memory as Python's
REJECTS = "rejects"
Row = dict[str, Any]
Rows = list[tuple[int, Row]]  # with the number of the event


def stored(world: World, sent: Mapping[int, Event]) -> Iterator[tuple[str, Rows]]:
    """Table and rows, in pieces. Number 0 stands for a row that nobody sent."""
    for stream in STREAMS:
        query = f"SELECT *, id, toUInt64({NUMBER[stream]}) AS number FROM {stream}"
        for rows in _pieces(world, query):
            yield stream, [(row.pop("number") or 0, row) for row in rows]
    texts = {event.line.envelope().decode(): number for number, event in sent.items() if event.bad}
    for rows in _pieces(world, f"SELECT * FROM {REJECTS}"):
        yield REJECTS, [(texts.get(row["original"], 0), row) for row in rows]


def _pieces(world: World, query: str) -> Iterator[list[Row]]:
    table = world.table(query)
    for start in range(0, table.num_rows, CHUNK):
        yield table.slice(start, CHUNK).to_pylist()


def changed(table: str, rows: Rows, sent: Mapping[int, Event]) -> Iterator[str]:
    """Rows that differ from what was sent, each with its columns: what is stored and what should be."""
    known = [(number, row, sent[number]) for number, row in rows if number in sent]
    right = [one for one in known if table == (REJECTS if one[2].bad else one[2].stream)]
    for number, row, event in known:
        if table != (REJECTS if event.bad else event.stream):
            yield f"{table} {row['id']}, number {number}: a {'bad ' * event.bad}event of {event.stream}"
    differ = _rejects(right) if table == REJECTS else _events(right)
    for (number, row, _), columns in zip(right, differ, strict=True):
        if columns:
            told = ", ".join(f"{name} {is_} for {was}" for name, (is_, was) in columns.items())
            yield f"{table} {row['id']}, number {number}: {told}"


def _events(found: list[tuple[int, Row, Event]]) -> list[Differences]:
    taken = []
    for _, row, event in found:
        verdict = forms.precise(event.stream, event.line.event)
        assert isinstance(verdict, forms.Event), (event, verdict)
        said = event.line.received
        taken.append((event.line, verdict, micros(row["received_at"]) if said is None else int(said)))
    if not taken:
        return []
    wanted = rows_of(found[0][2].stream, taken)
    return [unlike(row, one) for (_, row, _), one in zip(found, wanted, strict=True)]


def _rejects(found: list[tuple[int, Row, Event]]) -> list[Differences]:
    differ = []
    for _, row, event in found:
        told = expected(
            event.stream,
            event.line,
            written=micros(row["received_at"]),
            record_bytes=Settings().kafka_max_record_bytes,
            fleets={FLEET},
        )
        assert isinstance(told, Refusal), event
        differ.append(unlike_reject(row, told, event.line))
    return differ
