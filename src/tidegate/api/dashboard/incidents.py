"""One incident, one sentence: what fails, where, since when, whom it hits, why, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tidegate.api.dashboard import text

Document = Mapping[str, Any]

STAGES = {
    "association": "association",
    "authentication": "authentication",
    "aaa": "RADIUS (aaa)",
    "dhcp": "DHCP",
    "dns": "DNS",
    "network": "network",
}
COMPLIANCE = frozenset({"insecure_network", "unapproved_network"})
SEVERITIES = ("critical", "warning", "info")
CRITICAL_CLIENTS, CRITICAL_SHARE, WARNING_CLIENTS = 50, 0.25, 5
"""Severity of what has no alert yet, as the rules grade one."""
OTHERS = 4  # networks that an incident names beside the first


@dataclass(frozen=True, slots=True)
class Incident:
    """`alerts` are the ids of those that belong together, the worst first; empty while none is open yet."""

    severity: str
    site: str
    stage: str
    state: str  # open, acked, flapping, silenced; "" without an alert
    since: int | None  # µs
    headline: str
    whom: str
    reason: str
    action: str
    alerts: tuple[str, ...] = ()
    by: str = ""
    stages: tuple[str, ...] = ()
    place: str = ""  # in words, where it is not one site
    signal: str = "stage_failures"

    @property
    def title(self) -> str:
        named = " + ".join(STAGES.get(stage, stage) for stage in self.stages)
        return named or STAGES.get(self.stage, self.stage)


def micros(moment: str | None) -> int | None:
    """Of an ISO time of an answer."""
    return None if not moment else round(datetime.fromisoformat(moment).timestamp() * 1_000_000)


def incidents(overview: Document) -> list[Incident]:
    """Those of an overview, worst first: alerts by incident, then sites that fail before an alert is open."""
    alerts = [*overview["alerts"], *(one for site in overview["sites"] for one in site["alerts"])]
    groups: dict[str, list[Document]] = {}
    for one in alerts:
        groups.setdefault(one["incident"] or one["id"], []).append(one)
    found = [_of_alerts(group) for group in groups.values()]
    told = {one["site"] for one in alerts}
    found += [
        _of_site(site, overview["minutes"])
        for site in overview["sites"]
        if site["site"] not in told and site["state"] in ("failing", "slow")
    ]
    states = ("open", "flapping", "", "acked", "silenced")
    order = {site["site"]: number for number, site in enumerate(overview["sites"])}
    return sorted(
        found,
        key=lambda one: (
            one.state in ("acked", "silenced"),
            one.signal in COMPLIANCE,  # somebody cannot connect: that comes first
            SEVERITIES.index(one.severity) if one.severity in SEVERITIES else 9,
            order.get(one.site, -1),
            states.index(one.state) if one.state in states else 9,
        ),
    )


def _of_alerts(group: Sequence[Document]) -> Incident:
    ranked = sorted(
        group,
        key=lambda one: (
            SEVERITIES.index(one["severity"]) if one["severity"] in SEVERITIES else 9,
            -one["impact"]["clients"],
            one["id"],
        ),
    )
    worst = ranked[0]
    sites = sorted({one["site"] for one in ranked if one["site"]})
    impact, cause = worst["impact"], worst["cause"]
    if worst["signal"] == "stage_failures" and impact["attempts"]:
        share = impact["failures"] / impact["attempts"]
        headline = (
            f"{text.percent(share)} of attempts fail at {STAGES.get(worst['stage'], worst['stage'])}"
            f" (usual {text.percent(impact['usual'])})"
        )
        whom = " · ".join(_whom(worst))
    else:
        headline = worst["summary"] or f"{worst['signal'].replace('_', ' ')} by the rule {worst['rule']}"
        whom = " · ".join(_other_networks(ranked))
    if len(sites) > 1:
        worst_words = f"At {worst['site']}: {headline}" if worst["site"] not in headline else headline
        headline = f"{len(sites)} sites at once. {worst_words}"
        whom = f"{', '.join(sites[:6])}{' …' if len(sites) > 6 else ''}"
    return Incident(
        worst["severity"],
        worst["site"] if len(sites) == 1 else "",
        worst["stage"],
        worst["state"],
        min(filter(None, (micros(one["started_at"]) for one in ranked)), default=None),
        headline,
        whom,
        _reason(cause),
        worst["action"],
        tuple(one["id"] for one in ranked),
        worst["by"],
        tuple(dict.fromkeys(one["stage"] for one in ranked if one["stage"])),
        place(worst, sites),
        worst["signal"],
    )


def place(alert: Document, sites: Sequence[str]) -> str:
    """Where an alert of no one site is, in words."""
    if len(sites) > 1:
        return f"{len(sites)} sites"
    named = [f"{name.upper()} {alert[name]}" for name in ("ssid", "ap") if alert[name]]
    return " · ".join(named) or "whole fleet"


def _other_networks(ranked: Sequence[Document]) -> Iterator[str]:
    """The SSIDs of an incident beside that of its worst alert, which does not tell of them."""
    networks: dict[str, Document] = {}
    for one in ranked:
        networks.setdefault(one["ssid"], one)
    others = [one for ssid, one in networks.items() if ssid not in ("", ranked[0]["ssid"])]
    for one in others[:OTHERS]:
        yield f"also SSID {one['ssid']}: {text.count(one['impact']['clients'])} clients"
    if len(others) > OTHERS:
        yield f"and {len(others) - OTHERS} more"


def _whom(alert: Document) -> Iterator[str]:
    impact, cause = alert["impact"], alert["cause"]
    if impact["clients"]:
        yield f"{text.count(impact['clients'])} of {text.count(impact['clients_seen'])} clients"
    if impact["aps"]:
        yield f"{text.count(impact['aps'])} of {text.count(impact['aps_seen'])} APs"
    if cause["dimension"] and cause["value"]:
        name = cause["dimension"]
        yield f"{name.upper() if name in ('ssid', 'ap') else name} {cause['value']} only"


def _reason(cause: Document) -> str:
    if not cause["reason"] and cause["code"] is None:
        return ""
    codes = "/".join(str(each) for each in (cause["code"], cause["sub_code"]) if each is not None)
    share = f": {text.percent(cause['share'])} of the excess" if cause["share"] else ""
    return f"{cause['reason'].rstrip('.') or 'code'}{f' ({codes})' if codes else ''}{share}."


def _of_site(site: Document, minutes: int) -> Incident:
    """A site whose last minutes are worse than usual."""
    failing = [one for one in site["stages"] if one["failing"]]
    worst = max(failing, key=lambda one: one["failed"] - one["reached"] * one["usual_rate"], default=None)
    clients = f"{text.count(site['clients_failing'])} of {text.count(site['clients'])} clients"
    span = f"in the last {minutes} min"
    if worst is not None:
        stage, share = worst["stage"], worst["rate"] or 0.0
        hit = worst["clients"] or site["clients_failing"]
        severity = (
            "critical"
            if hit >= CRITICAL_CLIENTS and share >= CRITICAL_SHARE
            else "warning"
            if hit >= WARNING_CLIENTS
            else "info"
        )
        headline = (
            f"{text.percent(share)} of attempts fail at {STAGES.get(stage, stage)}"
            f" (usual {text.percent(worst['usual_rate'])})"
        )
        clients = f"{text.count(hit)} of {text.count(site['clients'])} clients"
    elif site["state"] == "slow":
        timing = site["time_to_connect"]
        stage, severity = timing["blame"] or "", "warning"
        headline = (
            f"{text.percent(1 - (timing['quick'] or 0))} of connections take more than 2 s"
            f" (usual {text.percent(1 - (timing['usual_quick'] or 0))}), 95 % within"
            f" {text.milliseconds(timing['p95_ms'])}"
        )
        clients = f"{text.count(site['clients'])} clients"
    else:
        connects = site["connects"]
        stage, severity = "", "warning"
        headline = f"{text.percent(connects['rate'])} connect (usual {text.percent(connects['usual'])})"
    stages = tuple(one["stage"] for one in failing) or ((stage,) if stage else ())
    return Incident(
        severity, site["site"], stage, "", None, headline, f"{clients} · {span}", "", "", stages=stages
    )
