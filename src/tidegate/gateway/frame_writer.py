"""Group commit: the events of many requests become frames, a frame one record, a record one ack.

Each (stream, partition) has an open frame. It is sent when it is full, or `linger` after its first event,
as long as fewer than two records of that partition are under way; while two are, it goes on filling, so
frames grow as the broker slows down. All requests with events in a frame wait for the frame's ack.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.errors import KafkaError

from tidegate import telemetry
from tidegate.contracts import keys
from tidegate.contracts.position import STREAM_LETTERS
from tidegate.contracts.topics import Stream
from tidegate.contracts.trace import TRACEPARENT, TraceContext
from tidegate.errors import RetryLater
from tidegate.gateway.broker import Broker, NotSent, State
from tidegate.gateway.examine import Text
from tidegate.gateway.limits import HeldBytes

if TYPE_CHECKING:
    from tidegate.gateway.traces import RequestTraces

logger = logging.getLogger(__name__)

IN_FLIGHT = 2  # records of one partition
SWEEP_SECONDS = 0.25


class Ack(NamedTuple):
    """The frame is in the log. ``prefix + str(index)`` is the id of its line `index`."""

    prefix: str


class Lost(NamedTuple):
    """The frame is not known to be in the log. `sent`: it may be, the broker had it."""

    sent: bool
    reason: str


class Frame:
    """Events on their way to become one record. `outcome` is shared by all who wait for it."""

    __slots__ = ("born", "bytes", "chunks", "due", "lines", "outcome", "pieces", "timer", "traces")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.chunks: list[bytes] = []
        self.pieces: list[keys.Piece] = []  # lines that came under a request's key
        self.lines = 0
        self.bytes = 0
        self.due = False
        self.born = time.monotonic()
        self.outcome: asyncio.Future[Ack | Lost] = loop.create_future()
        self.timer: asyncio.TimerHandle | None = None
        self.traces: list[TraceContext] = []  # of the requests whose events it has

    def add(self, chunk: bytes, lines: int) -> None:
        """Append `lines` lines, joined by newlines, none at the end."""
        self.chunks.append(chunk)
        self.lines += lines
        self.bytes += len(chunk) + 1


class Key(NamedTuple):
    """What a piece of a request is known by; see `contracts.keys`."""

    key: bytes
    digest: bytes


class Part(NamedTuple):
    """Events of a request that go to one partition; `whole`: into one frame, or they may be split."""

    partition: int
    events: Sequence[Text]
    key: Key | None = None
    whole: bool = False


class Place(NamedTuple):
    """Where lines of a request stand: `lines` of them from line `first` of `frame` on."""

    frame: Frame
    first: int
    lines: int


ENVELOPE_END = 2  # "}" and a newline


def envelope_lines(prefix: bytes, events: Sequence[Text]) -> bytes:
    """`frames.envelope_line` of each event, joined by newlines, in one copy."""
    return prefix + (b"}\n" + prefix).join(events) + b"}"


class PartitionFrames:
    """One partition of one raw topic: its open frame, the full ones, and those under way."""

    __slots__ = ("full", "last_offset", "number", "open", "stream", "under_way")

    def __init__(self, stream: Stream, number: int) -> None:
        self.stream: Stream = stream
        self.number = number
        self.open: Frame | None = None
        self.full: deque[Frame] = deque()
        self.under_way: dict[Frame, asyncio.Task[Ack | Lost]] = {}
        self.last_offset = -1


class FrameWriter:
    """Takes lines, answers with places; `frame.outcome` resolves to what became of them.

    The bytes of lines count as held from `put` until the record's outcome is known.
    """

    def __init__(
        self,
        broker: Broker,
        held: HeldBytes,
        *,
        linger_ms: float,
        frame_events: int,
        frame_bytes: int,
        ack_timeout_ms: int,
        traces: RequestTraces | None = None,
    ) -> None:
        self._broker = broker
        self._held = held
        self._traces = traces
        self._linger = linger_ms / 1000
        self._frame_events = frame_events
        self._frame_bytes = frame_bytes
        self._ack_timeout = ack_timeout_ms / 1000
        self._loop = asyncio.get_running_loop()
        self._partitions: dict[tuple[Stream, int], PartitionFrames] = {}
        self._anywhere: dict[Stream, PartitionFrames] = {}
        self._turn = itertools.count()
        self._sweeper: asyncio.Task[None] | None = None
        broker.on_change = self._broker_changed

    def start(self) -> None:
        self._sweeper = asyncio.create_task(self._sweep())

    async def close(self, seconds: float) -> None:
        """Send what is open and wait at most `seconds` for what is under way."""
        self._linger = 0.0
        deadline = time.monotonic() + seconds
        while tasks := self._flush():
            await asyncio.wait(tasks, timeout=max(0.0, deadline - time.monotonic()))
            if time.monotonic() >= deadline:
                logger.error("%d frames were still under way at the end of the drain", len(tasks))
                break
        if self._sweeper is not None:
            self._sweeper.cancel()

    def any_partition(self, stream: Stream) -> int:
        """A partition for events that name no device: the one whose frame is filling, else the next."""
        found = self._anywhere.get(stream)
        if found is None or found.open is None:
            number = next(self._turn) % self._broker.partitions[stream]
            found = self._anywhere[stream] = self._partition(stream, number)
        return found.number

    def put(self, stream: Stream, parts: Sequence[Part], prefix: bytes) -> list[list[Place]] | None:
        """Place the parts of a request, all or, where the queue is full, none; the places of each part.

        `prefix` stands before each event in its envelope (`frames.envelope_prefix`); the events hold no
        line breaks.
        """
        size = 0
        for part in parts:
            size += sum(map(len, part.events)) + len(part.events) * (len(prefix) + ENVELOPE_END)
        if not self._held.take(size):
            return None
        places = []
        for part in parts:
            partition = self._partition(stream, part.partition)
            if part.whole or len(part.events) == 1:
                places.append([self._put_whole(partition, part, prefix)])
            else:
                places.append(self._put_split(partition, part.events, prefix))
        if self._traces is not None and (request := self._traces.current) is not None:
            for place in itertools.chain.from_iterable(places):
                place.frame.traces.append(request)
        return places

    def _put_whole(self, partition: PartitionFrames, part: Part, prefix: bytes) -> Place:
        chunk = envelope_lines(prefix, part.events)
        lines = len(part.events)
        frame = self._room(partition, len(chunk), lines)
        place = Place(frame, frame.lines, lines)
        if part.key is not None:
            frame.pieces.append(keys.Piece(*part.key, frame.lines, lines))
        frame.add(chunk, lines)
        self._check_full(partition, frame)
        return place

    def _put_split(self, partition: PartitionFrames, events: Sequence[Text], prefix: bytes) -> list[Place]:
        places: list[Place] = []
        at = 0
        most = self._frame_events
        while at < len(events):
            frame = self._room(partition, 0)
            some = events[at : at + min(most, self._frame_events - frame.lines)]
            chunk = envelope_lines(prefix, some)
            if frame.bytes + len(chunk) > self._frame_bytes:
                if frame.lines:
                    self._seal(partition, frame)
                    continue
                if len(some) > 1:  # halve until it fits; an event that is too long alone goes alone
                    most = len(some) // 2
                    continue
            places.append(Place(frame, frame.lines, len(some)))
            frame.add(chunk, len(some))
            self._check_full(partition, frame)
            at += len(some)
        return places

    def _partition(self, stream: Stream, number: int) -> PartitionFrames:
        found = self._partitions.get((stream, number))
        if found is None:
            found = self._partitions[stream, number] = PartitionFrames(stream, number)
        return found

    def _room(self, partition: PartitionFrames, size: int, lines: int = 1) -> Frame:
        """The open frame of the partition, a new one where what comes next does not fit."""
        frame = partition.open
        if frame is not None and (
            frame.bytes + size > self._frame_bytes or frame.lines + lines > self._frame_events
        ):
            self._seal(partition, frame)
            frame = None
        if frame is None:
            frame = partition.open = Frame(self._loop)
            frame.timer = self._loop.call_later(self._linger, self._linger_over, partition, frame)
        return frame

    def _check_full(self, partition: PartitionFrames, frame: Frame) -> None:
        if frame.lines >= self._frame_events or frame.bytes >= self._frame_bytes:
            self._seal(partition, frame)

    def _seal(self, partition: PartitionFrames, frame: Frame) -> None:
        if frame.timer is not None:
            frame.timer.cancel()
        partition.open = None
        partition.full.append(frame)
        self._pump(partition)

    def _linger_over(self, partition: PartitionFrames, frame: Frame) -> None:
        frame.due = True
        self._pump(partition)

    def _pump(self, partition: PartitionFrames) -> None:
        while len(partition.under_way) < IN_FLIGHT:
            if partition.full:
                frame = partition.full.popleft()
            elif partition.open is not None and partition.open.due:
                frame = partition.open
                partition.open = None
            else:
                return
            task = asyncio.create_task(self._produce(partition, frame))
            partition.under_way[frame] = task
            task.add_done_callback(partial(self._done, partition, frame))

    def _done(self, partition: PartitionFrames, frame: Frame, task: asyncio.Task[Ack | Lost]) -> None:
        del partition.under_way[frame]
        self._held.give(frame.bytes)
        if task.cancelled():
            outcome: Ack | Lost = Lost(True, "the connection to the broker was lost")
        elif (error := task.exception()) is not None:
            logger.error("a frame of %s-%d failed", partition.stream, partition.number, exc_info=error)
            outcome = Lost(True, "internal error")
        else:
            outcome = task.result()
        self._resolve(frame, outcome)
        self._pump(partition)

    async def _produce(self, partition: PartitionFrames, frame: Frame) -> Ack | Lost:
        if self._traces is None:
            return await self._send(partition, frame)
        about = (partition.stream, partition.number, frame.lines)
        with self._traces.frame(*about, born=frame.born, requests=frame.traces) as span:
            outcome = await self._send(partition, frame, [(TRACEPARENT, span.header)])
            span.offset = partition.last_offset if isinstance(outcome, Ack) else None
        return outcome

    async def _send(
        self, partition: PartitionFrames, frame: Frame, headers: Sequence[tuple[str, bytes]] = ()
    ) -> Ack | Lost:
        try:
            if frame.pieces:
                headers = [*headers, (keys.HEADER, keys.write_pieces(frame.pieces))]
            offset = await self._broker.produce(
                partition.stream, partition.number, b"\n".join(frame.chunks), headers
            )
            if offset <= partition.last_offset:
                # The log begins anew: ids of the old epoch would name other events.
                await self._broker.reread_epoch()
        except NotSent as error:
            return Lost(False, str(error))
        except (KafkaError, RetryLater) as error:
            logger.warning("a frame of %s-%d was not acked: %r", partition.stream, partition.number, error)
            return Lost(True, "the broker did not acknowledge the events")
        partition.last_offset = offset
        letter = STREAM_LETTERS[partition.stream]
        return Ack(f"{self._broker.epoch}-{letter}{partition.number}-{offset}-")

    def _resolve(self, frame: Frame, outcome: Ack | Lost) -> None:
        if frame.outcome.done():
            return
        frame.outcome.set_result(outcome)
        if isinstance(outcome, Ack):
            telemetry.GATEWAY_ACK_SECONDS.observe(time.monotonic() - frame.born)
            telemetry.GATEWAY_FRAMES.inc()
        else:
            telemetry.GATEWAY_LOST_FRAMES.inc()

    def _broker_changed(self, state: State) -> None:
        if state is State.READY:
            for partition in self._partitions.values():
                self._pump(partition)
            return
        for partition in self._partitions.values():
            self._drop_unsent(partition, f"the broker is {state}")
            if state is State.AWAY:
                for task in partition.under_way.values():
                    task.cancel()
                partition.last_offset = -1  # the epoch is read again before the next record

    def _drop_unsent(self, partition: PartitionFrames, reason: str) -> None:
        waiting = [*partition.full, *([partition.open] if partition.open is not None else [])]
        partition.full.clear()
        partition.open = None
        for frame in waiting:
            if frame.timer is not None:
                frame.timer.cancel()
            self._held.give(frame.bytes)
            self._resolve(frame, Lost(False, reason))

    async def _sweep(self) -> None:
        """Nobody waits longer than the ack timeout, whatever the broker does."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            late = time.monotonic() - self._ack_timeout
            for partition in self._partitions.values():
                for frame in partition.under_way:
                    if frame.born < late:
                        self._resolve(frame, Lost(True, "no ack from the broker in time"))
                if partition.full and partition.full[0].born < late:
                    self._drop_unsent(partition, "the broker is too slow")

    def _flush(self) -> list[asyncio.Task[Ack | Lost]]:
        """Make every open frame due; the tasks under way."""
        tasks: list[asyncio.Task[Ack | Lost]] = []
        for partition in self._partitions.values():
            if partition.open is not None:
                partition.open.due = True
            self._pump(partition)
            tasks.extend(partition.under_way.values())
        return tasks
