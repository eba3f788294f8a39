"""Which alerts are one incident: those of a site that are open together, and sites that fail for one cause.

A fold of changes in order, apart from what finds them, so that sites can be folded side by side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from tidegate.contracts.alerts import Alert
from tidegate.contracts.counts import MINUTE
from tidegate.steps.detect.figures import number_text
from tidegate.steps.detect.state import micros

GROUP_MINUTES = 30  # within which sites with one cause are one incident


class Grouping:
    """The alerts that are not resolved, as they were told last."""

    def __init__(self, alerts: Iterable[Alert] = ()) -> None:
        self._open: dict[str, dict[str, Alert]] = {}  # fleet -> id -> alert
        for alert in alerts:
            self._open.setdefault(alert.fleet, {})[alert.id] = alert

    def join(self, change: Alert) -> Alert:
        """The next change of an alert, with the incident that it belongs to."""
        alerts = self._open.setdefault(change.fleet, {})
        known = alerts.get(change.id)
        incident = known.incident if known is not None else _incident(change, alerts.values())
        told = msgspec.structs.replace(change, incident=incident)
        if told.state == "resolved":
            alerts.pop(told.id, None)
        else:
            alerts[told.id] = told
        return told


def _incident(alert: Alert, others: Iterable[Alert]) -> str:
    """That of the site, else that of another site with the same cause, else a new one.

    New ones of one cause have the same name in all partitions, for half an hour.
    """
    at = micros(alert.updated_at)
    mine = [one.incident for one in others if one.scope.site == alert.scope.site]
    if mine:
        return min(mine)
    cause = _cause(alert)
    near = [
        one
        for one in others
        if _cause(one) == cause and abs(at - micros(one.started_at)) <= GROUP_MINUTES * MINUTE
    ]
    if near:
        return min(near, key=lambda one: (one.started_at, one.id)).incident
    if alert.cause.code is None and alert.signal != "no_events":
        return alert.id
    text = "\0".join((alert.fleet, *cause, str(at // (GROUP_MINUTES * MINUTE))))
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def _cause(alert: Alert) -> tuple[str, str, str]:
    return alert.signal, alert.scope.stage, number_text(alert.cause.code)
