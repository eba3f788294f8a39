"""The write routes, as bare ASGI: a route of a framework costs more than everything that this one does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tidegate.contracts import keys
from tidegate.contracts.frames import BOM, header_text
from tidegate.contracts.native import Decoders
from tidegate.contracts.rejects import Code, Fault
from tidegate.contracts.topics import Stream
from tidegate.gateway import body as bodies
from tidegate.gateway import examine, partitioner, pieces, replies
from tidegate.gateway.append import Appender, Sending
from tidegate.gateway.auth import authorize
from tidegate.gateway.body import Disconnected
from tidegate.gateway.broker import Broker, State
from tidegate.gateway.counters import Counters
from tidegate.gateway.elements import SMALL, TooMany
from tidegate.gateway.frame_writer import FrameWriter
from tidegate.gateway.idempotency import Requests
from tidegate.gateway.limits import HeldBytes, RateLimits
from tidegate.gateway.offload import Offload
from tidegate.gateway.problems import Header, Problem, of_fault, reused, unavailable
from tidegate.gateway.replies import Reply
from tidegate.service.asgi import Receive, Send
from tidegate.service.http_answer import SAFE_HEADERS, answer_whole
from tidegate.settings import Settings
from tidegate.tokens import TokenFile

if TYPE_CHECKING:
    from tidegate.gateway.traces import RequestTraces

logger = logging.getLogger(__name__)

PATHS: dict[str, Stream] = {
    "/api/v1/device_app_connection_log/": "connection_logs",
    "/api/v1/client_events/": "client_events",
    "/api/v1/inventory_device_log/": "device_logs",
}
DEVICE_CHARACTERS = 256  # of X-Device-Id: it stands in the envelope of each event
KEY_BYTES = 255  # of Idempotency-Key
PAUSED_SECONDS = 60  # for a sender to wait whose stream is paused
ROUTES: dict[str, Stream] = PATHS | {path.rstrip("/"): stream for path, stream in PATHS.items()}


def micros() -> int:
    return time.time_ns() // 1000


class Ingest:
    """Authenticate, limit, read and decode the body; `Appender` does the rest."""

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
        traces: RequestTraces | None = None,
    ) -> None:
        """`paused` are the streams of fleets that an operator is to mend first; `decoders` the native
        ones."""
        self._traces = traces
        self._settings = settings
        self._paused = paused
        self._decoders = decoders or {}
        self._tokens = tokens
        self._limits = limits
        self._held = held
        self._broker = broker
        self._requests = Requests(settings.gateway_keys_bytes, settings.idempotency_window_hours * 3600)
        self._offload = Offload()
        self.counters = Counters()
        self._appender = Appender(
            max_event_bytes=settings.gateway_max_event_bytes,
            broker=broker,
            writer=writer,
            requests=self._requests,
            offload=self._offload,
            counters=self.counters,
            clock=clock,
        )

    async def __call__(self, stream: Stream, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        try:
            reply = await self._answer(stream, scope, receive)
        except Disconnected:
            if self._traces is not None:
                self._traces.end(None)
            return
        except Exception:
            logger.exception("a request for %s failed", stream)
            reply = replies.of_problem(Problem(500, "internal", ""))
        if self._traces is not None:
            self._traces.end(reply.status)
        self.counters.requests[stream, reply.status] += 1
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
        if self._traces is not None:
            self._traces.begin(scope["path"], token.fleet, scope["headers"])
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
        media = examine.media_type(content_type)
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
            self.counters.bytes[stream] += holding
            body = sent
            if encoding or len(sent) > self._settings.gateway_max_decoded_bytes:
                decoded = await self._unpack(sent, encoding)
                if isinstance(decoded, Problem):
                    return replies.of_problem(decoded)
                if not self._held.take(len(decoded)):
                    return replies.of_problem(unavailable("queue_full"))
                holding += len(decoded)
                body = decoded
            sending = Sending(stream, media, token, rates, device)
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
            decoded = await self._offload(unpacking.run)
            assert decoded is not None  # it was asked for all
        return decoded

    async def _take_once(self, sending: Sending, body: bytes, named: bytes) -> Reply:
        """A request under a key: alone with it, and answered again where it has been here before."""
        fleet = sending.fleet
        key = keys.request_key(fleet, named)
        about = f"{sending.media}\0{sending.device}\0".encode()
        place = sending.stream.encode() + key
        digest = (
            keys.digest(about, body) if len(body) <= SMALL else await self._offload(keys.digest, about, body)
        )
        request = await self._requests.enter(fleet, place, digest)
        if request is None:
            return replies.of_problem(reused("Idempotency-Key", named.decode("latin-1")))
        try:
            return await self._take(sending, body, pieces.Keyed(key, digest, request))
        finally:
            self._requests.leave(place, request)

    async def _take(self, sending: Sending, body: bytes, keyed: pieces.Keyed | None) -> Reply:
        if self._broker.state is not State.READY:  # it may have gone while the body came
            return replies.of_problem(unavailable("broker_away", self._broker.reason))
        rates = sending.rates
        most = self._settings.gateway_max_batch_events
        is_small = len(body) <= SMALL
        try:
            if is_small:
                content = self._read(sending, body)
            else:
                content = await self._offload(self._read, sending, body)
        except TooMany as error:
            return replies.of_problem(
                Problem(413, "too_large", str(error), allowed=f"{error.most} {error.what}")
            )
        if isinstance(content, Fault):
            return replies.of_problem(of_fault(content))
        count = 1 if isinstance(content, examine.Single) else len(content.lines)
        if count == 0:
            return replies.of_problem(Problem(400, "empty_batch", ""))
        if count > most:
            detail = f"{count} events in one request"
            return replies.of_problem(Problem(413, "too_large", detail, allowed=f"{most} events"))
        # What has been let in once is not counted again.
        is_new = keyed is None or not keyed.request.landed
        if rates is not None and is_new and (over := rates.admit(count, len(body), self._limits.now())):
            return replies.of_problem(over)
        if isinstance(content, examine.Single):
            return await self._appender.one(sending, content.line, keyed)
        return await self._appender.batch(sending, content, keyed, is_small=is_small)

    def _read(self, sending: Sending, body: bytes) -> examine.Single | examine.Batch | Fault:
        """The events of a body. Raises TooMany."""
        most = self._settings.gateway_max_batch_events
        if body[:1] == b"{" and sending.media == "json":
            return examine.split(sending.stream, body, sending.media, most)  # no batch for the native decoder
        # One mark is the body's, and `split` takes it off itself; a second one stands before the first event.
        routed = self._route(sending, body.removeprefix(BOM))
        return routed or examine.split(sending.stream, body, sending.media, most)

    def _route(self, sending: Sending, body: bytes) -> examine.Batch | None:
        """The events of a body as the native decoder reads them, if it is here and can tell them."""
        decoder = self._decoders.get(sending.stream)
        if decoder is None:
            return None
        return examine.route(
            decoder,
            body,
            sending.media,
            seed=partitioner.seed(sending.token.fleet),
            header=sending.device,
            partitions=self._broker.partitions[sending.stream],
            longest=self._settings.gateway_max_event_bytes,
            most=self._settings.gateway_max_batch_events,
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
