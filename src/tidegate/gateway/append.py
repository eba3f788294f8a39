"""Checks the events of a request, appends them to the frames of their partitions, answers after the acks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tidegate.contracts import keys
from tidegate.contracts.forms import Event
from tidegate.contracts.frames import envelope_prefix, without_breaks
from tidegate.contracts.rejects import Fault
from tidegate.contracts.topics import Stream
from tidegate.gateway import examine, partitioner, pieces, replies
from tidegate.gateway.broker import Broker
from tidegate.gateway.counters import Counters
from tidegate.gateway.examine import Text
from tidegate.gateway.frame_writer import Ack, FrameWriter, Lost, Part
from tidegate.gateway.idempotency import Landed, Requests
from tidegate.gateway.limits import Rates
from tidegate.gateway.offload import Offload
from tidegate.gateway.pieces import Piece
from tidegate.gateway.problems import Header, Problem, of_fault, reused, unavailable
from tidegate.gateway.replies import Failed, Reply
from tidegate.tokens import Token

EXAMINED_AT_ONCE = 250  # events
REPLAYED: Header = (b"idempotent-replayed", b"true")


class Sending(NamedTuple):
    """What a request says beside its body."""

    stream: Stream
    media: examine.Media
    token: Token
    rates: Rates | None
    device: str | None

    @property
    def fleet(self) -> str:
        return self.token.fleet


class _Placed(NamedTuple):
    """Where a batch's events are: an id, or why there is none; `new` of them were put there now."""

    ids: list[str | None]
    lost: dict[int, Lost]
    new: int


