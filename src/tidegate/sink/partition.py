"""One assigned partition: what of it is in hand, and what may come next. No I/O.

taking over → reading; a batch goes cut → built → planned → fenced → inserted, one at a time, while the
next one gathers. After a take-over the newest planned batch is cut again first, exactly, and sent again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from tidegate.contracts.topics import Stream
from tidegate.errors import Stop
from tidegate.sink.blocks import Blocks
from tidegate.sink.chain import Chain, Gap, Link, Verdict
from tidegate.sink.frame import Frame
from tidegate.sink.gathering import Gathering, Limits
from tidegate.sink.ledger import Place
from tidegate.sink.plan import Plan, differences, plan_of

LOOK_BACK = 10_000  # records that are read again before a gap is called one


class Step(Enum):
    """How far a batch is."""

    CUT = auto()  # next: build its bytes
    BUILT = auto()  # next: write its plan (a batch cut again has one)
    PLANNED = auto()  # next: commit its first offset
    FENCED = auto()  # next: insert
    DONE = auto()


@dataclass(slots=True, eq=False)
class Batch:
    frames: list[Frame]
    plan: Plan | None = None  # from the start on for a batch that is cut again
    blocks: Blocks | None = None
    sent: int = 0  # blocks that ClickHouse has answered for
    step: Step = Step.CUT
    busy: bool = False  # a thread works on it
    fenced_at: float = 0.0
    not_before: float = 0.0  # of the next attempt
    attempts: int = 0
    problem: str = ""
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum(frame.size for frame in self.frames)

    def built(self, blocks: Blocks) -> None:
        """Hold the bytes to insert; what they were made of is needed no more."""
        self.blocks = blocks
        self.frames = [frame._replace(value=b"", rejects=b"") for frame in self.frames]
        self.size = sum(block.body.size for block in blocks.blocks)


@dataclass(frozen=True, slots=True)
class TakeOver:
    """What the books and the broker say about a partition when it is assigned."""

    epoch: str  # of the topics now
    plans: dict[str, Plan]  # the newest of each epoch
    stored: frozenset[str]  # epochs whose newest plan needs no sending again
    low: int  # oldest offset of the enriched topic
    raw_low: int  # oldest offset of the raw topic
    generation: int  # for the plans to come
    member: str


class Partition:
    def __init__(self, place: Place, topic: str, limits: Limits) -> None:
        self.place = place
        self.topic = topic
        self.position: int | None = None  # enriched offset to read next; None while taking over
        self.batch: Batch | None = None
        self.settle: int | None = None  # enriched offset to commit once nothing else is to be done
        self.paused = True
        self.revoked = False
        self.gap_found: tuple[str, Gap] | None = None
        self.problem = ""  # for /readyz, beside the batch's
        self.late_until = 0.0  # what comes until then is counted late, as its last batch was
        self.check_epochs: set[str] = set()  # epochs whose newest plan must be looked up in the tables
        self.start_over = False
        self._gathering = Gathering(limits)
        self._again: tuple[Plan, list[Frame]] | None = None  # a plan and what of it was cut again so far
        self._again_bytes = 0
        self._chains: dict[str, Chain] = {}
        self._over: TakeOver | None = None
        self._looked_back: tuple[str, int | None] | None = None  # epoch and watermark that it was done for

    # --- take-over

    def begin(self, over: TakeOver) -> int:
        """Start reading, or start over; the enriched offset to read from."""
        self._over = over
        self._chains = {}
        self._again, self._again_bytes = None, 0
        self._gathering = Gathering(self._gathering.limits)
        self.gap_found = None
        self.start_over = False
        self._looked_back = None
        self.problem = ""
        self.position = self._start(over)
        return self.position

    def _start(self, over: TakeOver) -> int:
        plan = over.plans.get(over.epoch)
        if plan is None:
            return over.low
        if over.epoch in over.stored:
            self._chains[plan.epoch] = Chain(plan.last)
            return max(plan.enriched_last + 1, over.low)
        self._chains[plan.epoch] = Chain(plan.previous)
        if plan.enriched_first < over.low:
            # It can neither be sent again nor be proven stored: what follows it will be a gap.
            self.problem = f"the planned batch {plan.token} is not stored and its frames are expired"
            return over.low
        self._again = (plan, [])
        return plan.enriched_first

    def _chain(self, epoch: str, over: TakeOver) -> Chain | None:
        """The chain of an epoch; None when the tables must be asked about it first."""
        chain = self._chains.get(epoch)
        if chain is not None:
            return chain
        plan = over.plans.get(epoch)
        if plan is None:
            chain = Chain(None)
        elif epoch in over.stored:
            chain = Chain(plan.last)
        elif epoch not in self.check_epochs:
            self.check_epochs.add(epoch)
            self.start_over = True
            return None
        else:
            chain = Chain(plan.previous)
            if self._again is None:
                self._again = (plan, [])
        self._chains[epoch] = chain
        return chain

    # --- reading

    def take(self, frame: Frame) -> tuple[Verdict, int | None]:
        """One frame of the enriched log, in its order: what became of it, and the enriched offset to
        read on from where that is not the next.

        Raises Stop when a planned batch cannot be cut again as it was: the log is not what it was.
        """
        over = self._over
        assert over is not None and self.position is not None
        head = frame.head
        chain = self._chain(head.epoch, over)
        if chain is None:
            return Verdict.GAP, None
        self.position = frame.offset + 1
        link = Link(head.source_offset, head.previous_offset, frame.offset)
        verdict = chain.judge(link, raw_low=over.raw_low if head.epoch == over.epoch else 0)
        if verdict is Verdict.NEXT:
            self._add(frame)
            back = chain.rejoin()
            if back is not None:
                self._read_from(back)
        elif verdict is Verdict.GAP and self._looked_back != (head.epoch, chain.watermark):
            # What is missing may stand further up, left behind by a sink that did not live to take it.
            self._looked_back = (head.epoch, chain.watermark)
            self._read_from(max(over.low, frame.offset - LOOK_BACK))
            chain.gap = None
        self._note_gap(head.epoch, chain)
        return verdict, None if self.position == frame.offset + 1 else self.position

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
                        f"{self.place}: batch {plan.token} cannot be cut again as it was planned"
                        f" ({'; '.join(wrong)}): the enriched topic is not the one that the ledger describes"
                    )
        else:
            self._gathering.add(frame)

    def _note_gap(self, epoch: str, chain: Chain) -> None:
        if chain.gap is not None:
            if self.gap_found is None:
                self.gap_found = (epoch, chain.gap)
        elif self.gap_found is not None and self.gap_found[0] == epoch:
            self.gap_found = None

    def accept_gap(self) -> int:
        """Go on behind the gap that was found; the enriched offset to read from."""
        assert self.gap_found is not None
        epoch, _ = self.gap_found
        self.gap_found = None
        self.problem = ""
        return self._read_from(self._chains[epoch].accept())

    def _read_from(self, offset: int) -> int:
        self._gathering.break_off()
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
                self.batch = Batch(frames, plan)
            return self.batch
        if self._gathering.due(now) or (anything and len(self._gathering)):
            self.batch = Batch(self._gathering.cut())
        return self.batch

    def plan(self, batch: Batch) -> Plan:
        """The plan of a batch that was built."""
        assert self._over is not None and batch.blocks is not None
        return plan_of(
            batch.frames, batch.blocks.days, generation=self._over.generation, member=self._over.member
        )

    def finish(self) -> None:
        """The batch in hand is stored."""
        assert self.batch is not None and self.batch.plan is not None
        self.settle = self.batch.plan.enriched_last + 1
        self.batch = None

    # --- what is told of it

    @property
    def epoch(self) -> str:
        return self._over.epoch if self._over else ""

    @property
    def newest_plan(self) -> Plan | None:
        """The newest plan of the epoch in force that was there at the take-over."""
        return self._over.plans.get(self._over.epoch) if self._over else None

    @property
    def stream(self) -> Stream:
        return self.place.stream

    @property
    def cutting_again(self) -> Plan | None:
        """The plan that is being cut again and not complete yet."""
        if self._again is None or (
            self._again[1] and self._again[1][-1].head.source_offset >= self._again[0].last
        ):
            return None
        return self._again[0]

    @property
    def idle(self) -> bool:
        """Nothing in hand: neither a batch nor frames for one."""
        return self.batch is None and self._again is None and not len(self._gathering)

    def due_at(self) -> float | None:
        """When the gathering frames will be due by age; None for none."""
        oldest = self._gathering.oldest
        return None if oldest is None else oldest.arrived + self._gathering.limits.age_seconds

    def set_limits(self, limits: Limits) -> None:
        self._gathering.limits = limits

    @property
    def full(self) -> bool:
        return self._gathering.full()

    @property
    def bytes(self) -> int:
        """Bytes of frames held."""
        held = self._gathering.bytes + self._again_bytes
        return held if self.batch is None else held + self.batch.size

    @property
    def oldest(self) -> Frame | None:
        if self.batch is not None:
            return self.batch.frames[0]
        if self._again is not None and self._again[1]:
            return self._again[1][0]
        return self._gathering.oldest

    def stored_to(self) -> int | None:
        """The enriched offset up to which nothing is left to store; None while taking over."""
        if self.position is None:
            return None
        ends = [self.position]
        if self._again is not None:
            ends.append(self._again[0].enriched_first)
        if self.batch is not None:
            ends.append(self.batch.frames[0].offset)
        if self._gathering.oldest is not None:
            ends.append(self._gathering.oldest.offset)
        ends += [chain.left_from for chain in self._chains.values() if chain.left_from is not None]
        return min(ends)
