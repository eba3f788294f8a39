"""Detects alerts in the minutes of `tidegate.health`, and tells their changes in `tidegate.alerts`.

The agent holds each minute's newest documents until the minute is told to be complete, then reads and folds
them. The state of the units lives in a table. It is written before the changes are told, and with them:
whoever reads it after a crash tells those last changes again, with the same ids and sequences, and goes on
behind them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, MutableMapping
from typing import Any

import msgspec

from tidegate.alerts.control import Orders
from tidegate.contracts.alert_rules import Rules, noted
from tidegate.contracts.alerts import Acknowledgement, Alert
from tidegate.contracts.counts import MINUTE, MinutesClosed
from tidegate.errors import UsageError
from tidegate.lookups import Lookups, alert_rules
from tidegate.lookups.failures import FailureCatalogue
from tidegate.settings import Settings
from tidegate.steps.detect import Context, Detector, Unit, UnitKey, context_of
from tidegate.telemetry import WORKER_ALERTS, WORKER_ALERTS_LATE, WORKER_DETECT_SECONDS
from tidegate.worker.lifecycle import FreezeDetector
from tidegate.worker.producer import MARK, Producer
from tidegate.worker.waiting_minutes import UNREADABLE, WaitingMinutes, minute_of

log = logging.getLogger(__name__)

ORDER_SECONDS = 1.0
RULES_SECONDS = 60.0
MOST_BEHIND = 24 * 60 * MINUTE  # minutes that are folded one by one behind a gap


class Stored(msgspec.Struct, array_like=True):
    """A value of the table: a unit of a partition of `tidegate.health`, and its last changes."""

    partition: int
    unit: Unit
    changes: list[Alert] = []


_ENCODE = msgspec.msgpack.Encoder().encode
_STORED = msgspec.msgpack.Decoder(Stored)
_CLOSED = msgspec.json.Decoder(MinutesClosed)


def load_rules(settings: Settings, tables: Lookups) -> Rules:
    """Raises UsageError for a file that is wrong."""
    sites = {site.name for site in tables.sites.by_location.values()}
    return alert_rules.load(settings.alerts_rules_file, sites or None)


class Alerting:
    """The units of the partitions assigned here; `table` is the Faust table's own data."""

    def __init__(
        self,
        settings: Settings,
        tables: Lookups,
        table: MutableMapping[bytes, bytes],
        producer: Producer,
        freeze_detector: FreezeDetector,
        orders: Orders,
        catalogue: Callable[[], FailureCatalogue],
    ) -> None:
        self._settings = settings
        self._tables = tables
        self._table = table
        self._producer = producer
        self._freeze_detector = freeze_detector
        self._orders = orders
        self._catalogue = catalogue
        self._rules = load_rules(settings, tables)
        self._rules_problem = ""
        self._noted: Rules | None = None
        self._detectors: dict[int, Detector] = {}
        self._waiting = WaitingMinutes()
        self._folded: dict[int, int] = {}  # partition -> the last minute
        self._lock = asyncio.Lock()

    def revoked(self) -> None:
        """The partitions are another's from now on."""
        self._detectors.clear()
        self._waiting.clear()
        self._folded.clear()

    def recovered(self, partitions: Collection[int]) -> None:
        """The table was read again after an assignment of these partitions: their units go on, and their
        last changes are told again."""
        self.revoked()
        units: dict[int, list[Unit]] = defaultdict(list)
        for key, value in list(self._table.items()):
            if not value or key == MARK:
                continue
            try:
                stored = _STORED.decode(value)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                # Of another version, or of a stranger: learn anew rather than stand still.
                log.warning("the state of %r cannot be read and begins again: %s", key, error)
                continue
            if stored.partition not in partitions:
                continue
            units[stored.partition].append(stored.unit)
            if stored.changes:
                self._producer.send_alerts(stored.partition, stored.changes)
        for partition, found in units.items():
            self._detectors[partition] = Detector(self._context(), found)
            self._folded[partition] = max(unit.minute for unit in found)

    async def take(self, stream: Any) -> None:
        """The agent of `tidegate.health`; Faust acks each record behind it."""
        async for event in stream.events():
            self._freeze_detector.check()
            message = event.message
            try:
                if message.key:
                    begun = time.thread_time()
                    folded = self._folded.get(message.partition, 0)
                    now = time.time_ns() // 1000
                    self._waiting.put(message.partition, event.value or b"", folded=folded, now=now)
                    WORKER_DETECT_SECONDS.inc(time.thread_time() - begun)
                else:
                    closed = minute_of(_CLOSED.decode(event.value or b"").closed, time.time_ns() // 1000)
                    await self._close(message.partition, closed)
            except UNREADABLE as error:
                position = (message.topic, message.partition, message.offset)
                log.warning("%s %d %d is no minute: %s", *position, error)
            except Exception:  # a bug there must cost alerts and never events
                log.exception("minutes at %d %d", message.partition, message.offset)

    async def run(self) -> None:
        """Answer orders, and look at the rules now and then, until cancelled."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(ORDER_SECONDS)
            orders = self._orders.take()
            if orders:
                async with self._lock:
                    await self._answer(orders)
            if time.monotonic() - looked > RULES_SECONDS:
                looked = time.monotonic()
                self._reload()
            self._note_rules()
            if self._folded:
                WORKER_ALERTS_LATE.set(time.time() - min(self._folded.values()) / 1e6)

    # --- minutes

    async def _close(self, partition: int, closed: int) -> None:
        async with self._lock:
            detector = self._detectors.get(partition)
            if detector is None:
                detector = self._detectors[partition] = Detector(self._context())
            first = self._waiting.first(partition, closed)
            last = self._folded.get(partition, first - MINUTE)
            last = max(last, closed - MOST_BEHIND)
            changes: list[Alert] = []
            begun = time.thread_time()
            before = set(detector.units)
            if closed > last:
                self._folded[partition] = closed
            for minute in range(last + MINUTE, closed + MINUTE, MINUTE):
                changes += detector.close(minute, self._waiting.take(partition, minute))
            WORKER_DETECT_SECONDS.inc(time.thread_time() - begun)
            self._waiting.drop(partition, closed)
            if closed > last:
                await self._tell(partition, detector, changes, set(detector.units) | before)

    async def _answer(self, orders: list[Any]) -> None:
        for partition, detector in list(self._detectors.items()):
            changes: list[Alert] = []
            for order in orders:
                if isinstance(order, Acknowledgement):
                    changes += detector.acknowledge(order)
                else:
                    changes += detector.silence(order.fleet, time.time_ns() // 1000)
            if changes:
                sites = {(change.fleet, change.scope.site) for change in changes}
                touched = {unit_key for unit_key in detector.units if unit_key[1:] in sites}
                await self._tell(partition, detector, changes, touched)

    async def _tell(
        self, partition: int, detector: Detector, changes: list[Alert], unit_keys: set[UnitKey]
    ) -> None:
        """Write the units and then tell their changes, so that no change is told that is not kept."""
        begun = time.thread_time()
        records: list[tuple[bytes, bytes | None]] = []
        of_site: dict[UnitKey, list[Alert]] = defaultdict(list)
        for change in changes:
            of_site[change.scope.stream or "client_events", change.fleet, change.scope.site].append(change)
        for unit_key in unit_keys:
            key = "\0".join(unit_key).encode()
            unit = detector.units.get(unit_key)
            if unit is None:
                self._table.pop(key, None)
                records.append((key, None))
                continue
            value = self._table[key] = _ENCODE(Stored(partition, unit, of_site.get(unit_key, [])))
            records.append((key, value))
        WORKER_DETECT_SECONDS.inc(time.thread_time() - begun)
        self._freeze_detector.check()
        if records:
            acked = asyncio.Event()
            self._producer.send_units(partition, records, acked.set)
            await acked.wait()
        if changes:
            acked = asyncio.Event()
            self._producer.send_alerts(partition, changes, acked.set)
            await acked.wait()
        for change in changes:
            WORKER_ALERTS.labels(change.state).inc()
            log.info("%s %s: %s", change.state, change.id, change.summary)

    # --- rules

    def _context(self) -> Context:
        return context_of(
            self._rules, self._tables, catalogue=self._catalogue, silenced=self._orders.silences.until
        )

    def _note_rules(self) -> None:
        """Note in the control topic which rules are in force, at the start and when they change."""
        if self._noted is self._rules:
            return
        rules = noted(self._rules)
        record = self._orders.signed(rules)
        if record is not None:
            if rules.digest != self._orders.rules:
                self._producer.send_control(record)
            self._noted = self._rules

    def _reload(self) -> None:
        """Take the rules that the file has now; wrong ones are told, and those in force stay."""
        try:
            rules = load_rules(self._settings, self._tables)
        except UsageError as error:
            if str(error) != self._rules_problem:
                self._rules_problem = str(error)
                log.error("the alert rules stay as they are: %s", error)
            return
        self._rules_problem = ""
        if rules != self._rules:
            self._rules = rules
            log.info("new alert rules: %s", ", ".join(rule.name for rule in rules.rules))
            for partition, detector in list(self._detectors.items()):
                self._detectors[partition] = Detector(self._context(), detector.units.values())
