"""The bytes of a batch: one record batch for each table and received day."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest
from enriched_frames import DAY, EPOCH, frame, ids

from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.frames import BadFrame
from tidegate.errors import Stop
from tidegate.sink.blocks import build
from tidegate.store.insert import InsertBlock

NOON = 1_763_726_400_000_000  # 2025-11-21 12:00 UTC, µs


def read(block: InsertBlock) -> pa.RecordBatch:
    with pa.ipc.open_stream(block.body) as reader:
        [batch] = list(reader)
    return batch


def test_rows_carry_their_position() -> None:
    built = build([frame(4, partition=3, received=[NOON] * 2), frame(5, partition=3, received=[NOON])])
    assert built.days == [date(2025, 11, 21)]
    [block] = built.blocks
    assert (block.table, block.rows, block.token_suffix) == ("client_events", 3, ":20251121")
    assert block.columns == [*SCHEMAS["client_events"].names, "epoch", "partition", "offset"]
    rows = read(block)
    assert rows.column("epoch").to_pylist() == [EPOCH] * 3
    assert rows.column("partition").to_pylist() == [3] * 3
    assert rows.column("offset").to_pylist() == [4, 4, 5]
    assert rows.column("index").to_pylist() == [0, 1, 0]


def test_days_are_blocks_of_their_own_in_order() -> None:
    built = build(
        [frame(0, received=[NOON, NOON - DAY, NOON], rejected=1), frame(1, received=[NOON - DAY], rejected=1)]
    )
    assert built.days == [date(2025, 11, 20), date(2025, 11, 21)]
    assert [(block.table, block.token_suffix, block.rows) for block in built.blocks] == [
        ("client_events", ":20251120", 2),
        ("client_events", ":20251121", 2),
        ("rejects", ":rejects:20251120", 1),
        ("rejects", ":rejects:20251121", 1),
    ]
    assert read(built.blocks[0]).column("offset").to_pylist() == [0, 1]
    assert read(built.blocks[0]).column("index").to_pylist() == [1, 0]


def test_days_that_clickhouse_cannot_tell_apart_are_one() -> None:
    far = 250 * 365 * DAY
    built = build([frame(0, received=[far, far + DAY, -5 * DAY, -DAY])])
    assert built.days == [date(1970, 1, 1), date(2149, 6, 6)]
    assert [block.rows for block in built.blocks] == [2, 2]


def test_rejects_get_their_id_from_their_position() -> None:
    [block] = build([frame(7, count=0, rejected=2)]).blocks
    rows = read(block)
    assert rows.column("id").to_pylist() == ids("client_events", 0, 7, 2)
    assert rows.column("kind").to_pylist() == ["value"] * 2
    assert rows.schema.field("received_at").type == pa.timestamp("us", tz="UTC")


def test_frames_without_rows_insert_nothing() -> None:
    built = build([frame(0, count=0, duplicates=3), frame(1, count=0)])
    assert (built.days, built.blocks) == ([], [])


def test_the_same_frames_are_the_same_bytes() -> None:
    frames = [frame(0, received=[NOON, NOON - DAY], rejected=1), frame(1, received=[NOON])]
    one, two = build(frames).blocks, build(frames).blocks
    assert [block.body.to_pybytes() for block in one] == [block.body.to_pybytes() for block in two]


def test_a_frame_that_lacks_a_column_has_nulls_there() -> None:
    whole = frame(0, received=[NOON])
    with pa.ipc.open_stream(whole.value) as reader:
        rows = reader.read_next_batch()
    older = rows.select([name for name in rows.schema.names if name != "nbr_cnt"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, older.schema) as writer:
        writer.write_batch(older)
    part = frame(1, received=[NOON])._replace(value=sink.getvalue().to_pybytes())
    [block] = build([whole, part]).blocks
    assert read(block).column("nbr_cnt").to_pylist() == [None, None]


def test_headers_and_rows_that_disagree_stop() -> None:
    wrong = frame(0)
    with pytest.raises(Stop, match="has 3 rows, its header says 9"):
        build([wrong._replace(head=wrong.head._replace(accepted=9))])
    with pytest.raises(Stop, match="carries 0 rejects, its header says 1"):
        build([wrong._replace(head=wrong.head._replace(rejected=1))])
    with pytest.raises(BadFrame):
        build([wrong._replace(value=b"no arrow")])
