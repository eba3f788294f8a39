"""The write routes, as bare ASGI: a route of a framework costs more than everything that this one does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from tidegate import telemetry
from tidegate.contracts import keys
from tidegate.contracts.forms import Event
from tidegate.contracts.frames import BOM, envelope_prefix, header_text, without_breaks
from tidegate.contracts.native import Decoders
from tidegate.contracts.rejects import Code, Fault
from tidegate.contracts.topics import Stream
from tidegate.gateway import body as bodies
from tidegate.gateway import intake, partition, pieces, replies
from tidegate.gateway.auth import authorize
from tidegate.gateway.body import Disconnected
from tidegate.gateway.broker import Broker, State
from tidegate.gateway.elements import SMALL, TooMany
from tidegate.gateway.frame_writer import Ack, FrameWriter, Lost, Part
from tidegate.gateway.intake import Text
from tidegate.gateway.limits import HeldBytes, RateLimits, Rates
from tidegate.gateway.pieces import Piece
from tidegate.gateway.problems import Header, Problem, of_fault, unavailable
from tidegate.gateway.replies import Failed, Reply
from tidegate.gateway.requests import Landed, Requests
from tidegate.service.asgi import Receive, Send
from tidegate.service.http_answer import SAFE_HEADERS, answer_whole
from tidegate.settings import Settings
from tidegate.tokens import Token, TokenFile

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATHS: dict[str, Stream] = {
    "/api/v1/device_app_connection_log/": "connection_logs",
    "/api/v1/client_events/": "client_events",
    "/api/v1/inventory_device_log/": "device_logs",
}
DEVICE_CHARACTERS = 256  # of X-Device-Id: it stands in the envelope of each event
KEY_BYTES = 255  # of Idempotency-Key
JUDGED_AT_ONCE = 250  # events
PAUSED_SECONDS = 60  # for a sender to wait whose stream is paused
REPLAYED: Header = (b"idempotent-replayed", b"true")
ROUTES: dict[str, Stream] = PATHS | {path.rstrip("/"): stream for path, stream in PATHS.items()}


def micros() -> int:
    return time.time_ns() // 1000


class Tally:
    """Counts on their way to the metrics: plain additions here, a locked counter a quarter second later."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[Stream, int]] = Counter()
        self.replayed: Counter[Stream] = Counter()
        self.events: Counter[Stream] = Counter()
        self.refused: Counter[Stream] = Counter()
        self.bytes: Counter[Stream] = Counter()

    def publish(self) -> None:
        for (stream, status), count in self.requests.items():
            telemetry.GATEWAY_REQUESTS.labels(stream, str(status)).inc(count)
        for counts, metric in (
            (self.events, telemetry.GATEWAY_EVENTS),
            (self.refused, telemetry.GATEWAY_REFUSED),
            (self.bytes, telemetry.GATEWAY_BODY_BYTES),
            (self.replayed, telemetry.GATEWAY_REPLAYED),
        ):
            for stream, count in counts.items():
                metric.labels(stream).inc(count)
            counts.clear()
        self.requests.clear()


class _Sending(NamedTuple):
    """What a request says beside its body."""

    stream: Stream
    media: intake.Media
    token: Token
    rates: Rates | None
    device: str | None


class _Placed(NamedTuple):
    """Where a batch's events are: an id, or why there is none; `new` of them were put there now."""

    ids: list[str | None]
    lost: dict[int, Lost]
    new: int


