"""The write routes, as bare ASGI: a route of a framework costs more than everything that this one does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tidegate import telemetry
from tidegate.contracts.forms import Event
from tidegate.contracts.frames import envelope_line, envelope_prefix
from tidegate.contracts.rejects import Code, Fault
from tidegate.contracts.topics import Stream
from tidegate.gateway import body as bodies
from tidegate.gateway import intake, partition, replies
from tidegate.gateway.auth import authorize
from tidegate.gateway.body import Disconnected, Receive, Send
from tidegate.gateway.broker import Broker, State
from tidegate.gateway.frame_writer import Ack, FrameWriter, Lost, Place
from tidegate.gateway.intake import Text
from tidegate.gateway.limits import HeldBytes, RateLimits, Rates
from tidegate.gateway.problems import Problem, of_fault, unavailable
from tidegate.gateway.protocol import answer_whole
from tidegate.gateway.replies import Failed, Reply
from tidegate.settings import Settings
from tidegate.tokens import Token, TokenFile

logger = logging.getLogger(__name__)

PATHS: dict[str, Stream] = {
    "/api/v1/device_app_connection_log/": "connection_logs",
    "/api/v1/client_events/": "client_events",
    "/api/v1/inventory_device_log/": "device_logs",
}
DEVICE_CHARACTERS = 256  # of X-Device-Id: it stands in the envelope of each event
JUDGED_AT_ONCE = 250  # events
ROUTES: dict[str, Stream] = PATHS | {path.rstrip("/"): stream for path, stream in PATHS.items()}


def micros() -> int:
    return time.time_ns() // 1000


class Tally:
    """Counts on their way to the metrics: plain additions here, a locked counter a quarter second later."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[Stream, int]] = Counter()
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
        ):
            for stream, count in counts.items():
                metric.labels(stream).inc(count)
            counts.clear()
        self.requests.clear()


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
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._limits = limits
        self._held = held
        self._broker = broker
        self._writer = writer
        self._clock = clock
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
        authorization = device = None
        content_type = encoding = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"content-type":
                content_type = value
            elif name == b"content-encoding":
                encoding = value if not encoding else encoding + b"," + value
            elif name == b"x-device-id":
                device = value.decode("utf-8", "replace").strip() or None
        token = authorize(self._tokens, authorization)
        if isinstance(token, Problem):
            return replies.of_problem(token)
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
        media = intake.media_type(content_type)
        if media is None:
            return replies.of_problem(_unsupported(content_type))
        if self._broker.state is not State.READY:
            return replies.of_problem(unavailable("broker_away", self._broker.reason))
        sent = await bodies.read(receive, self._settings.gateway_max_body_bytes, self._held)
        if isinstance(sent, Problem):
            return replies.of_problem(sent)
        holding = len(sent)
        try:
            self.tally.bytes[stream] += holding
            body = sent
            if encoding or len(sent) > self._settings.gateway_max_decoded_bytes:
                decoded = bodies.decode(sent, encoding, self._settings.gateway_max_decoded_bytes)
                if isinstance(decoded, Problem):
                    return replies.of_problem(decoded)
                if not self._held.take(len(decoded)):
                    return replies.of_problem(unavailable("queue_full"))
                holding += len(decoded)
                body = decoded
            reply = await self._take(stream, body, media, token, rates, device)
        finally:
            self._held.give(holding)
        return reply if rates is None else reply._replace(headers=(*reply.headers, *rates.headers()))

    async def _take(
        self,
        stream: Stream,
        body: bytes,
        media: intake.Media,
        token: Token,
        rates: Rates | None,
        device: str | None,
    ) -> Reply:
        if self._broker.state is not State.READY:  # it may have gone while the body came
            return replies.of_problem(unavailable("broker_away", self._broker.reason))
        content = intake.split(stream, body, media)
        if isinstance(content, Fault):
            return replies.of_problem(of_fault(content))
        count = 1 if isinstance(content, intake.Single) else len(content.lines)
        if count == 0:
            return replies.of_problem(Problem(400, "empty_batch", ""))
        most = self._settings.gateway_max_batch_events
        if count > most:
            detail = f"{count} events in one request"
            return replies.of_problem(Problem(413, "too_large", detail, allowed=f"{most} events"))
        if rates is not None and (over := rates.admit(count, len(body), self._limits.now())):
            return replies.of_problem(over)
        if isinstance(content, intake.Single):
            return await self._take_one(stream, content.line, token, device)
        return await self._take_batch(stream, content, token, device)

    async def _take_one(self, stream: Stream, line: bytes, token: Token, device: str | None) -> Reply:
        verdict = intake.judge_one(stream, line, self._settings.gateway_max_event_bytes)
        if isinstance(verdict, Fault):
            self.tally.refused[stream] += 1
            return replies.of_problem(of_fault(verdict))
        received_at = self._clock()
        where = partition.partition_of(
            stream, verdict.value, device, partition.seed(token.fleet), self._broker.partitions[stream]
        )
        if where is None:
            where = self._writer.any_partition(stream)
        prefix = envelope_prefix(token.fleet, received_at, device)
        place = self._writer.put(stream, where, envelope_line(prefix, line))
        if place is None:
            return replies.of_problem(unavailable("queue_full"))
        outcome = await place.frame.outcome
        if isinstance(outcome, Lost):
            return replies.of_problem(_lost(outcome))
        self.tally.events[stream] += 1
        return replies.created(verdict, outcome.prefix + str(place.first), received_at)

    async def _take_batch(
        self, stream: Stream, batch: intake.Batch, token: Token, device: str | None
    ) -> Reply:
        most = self._settings.gateway_max_event_bytes
        failed: list[Failed] = []
        good: list[int] = []  # indexes of the good events, where some are bad
        lines = batch.lines
        values = intake.all_good(stream, lines, most)
        if values is None:
            verdicts = await self._judge(stream, lines, most)
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
        groups = self._group(stream, values, token.fleet, device)
        if batch.breaks:
            lines = [bytes(line).replace(b"\n", b" ").replace(b"\r", b" ") for line in lines]
        prefix = envelope_prefix(token.fleet, self._clock(), device)
        places = self._writer.put_all(
            stream,
            {where: [lines[index] for index in indexes] for where, indexes in groups.items()},
            prefix,
        )
        if places is None:
            return replies.of_problem(unavailable("queue_full"))
        ids: list[str | None] = [None] * len(values)
        lost: dict[int, Lost] = {}
        for where, indexes in groups.items():
            await _fill(ids, lost, indexes, places[where])
        self.tally.events[stream] += len(ids) - len(lost)
        if lost:
            if len(lost) == len(ids):
                worst = max(lost.values(), key=lambda item: item.sent)
                return replies.of_problem(_lost(worst))
            failed.extend(_lost_event(good[index] if good else index, item) for index, item in lost.items())
            failed.sort(key=lambda item: item.index)
        if not failed:
            return replies.batch_created(ids)  # type: ignore[arg-type]
        if good:
            all_ids: list[str | None] = [None] * len(batch.lines)
            for index, id in zip(good, ids, strict=True):
                all_ids[index] = id
            ids = all_ids
        return replies.batch_mixed(ids, failed)

    async def _judge(self, stream: Stream, lines: Sequence[Text], most: int) -> list[Event | Fault]:
        """The precise verdicts take their time, so others get their turn in between."""
        verdicts: list[Event | Fault] = []
        for at in range(0, len(lines), JUDGED_AT_ONCE):
            if at:
                await asyncio.sleep(0)
            verdicts += intake.judge_all(stream, lines[at : at + JUDGED_AT_ONCE], most)
        return verdicts

    def _group(
        self, stream: Stream, values: list[Any], fleet: str, device: str | None
    ) -> dict[int, list[int]]:
        groups = partition.group(
            stream, values, device, partition.seed(fleet), self._broker.partitions[stream]
        )
        anywhere = groups.pop(None, None)
        placed: dict[int, list[int]] = groups  # type: ignore[assignment]
        if anywhere is not None:
            placed.setdefault(self._writer.any_partition(stream), []).extend(anywhere)
        return placed


async def _fill(
    ids: list[str | None], lost: dict[int, Lost], indexes: list[int], places: Iterable[Place]
) -> None:
    """Wait for the frames of one partition and write what became of its events into `ids` or `lost`."""
    at = 0
    for frame, first, count in places:
        outcome = await frame.outcome
        if isinstance(outcome, Ack):
            prefix = outcome.prefix
            for line, index in enumerate(indexes[at : at + count], first):
                ids[index] = f"{prefix}{line}"
        else:
            for index in indexes[at : at + count]:
                lost[index] = outcome
        at += count


def _lost_event(index: int, lost: Lost) -> Failed:
    problem = _lost(lost)
    return Failed(index, problem.status, problem.code, detail=problem.detail)


def _lost(lost: Lost) -> Problem:
    if lost.sent:
        return unavailable("outcome_unknown", f"{lost.reason}: the events may or may not be in")
    return unavailable("broker_away", f"{lost.reason}: nothing was accepted")


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
    if answer_whole(send, reply):
        return
    body = reply.body
    await send(
        {
            "type": "http.response.start",
            "status": reply.status,
            "headers": [
                (b"content-type", reply.content_type),
                (b"content-length", b"%d" % len(body)),
                *reply.headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
