"""The fold itself: closed minutes of a partition's units in, changes of alerts out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from tidegate.contracts.alerts import Acknowledgement, Alert
from tidegate.contracts.counts import MINUTE
from tidegate.steps.detect.baseline import Baseline, Exchange, alone
from tidegate.steps.detect.closing import go_on
from tidegate.steps.detect.context import Context
from tidegate.steps.detect.evidence import Evidence, telling
from tidegate.steps.detect.figures import NOTHING, Counted, figures_of
from tidegate.steps.detect.grouping import Grouping
from tidegate.steps.detect.incidents import begin, changed, hush
from tidegate.steps.detect.opening import asking, due
from tidegate.steps.detect.silence import silence
from tidegate.steps.detect.state import NOBODY, Unit, UnitKey, keep

GAP_MINUTES = 60  # without a minute, after which windows begin anew
MOST_UNITS = 20_000  # of a fleet in a partition: a location that no file has is a site all the same
FORGET_MINUTES = 8 * 1440  # without an event, after which a unit is forgotten


class Detector:
    """The units of one partition, minute by minute.

    Where several fold the sites of a fleet side by side, `exchange` joins what is usual there each quarter of
    an hour (of a minute in which all of them fold), and a `Grouping` their changes.
    """

    def __init__(self, context: Context, units: Iterable[Unit] = (), exchange: Exchange = alone) -> None:
        self.context = context
        self._baseline = Baseline(context, units, exchange)
        active = (one.alert for unit in self._baseline.units.values() for one in unit.active.values())
        self._grouping = Grouping(active)
        self._order: list[tuple[UnitKey, Unit]] = []

    @property
    def units(self) -> dict[UnitKey, Unit]:
        """As they are behind the last minute."""
        for unit_key, unit in self._baseline.units.items():
            self._baseline.count_pending(unit_key, unit)
        return self._baseline.units

    def close(self, minute: int, documents: Mapping[UnitKey, Counted]) -> list[Alert]:
        """Fold a minute (µs since 1970 of its start) of every unit; units that have no document were silent.

        A minute at or before the last one of a unit changes nothing.
        """
        units = self._baseline.units
        self._begin(documents)
        if len(self._order) != len(units):
            self._order = sorted(units.items())
        changes: list[Alert] = []
        self._baseline.end_hours(minute)
        for unit_key, unit in self._order:
            if minute - unit.minute != MINUTE or unit.hour < 0:
                self._baseline.end_hour(unit_key, unit, minute)
            if minute <= unit.minute:
                continue
            if unit.minute and minute - unit.minute > GAP_MINUTES * MINUTE:
                unit.tracks.clear()
                unit.window.clear()
                unit.silent, unit.missing = 0, 0.0
            counted = documents.get(unit_key)
            # nothing, and nothing is on
            if counted is None and not unit.active and not (unit.tracks and telling(unit.tracks)):
                keep(unit, NOBODY)
                found = silence(self._baseline, unit, minute, 0, self._baseline.hour(unit_key))
                told = [begin(self._baseline, unit, found, minute, NOTHING)] if found is not None else []
            else:
                told = self._fold(unit_key, unit, minute, counted)
            if told:
                changes += [self._join(unit, change) for change in told]
            unit.minute = minute
            if unit.silent > FORGET_MINUTES and not unit.active:
                self._baseline.forget(unit_key)
                self._order = []
        return changes

    def acknowledge(self, ack: Acknowledgement) -> list[Alert]:
        """The change that follows from an acknowledgement; none where the alert is not open."""
        for unit in self._baseline.alerting(ack.fleet):
            for active in unit.active.values():
                if active.alert.id == ack.id and ack.at > active.acked_at:
                    active.acked_at = ack.at
                    return [changed(active, "acked", ack.at, by=ack.by)]
        return []

    def silence(self, fleet: str, at: int) -> list[Alert]:
        """The changes of a fleet's alerts whose silence began or ended by `at` (µs)."""
        baseline = self._baseline
        return [change for unit in baseline.alerting(fleet) for change in hush(baseline, unit, at)]

    def _begin(self, unit_keys: Mapping[UnitKey, Counted]) -> None:
        """A unit for each key that has none, as long as its fleet has room for it."""
        units = self._baseline.units
        if not unit_keys.keys() <= units.keys():
            new = [unit_key for unit_key in unit_keys if unit_key not in units]
            of_fleet = Counter(fleet for _, fleet, _ in units)
            for unit_key in new:
                of_fleet[unit_key[1]] += 1
                if of_fleet[unit_key[1]] <= MOST_UNITS:
                    units[unit_key] = Unit(*unit_key)

    def _join(self, unit: Unit, change: Alert) -> Alert:
        told = self._grouping.join(change)
        for active in unit.active.values():
            if active.alert.id == told.id and active.alert.incident != told.incident:
                active.alert = replace(active.alert, incident=told.incident)
        return told

    def _fold(self, unit_key: UnitKey, unit: Unit, minute: int, counted: Counted | None) -> list[Alert]:
        baseline = self._baseline
        changes = list(hush(baseline, unit, minute + MINUTE)) if unit.active else []
        figures = figures_of(counted) if counted is not None else NOTHING
        hour = baseline.hour(unit_key)
        evidence = Evidence(baseline, unit, minute, figures, counted, hour)
        evidence.weigh()
        if unit.active:
            changes += go_on(baseline, unit, evidence)
        if (
            figures.failed
            or unit.stream == "connection_logs"
            or (unit.tracks and asking(baseline, unit, hour))
        ):
            for one in due(baseline, unit, evidence):
                changes.append(begin(baseline, unit, one, minute, figures))
        silent = silence(baseline, unit, minute, figures.events, hour)
        if silent is not None:
            changes.append(begin(baseline, unit, silent, minute, figures))
        return changes
