"""Exactly once, as a property: whatever workers repeat, and wherever sinks die, every frame lands once.

The parts that decide (offset sequence, batch buffer, partition, plan) run for real; the log, the ledger, the
group and the tables are lists. A table remembers tokens, as ClickHouse does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator

from enriched_frames import EPOCH
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidegate.contracts.frames import EnrichedHeaders
from tidegate.contracts.ledger import BatchPlan
from tidegate.contracts.topics import StreamPartition
from tidegate.sink.batch_buffer import Limits
from tidegate.sink.blocks import BatchBlocks
from tidegate.sink.frame import Frame
from tidegate.sink.partition import Batch, Partition, TakeOver

PARTITION = StreamPartition("client_events", 0)


def frame(source: int, previous: int, enriched: int, version: str) -> Frame:
    head = EnrichedHeaders(EPOCH, "client_events", 0, source, previous, 1, 1, 0, 0, version)
    return Frame(head, enriched, b"x", b"", 0.0)


@st.composite
def logs(draw: st.DrawFn, low: int) -> list[Frame]:
    """An enriched log of workers that die and come back, some of them beside each other.

    Every worker starts at a position that was committed before it, and writes in order; it may die at any
    point. The last one writes to the end.
    """
    end = draw(st.integers(1, 12))
    runs: list[list[tuple[int, int, str]]] = []
    reach = 0  # every offset below it is written by some run
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, reach))
        stop = draw(st.integers(start, end))
        runs.append(run(start, stop, draw(st.sampled_from("12"))))
        reach = max(reach, stop)
    runs.append(run(draw(st.integers(0, reach)), end, draw(st.sampled_from("12"))))
    order = draw(st.permutations([number for number, each in enumerate(runs) for _ in each]))
    left = [list(reversed(each)) for each in runs]
    written = [left[number].pop() for number in order]
    written.append((end, end - 1, "1"))  # a next one, always: what was left behind is seen by it
    return [
        frame(low + source, low + previous, at, version)
        for at, (source, previous, version) in enumerate(written)
    ]


def run(start: int, stop: int, version: str) -> list[tuple[int, int, str]]:
    return [(source, source - 1, version) for source in range(start, stop)]


class World:
    """The log, the ledger, the group and the table."""

    def __init__(self, log: list[Frame], start: int) -> None:
        self.log = log
        self.start = start  # oldest offset of the raw topic
        self.ledger: list[BatchPlan] = []
        self.generation = 0
        self.committed = -1
        self.table: dict[str, list[int]] = {}

    def insert(self, plan: BatchPlan, frames: list[Frame]) -> None:
        rows = [each.head.source_offset for each in frames]
        assert self.table.setdefault(plan.token, rows) == rows, "one token, two sets of rows"

    def __repr__(self) -> str:
        return " ".join(
            f"{each.head.source_offset}({each.head.previous_offset})v{each.head.transform_version}"
            for each in self.log
        )

    def newest(self) -> BatchPlan | None:
        return max(self.ledger, key=lambda plan: (plan.generation, plan.last), default=None)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    start = draw(st.sampled_from([0, 7]))
    return World(draw(logs(start)), start)


class Sink:
    """A member of the group, driven a step at a time; it may be left standing at any of them."""

    def __init__(self, world: World, limits: Limits, burst: int) -> None:
        self.world = world
        self.burst = burst  # frames that are read at once
        world.generation += 1
        self.generation = world.generation  # as the group sees it
        self.partition = Partition(PARTITION, "topic", limits)
        newest = world.newest()
        stored = newest is not None and world.committed > newest.enriched_last and newest.token in world.table
        self.partition.begin(
            TakeOver(
                epoch=EPOCH,
                plans={} if newest is None else {EPOCH: newest},
                stored=frozenset({EPOCH} if stored else ()),
                low=0,
                raw_low=world.start,
                generation=(newest.generation if newest else 0) + self.generation + 1,
                member=str(self.generation),
            )
        )
        self.steps = self._run()

    @property
    def position(self) -> int:
        assert self.partition.position is not None
        return self.partition.position

    def _run(self) -> Iterator[str]:
        """Yields the name of what it does next."""
        while True:
            for _ in range(self.burst):
                if self.position < len(self.world.log):
                    yield "read"
                    self.partition.take(self.world.log[self.position])
            yield "cut"
            batch = self.partition.next_batch(0.0, anything=self.position == len(self.world.log))
            if batch is not None and not (yield from self._store(batch)):
                return

    def _store(self, batch: Batch) -> Generator[str, None, bool]:
        batch.blocks = BatchBlocks([], [])
        batch.plan = self.partition.plan(batch)
        yield "plan"
        self.world.ledger.append(batch.plan)
        yield "fence"
        if self.generation != self.world.generation:
            return False
        self.world.committed = batch.plan.enriched_first
        yield "insert"
        self.world.insert(batch.plan, batch.frames)
        yield "finish"
        self.partition.finish()
        if self.partition.to_commit is not None and self.generation == self.world.generation:
            self.world.committed = self.partition.to_commit
        return True


def limits_of(rows: int) -> Limits:
    return Limits(rows, 1 << 30, 3600.0)


@settings(max_examples=500, deadline=None)
@given(
    world=worlds(),
    rows=st.integers(1, 4),
    burst=st.integers(1, 6),
    choices=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), max_size=40),
    late=st.booleans(),
)
@example(  # a plan that is resent, and a member between its generation and the resender's that plans too late
    world=World([frame(0, -1, 0, "1"), frame(1, 0, 1, "1")], 0),
    rows=2,
    burst=1,
    choices=[(3, 1), (1, 6), (3, 1), (0, 8), (1, 4)],
    late=False,
)
def test_every_frame_lands_once(
    world: World, rows: int, burst: int, choices: list[tuple[int, int]], late: bool
) -> None:
    """`choices`: which sink goes on, and how many steps; 3 starts another, and the older ones are zombies
    that may go on until the group refuses them."""
    sinks = [Sink(world, limits_of(rows), burst)]
    for which, steps in choices:
        if which == 3:
            sinks.append(Sink(world, limits_of(steps), burst))  # with limits of its own
            continue
        sink = sinks[-1 - which % len(sinks)]
        for _ in range(steps):
            next(sink.steps, None)
    last = Sink(world, limits_of(rows), burst)
    for _ in range(50 * len(world.log) + 200):
        next(last.steps, None)
    if late:  # the zombies' last breath, after everything
        for sink in sinks:
            for _ in range(20):
                next(sink.steps, None)
    landed = Counter(source for stored in world.table.values() for source in stored)
    assert landed == Counter({each.head.source_offset for each in world.log})
    assert last.partition.gap_found is None
