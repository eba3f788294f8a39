"""The pauses in force, followed in the control topic; setting and ending them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from tidegate.contracts.alerts import record_key
from tidegate.contracts.control import Record, Signed
from tidegate.contracts.pauses import Pause, alert, key_of, read_key
from tidegate.contracts.topics import ALERTS, CONTROL, Stream
from tidegate.errors import RetryLater
from tidegate.kafka import control
from tidegate.kafka.connection import Connection
from tidegate.kafka.control import ControlLog
from tidegate.kafka.control_follower import ControlFollower
from tidegate.kafka.write_record import write_record

GROUP = "tidegate-pauses"

Paused = dict[tuple[Stream, str], Pause]


class Pauses(ControlFollower):
    """`(stream, fleet) in pauses`, as the control topic says; it is followed between enter and exit.

    What this process sets holds here at once, and for the others when they have read it. Records that no
    role signed are counted and told, and change nothing.
    """

    def __init__(self, kafka: Connection) -> None:
        super().__init__(kafka, GROUP, tells=True)
        self._paused: Paused = {}

    def __contains__(self, stream_and_fleet: object) -> bool:
        return stream_and_fleet in self._paused

    def __len__(self) -> int:
        return len(self._paused)

    def of(self, stream: Stream) -> int:
        """How many fleets' streams are paused."""
        return sum(paused == stream for paused, _ in self._paused)

    def hold(self, pause: Pause) -> None:
        """Hold a pause in this process, before the topic has it."""
        self._paused = {**self._paused, (pause.stream, pause.fleet): pause}

    def signed(self, pause: Pause) -> Record:
        """The record that sets a pause. Raises RetryLater while the control topic is not followed yet."""
        if self.log is None or not self.log.epoch:
            raise RetryLater(f"{CONTROL} is not read yet")
        key, value = key_of(pause.stream, pause.fleet), msgspec.json.encode(pause)
        return Record(key, value, self.log.signed(key, value))

    def _take(self, log: ControlLog, record: Signed) -> None:
        self._paused = _with(self._paused, record, log)


def read(kafka: Connection) -> Paused:
    """The pauses in force now. Raises RetryLater while the broker is away."""
    return _of(*control.read(kafka))


def resume(kafka: Connection, pause: Pause) -> None:
    """End a pause, and say so in the alerts. Raises RetryLater where the broker does not take it."""
    found, _ = control.read(kafka)
    key = key_of(pause.stream, pause.fleet)
    write_record(kafka, CONTROL, key, None, found.signed(key, None))
    told = alert(pause, state="resolved", at=datetime.now(UTC).isoformat())
    write_record(kafka, ALERTS, record_key(told), msgspec.json.encode(told))


def _of(found: ControlLog, records: Iterable[Signed]) -> Paused:
    paused: Paused = {}
    for record in records:
        paused = _with(paused, record, found)
    return paused


def _with(paused: Paused, record: Signed, found: ControlLog) -> Paused:
    named = read_key(record.key)
    if named is None:
        return paused
    others = {one: pause for one, pause in paused.items() if one != named}
    if not record.value:
        return others
    try:
        return {**others, named: msgspec.json.decode(record.value, type=Pause)}
    except msgspec.DecodeError:
        found.unreadable(record)
        return paused
