"""Isolates lines on which a step fails: the whole record is tried again, then line by line.

A line that fails alone, or of which no output can be made, is set aside as a reject of kind `crash` with its
bytes; the others go on. Where memory is short, which need be no line's fault, the process ends and the next
one tries again; the crash journal tells what each of them dies of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container
from dataclasses import replace

import pyarrow as pa

from tidegate.contracts.frames import lines_of, record_of
from tidegate.contracts.rejects import Code, Fault
from tidegate.steps.decode import RefusedLine
from tidegate.steps.frame import (
    CUT_BYTES,
    EMPTY,
    FrameSteps,
    KeyedLines,
    LineDedup,
    Record,
    Transformed,
    unread,
    with_index,
)

log = logging.getLogger(__name__)

ATTEMPTS = 3  # at a whole record, before it is taken apart


def attempt(
    steps: FrameSteps, record: Record, fleets: Container[str] | None, dedup: LineDedup | None
) -> Transformed:
    """Transform a record; where a step keeps failing on it, line by line."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return steps.transform(record.value, record, fleets, dedup)
        except Exception:
            log.exception(
                "%s partition %d offset %d: a step failed, attempt %d of %d",
                steps.stream,
                record.partition,
                record.offset,
                attempt,
                ATTEMPTS,
            )
    return line_by_line(steps, record, fleets, dedup)


def line_by_line(
    steps: FrameSteps,
    record: Record,
    fleets: Container[str] | None,
    dedup: LineDedup | None,
    guilty: Container[int] = (),
    at_line: Callable[[int], None] = lambda _: None,
) -> Transformed:
    """Set the lines aside on which a step fails; take the others. Raises MemoryError."""
    lines = lines_of(record.value)
    batches: list[pa.RecordBatch] = []
    claims: list[bytes] = []
    duplicates = 0
    refused: list[RefusedLine] = []
    for index, line in enumerate(lines):
        if index in guilty:
            refused.append(_crashed(steps, index, "the process died at this line", line, record))
            continue
        at_line(index)
        found = None
        try:
            found = steps.transform(record_of([line]), record, fleets, dedup)
            steps.outputs(record, found, CUT_BYTES)
        except MemoryError:
            raise
        except Exception as error:
            if found is not None and dedup is not None:
                dedup.take_back(KeyedLines([], [], list(found.claims)))
            refused.append(_crashed(steps, index, f"{type(error).__name__}: {error}"[:500], line, record))
            continue
        refused += [replace(item, index=index) for item in found.refused]
        claims += found.claims
        duplicates += found.duplicates
        if found.batch.num_rows:
            batches.append(with_index(found.batch, index))
    batch = EMPTY[steps.stream]
    if batches:
        batch = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    return Transformed(batch, refused, len(lines), duplicates, claims)


def _crashed(steps: FrameSteps, index: int, detail: str, line: bytes, record: Record) -> RefusedLine:
    """The line as a reject, with what its envelope says if a reject can be made of that."""
    fault = Fault(Code.CRASH, detail=detail)
    try:
        found = unread(index, fault, line, record)
        steps.outputs(record, Transformed(EMPTY[steps.stream], [found], 1), CUT_BYTES)
    except Exception:
        log.exception("%s partition %d offset %d: line %d", steps.stream, *record[:2], index)
        return RefusedLine(index, Fault(Code.CRASH), line, "", record.timestamp)
    return found
