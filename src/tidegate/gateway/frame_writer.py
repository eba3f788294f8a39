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
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from aiokafka.errors import KafkaError

from tidegate import telemetry
from tidegate.contracts import keys
from tidegate.contracts.position import STREAM_LETTERS
from tidegate.contracts.topics import Stream
from tidegate.errors import RetryLater
from tidegate.gateway.broker import Broker, NotSent, State
from tidegate.gateway.intake import Text
from tidegate.gateway.limits import HeldBytes

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

    __slots__ = ("born", "bytes", "chunks", "due", "lines", "outcome", "pieces", "timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.chunks: list[bytes] = []
        self.pieces: list[keys.Piece] = []  # lines that came under a request's key
        self.lines = 0
        self.bytes = 0
        self.due = False
        self.born = time.monotonic()
        self.outcome: asyncio.Future[Ack | Lost] = loop.create_future()
        self.timer: asyncio.TimerHandle | None = None

    def add(self, chunk: bytes, lines: int) -> None:
        """Append `lines` lines, joined by newlines, none at the end."""
        self.chunks.append(chunk)
        self.lines += lines
        self.bytes += len(chunk) + 1


class Key(NamedTuple):
    """What a piece of a request is known by; see `contracts.keys`."""

    key: bytes
    digest: bytes


class Place(NamedTuple):
    """Where lines of a request stand: `lines` of them from line `first` of `frame` on."""

    frame: Frame
    first: int
    lines: int


ENVELOPE_END = 2  # "}" and a newline


def envelope_lines(prefix: bytes, events: Sequence[Text]) -> bytes:
    """`frames.envelope_line` of each event, joined by newlines, in one copy."""
    return prefix + (b"}\n" + prefix).join(events) + b"}"


class Lane:
    """One partition of one raw topic."""

    __slots__ = ("full", "last_offset", "open", "partition", "stream", "under_way")

    def __init__(self, stream: Stream, partition: int) -> None:
        self.stream: Stream = stream
        self.partition = partition
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
    ) -> None:
        self._broker = broker
        self._held = held
        self._linger = linger_ms / 1000
        self._frame_events = frame_events
        self._frame_bytes = frame_bytes
        self._ack_timeout = ack_timeout_ms / 1000
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[tuple[Stream, int], Lane] = {}
        self._anywhere: dict[Stream, Lane] = {}
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
        lane = self._anywhere.get(stream)
        if lane is None or lane.open is None:
            partition = next(self._turn) % self._broker.partitions[stream]
            lane = self._anywhere[stream] = self._lane(stream, partition)
        return lane.partition

    def put(self, stream: Stream, partition: int, line: bytes, key: Key | None = None) -> Place | None:
        """Place one envelope line, without its newline; None where the queue is full."""
        if not self._held.take(len(line) + 1):
            return None
        lane = self._lane(stream, partition)
        frame = self._room(lane, len(line))
        first = frame.lines
        if key is not None:
            frame.pieces.append(keys.Piece(*key, first, 1))
        frame.add(line, 1)
        self._check_full(lane, frame)
        return Place(frame, first, 1)

    def put_all(
        self, stream: Stream, groups: Mapping[int, Sequence[Text]], prefix: bytes
    ) -> dict[int, list[Place]] | None:
        """Place a batch's events by partition, all or, where the queue is full, none.

        `prefix` stands before each event in its envelope (`frames.envelope_prefix`); the events hold no
        line breaks.
        """
        size = sum(
            sum(map(len, events)) + len(events) * (len(prefix) + ENVELOPE_END) for events in groups.values()
        )
        if not self._held.take(size):
            return None
        return {
            partition: self._put_events(self._lane(stream, partition), events, prefix)
            for partition, events in groups.items()
        }

    def put_pieces(
        self, stream: Stream, pieces: Sequence[tuple[int, Key | None, Sequence[Text]]], prefix: bytes
    ) -> list[Place] | None:
        """Place pieces of a request, each whole in one frame: partition, key and events of each. All or,
        where the queue is full, none."""
        chunks = [envelope_lines(prefix, events) for _, _, events in pieces]
        if not self._held.take(sum(map(len, chunks)) + len(chunks)):
            return None
        places: list[Place] = []
        for (partition, key, events), chunk in zip(pieces, chunks, strict=True):
            lane = self._lane(stream, partition)
            frame = self._room(lane, len(chunk), len(events))
            places.append(Place(frame, frame.lines, len(events)))
            if key is not None:
                frame.pieces.append(keys.Piece(*key, frame.lines, len(events)))
            frame.add(chunk, len(events))
            self._check_full(lane, frame)
        return places

    def _put_events(self, lane: Lane, events: Sequence[Text], prefix: bytes) -> list[Place]:
        places: list[Place] = []
        at = 0
        most = self._frame_events
        while at < len(events):
            frame = self._room(lane, 0)
            part = events[at : at + min(most, self._frame_events - frame.lines)]
            chunk = envelope_lines(prefix, part)
            if frame.bytes + len(chunk) > self._frame_bytes:
                if frame.lines:
                    self._seal(lane, frame)
                    continue
                if len(part) > 1:  # halve until it fits; an event that is too long alone goes alone
                    most = len(part) // 2
                    continue
            places.append(Place(frame, frame.lines, len(part)))
            frame.add(chunk, len(part))
            self._check_full(lane, frame)
            at += len(part)
        return places

    def _lane(self, stream: Stream, partition: int) -> Lane:
        lane = self._lanes.get((stream, partition))
        if lane is None:
            lane = self._lanes[stream, partition] = Lane(stream, partition)
        return lane

    def _room(self, lane: Lane, size: int, lines: int = 1) -> Frame:
        """The open frame of the lane, a new one where what comes next does not fit."""
        frame = lane.open
        if frame is not None and (
            frame.bytes + size > self._frame_bytes or frame.lines + lines > self._frame_events
        ):
            self._seal(lane, frame)
            frame = None
        if frame is None:
            frame = lane.open = Frame(self._loop)
            frame.timer = self._loop.call_later(self._linger, self._linger_over, lane, frame)
        return frame

    def _check_full(self, lane: Lane, frame: Frame) -> None:
        if frame.lines >= self._frame_events or frame.bytes >= self._frame_bytes:
            self._seal(lane, frame)

    def _seal(self, lane: Lane, frame: Frame) -> None:
        if frame.timer is not None:
            frame.timer.cancel()
        lane.open = None
        lane.full.append(frame)
        self._pump(lane)

    def _linger_over(self, lane: Lane, frame: Frame) -> None:
        frame.due = True
        self._pump(lane)

    def _pump(self, lane: Lane) -> None:
        while len(lane.under_way) < IN_FLIGHT:
            if lane.full:
                frame = lane.full.popleft()
            elif lane.open is not None and lane.open.due:
                frame = lane.open
                lane.open = None
            else:
                return
            task = asyncio.create_task(self._produce(lane, frame))
            lane.under_way[frame] = task
            task.add_done_callback(partial(self._done, lane, frame))

    def _done(self, lane: Lane, frame: Frame, task: asyncio.Task[Ack | Lost]) -> None:
        del lane.under_way[frame]
        self._held.give(frame.bytes)
        if task.cancelled():
            outcome: Ack | Lost = Lost(True, "the connection to the broker was lost")
        elif (error := task.exception()) is not None:
            logger.error("a frame of %s-%d failed", lane.stream, lane.partition, exc_info=error)
            outcome = Lost(True, "internal error")
        else:
            outcome = task.result()
        self._resolve(frame, outcome)
        self._pump(lane)

    async def _produce(self, lane: Lane, frame: Frame) -> Ack | Lost:
        try:
            headers = [(keys.HEADER, keys.write_pieces(frame.pieces))] if frame.pieces else ()
            offset = await self._broker.produce(
                lane.stream, lane.partition, b"\n".join(frame.chunks), headers
            )
            if offset <= lane.last_offset:
                # The log begins anew: ids of the old epoch would name other events.
                await self._broker.reread_epoch()
        except NotSent as error:
            return Lost(False, str(error))
        except (KafkaError, RetryLater) as error:
            logger.warning("a frame of %s-%d was not acked: %r", lane.stream, lane.partition, error)
            return Lost(True, "the broker did not acknowledge the events")
        lane.last_offset = offset
        letter = STREAM_LETTERS[lane.stream]
        return Ack(f"{self._broker.epoch}-{letter}{lane.partition}-{offset}-")

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
            for lane in self._lanes.values():
                self._pump(lane)
            return
        for lane in self._lanes.values():
            self._drop_unsent(lane, f"the broker is {state}")
            if state is State.AWAY:
                for task in lane.under_way.values():
                    task.cancel()
                lane.last_offset = -1  # the epoch is read again before the next record

    def _drop_unsent(self, lane: Lane, reason: str) -> None:
        waiting = [*lane.full, *([lane.open] if lane.open is not None else [])]
        lane.full.clear()
        lane.open = None
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
            for lane in self._lanes.values():
                for frame in lane.under_way:
                    if frame.born < late:
                        self._resolve(frame, Lost(True, "no ack from the broker in time"))
                if lane.full and lane.full[0].born < late:
                    self._drop_unsent(lane, "the broker is too slow")

    def _flush(self) -> list[asyncio.Task[Ack | Lost]]:
        """Make every open frame due; the tasks under way."""
        tasks: list[asyncio.Task[Ack | Lost]] = []
        for lane in self._lanes.values():
            if lane.open is not None:
                lane.open.due = True
            self._pump(lane)
            tasks.extend(lane.under_way.values())
        return tasks
