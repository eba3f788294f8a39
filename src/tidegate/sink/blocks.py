"""The bytes of a batch: for each table and received day one Arrow stream of one record batch.

One record batch of one day is one block in one ClickHouse partition, which the server takes or leaves
as a whole, and whose token it remembers as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.contracts.frames import read_arrow
from tidegate.contracts.position import Position
from tidegate.contracts.rejects import Reject
from tidegate.errors import Stop
from tidegate.sink.frame import Frame
from tidegate.store.insert import InsertBlock

DAY_MICROSECONDS = 86_400_000_000
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(2149, 6, 6)  # what ClickHouse's Date can say
FRAMING_BYTES = 4096  # end of stream, dictionaries of the constant column
_REJECTS = msgspec.json.Decoder(Reject)
_TIME = pa.timestamp("us", tz="UTC")


class BatchBlocks(NamedTuple):
    """The inserts of one batch: one for each table and received day."""

    days: list[date]  # of the events, ascending
    blocks: list[InsertBlock]
    newest: int = 0  # received time of the newest event, µs; 0 without events


def build(frames: Sequence[Frame]) -> BatchBlocks:
    """Everything that a batch inserts. The same frames give the same rows in the same order.

    Raises BadFrame for Arrow that cannot be read, Stop where headers and rows do not agree.
    """
    head = frames[0].head
    days: list[date] = []
    blocks: list[InsertBlock] = []
    newest = 0
    events = _events(frames)
    if events is not None:
        newest = int(_received(events).max())
        for day, part in _by_day(events):
            days.append(day)
            blocks.append(_block(head.stream, token_suffix(head.stream, day), part))
    rejects = _rejects(frames)
    if rejects is not None:
        blocks += [_block("rejects", token_suffix("rejects", day), part) for day, part in _by_day(rejects)]
    return BatchBlocks(days, blocks, newest)


def token_suffix(table: str, day: date) -> str:
    """What the token of a block has behind that of its plan."""
    return f":rejects:{day:%Y%m%d}" if table == "rejects" else f":{day:%Y%m%d}"


def _events(frames: Sequence[Frame]) -> pa.RecordBatch | None:
    filled = [frame for frame in frames if frame.head.accepted]
    if not filled:
        return None
    parts = []
    for frame in filled:
        part = read_arrow(frame.value)
        if part.num_rows != frame.head.accepted:
            raise Stop(
                f"the frame at enriched offset {frame.offset} has {part.num_rows} rows, its header says"
                f" {frame.head.accepted}"
            )
        parts.append(part)
    rows = _one(parts)
    counts = [part.num_rows for part in parts]
    offsets = np.repeat(np.array([frame.head.source_offset for frame in filled], np.uint64), counts)
    head = frames[0].head
    epoch = pa.DictionaryArray.from_arrays(np.zeros(rows.num_rows, np.int8), pa.array([head.epoch]))
    partition = pa.array(np.full(rows.num_rows, head.source_partition, np.uint32))
    return pa.RecordBatch.from_arrays(
        [*rows.columns, epoch, partition, pa.array(offsets)],
        names=[*rows.schema.names, "epoch", "partition", "offset"],
    )


def _rejects(frames: Sequence[Frame]) -> pa.RecordBatch | None:
    found: list[Reject] = []
    for frame in frames:
        if not frame.head.rejected:
            continue
        rejects = _REJECTS.decode_lines(frame.rejects)
        if len(rejects) != frame.head.rejected:
            raise Stop(
                f"the frame at enriched offset {frame.offset} carries {len(rejects)} rejects, its header says"
                f" {frame.head.rejected}"
            )
        found += rejects
    if not found:
        return None
    columns: dict[str, pa.Array[Any]] = {
        name: pa.array([getattr(reject, name) for reject in found], type_)
        for name, type_ in REJECT_COLUMNS.items()
    }
    columns["id"] = pa.array([reject.id or _id(reject) for reject in found], pa.string())
    return pa.RecordBatch.from_pydict(columns)


REJECT_COLUMNS: dict[str, pa.DataType] = {
    "fleet": pa.string(),
    "received_at": _TIME,
    "stream": pa.string(),
    "epoch": pa.string(),
    "partition": pa.uint32(),
    "offset": pa.uint64(),
    "index": pa.uint32(),
    "stage": pa.string(),
    "kind": pa.string(),
    "code": pa.string(),
    "path": pa.string(),
    "found": pa.string(),
    "allowed": pa.string(),
    "detail": pa.string(),
    "original": pa.string(),
    "original_encoding": pa.string(),
    "device": pa.string(),
    "origin": pa.string(),
    "replayed_under": pa.string(),
}
"""Columns of `rejects` from the fields of Reject, beside `id`."""


def _id(reject: Reject) -> str:
    return Position(reject.epoch, reject.stream, reject.partition, reject.offset, reject.index).id()


def _one(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    """The parts as one record batch; a column that a part lacks is null there."""
    if len(parts) == 1:
        return parts[0]
    if all(part.schema.equals(parts[0].schema) for part in parts):
        joined: pa.RecordBatch = pa.concat_batches(parts)  # type: ignore[attr-defined]  # stubs lag behind
        return joined
    tables = [pa.Table.from_batches([part]) for part in parts]
    [batch] = pa.concat_tables(tables, promote_options="default").combine_chunks().to_batches()
    return batch


def _by_day(rows: pa.RecordBatch) -> list[tuple[date, pa.RecordBatch]]:
    """The rows of each received day, by day, in their order."""
    numbers = _received(rows) // DAY_MICROSECONDS
    low, high = int(numbers.min()), int(numbers.max())
    if low == high:
        return [(_day(low), rows)]
    found: dict[date, list[int]] = {}
    for number in np.unique(numbers).tolist():
        found.setdefault(_day(number), []).append(number)  # days that ClickHouse cannot tell apart are one
    return [
        (day, rows.filter(pc.is_in(pa.array(numbers), value_set=pa.array(members))))
        for day, members in sorted(found.items())
    ]


def _received(rows: pa.RecordBatch) -> Any:
    """Received times, µs: an array of int64."""
    return rows.column(rows.schema.get_field_index("received_at")).cast(pa.int64()).to_numpy()


def _day(number: int) -> date:
    """The day so many days after 1970-01-01, within what the partition key can say."""
    last = (LAST_DAY - FIRST_DAY).days
    return FIRST_DAY + timedelta(days=min(max(number, 0), last))


def _block(table: str, token_suffix: str, rows: pa.RecordBatch) -> InsertBlock:
    # Into a buffer of the right size: one that grows costs five times as much in page faults.
    space = pa.ipc.get_record_batch_size(rows) + rows.schema.serialize().size + FRAMING_BYTES
    buffer = pa.allocate_buffer(space)
    sink = pa.FixedSizeBufferWriter(buffer)
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    return InsertBlock(
        table, list(rows.schema.names), token_suffix, rows.num_rows, buffer.slice(0, sink.tell())
    )
