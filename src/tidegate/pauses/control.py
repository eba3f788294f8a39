"""The pauses in force, followed in the control topic; setting and ending them."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import msgspec
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from tidegate.contracts.pauses import Pause, alert, key_of, read_key
from tidegate.contracts.topics import ALERTS, CONTROL, Stream
from tidegate.errors import RetryLater
from tidegate.kafka.note import note
from tidegate.kafka.onlooker import onlooker

log = logging.getLogger(__name__)

GROUP = "tidegate-pauses"
READ_SECONDS = 20.0

Paused = dict[tuple[Stream, str], Pause]


class Pauses:
    """`(stream, fleet) in pauses`, as the control topic says; a thread follows it between enter and exit.

    What this process sets holds here at once, and for the others when they have read it.
    """

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._paused: Paused = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="pauses", daemon=True)

    def __contains__(self, place: object) -> bool:
        return place in self._paused

    def __len__(self) -> int:
        return len(self._paused)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(5.0)

    def of(self, stream: Stream) -> int:
        """How many fleets' streams are paused."""
        return sum(place[0] == stream for place in self._paused)

    def hold(self, pause: Pause) -> None:
        """Hold a pause in this process, before the topic has it."""
        self._paused = {**self._paused, (pause.stream, pause.fleet): pause}

    def _follow(self) -> None:
        consumer = onlooker(self._bootstrap, GROUP)
        try:
            consumer.assign([TopicPartition(CONTROL, 0, OFFSET_BEGINNING)])
            while not self._stopping.is_set():
                message = consumer.poll(0.2)
                if message is None or message.error() is not None:
                    continue
                self._paused = _with(self._paused, message.key(), message.value())
        except KafkaException as error:
            log.error("the control topic is not followed any more: %s", error.args[0].str())
        finally:
            consumer.close()


def read(bootstrap: str) -> Paused:
    """The pauses in force now. Raises RetryLater while the broker is away."""
    consumer = onlooker(bootstrap, GROUP)
    found: Paused = {}
    try:
        consumer.assign([TopicPartition(CONTROL, 0, OFFSET_BEGINNING)])
        deadline = time.monotonic() + READ_SECONDS
        while time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is None:
                continue
            error = message.error()
            if error is None:
                found = _with(found, message.key(), message.value())
            elif error.code() == KafkaError._PARTITION_EOF:
                return found
    finally:
        consumer.close()
    raise RetryLater(f"{CONTROL} could not be read to its end")


def resume(bootstrap: str, pause: Pause) -> None:
    """End a pause, and say so in the alerts. Raises RetryLater where the broker does not take it."""
    note(bootstrap, CONTROL, key_of(pause.stream, pause.fleet), None)
    note(bootstrap, ALERTS, None, alert(pause, state="resolved", at=datetime.now(UTC).isoformat()))


def _with(paused: Paused, key: bytes | str | None, value: bytes | str | None) -> Paused:
    place = read_key(key) if isinstance(key, bytes) else None
    if place is None:
        return paused
    others = {one: pause for one, pause in paused.items() if one != place}
    if not value:
        return others
    try:
        return {**others, place: msgspec.json.decode(value, type=Pause)}
    except msgspec.DecodeError as error:
        log.error("a record of %s cannot be read: %s", CONTROL, error)
        return paused
