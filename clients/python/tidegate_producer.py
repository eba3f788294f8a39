"""Sends events to a Tidegate gateway: in batches, each until it is acknowledged, each stored once.

    with Producer("https://gateway.example", token, "client_events") as producer:
        producer.send({"macAddress": "68:05:71:a4:ef:0e", "eventType": "Success", "timestamp": 1790000000})

`send` puts an event into a bounded buffer and waits where that is full; a thread posts batches in order. A
batch is sent again, byte for byte and under the same Idempotency-Key, on 408, 429 and 5xx, and when the
connection is lost: after what Retry-After asks for, and a growing, random wait. What the gateway refuses for
good is handed to `on_refused`, or raised by the next call. Leaving the `with` block waits until all is
acknowledged.

The buffer is memory: events that were not acknowledged end with the process. Give events that must survive it
an `event_id` of your own and send them again. Needs Python 3.9, and nothing else.
"""

from __future__ import annotations

import http.client
import json
import random
import ssl
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

PATHS = {
    "connection_logs": "/api/v1/device_app_connection_log/",
    "client_events": "/api/v1/client_events/",
    "device_logs": "/api/v1/inventory_device_log/",
}
LEAST_WAIT = 0.1  # seconds, doubled with each attempt
MOST_WAIT = 30.0
TIMEOUT = 30.0  # for one answer: the gateway itself waits 10 s for its broker


class Refused(Exception):
    """What the gateway will never take. `refusals` are pairs of an event, as JSON, and the reason."""

    def __init__(self, refusals: list[tuple[str, dict[str, Any]]]) -> None:
        super().__init__(f"{len(refusals)} events are refused; the first: {refusals[0][1]}")
        self.refusals = refusals


class Producer:
    """One connection to one gateway, for one stream. Its methods may be called from several threads."""

    def __init__(
        self,
        url: str,
        token: str,
        stream: str,
        *,
        device: str | None = None,
        batch_events: int = 500,
        batch_bytes: int = 1 << 20,
        linger_seconds: float = 0.05,
        buffer_bytes: int = 16 << 20,
        on_refused: Callable[[str, dict[str, Any]], None] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`device` is sent as X-Device-Id, which the network form of a connection log needs; `buffer_bytes`
        bounds the JSON of all events that are not acknowledged yet."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http or https URL")
        self._parts = parts
        self._tls = tls
        self._path = parts.path.rstrip("/") + PATHS[stream]
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
        if device is not None:
            self._headers["X-Device-Id"] = device
        self._batch_events = batch_events
        self._batch_bytes = batch_bytes
        self._linger = linger_seconds
        self._most = buffer_bytes
        self._on_refused = on_refused
        self._refusals: list[tuple[str, dict[str, Any]]] = []
        self._waiting: deque[bytes] = deque()
        self._unacknowledged = 0  # events
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._given_up = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._thread = threading.Thread(target=self._run, name="tidegate-producer", daemon=True)
        self._thread.start()

    def send(self, event: dict[str, Any], timeout: float | None = None) -> None:
        """Put an event into the buffer; waits for room there, and raises TimeoutError where none comes."""
        line = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        with self._changed:
            room = self._changed.wait_for(
                lambda: self._closing or not self._bytes or self._bytes + len(line) <= self._most, timeout
            )
            if self._closing:
                raise ValueError("the producer is closed")
            if not room:
                raise TimeoutError("the gateway does not take what is in the buffer")
            self._raise_refusals()
            self._waiting.append(line)
            self._unacknowledged += 1
            self._bytes += len(line)
            self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was sent is acknowledged. Raises TimeoutError, and Refused."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._unacknowledged, timeout):
                raise TimeoutError(f"{self._unacknowledged} events are not acknowledged")
            self._raise_refusals()

    def close(self, timeout: float | None = None) -> None:
        """`flush`, and end. After a TimeoutError what is left is given up."""
        try:
            self.flush(timeout)
        finally:
            self._given_up.set()
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._thread.join(TIMEOUT)

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def _raise_refusals(self) -> None:
        if self._refusals:
            refusals, self._refusals = self._refusals, []
            raise Refused(refusals)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._given_up.is_set():
                    break
            if self._linger and len(self._waiting) < self._batch_events:
                time.sleep(self._linger)
            batch = self._batch()
            refused = self._until_answered(b"\n".join(batch))
            if refused is None:
                break
            for index, reason in sorted(refused.items()):
                event = batch[index].decode()
                if self._on_refused is not None:
                    self._on_refused(event, reason)
                else:
                    self._refusals.append((event, reason))
            with self._changed:
                self._unacknowledged -= len(batch)
                self._bytes -= sum(map(len, batch))
                self._changed.notify_all()
        if self._connection is not None:
            self._connection.close()

    def _batch(self) -> list[bytes]:
        with self._changed:
            batch = [self._waiting.popleft()]
            size = len(batch[0])
            while self._waiting and len(batch) < self._batch_events:
                size += len(self._waiting[0])
                if size > self._batch_bytes:
                    break
                batch.append(self._waiting.popleft())
            return batch

    def _until_answered(self, body: bytes) -> dict[int, dict[str, Any]] | None:
        """What is refused of a batch, by index, once the rest is in; None when it was given up."""
        count = body.count(b"\n") + 1
        headers = {**self._headers, "Idempotency-Key": str(uuid.uuid4())}
        wait = LEAST_WAIT
        while not self._given_up.is_set():
            asked = 0.0
            try:
                status, text, retry_after = self._post(body, headers)
            except (OSError, http.client.HTTPException):
                self._connection = None
            else:
                if status < 500 and status not in (408, 429):
                    refused = _refused(status, text, count)
                    # A part of a batch may not be in: the same again brings the rest.
                    if all(reason.get("status", 422) < 500 for reason in refused.values()):
                        return refused
                if retry_after.isdigit():
                    asked = float(retry_after)
            self._given_up.wait(asked + random.uniform(0, wait))
            wait = min(2 * wait, MOST_WAIT)
        return None

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, str]:
        if self._connection is None:
            host, port = self._parts.hostname or "", self._parts.port
            if self._parts.scheme == "https":
                self._connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=self._tls)
            else:
                self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        try:
            self._connection.request("POST", self._path, body, headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read(), answer.getheader("Retry-After") or ""
        except BaseException:
            self._connection.close()
            raise


def _refused(status: int, text: bytes, count: int) -> dict[int, dict[str, Any]]:
    """The reasons of an answer by index: of each event where the whole batch is refused."""
    if status in (200, 201):
        return {}
    try:
        document = json.loads(text)
    except ValueError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    errors = document.get("errors")
    if isinstance(errors, list) and errors:
        return {one["index"]: one for one in errors}
    if status == 207:
        return {}
    reason = {"status": status, "code": document.get("code", ""), "detail": document.get("detail", "")}
    return {index: reason for index in range(count)}
