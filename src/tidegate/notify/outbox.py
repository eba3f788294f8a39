"""What is owed to whom, and when it is tried next. Pure: time and chance come in as arguments.

A notice is one change of an alert for one endpoint. It is tried at once and then after growing times; a newer
state of the same alert takes the place of an older one that failed. Notices of one alert to one endpoint go
out one at a time, in the order of the changes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import msgspec

from tidegate.contracts.alerts import Alert
from tidegate.store.deliveries import OPEN, Entry, Outcome
from tidegate.webhooks.endpoints import Endpoint
from tidegate.webhooks.signing import webhook_id
from tidegate.webhooks.transport import Answer

MINUTE, HOUR = 60.0, 3600.0
DELAYS = (
    *(0.0, 5.0, 5 * MINUTE, 30 * MINUTE),
    *(2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR),
)
"""Seconds before each attempt, from the change or the end of the attempt before it."""
JITTER = 0.2  # a delay is up to so much longer, so that retries do not come all at once
LONGEST_RETRY_AFTER = 24 * HOUR  # a receiver that asks for more gets no more
AT_ONCE = 4  # requests to one endpoint at a time
MOST_KNOWN = 100_000  # notices that are remembered beyond their end
MOST_ERROR = 300  # characters


NONE = Answer(0)


@dataclass(slots=True, eq=False)
class Notice:
    """One change of an alert that is owed to one endpoint. Times are seconds since 1970."""

    id: str
    endpoint_id: str
    endpoint: str  # its name
    alert: Alert
    partition: int
    next_at: float
    attempt: int = 0  # requests made
    entry: int = 0  # number of its newest entry in the log
    busy: bool = False

    @property
    def line(self) -> tuple[str, str]:
        """What goes out one at a time."""
        return self.endpoint_id, self.alert.id

    def logged(self, outcome: Outcome, at: float, answer: Answer = NONE) -> Entry:
        """Its entry of this number in the log."""
        owed = outcome == "owed"
        return Entry(
            fleet=self.alert.fleet,
            webhook_id=self.id,
            entry=self.entry,
            at=at,
            endpoint=self.endpoint,
            endpoint_id=self.endpoint_id,
            alert_id=self.alert.id,
            sequence=self.alert.sequence,
            state=self.alert.state,
            outcome=outcome,
            attempt=self.attempt,
            status=answer.status,
            error=answer.error[:MOST_ERROR],
            duration_ms=int(answer.seconds * 1000),
            next_attempt_at=self.next_at if outcome in OPEN else None,
            partition=self.partition,
            alert=msgspec.json.encode(self.alert).decode() if owed else "",
        )


class Outbox:
    """The notices that are owed. Every method that changes one returns the entries for the log."""

    def __init__(self, chance: Callable[[], float]) -> None:
        """`chance` gives numbers from 0 to 1, for the jitter."""
        self._chance = chance
        self._owed: dict[str, Notice] = {}
        self._known: OrderedDict[str, int] = OrderedDict()  # id -> number of the newest entry
        self._newest: OrderedDict[tuple[str, str], int] = OrderedDict()  # line -> newest sequence
        self._others: set[int] = set()  # partitions that were forgotten

    def __len__(self) -> int:
        return len(self._owed)

    def __iter__(self) -> Iterator[Notice]:
        return iter(self._owed.values())

    def knows(self, id: str) -> bool:
        return id in self._known

    def has_seen(self, found: Entry) -> bool:
        """Whether an entry of the log is known already, or a newer one of its notice."""
        return found.entry <= self._known.get(found.webhook_id, -1)

    def has_told(self, endpoint_id: str, alert_id: str) -> bool:
        """Whether it has seen a notice of an alert to an endpoint."""
        return (endpoint_id, alert_id) in self._newest

    def next_at(self) -> float | None:
        """When the next attempt is due; None where none is, or all are under way."""
        return min((notice.next_at for notice in self if not notice.busy), default=None)

    def owe(self, endpoint: Endpoint, alert: Alert, partition: int, now: float) -> list[Entry]:
        """A change of an alert is told to an endpoint. One that is known already is not told again."""
        id = webhook_id(alert.id, alert.sequence, endpoint.id)
        if id in self._known:
            return []
        notice = Notice(id, endpoint.id, endpoint.name, alert, partition, now)
        superseded = self._supersede(notice, now)
        self._take(notice)
        return [*superseded, notice.logged("owed", now)]

    def restore(self, found: Entry, alert: Alert, now: float) -> list[Entry]:
        """Take over from the log: what another process owed, or what is to be sent once more."""
        if self.has_seen(found):
            return []
        if (here := self._owed.get(found.webhook_id)) is not None:
            if not here.busy:  # somebody wants it to be sent once more, and now
                here.entry, here.attempt = found.entry, found.attempt
                here.next_at = found.next_attempt_at if found.next_attempt_at is not None else now
                self._remember(here.id, here.entry)
            return []
        notice = Notice(
            found.webhook_id,
            found.endpoint_id,
            found.endpoint,
            alert,
            found.partition,
            found.next_attempt_at if found.next_attempt_at is not None else now,
            found.attempt,
            found.entry,
        )
        superseded = self._supersede(notice, now)
        self._take(notice)
        if notice.attempt and self._has_newer(notice):
            return [*superseded, self._end(notice, "superseded", now)]
        return superseded

    def ended_before(self, id: str, entry: int) -> None:
        """The log has a notice at its end: it is not told again."""
        self._remember(id, entry)

    def due(self, now: float) -> list[Notice]:
        """What to send now; each is busy until it has `ended`."""
        at_work: dict[str, int] = {}
        lines = set()
        for notice in self:
            if notice.busy:
                lines.add(notice.line)
                at_work[notice.endpoint_id] = at_work.get(notice.endpoint_id, 0) + 1
        found = []
        ready = [notice for notice in self if not notice.busy and notice.next_at <= now]
        for notice in sorted(ready, key=lambda one: (one.next_at, one.alert.sequence)):
            if notice.line in lines or at_work.get(notice.endpoint_id, 0) >= AT_ONCE:
                continue
            lines.add(notice.line)
            at_work[notice.endpoint_id] = at_work.get(notice.endpoint_id, 0) + 1
            notice.busy = True
            found.append(notice)
        return found

    def ended(self, notice: Notice, answer: Answer, now: float) -> list[Entry]:
        """An attempt is over."""
        notice.busy = False
        notice.attempt += 1
        if answer.delivered:
            return [self._end(notice, "delivered", now, answer)]
        if answer.status == 410:
            return [self._end(notice, "gone", now, answer)]
        if self._has_newer(notice):
            return [self._end(notice, "superseded", now, answer)]
        if notice.attempt >= len(DELAYS):
            return [self._end(notice, "failed", now, answer)]
        notice.next_at = now + self._delay(notice.attempt, answer.retry_after)
        notice.entry += 1
        self._remember(notice.id, notice.entry)
        if notice.partition in self._others:
            self._forget(notice)
        return [notice.logged("retry", now, answer)]

    def drop(self, endpoint_id: str, reason: str, now: float) -> list[Entry]:
        """Nothing is sent to an endpoint any more. What is under way ends by itself."""
        dropped = [one for one in self if one.endpoint_id == endpoint_id and not one.busy]
        return [self._end(notice, "dropped", now, Answer(0, reason)) for notice in dropped]

    def forget(self, partitions: Collection[int]) -> None:
        """Others read these partitions now, and send what is owed there. What is under way ends here."""
        self._others |= set(partitions)
        for notice in [one for one in self if one.partition in partitions and not one.busy]:
            self._forget(notice)

    def _forget(self, notice: Notice) -> None:
        self._owed.pop(notice.id, None)
        self._known.pop(notice.id, None)

    def _take(self, notice: Notice) -> None:
        self._others.discard(notice.partition)
        self._owed[notice.id] = notice
        self._remember(notice.id, notice.entry)
        newest = max(self._newest.get(notice.line, 0), notice.alert.sequence)
        self._newest[notice.line] = newest
        self._newest.move_to_end(notice.line)
        if len(self._newest) > MOST_KNOWN:
            self._newest.popitem(last=False)

    def _supersede(self, newer: Notice, now: float) -> list[Entry]:
        """End the older notices of its line that have failed. One not tried yet goes out before it."""
        older = [
            one
            for one in self
            if one.line == newer.line
            and one.alert.sequence < newer.alert.sequence
            and one.attempt
            and not one.busy
        ]
        return [self._end(notice, "superseded", now) for notice in older]

    def _has_newer(self, notice: Notice) -> bool:
        return self._newest.get(notice.line, 0) > notice.alert.sequence

    def _end(self, notice: Notice, outcome: Outcome, now: float, answer: Answer = NONE) -> Entry:
        self._owed.pop(notice.id, None)
        notice.entry += 1
        self._remember(notice.id, notice.entry)
        return notice.logged(outcome, now, answer)

    def _remember(self, id: str, entry: int) -> None:
        self._known[id] = entry
        self._known.move_to_end(id)
        while len(self._known) > MOST_KNOWN + len(self._owed):
            self._known.popitem(last=False)

    def _delay(self, attempt: int, retry_after: float | None) -> float:
        delay = DELAYS[attempt] * (1 + JITTER * self._chance())
        return max(delay, min(retry_after or 0.0, LONGEST_RETRY_AFTER))
