"""Acknowledgements and silences: signed records of `tidegate.control`, written here and followed by workers.

A worker's detector answers each with the next change of the alert in `tidegate.alerts`. Whoever writes one
asks first whether the alert is open (the table's view `alerts_now`, `require_open`): an acknowledgement of an
alert that is over changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from queue import Empty, SimpleQueue

import msgspec

from tidegate.contracts.alert_rules import NOTED_KEY, Noted
from tidegate.contracts.alerts import (
    ACTIVE,
    Acknowledgement,
    Silence,
    acknowledgement_key,
    is_acknowledgement,
    is_silence,
    moment,
    silence_key,
)
from tidegate.contracts.control import Record, Signed
from tidegate.contracts.topics import CONTROL
from tidegate.errors import UsageError
from tidegate.kafka import control
from tidegate.kafka.connection import Connection
from tidegate.kafka.control import ControlLog
from tidegate.kafka.control_follower import ControlFollower
from tidegate.kafka.write_record import write_record

_log = logging.getLogger(__name__)

GROUP = "tidegate-alert-orders"
LONGEST_BY = 256  # characters of a name


class NotOpen(UsageError):
    """The alert is over, or there is none of this id."""


def require_open(id: str, state: str | None) -> None:
    """Raise NotOpen unless an alert whose newest state this is can be acknowledged; None: there is none."""
    if state is None:
        raise NotOpen(f"no alert {id}")
    if state not in ACTIVE:
        raise NotOpen(f"alert {id} is {state}: there is nothing to acknowledge")


def acknowledge(
    kafka: Connection, fleet: str, id: str, by: str, *, at: datetime | None = None
) -> Acknowledgement:
    """Say that `by` looks after an alert. Raises RetryLater where the broker does not take it."""
    ack = Acknowledgement(fleet=fleet, id=id, by=by[:LONGEST_BY], at=_iso(at or datetime.now(UTC)))
    _write(kafka, acknowledgement_key(fleet, id), msgspec.json.encode(ack))
    return ack


def silence(kafka: Connection, fleet: str, rule: str, site: str, until: datetime, by: str) -> Silence:
    """Silence a fleet's alerts of a rule and a site ("" any) until a time. Raises as `acknowledge`."""
    found = Silence(fleet=fleet, rule=rule, site=site, until=_iso(until), by=by[:LONGEST_BY])
    _write(kafka, silence_key(fleet, rule, site), msgspec.json.encode(found))
    return found


def end_silence(kafka: Connection, fleet: str, rule: str, site: str) -> None:
    """End a silence before its time. Raises as `acknowledge`."""
    _write(kafka, silence_key(fleet, rule, site), None)


def silences(kafka: Connection, fleet: str = "") -> list[Silence]:
    """Those in force now, of one fleet or of all. Raises RetryLater while the broker is away."""
    found = Silences()
    _, records = control.read(kafka)
    for record in records:
        found.take(record)
    now = _iso(datetime.now(UTC))
    return [one for one in found.all() if one.until > now and fleet in ("", one.fleet)]


class Silences:
    """The silences that were written, by what they silence."""

    def __init__(self) -> None:
        self._by_place: dict[tuple[str, str, str], Silence] = {}

    def take(self, record: Signed) -> Silence | None:
        """Take a record; the silence that it begins or ends, None for one of another kind or unreadable."""
        if not is_silence(record.key):
            return None
        known = {silence_key(*place): place for place in self._by_place}
        if not record.value:
            place = known.get(record.key)
            return None if place is None else self._by_place.pop(place)
        try:
            found = msgspec.json.decode(record.value, type=Silence)
            found = msgspec.structs.replace(found, until=_normal("until", found.until))
        except ValueError as error:
            _log.warning("a silence is refused: %s", error)
            return None
        place = (found.fleet, found.rule, found.site)
        if silence_key(*place) != record.key:
            return None
        self._by_place = {**self._by_place, place: found}
        return found

    def all(self) -> Iterable[Silence]:
        return sorted(self._by_place.values(), key=lambda one: one.until)

    def until(self, fleet: str, rule: str, site: str, at: int) -> str:
        """Until when a rule's alerts at a site are silenced at `at` (µs), "" for not."""
        places = self._by_place
        now = _iso(datetime.fromtimestamp(at / 1_000_000, UTC))
        found = ""
        for place in ((fleet, rule, site), (fleet, rule, ""), (fleet, "", site), (fleet, "", "")):
            one = places.get(place)
            if one is not None and one.until > now:
                found = max(found, one.until)
        return found


class Orders(ControlFollower):
    """What people ordered, as the control topic says; it is followed between enter and exit.

    `rules` is the digest of the rules that a worker noted last.
    """

    def __init__(self, kafka: Connection) -> None:
        super().__init__(kafka, GROUP)
        self.silences = Silences()
        self.rules = ""
        self._new: SimpleQueue[Acknowledgement | Silence] = SimpleQueue()

    def take(self) -> list[Acknowledgement | Silence]:
        """What came since the last call."""
        found: list[Acknowledgement | Silence] = []
        while True:
            try:
                found.append(self._new.get_nowait())
            except Empty:
                return found

    def signed(self, rules: Noted) -> Record | None:
        """The record that notes rules, None while the control topic is not followed yet."""
        if self.log is None or not self.log.epoch:
            return None
        value = msgspec.json.encode(rules)
        return Record(NOTED_KEY, value, self.log.signed(NOTED_KEY, value))

    def _take(self, log: ControlLog, record: Signed) -> None:
        if record.key == NOTED_KEY:
            try:
                self.rules = msgspec.json.decode(record.value or b"", type=Noted).digest
            except msgspec.DecodeError:
                log.unreadable(record)
            return
        silence = self.silences.take(record)
        if silence is not None:
            self._new.put(silence)
        elif is_acknowledgement(record.key) and record.value:
            ack = acknowledgement(record.key, record.value)
            if ack is not None:
                self._new.put(ack)


def acknowledgement(key: bytes, value: bytes) -> Acknowledgement | None:
    """The acknowledgement that a record tells, None for one that is unreadable."""
    try:
        ack = msgspec.json.decode(value, type=Acknowledgement)
        ack = msgspec.structs.replace(ack, at=_normal("at", ack.at))
    except ValueError as error:
        _log.warning("an acknowledgement is refused: %s", error)
        return None
    return ack if acknowledgement_key(ack.fleet, ack.id) == key else None


def _write(kafka: Connection, key: bytes, value: bytes | None) -> None:
    found, _ = control.read(kafka)
    write_record(kafka, CONTROL, key, value, found.signed(key, value))


def _normal(field: str, text: str) -> str:
    """The same moment as everything here writes it. Raises ValueError, which names the field, for text that
    is none, and for one that has no date in UTC: year 1, east of it."""
    try:
        return _iso(moment(text))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{field}: {text[:64]!r} is no time: {error}") from error


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
