"""Where batches end."""

from __future__ import annotations

from enriched_frames import frame

from tidegate.sink.batch_buffer import BatchBuffer, Limits


def buffer(rows: int = 100, size: int = 1 << 30, age: float = 0.5) -> BatchBuffer:
    return BatchBuffer(Limits(rows, size, age))


def offsets(buffer: BatchBuffer) -> list[list[int]]:
    """The source offsets of all batches."""
    batches = []
    while len(buffer):
        batches.append([each.head.source_offset for each in buffer.cut()])
    return batches


def test_rows_end_a_batch() -> None:
    found = buffer(rows=7)
    for offset in range(5):
        found.add(frame(offset, count=3))
    assert found.full()
    assert offsets(found) == [[0, 1], [2, 3], [4]]
    assert (found.rows, found.bytes) == (0, 0)


def test_bytes_end_a_batch_and_a_large_frame_is_one_of_its_own() -> None:
    size = frame(0).size
    found = buffer(size=2 * size)
    for offset in range(3):
        found.add(frame(offset))
    found.add(frame(3, count=1000))
    assert offsets(found) == [[0, 1], [2], [3]]


def test_age_ends_a_batch() -> None:
    found = buffer(age=0.5)
    found.add(frame(0, arrived=10.0))
    assert not found.due(10.4)
    assert found.due(10.5)


def test_versions_epochs_and_jumps_begin_batches() -> None:
    found = buffer()
    found.add(frame(0))
    found.add(frame(1, version="2"))
    found.add(frame(2, version="2"))
    found.break_off()
    found.add(frame(7, previous=6, version="2"))
    found.add(frame(0, epoch="01ZZZZZZZZZZZZZZZZZZZZZZZZ", version="2"))
    assert found.due(0.0)
    assert offsets(found) == [[0], [1, 2], [7], [0]]
    assert not found.full()


def test_a_jump_before_the_first_frame_breaks_nothing() -> None:
    found = buffer()
    found.break_off()
    found.add(frame(0))
    found.add(frame(1))
    assert not found.full()
    assert offsets(found) == [[0, 1]]