class Ingest:
    """Authenticate, limit, decode and check, place in frames, wait for the acks, answer."""

    def __init__(
        self,
        settings: Settings,
        *,
        tokens: TokenFile,
        limits: RateLimits,
        held: HeldBytes,
        broker: Broker,
        writer: FrameWriter,
        clock: Callable[[], int] = micros,
        paused: Container[tuple[Stream, str]] = (),
        decoders: Decoders | None = None,
    ) -> None:
        """`paused` are the streams of fleets that an operator is to mend first; `decoders` the native
        ones."""
        self._settings = settings
        self._paused = paused
        self._decoders = decoders or {}
        self._tokens = tokens
        self._limits = limits
        self._held = held
        self._broker = broker
        self._writer = writer
        self._clock = clock
        self._requests = Requests(settings.gateway_keys_bytes, settings.idempotency_window_hours * 3600)
        self._thread = ThreadPoolExecutor(1, "large-bodies")
        self.tally = Tally()

    async def __call__(self, stream: Stream, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        try:
            reply = await self._answer(stream, scope, receive)
        except Disconnected:
            return
        except Exception:
            logger.exception("a request for %s failed", stream)
            reply = replies.of_problem(Problem(500, "internal", ""))
        self.tally.requests[stream, reply.status] += 1
        await respond(send, reply)

    async def _answer(self, stream: Stream, scope: Mapping[str, Any], receive: Receive) -> Reply:
        """Everything up to the body: what can be refused is refused before a byte of it is read."""
        if scope["method"] != "POST":
            return replies.of_problem(
                Problem(405, "method_not_allowed", "events are posted", headers=((b"allow", b"POST"),))
            )
        headers = dict(scope["headers"])  # those that may not come twice do not
        authorization = headers.get(b"authorization")
        content_type = headers.get(b"content-type", b"")
        encoding = _codings(scope["headers"]) if b"content-encoding" in headers else b""
        length = headers.get(b"content-length")
        key = headers.get(b"idempotency-key")
        if key is not None:
            key = key.strip()
        device = headers.get(b"x-device-id")
        if device is not None:
            device = header_text(device.strip(b" \t")) or None
        token = authorize(self._tokens, authorization)
        if isinstance(token, Problem):
            return replies.of_problem(token)
        if (stream, token.fleet) in self._paused:
            return replies.of_problem(unavailable("stream_paused", after_seconds=PAUSED_SECONDS))
        rates = self._limits.of(token)
        if rates is not None and (over := rates.over(self._limits.now())):
            return replies.of_problem(over)
        if device is not None and len(device) > DEVICE_CHARACTERS:
            return replies.of_problem(
                Problem(
                    422,
                    Code.OUT_OF_RANGE,
                    "the device's name is too long",
                    "X-Device-Id",
                    f"{len(device)} characters",
                    f"at most {DEVICE_CHARACTERS} characters",
                )
            )
        if key is not None and not 0 < len(key) <= KEY_BYTES:
            return replies.of_problem(
                Problem(
                    422,
                    Code.OUT_OF_RANGE,
                    "the key is empty or too long",
                    "Idempotency-Key",
                    f"{len(key)} characters",
                    f"1 to {KEY_BYTES} characters",
                )
            )
        media = intake.media_type(content_type)
        if media is None:
            return replies.of_problem(_unsupported(content_type))
        if self._broker.state is not State.READY:
            return replies.of_problem(unavailable("broker_away", self._broker.reason))
        most = self._settings.gateway_max_body_bytes
        if length is not None and (refusal := bodies.announced(length, most)) is not None:
            return replies.of_problem(refusal)  # before a client that waits for it is told to go on
        sent = await bodies.read(receive, most, self._held)
        if isinstance(sent, Problem):
            return replies.of_problem(sent)
        holding = len(sent)
        try:
            self.tally.bytes[stream] += holding
            body = sent
            if encoding or len(sent) > self._settings.gateway_max_decoded_bytes:
                decoded = await self._unpack(sent, encoding)
                if isinstance(decoded, Problem):
                    return replies.of_problem(decoded)
                if not self._held.take(len(decoded)):
                    return replies.of_problem(unavailable("queue_full"))
                holding += len(decoded)
                body = decoded
            sending = _Sending(stream, media, token, rates, device)
            if key is None:
                reply = await self._take(sending, body, None)
            else:
                reply = await self._take_once(sending, body, key)
        finally:
            self._held.give(holding)
        return reply if rates is None else reply._replace(headers=(*reply.headers, *rates.headers()))

    async def _unpack(self, sent: bytes, encoding: bytes) -> bytes | Problem:
        unpacking = bodies.Unpacking(
            sent,
            encoding,
            self._settings.gateway_max_decoded_bytes,
            self._settings.gateway_max_expansion,
        )
        decoded = unpacking.run(SMALL)
        if decoded is None:
            decoded = await self._apart(unpacking.run)
            assert decoded is not None  # it was asked for all
        return decoded

    async def _apart(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do what takes long in the thread for it, one at a time, while the event loop goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _take_once(self, sending: _Sending, body: bytes, named: bytes) -> Reply:
        """A request under a key: alone with it, and answered again where it has been here before."""
        fleet = sending.token.fleet
        key = keys.request_key(fleet, named)
        about = f"{sending.media}\0{sending.device}\0".encode()
        place = sending.stream.encode() + key
        digest = (
            keys.digest(about, body) if len(body) <= SMALL else await self._apart(keys.digest, about, body)
        )
        request = await self._requests.enter(fleet, place, digest)
        if request is None:
            return replies.of_problem(_reused("Idempotency-Key", named.decode("latin-1")))
        try:
            return await self._take(sending, body, pieces.Keyed(key, digest, request))
        finally:
            self._requests.leave(place, request)

    async def _take(self, sending: _Sending, body: bytes, keyed: pieces.Keyed | None) -> Reply:
        if self._broker.state is not State.READY:  # it may have gone while the body came
            return replies.of_problem(unavailable("broker_away", self._broker.reason))
        stream, media, token, rates, device = sending
        most = self._settings.gateway_max_batch_events
        is_small = len(body) <= SMALL
        try:
            if is_small:
                content = self._read(sending, body)
            else:
                content = await self._apart(self._read, sending, body)
        except TooMany as error:
            return replies.of_problem(
                Problem(413, "too_large", str(error), allowed=f"{error.most} {error.what}")
            )
        if isinstance(content, Fault):
            return replies.of_problem(of_fault(content))
        count = 1 if isinstance(content, intake.Single) else len(content.lines)
        if count == 0:
            return replies.of_problem(Problem(400, "empty_batch", ""))
        if count > most:
            detail = f"{count} events in one request"
            return replies.of_problem(Problem(413, "too_large", detail, allowed=f"{most} events"))
        # What has been let in once is not counted again.
        is_new = keyed is None or not keyed.request.landed
        if rates is not None and is_new and (over := rates.admit(count, len(body), self._limits.now())):
            return replies.of_problem(over)
        if isinstance(content, intake.Single):
            return await self._take_one(stream, content.line, token, device, keyed)
        return await self._take_batch(stream, content, token, device, keyed, is_small=is_small)

    def _read(self, sending: _Sending, body: bytes) -> intake.Single | intake.Batch | Fault:
        """The events of a body. Raises TooMany."""
        most = self._settings.gateway_max_batch_events
        if body[:1] == b"{" and sending.media == "json":
            return intake.split(sending.stream, body, sending.media, most)  # no batch for the native decoder
        body = body.removeprefix(BOM)
        return self._route(sending, body) or intake.split(sending.stream, body, sending.media, most)

    def _route(self, sending: _Sending, body: bytes) -> intake.Batch | None:
        """The events of a body as the native decoder reads them, if it is here and can tell them."""
        decoder = self._decoders.get(sending.stream)
        if decoder is None:
            return None
        return intake.route(
            decoder,
            body,
            sending.media,
            seed=partition.seed(sending.token.fleet),
            header=sending.device,
            partitions=self._broker.partitions[sending.stream],
            longest=self._settings.gateway_max_event_bytes,
            most=self._settings.gateway_max_batch_events,
        )

    async def _take_one(
        self, stream: Stream, line: bytes, token: Token, device: str | None, keyed: pieces.Keyed | None
    ) -> Reply:
        verdict = intake.judge_body(stream, line, self._settings.gateway_max_event_bytes)
        if isinstance(verdict, Fault):
            self.tally.refused[stream] += 1
            return replies.of_problem(of_fault(verdict))
        own = keys.event_id(verdict.extra)
        if own is None or keyed is not None:
            return await self._place_one(stream, line, verdict, token, device, keyed)
        fleet = token.fleet
        key = keys.event_key(fleet, own)
        place = stream.encode() + key
        digest = keys.digest((device or "").encode(), line)
        request = await self._requests.enter(fleet, place, digest)
        if request is None:
            return replies.of_problem(_reused("event_id", own))
        try:
            keyed = pieces.Keyed(key, digest, request, in_frame=False)
            return await self._place_one(stream, line, verdict, token, device, keyed)
        finally:
            self._requests.leave(place, request)

    async def _place_one(
        self,
        stream: Stream,
        line: bytes,
        event: Event,
        token: Token,
        device: str | None,
        keyed: pieces.Keyed | None,
    ) -> Reply:
        partitions = self._broker.partitions[stream]
        where = partition.partition_of(stream, event.value, device, partition.seed(token.fleet), partitions)
        if where is None and (own := keys.event_id(event.extra)) is not None:
            where = partition.of_key(keys.event_key(token.fleet, own), partitions)
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
        prefix = envelope_prefix(token.fleet, received_at, device)
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
        self.tally.events[stream] += 1
        return replies.created(event, outcome.prefix + str(place.first), received_at)

    async def _take_batch(
        self,
        stream: Stream,
        batch: intake.Batch,
        token: Token,
        device: str | None,
        keyed: pieces.Keyed | None,
        *,
        is_small: bool,
    ) -> Reply:
        most = self._settings.gateway_max_event_bytes
        failed: list[Failed] = []
        good: list[int] = []  # indexes of the good events, where some are bad
        lines = batch.lines
        values: list[Any] | None = []
        groups = self._routed(stream, batch, token.fleet, device, keyed)
        if groups is None:
            if is_small:
                values = intake.all_good(stream, lines, most)
            else:
                values = await self._apart(intake.all_good, stream, lines, most)
        if values is None:
            if is_small:
                verdicts = await self._judge(stream, lines, most)
            else:
                verdicts = await self._apart(intake.judge_all, stream, lines, most)
            failed = [
                replies.refused(index, verdict, batch.places)
                for index, verdict in enumerate(verdicts)
                if isinstance(verdict, Fault)
            ]
            self.tally.refused[stream] += len(failed)
            if len(failed) == len(verdicts):
                return replies.batch_refused(failed)
            values = [verdict.value for verdict in verdicts if isinstance(verdict, Event)]
            if failed:
                good = [index for index, verdict in enumerate(verdicts) if isinstance(verdict, Event)]
                lines = [lines[index] for index in good]
        if groups is None:
            groups = self._group(stream, values, lines, token.fleet, device, keyed)
        if batch.breaks:
            lines = [without_breaks(bytes(line)) for line in lines]
        received_at = self._clock()
        if keyed is not None:
            keyed.request.received_at = received_at = keyed.request.received_at or received_at
        prefix = envelope_prefix(token.fleet, received_at, device)
        placed = await self._place_batch(stream, groups, lines, prefix, good, keyed)
        if placed is None:
            return replies.of_problem(unavailable("queue_full"))
        ids, lost, new = placed
        self.tally.events[stream] += new - len(lost)
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
        self.tally.replayed[stream] += 1
        return reply._replace(headers=(*reply.headers, REPLAYED))

    async def _judge(self, stream: Stream, lines: Sequence[Text], most: int) -> list[Event | Fault]:
        """The precise verdicts take their time, so others get their turn in between."""
        verdicts: list[Event | Fault] = []
        for at in range(0, len(lines), JUDGED_AT_ONCE):
            if at:
                await asyncio.sleep(0)
            verdicts += intake.judge_all(stream, lines[at : at + JUDGED_AT_ONCE], most)
        return verdicts

    def _routed(
        self, stream: Stream, batch: intake.Batch, fleet: str, device: str | None, keyed: pieces.Keyed | None
    ) -> dict[int, list[int]] | None:
        """The indexes of a batch's events by partition, where the native decoder and, of what it left, the
        fast way call all of them good."""
        if batch.routes is None:
            return None
        found = dict(batch.routes.groups)
        if (anywhere := found.pop(None, None)) is not None:
            where = self._anywhere(stream, keyed)
            found[where] = sorted([*found.get(where, ()), *anywhere])
        groups: dict[int, list[int]] = found  # type: ignore[assignment]
        if left := batch.routes.left:
            lines = [batch.lines[index] for index in left]
            values = intake.all_good(stream, lines, self._settings.gateway_max_event_bytes)
            if values is None:
                return None
            for where, indexes in self._group(stream, values, lines, fleet, device, keyed).items():
                own = [left[index] for index in indexes]
                groups[where] = sorted([*groups.get(where, ()), *own])
        return groups

    def _group(
        self,
        stream: Stream,
        values: list[Any],
        lines: Sequence[Text],
        fleet: str,
        device: str | None,
        keyed: pieces.Keyed | None,
    ) -> dict[int, list[int]]:
        partitions = self._broker.partitions[stream]
        groups = partition.group(stream, values, device, partition.seed(fleet), partitions)
        anywhere = groups.pop(None, None)
        placed: dict[int, list[int]] = groups  # type: ignore[assignment]
        if anywhere is not None:
            any_partition = self._anywhere(stream, keyed)
            for index in anywhere:
                own = keys.event_id(bytes(lines[index]))
                where = (
                    any_partition if own is None else partition.of_key(keys.event_key(fleet, own), partitions)
                )
                placed.setdefault(where, []).append(index)
        return placed

    def _anywhere(self, stream: Stream, keyed: pieces.Keyed | None) -> int:
        """The partition of what names no device: a retry's is the same."""
        if keyed is None:
            return self._writer.any_partition(stream)
        return partition.of_key(keyed.key, self._broker.partitions[stream])


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


def _reused(name: str, key: str) -> Problem:
    return Problem(
        422,
        Code.KEY_REUSED,
        f"this {name} came with another content before",
        name,
        key[:80],
        "the same content, or a new key",
    )


def _codings(headers: Iterable[Header]) -> bytes:
    """The Content-Encoding of a request, of all the headers that have one."""
    found = b""
    for name, value in headers:
        if name == b"content-encoding":
            found = value if not found else found + b"," + value
    return found


def _unsupported(content_type: bytes) -> Problem:
    name = content_type[:80].decode("latin-1")
    return Problem(
        415,
        "unsupported_media_type",
        f"Content-Type {name!r} is not taken",
        found=name,
        allowed="application/json or application/x-ndjson",
        headers=((b"accept-post", b"application/json, application/x-ndjson"),),
    )


async def respond(send: Send, reply: Reply) -> None:
    body = reply.body
    if answer_whole(send, reply.status, reply.content_type, reply.headers, body):
        return
    await send(
        {
            "type": "http.response.start",
            "status": reply.status,
            "headers": [
                (b"content-type", reply.content_type),
                (b"content-length", b"%d" % len(body)),
                *SAFE_HEADERS,
                *reply.headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
