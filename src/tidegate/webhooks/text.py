"""What people read of an alert. Names come from the network: anybody can call an SSID what he likes."""

from __future__ import annotations

import re
from typing import NamedTuple

from tidegate.contracts.alerts import Alert

# Control characters, and those that change the direction of text or are not seen at all.
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f]"
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def clean(text: str, most: int) -> str:
    """One line without characters that hide or turn round what stands there, at most `most` long."""
    text = " ".join(_UNSEEN.sub(" ", _SURROGATE.sub("\ufffd", text)).split())
    return text if len(text) <= most else text[: most - 1] + "…"


class Fact(NamedTuple):
    title: str
    value: str


STATES = {
    "open": "opened",
    "acked": "acknowledged",
    "flapping": "flapping",
    "silenced": "silenced",
    "resolved": "resolved",
}


def title(alert: Alert) -> str:
    """``CRITICAL opened: Toronto · aaa``."""
    where = " · ".join(filter(None, (alert.scope.site or f"fleet {alert.fleet}", alert.scope.stage)))
    return clean(f"{alert.severity.upper()} {STATES[alert.state]}: {where}", 150)


def sentence(alert: Alert) -> str:
    """What, where, since when, whom."""
    if alert.summary:
        return clean(alert.summary, 1000)
    return clean(f"{alert.signal.replace('_', ' ')} at {alert.scope.site or alert.fleet}", 1000)


def facts(alert: Alert) -> list[Fact]:
    """The figures and the cause, those that there are."""
    impact, cause, scope = alert.impact, alert.cause, alert.scope
    found = [Fact("Fleet", alert.fleet), Fact("Since", alert.started_at)]
    if impact.attempts:
        share = 100 * impact.failures / impact.attempts
        found.append(
            Fact("Failing", f"{share:.0f} % of {impact.attempts:,} (usual {100 * impact.usual:.1f} %)")
        )
    if impact.clients_seen or impact.clients:
        found.append(Fact("Clients", _of(impact.clients, impact.clients_seen)))
    if impact.aps_seen or impact.aps:
        found.append(Fact("Access points", _of(impact.aps, impact.aps_seen)))
    found += [Fact(name, value) for name, value in (("SSID", scope.ssid), ("AP", scope.ap)) if value]
    if cause.reason or cause.code is not None:
        code = "" if cause.code is None else f" ({cause.code}/{cause.sub_code or 0})"
        found.append(Fact("Why", f"{cause.reason or 'failure code'}{code}: {100 * cause.share:.0f} % of it"))
    if cause.dimension:
        found.append(Fact("In common", f"{cause.dimension} {cause.value}"))
    if alert.by:
        found.append(Fact("By", alert.by))
    if alert.action and alert.state != "resolved":
        found.append(Fact("Do", alert.action))
    return [Fact(fact.title, clean(fact.value, 300)) for fact in found]


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}" if whole else f"{part:,}"