class Appender:
    """Check events, append them to frames, wait for the acks, answer."""

    def __init__(
        self,
        *,
        max_event_bytes: int,
        broker: Broker,
        writer: FrameWriter,
        requests: Requests,
        offload: Offload,
        counters: Counters,
        clock: Callable[[], int],
    ) -> None:
        """`clock`: µs since 1970."""
        self._max_event_bytes = max_event_bytes
        self._broker = broker
        self._writer = writer
        self._requests = requests
        self._offload = offload
        self._counters = counters
        self._clock = clock

    async def one(self, sending: Sending, line: bytes, keyed: pieces.Keyed | None) -> Reply:
        """The answer to a single event."""
        stream, fleet = sending.stream, sending.fleet
        verdict = examine.examine_body(stream, line, self._max_event_bytes)
        if isinstance(verdict, Fault):
            self._counters.refused[stream] += 1
            return replies.of_problem(of_fault(verdict))
        own = keys.event_id(verdict.extra)
        if own is None or keyed is not None:
            return await self._place_one(sending, line, verdict, keyed)
        key = keys.event_key(fleet, own)
        place = stream.encode() + key
        digest = keys.digest((sending.device or "").encode(), line)
        request = await self._requests.enter(fleet, place, digest)
        if request is None:
            return replies.of_problem(reused("event_id", own))
        try:
            keyed = pieces.Keyed(key, digest, request, in_frame=False)
            return await self._place_one(sending, line, verdict, keyed)
        finally:
            self._requests.leave(place, request)

    async def _place_one(
        self, sending: Sending, line: bytes, event: Event, keyed: pieces.Keyed | None
    ) -> Reply:
        stream, fleet, device = sending.stream, sending.fleet, sending.device
        partitions = self._broker.partitions[stream]
        where = partitioner.partition_of(stream, event.value, device, partitioner.seed(fleet), partitions)
        if where is None and (own := keys.event_id(event.extra)) is not None:
            where = partitioner.of_key(keys.event_key(fleet, own), partitions)
        if where is None:
            where = self._anywhere(stream, keyed)
        received_at = self._clock()
        if keyed is not None:
            request = keyed.request
            request.received_at = received_at = request.received_at or received_at
            if (landed := request.landed.get((where, 0))) is not None:
                return self._replayed(
                    stream, replies.created(event, landed.prefix + str(landed.first), received_at)
                )
        prefix = envelope_prefix(fleet, received_at, device)
        part = Part(where, (without_breaks(line),), None if keyed is None else keyed.name(0, [0]))
        places = self._writer.put(stream, (part,), prefix)
        if places is None:
            return replies.of_problem(unavailable("queue_full"))
        [[place]] = places
        outcome = await place.frame.outcome
        if isinstance(outcome, Lost):
            if keyed is not None:
                keyed.request.uncertain |= outcome.sent
            return replies.of_problem(_lost(outcome))
        if keyed is not None:
            keyed.request.landed[where, 0] = Landed(outcome.prefix, place.first)
        self._counters.events[stream] += 1
        return replies.created(event, outcome.prefix + str(place.first), received_at)

    async def batch(
        self, sending: Sending, batch: examine.Batch, keyed: pieces.Keyed | None, *, is_small: bool
    ) -> Reply:
        """The answer to a batch; of a large one, what takes long is done in the thread of `Offload`."""
        stream, fleet, device = sending.stream, sending.fleet, sending.device
        most = self._max_event_bytes
        failed: list[Failed] = []
        good: list[int] = []  # indexes of the good events, where some are bad
        lines = batch.lines
        values: list[Any] | None = []
        groups = self._routed(sending, batch, keyed)
        if groups is None:
            if is_small:
                values = examine.all_good(stream, lines, most)
            else:
                values = await self._offload(examine.all_good, stream, lines, most)
        if values is None:
            if is_small:
                verdicts = await self._examine(stream, lines, most)
            else:
                verdicts = await self._offload(examine.examine_all, stream, lines, most)
            failed = [
                replies.refused(index, verdict, batch.places)
                for index, verdict in enumerate(verdicts)
                if isinstance(verdict, Fault)
            ]
            self._counters.refused[stream] += len(failed)
            if len(failed) == len(verdicts):
                return replies.batch_refused(failed)
            values = [verdict.value for verdict in verdicts if isinstance(verdict, Event)]
            if failed:
                good = [index for index, verdict in enumerate(verdicts) if isinstance(verdict, Event)]
                lines = [lines[index] for index in good]
        if groups is None:
            groups = self._group(sending, values, lines, keyed)
        if batch.breaks:
            lines = [without_breaks(bytes(line)) for line in lines]
        received_at = self._clock()
        if keyed is not None:
            keyed.request.received_at = received_at = keyed.request.received_at or received_at
        prefix = envelope_prefix(fleet, received_at, device)
        placed = await self._place_batch(stream, groups, lines, prefix, good, keyed)
        if placed is None:
            return replies.of_problem(unavailable("queue_full"))
        ids, lost, new = placed
        self._counters.events[stream] += new - len(lost)
        if lost:
            if len(lost) == len(ids):
                worst = max(lost.values(), key=lambda item: item.sent)
                return replies.of_problem(_lost(worst))
            failed.extend(_lost_event(good[index] if good else index, item) for index, item in lost.items())
            failed.sort(key=lambda item: item.index)
        if good:
            all_ids: list[str | None] = [None] * len(batch.lines)
            for index, id in zip(good, ids, strict=True):
                all_ids[index] = id
            ids = all_ids
        reply = replies.batch_mixed(ids, failed) if failed else replies.batch_created(ids)  # type: ignore[arg-type]
        return reply if new else self._replayed(stream, reply)

    async def _place_batch(
        self,
        stream: Stream,
        groups: Mapping[int, list[int]],
        lines: Sequence[Text],
        prefix: bytes,
        good: Sequence[int],
        keyed: pieces.Keyed | None,
    ) -> _Placed | None:
        """Put a batch into frames and wait for them; None where the queue is full.

        Under a key what is known to be in the log is not put there again.
        """
        ids: list[str | None] = [None] * len(lines)
        landed = {} if keyed is None else keyed.request.landed
        new: list[Piece] = []
        for piece in pieces.uncut(groups) if keyed is None else pieces.cut(groups, lines):
            if (known := landed.get(piece[:2])) is None:
                new.append(piece)
            else:
                _number(ids, piece.indexes, known.prefix, known.first)
        parts = [
            Part(
                piece.partition,
                [lines[index] for index in piece.indexes],
                None if keyed is None else keyed.name(piece.number, _of_body(piece.indexes, good)),
                whole=keyed is not None,
            )
            for piece in new
        ]
        places = self._writer.put(stream, parts, prefix) if parts else []
        if places is None:
            return None
        lost: dict[int, Lost] = {}
        for piece, found in zip(new, places, strict=True):
            at = 0
            for frame, first, count in found:
                indexes = piece.indexes[at : at + count]
                at += count
                outcome = await frame.outcome
                if isinstance(outcome, Ack):
                    _number(ids, indexes, outcome.prefix, first)
                    landed[piece[:2]] = Landed(outcome.prefix, first)
                else:
                    lost.update(dict.fromkeys(indexes, outcome))
                    if keyed is not None:
                        keyed.request.uncertain |= outcome.sent
        return _Placed(ids, lost, sum(len(piece.indexes) for piece in new))

    def _replayed(self, stream: Stream, reply: Reply) -> Reply:
        self._counters.replayed[stream] += 1
        return reply._replace(headers=(*reply.headers, REPLAYED))

    async def _examine(self, stream: Stream, lines: Sequence[Text], most: int) -> list[Event | Fault]:
        """The precise verdicts take their time, so others get their turn in between."""
        verdicts: list[Event | Fault] = []
        for at in range(0, len(lines), EXAMINED_AT_ONCE):
            if at:
                await asyncio.sleep(0)
            verdicts += examine.examine_all(stream, lines[at : at + EXAMINED_AT_ONCE], most)
        return verdicts

    def _routed(
        self, sending: Sending, batch: examine.Batch, keyed: pieces.Keyed | None
    ) -> dict[int, list[int]] | None:
        """The indexes of a batch's events by partition, where the native decoder and, of what it left, the
        fast way call all of them good."""
        if batch.routes is None:
            return None
        found = dict(batch.routes.groups)
        if (anywhere := found.pop(None, None)) is not None:
            where = self._anywhere(sending.stream, keyed)
            found[where] = sorted([*found.get(where, ()), *anywhere])
        groups: dict[int, list[int]] = found  # type: ignore[assignment]
        if left := batch.routes.left:
            lines = [batch.lines[index] for index in left]
            values = examine.all_good(sending.stream, lines, self._max_event_bytes)
            if values is None:
                return None
            for where, indexes in self._group(sending, values, lines, keyed).items():
                own = [left[index] for index in indexes]
                groups[where] = sorted([*groups.get(where, ()), *own])
        return groups

    def _group(
        self, sending: Sending, values: list[Any], lines: Sequence[Text], keyed: pieces.Keyed | None
    ) -> dict[int, list[int]]:
        """The indexes of events by partition."""
        stream, fleet, device = sending.stream, sending.fleet, sending.device
        partitions = self._broker.partitions[stream]
        groups = partitioner.group(stream, values, device, partitioner.seed(fleet), partitions)
        anywhere = groups.pop(None, None)
        placed: dict[int, list[int]] = groups  # type: ignore[assignment]
        if anywhere is not None:
            any_partition = self._anywhere(stream, keyed)
            for index in anywhere:
                own = keys.event_id(bytes(lines[index]))
                where = any_partition
                if own is not None:
                    where = partitioner.of_key(keys.event_key(fleet, own), partitions)
                placed.setdefault(where, []).append(index)
        return placed

    def _anywhere(self, stream: Stream, keyed: pieces.Keyed | None) -> int:
        """The partition of what names no device: a retry's is the same."""
        if keyed is None:
            return self._writer.any_partition(stream)
        return partitioner.of_key(keyed.key, self._broker.partitions[stream])


def _number(ids: list[str | None], indexes: Sequence[int], prefix: str, first: int) -> None:
    """Write the ids of the events `indexes`, which are lines of one frame from `first` on."""
    for line, index in enumerate(indexes, first):
        ids[index] = f"{prefix}{line}"


def _of_body(indexes: Sequence[int], good: Sequence[int]) -> Sequence[int]:
    """Where those stand in the body; `good` are the indexes of its good events, empty where all are."""
    return [good[index] for index in indexes] if good else indexes


def _lost_event(index: int, lost: Lost) -> Failed:
    problem = _lost(lost)
    return Failed(index, problem.status, problem.code, detail=problem.detail)


def _lost(lost: Lost) -> Problem:
    if lost.sent:
        return unavailable("outcome_unknown", f"{lost.reason}: the events may or may not be in")
    return unavailable("broker_away", f"{lost.reason}: nothing was accepted")
