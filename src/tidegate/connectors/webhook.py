"""Receives the webhooks of a vendor's cloud: answered when the gateway has acknowledged what they hold.

Bare ASGI behind the bounded HTTP of all roles. Who sends is told before a body is read as events; bodies that
wait are bounded together, since who has no secret may send them too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from tidegate.connectors import meraki, mist
from tidegate.connectors.gateway_client import GatewayClient
from tidegate.connectors.record import BadPayload, Fields, Payload, Record, document_of, join
from tidegate.errors import RetryLater, UsageError
from tidegate.service.asgi import Receive, Scope, Send
from tidegate.service.problem import PROBLEM_JSON, encoded
from tidegate.settings import Settings
from tidegate.telemetry import CONNECT_EVENTS, CONNECT_REQUESTS

log = logging.getLogger(__name__)

HELD_BYTES = 64 << 20  # of all bodies together
MOST_EVENTS = 5000  # in one delivery
Headers = tuple[tuple[bytes, bytes], ...]

TITLES = {
    "bad_request": "Broken request",
    "not_json": "Not JSON",
    "not_object": "Not a JSON object",
    "missing_field": "Required field missing",
    "wrong_type": "Wrong type",
    "not_in_enum": "Not an allowed value",
    "out_of_range": "Out of range",
    "invalid_events": "No valid event",
    "too_large": "Too large",
    "unauthorized": "Not the sender's secret",
    "not_found": "Not found",
    "method_not_allowed": "Method not allowed",
    "unsupported_encoding": "Unsupported encoding",
    "unavailable": "Not taken now",
}


class _Vendor(NamedTuple):
    is_genuine: Callable[[str, Mapping[bytes, bytes], bytes, Fields], bool]
    signs_the_body: bool  # then it is judged before it is read
    payload: Callable[[Fields], Payload]
    sent_at: str  # the field that says when


VENDORS: dict[str, _Vendor] = {
    mist.NAME: _Vendor(
        lambda secret, headers, body, document: mist.is_genuine(secret, headers, body),
        True,
        mist.payload,
        "timestamp",
    ),
    meraki.NAME: _Vendor(
        lambda secret, headers, body, document: meraki.is_genuine(secret, document),
        False,
        meraki.payload,
        "sentAt",
    ),
}


class Answer(NamedTuple):
    status: int
    body: bytes
    kind: str = "application/json"
    headers: Headers = ()


class _Gone(Exception):
    """The sender left in the middle of its body."""


def refusal(
    status: int,
    code: str,
    detail: str,
    *,
    path: str = "",
    found: str = "",
    allowed: str = "",
    headers: Headers = (),
) -> Answer:
    body = encoded(code, TITLES[code], status, detail, path=path, found=found, allowed=allowed)
    return Answer(status, body, PROBLEM_JSON, headers)


class Webhook:
    """``POST /<name>``. Raises UsageError without the secret that the vendor's cloud was given."""

    def __init__(
        self, name: str, settings: Settings, gateway: GatewayClient, *, clock: Callable[[], float] = time.time
    ) -> None:
        if not settings.connect_secret:
            raise UsageError(f"connect_secret: the secret of the webhook, as {name} was given it")
        self._name = name
        self._vendor = VENDORS[name]
        self._secret = settings.connect_secret
        self._most = settings.connect_max_body_bytes
        self._oldest = settings.idempotency_window_hours * 3600
        self._gateway = gateway
        self._clock = clock
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            answer = await self._answer(scope, receive)
        except _Gone:
            return
        CONNECT_REQUESTS.labels(self._name, str(answer.status)).inc()
        headers = [
            (b"content-type", answer.kind.encode()),
            (b"content-length", b"%d" % len(answer.body)),
            *answer.headers,
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        """Everything up to the body."""
        if scope["path"].rstrip("/") != f"/{self._name}":
            return refusal(404, "not_found", f"webhooks of {self._name} are posted to /{self._name}")
        if scope["method"] != "POST":
            return refusal(405, "method_not_allowed", "webhooks are posted", headers=((b"allow", b"POST"),))
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in (mist.SIGNATURE, b"content-encoding") and name in headers:
                return refusal(400, "bad_request", "the header is there twice", path=name.decode("latin-1"))
            headers[name] = value
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            return refusal(415, "unsupported_encoding", "bodies come as they are", allowed="identity")
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._most:
            return self._too_large()
        holding = 0
        body = bytearray()
        try:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                piece = message.get("body", b"")
                more = message.get("more_body", False)
                body += piece
                if len(body) > self._most:
                    return self._too_large()
                holding += len(piece)
                self._held += len(piece)
                if self._held > HELD_BYTES:
                    return _later("too many bodies wait", 1.0)
            return await self._take(headers, bytes(body))
        finally:
            self._held -= holding

    async def _take(self, headers: Mapping[bytes, bytes], body: bytes) -> Answer:
        vendor = self._vendor
        if vendor.signs_the_body and not vendor.is_genuine(self._secret, headers, body, {}):
            return self._stranger()
        try:
            document = document_of(body)
        except ValueError as error:
            return refusal(400, "not_json", str(error))
        if not isinstance(document, dict):
            return refusal(400, "not_object", "a delivery is one JSON object")
        if not vendor.signs_the_body and not vendor.is_genuine(self._secret, headers, body, document):
            return self._stranger()
        try:
            return await self._deliver(vendor.payload(document))
        except BadPayload as error:
            status = 422 if error.code == "not_in_enum" else 400
            log.warning("a delivery is refused: %s", error)
            return refusal(
                status, error.code, error.detail, path=error.path, found=error.found, allowed=error.allowed
            )
        except RetryLater as error:
            return _later(str(error), error.after_seconds)

    async def _deliver(self, payload: Payload) -> Answer:
        """Post what is fresh. A late one may be a recording: nobody knows any more whether it came before."""
        count = len(payload.records)
        if count > MOST_EVENTS:
            return refusal(413, "too_large", f"{count} events", allowed=f"{MOST_EVENTS} events")
        late = self._clock() - self._oldest
        errors: dict[int, dict[str, Any]] = {}
        fresh: list[tuple[int, Record]] = []
        for index, record in enumerate(payload.records):
            if record.sent_at is not None and record.sent_at < late:
                hours = self._oldest / 3600
                errors[index] = {
                    "path": join(record.place, self._vendor.sent_at),
                    "code": "out_of_range",
                    "detail": f"it is older than {hours:g} hours, within which the same event lands once",
                }
            else:
                fresh.append((index, record))
        if fresh:
            events = [record.event for _, record in fresh]
            for refused in await self._gateway.deliver(payload.stream, events):
                index, record = fresh[refused.index]
                errors[index] = {
                    "path": record.path(refused.path),
                    "code": refused.code,
                    "found": refused.found,
                    "allowed": refused.allowed,
                    "detail": refused.detail,
                }
        CONNECT_EVENTS.labels(self._name, "acknowledged").inc(count - len(errors))
        CONNECT_EVENTS.labels(self._name, "refused").inc(len(errors))
        if not errors:
            return Answer(200, msgspec.json.encode({"count": count}))
        listed = [{"index": index, **errors[index]} for index in sorted(errors)]
        log.warning("%d of %d events are refused; the first: %s", len(errors), count, listed[0])
        if len(errors) < count:
            return Answer(207, msgspec.json.encode({"count": count - len(errors), "errors": listed}))
        first = listed[0]
        problem = msgspec.json.decode(
            encoded("invalid_events", TITLES["invalid_events"], 422, first["detail"], path=first["path"])
        )
        return Answer(422, msgspec.json.encode({**problem, "errors": listed}), PROBLEM_JSON)

    def _stranger(self) -> Answer:
        if self._name == mist.NAME:
            path, detail = "X-Mist-Signature-v2", "it is not the body's HMAC-SHA-256 under connect_secret"
        else:
            path, detail = meraki.SECRET, "it is not connect_secret"
        headers = ((b"www-authenticate", b"Webhook"),)
        return refusal(401, "unauthorized", detail, path=path, headers=headers)

    def _too_large(self) -> Answer:
        allowed = f"{self._most} bytes"
        return refusal(413, "too_large", "the body is longer than connect_max_body_bytes", allowed=allowed)


def _later(reason: str, after_seconds: float) -> Answer:
    retry_after = b"%d" % max(1, round(after_seconds))
    detail = f"{reason}. Send the same again: it lands once"
    return refusal(503, "unavailable", detail, headers=((b"retry-after", retry_after),))
