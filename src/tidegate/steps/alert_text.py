"""What an alert says to people: one sentence, and what to do."""

from __future__ import annotations

from tidegate.contracts.alerts import Alert
from tidegate.lookups.stages import ACTIONS

_ACTIONS: dict[str, str] = {
    "disassociations": "Check power, cabling and restarts of the access points where clients are thrown off",
    "clock_skew": "Check the time servers of the access points; a firmware change may have reset them",
    "no_events": "Check the site's uplink, its controller and its tokens: nothing comes in",
    "insecure_network": "Find out who needs this open or WEP network, and secure it or block it",
    "unapproved_network": "Add the network to the approved ones, or keep the devices off it",
}


def action(signal: str, stage: str) -> str:
    """What to do where nothing more is known than the signal and the stage."""
    return _ACTIONS.get(signal) or ACTIONS.get(stage, "")


def summary(alert: Alert) -> str:
    """What, where, since when, whom."""
    scope, impact = alert.scope, alert.impact
    where = scope.site or f"fleet {alert.fleet}"
    part = f", SSID {scope.ssid}" if scope.ssid else f", access point {scope.ap}" if scope.ap else ""
    since = alert.started_at[11:16]
    text = f"{where}{part}: {_what(alert)} since {since} UTC"
    if alert.state == "resolved":
        text = f"{where}{part}: over: {_what(alert)}, {since} to {alert.updated_at[11:16]} UTC"
    elif alert.state == "flapping":
        text = f"{where}{part}: comes and goes: {_what(alert)}"
    if impact.clients:
        text += f"; {impact.clients} of {impact.clients_seen} clients"
        if impact.aps:
            text += f", {impact.aps} of {impact.aps_seen} access points"
    if alert.cause.reason:
        code = "" if alert.cause.code is None else f" ({alert.cause.code}"
        if code:
            code += ")" if alert.cause.sub_code is None else f"/{alert.cause.sub_code})"
        text += f"; {alert.cause.reason}{code}"
    return text


def _what(alert: Alert) -> str:
    impact, stage = alert.impact, alert.scope.stage
    if alert.signal == "stage_failures":
        share = impact.failures / impact.attempts if impact.attempts else 0.0
        return f"{share:.0%} of attempts fail at {stage} (usual {impact.usual:.1%})"
    if alert.signal == "slow_stage":
        return f"{stage} takes longer than usual"
    if alert.signal == "disassociations":
        return "more clients than usual are thrown off"
    if alert.signal == "clock_skew":
        return "events come with a wrong clock"
    if alert.signal == "no_events":
        return "no events where there usually are some"
    if alert.signal == "insecure_network":
        return "connections over an open or WEP network"
    return "connections over a network that is not approved"
