"""State of one assigned partition: what was read of it, the batch in hand, what may come next. No I/O.

A partition goes taking over → reading; its batches go cut → built → planned → fenced → inserted, one at a
time, while the buffer fills. After a take-over the newest planned batch is cut again first, exactly, and sent
again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from tidegate.contracts.frames import BadFrame
from tidegate.contracts.ledger import BatchPlan, Gap
from tidegate.contracts.topics import Stream, StreamPartition
from tidegate.errors import Stop
from tidegate.sink.batch_buffer import BatchBuffer, Limits
from tidegate.sink.blocks import BatchBlocks
from tidegate.sink.frame import Frame
from tidegate.sink.offset_sequence import Link, OffsetSequence, Order
from tidegate.sink.plan import differences, plan_of

LOOK_BACK = 10_000  # records that are read again before a gap is called one
MOST_EPOCHS = 100  # of frames in one topic that the ledger knows nothing of


class Phase(Enum):
    """Where a partition is."""

    TAKING_OVER = auto()  # the ledger is asked where to read from
    READING = auto()
    STARTING_OVER = auto()  # its batch is ended, then it is taken over once more
    REVOKED = auto()  # another's: nothing more is sent of it


class Step(Enum):
    """How far a batch is."""

    CUT = auto()  # next: build its bytes
    BUILT = auto()  # next: write its plan (a batch cut again has one)
    PLANNED = auto()  # next: commit its first offset
    FENCED = auto()  # next: insert


@dataclass(slots=True, eq=False)
class Batch:
    """Frames on their way into ClickHouse, all of one partition and transform_version."""

    frames: list[Frame]
    plan: BatchPlan | None = None  # from the start on for a batch that is cut again
    blocks: BatchBlocks | None = None
    sent: int = 0  # blocks that ClickHouse has answered for
    step: Step = Step.CUT
    busy: bool = False  # a thread works on it
    cut_at: float = 0.0  # monotonic seconds, as the next one
    fenced_at: float = 0.0
    not_before: float = 0.0  # of the next attempt
    attempts: int = 0
    problem: str = ""
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum(frame.size for frame in self.frames)

    def built(self, blocks: BatchBlocks) -> None:
        """Hold the bytes to insert; what they were made of is needed no more."""
        self.blocks = blocks
        self.frames = [frame._replace(value=b"", rejects=b"") for frame in self.frames]
        self.size = sum(block.body.size for block in blocks.blocks)


@dataclass(frozen=True, slots=True)
class TakeOver:
    """What the ledger and the broker say about a partition when it is assigned."""

    epoch: str  # of the topics now
    plans: dict[str, BatchPlan]  # the newest of each epoch
    stored: frozenset[str]  # epochs whose newest plan needs no sending again
    low: int  # oldest offset of the enriched topic
    raw_low: int  # oldest offset of the raw topic
    generation: int  # for the plans to come
    member: str


class Partition:
    """One partition of the enriched topic while it is assigned. Changed by the reader's thread alone."""

    def __init__(self, key: StreamPartition, topic: str, limits: Limits) -> None:
        self.key = key
        self.topic = topic
        self.phase = Phase.TAKING_OVER
        self.position = 0  # enriched offset to read next
        self.batch: Batch | None = None
        self.to_commit: int | None = None  # enriched offset behind what is stored
        self.paused = True
        self.gap_found: tuple[str, Gap] | None = None
        self.problem = ""  # for /readyz, beside the batch's
        self.late_until = 0.0  # what comes until then is counted late, as its last batch was
        self.check_epochs: set[str] = set()  # epochs whose newest plan must be looked up in the tables
        self._buffer = BatchBuffer(limits)
        self._again: tuple[BatchPlan, list[Frame]] | None = None  # a plan and what of it was cut again so far
        self._again_bytes = 0
        self._sequences: dict[str, OffsetSequence] = {}
        self._over: TakeOver | None = None
        self._looked_back: dict[str, int | None] = {}  # epoch -> watermark that it was done for

    def start_over(self) -> None:
        """Have it taken over once more, when its batch is ended."""
        if self.phase is Phase.READING:
            self.phase = Phase.STARTING_OVER

    def revoke(self) -> None:
        """It is another's from now on; threads at work on it see that before they insert."""
        self.phase = Phase.REVOKED

    @property
    def starting_over(self) -> bool:
        return self.phase is Phase.STARTING_OVER

    @property
    def revoked(self) -> bool:
        return self.phase is Phase.REVOKED

    # --- take-over

    def begin(self, over: TakeOver) -> int:
        """Start reading, or start over; the enriched offset to read from."""
        self._over = over
        self._sequences = {}
        self._again, self._again_bytes = None, 0
        self._buffer = BatchBuffer(self._buffer.limits)
        self.gap_found = None
        self.phase = Phase.READING
        self._looked_back = {}
        self.problem = ""
        self.position = self._start(over)
        return self.position

    def _start(self, over: TakeOver) -> int:
        plan = over.plans.get(over.epoch)
        if plan is None:
            return over.low
        if over.epoch in over.stored:
            self._sequences[plan.epoch] = OffsetSequence(plan.last)
            return max(plan.enriched_last + 1, over.low)
        self._sequences[plan.epoch] = OffsetSequence(plan.previous)
        if plan.enriched_first < over.low:
            # It can neither be sent again nor be proven stored: what follows it will be a gap.
            self.problem = f"the planned batch {plan.token} is not stored and its frames are expired"
            return over.low
        self._again = (plan, [])
        return plan.enriched_first

    def _sequence(self, epoch: str, over: TakeOver) -> OffsetSequence | None:
        """The sequence of an epoch; None when the tables must be asked about it first."""
        sequence = self._sequences.get(epoch)
        if sequence is not None:
            return sequence
        plan = over.plans.get(epoch)
        if plan is None:
            unknown = self._sequences.keys() - over.plans.keys() - {over.epoch}
            if epoch != over.epoch and len(unknown) >= MOST_EPOCHS:
                raise BadFrame(f"{MOST_EPOCHS} epochs before it are none of the ledger's")
            sequence = OffsetSequence(None)
        elif epoch in over.stored:
            sequence = OffsetSequence(plan.last)
        elif epoch not in self.check_epochs:
            self.check_epochs.add(epoch)
            self.start_over()
            return None
        else:
            sequence = OffsetSequence(plan.previous)
            if self._again is None:
                self._again = (plan, [])
        self._sequences[epoch] = sequence
        return sequence

    # --- reading

    def take(self, frame: Frame) -> tuple[Order, int | None]:
        """One frame of the enriched log, in its order: what became of it, and the enriched offset to
        read on from where that is not the next.

        Raises Stop when a planned batch cannot be cut again as it was: the log is not what it was; BadFrame
        for a frame of one epoch too many.
        """
        over = self._over
        assert over is not None and self.phase is Phase.READING
        head = frame.head
        sequence = self._sequence(head.epoch, over)
        if sequence is None:
            return Order.GAP, None
        self.position = frame.offset + 1
        link = Link(head.source_offset, head.previous_offset, frame.offset)
        order = sequence.check(link, raw_low=over.raw_low if head.epoch == over.epoch else 0)
        if order is Order.NEXT:
            self._add(frame)
            back = sequence.rejoin()
            if back is not None:
                self._read_from(back)
        elif order is Order.GAP and self._looked_back.get(head.epoch, -1) != sequence.watermark:
            # What is missing may stand further up, an earlier sink may have crashed before inserting it.
            self._looked_back[head.epoch] = sequence.watermark
            self._read_from(max(over.low, frame.offset - LOOK_BACK))
            sequence.gap = None
        self._note_gap(head.epoch, sequence)
        return order, None if self.position == frame.offset + 1 else self.position

    def _add(self, frame: Frame) -> None:
        plan = self.cutting_again
        if plan is not None and self._again is not None and plan.epoch == frame.head.epoch:
            frames = self._again[1]
            frames.append(frame)
            self._again_bytes += frame.size
            if frame.head.source_offset >= plan.last:
                again = plan_of(frames, plan.days, generation=plan.generation, member=plan.member)
                wrong = differences(plan, again)
                if wrong:
                    raise Stop(
                        f"{self.key}: batch {plan.token} cannot be cut again as it was planned"
                        f" ({'; '.join(wrong)}): the enriched topic is not the one that the ledger describes"
                    )
        else:
            self._buffer.add(frame)

    def _note_gap(self, epoch: str, sequence: OffsetSequence) -> None:
        if sequence.gap is not None:
            if self.gap_found is None:
                self.gap_found = (epoch, sequence.gap)
        elif self.gap_found is not None and self.gap_found[0] == epoch:
            self.gap_found = None

    def accept_gap(self) -> int:
        """Go on behind the gap that was found; the enriched offset to read from."""
        assert self.gap_found is not None
        epoch, _ = self.gap_found
        self.gap_found = None
        self.problem = ""
        return self._read_from(self._sequences[epoch].accept())

    def _read_from(self, offset: int) -> int:
        self._buffer.break_off()
        self.position = offset
        return offset

    # --- batches

    def next_batch(self, now: float, *, anything: bool = False) -> Batch | None:
        """Begin the next batch if there is none in hand and one is due (`anything`: due or not)."""
        if self.batch is not None:
            return None
        if self._again is not None:
            plan, frames = self._again
            if frames and frames[-1].head.source_offset == plan.last:
                self._again, self._again_bytes = None, 0
                self.batch = Batch(frames, plan, cut_at=now)
            return self.batch
        if self._buffer.due(now) or (anything and len(self._buffer)):
            self.batch = Batch(self._buffer.cut(), cut_at=now)
        return self.batch

    def plan(self, batch: Batch) -> BatchPlan:
        """The plan of a batch that was built.

        One that is cut again keeps its token and gets the generation of this take-over: as the newest of an
        older one it would give way to a plan that a member between the two wrote and never carried out.
        """
        assert self._over is not None and batch.blocks is not None
        generation, member = self._over.generation, self._over.member
        if batch.plan is not None:
            return batch.plan._replace(generation=generation, member=member)
        return plan_of(batch.frames, batch.blocks.days, generation=generation, member=member)

    def finish(self) -> None:
        """The batch in hand is stored."""
        assert self.batch is not None and self.batch.plan is not None
        self.to_commit = self.batch.plan.enriched_last + 1
        self.batch = None

    # --- questions

    @property
    def newest_plan(self) -> BatchPlan | None:
        """The newest plan of the epoch in force that was there at the take-over."""
        return self._over.plans.get(self._over.epoch) if self._over else None

    @property
    def stream(self) -> Stream:
        return self.key.stream

    @property
    def cutting_again(self) -> BatchPlan | None:
        """The plan that is being cut again and not complete yet."""
        if self._again is None or (
            self._again[1] and self._again[1][-1].head.source_offset >= self._again[0].last
        ):
            return None
        return self._again[0]

    @property
    def idle(self) -> bool:
        """Nothing in hand: neither a batch nor frames for one."""
        return self.batch is None and self._again is None and not len(self._buffer)

    def set_limits(self, limits: Limits) -> None:
        self._buffer.limits = limits

    @property
    def bytes(self) -> int:
        """Bytes of frames held."""
        held = self._buffer.bytes + self._again_bytes
        return held if self.batch is None else held + self.batch.size

    @property
    def oldest(self) -> Frame | None:
        if self.batch is not None:
            return self.batch.frames[0]
        if self._again is not None and self._again[1]:
            return self._again[1][0]
        return self._buffer.oldest

    def stored_to(self) -> int | None:
        """The enriched offset up to which nothing is left to store; None while taking over."""
        if self.phase is Phase.TAKING_OVER:
            return None
        ends = [self.position]
        if self._again is not None:
            ends.append(self._again[0].enriched_first)
        if self.batch is not None:
            ends.append(self.batch.frames[0].offset)
        if self._buffer.oldest is not None:
            ends.append(self._buffer.oldest.offset)
        ends += [
            sequence.left_from for sequence in self._sequences.values() if sequence.left_from is not None
        ]
        return min(ends)
