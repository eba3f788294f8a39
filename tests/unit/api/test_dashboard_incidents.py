"""Incidents out of an overview: one for what belongs together, the worst first."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.api.dashboard import world
from tidegate.api.dashboard.incidents import incidents


def alert(id: str, site: str, stage: str = "aaa", **changed: Any) -> dict[str, Any]:
    return {
        "id": id,
        "incident": id,
        "rule": "stage-failures",
        "signal": "stage_failures",
        "state": "open",
        "severity": "warning",
        "site": site,
        "stage": stage,
        "ssid": "",
        "ap": "",
        "started_at": "2026-11-26T21:26:00.000000Z",
        "by": "",
        "impact": {
            **{"attempts": 200, "failures": 116, "usual": 0.004, "clients": 20},
            **{"clients_seen": 28, "aps": 3, "aps_seen": 26},
        },
        "cause": {
            **{"code": 902, "sub_code": 1, "reason": "RADIUS server did not respond.", "share": 0.97},
            **{"dimension": "ssid", "value": "eduroam"},
        },
        "summary": f"{site}: {stage}",
        "action": "Check that the RADIUS server answers",
    } | changed


def site(name: str, *alerts: dict[str, Any], failing: bool = False) -> dict[str, Any]:
    stage = {
        **{"stage": "dhcp", "reached": 100, "failed": 40, "rate": 0.4, "usual_rate": 0.01},
        **{"clients": 60, "failing": failing},
    }
    return {
        **{"site": name, "state": "failing" if failing else "usual", "alerts": list(alerts)},
        **{"stages": [stage], "clients": 90, "clients_failing": 61},
    }


def overview(*sites: dict[str, Any], alerts: Any = ()) -> dict[str, Any]:
    return {"alerts": list(alerts), "sites": list(sites), "minutes": 15}


def test_one_sentence_says_what_whom_why_and_what_to_do() -> None:
    [found] = incidents(overview(site("Toronto", alert("a", "Toronto"))))
    assert found.headline == "58 % of attempts fail at RADIUS (aaa) (usual 0.4 %)"
    assert found.whom == "20 of 28 clients · 3 of 26 APs · SSID eduroam only"
    assert found.reason == "RADIUS server did not respond (902/1): 97.0 % of the excess."
    assert (found.site, found.title, found.alerts) == ("Toronto", "RADIUS (aaa)", ("a",))
    assert found.since == 1_795_728_360_000_000


def test_stages_of_a_site_and_sites_of_a_fleet_are_one_incident() -> None:
    stages = [alert("a", "T", incident="i"), alert("b", "T", "dhcp", incident="i", severity="critical")]
    [one] = incidents(overview(site("T", *stages)))
    assert (one.alerts, one.severity, one.stages) == (("b", "a"), "critical", ("dhcp", "aaa"))
    sites = [site(name, alert(name, name, "dns", incident="f")) for name in "ABC"]
    [fleet] = incidents(overview(*sites))
    assert (fleet.site, fleet.place, fleet.whom) == ("", "3 sites", "A, B, C")


def test_an_incident_names_each_of_its_networks() -> None:
    """Of three insecure networks that were found in one minute the page told the first alone."""
    names = ["Guest", "Lobby", "Guest", "Store", "A", "B", "C"]
    impacts = [alert("", "")["impact"] | {"clients": 90 - number} for number in range(len(names))]
    alerts = [
        alert(str(number), "", "", signal="insecure_network", ssid=name, impact=impact, incident="i")
        for number, (name, impact) in enumerate(zip(names, impacts, strict=True))
    ]
    [found] = incidents(overview(alerts=alerts))
    assert found.place == "SSID Guest"
    others = "also SSID Lobby: 89 clients · also SSID Store: 87 clients · also SSID A: 86 clients"
    assert found.whom == f"{others} · also SSID B: 85 clients · and 1 more"


def test_the_worst_is_first_and_what_somebody_looks_after_is_last() -> None:
    found = incidents(
        overview(
            site("Quiet", alert("q", "Quiet", severity="info")),
            site("Acked", alert("k", "Acked", severity="critical", state="acked")),
            site("Worst", alert("w", "Worst", severity="critical")),
            site("Early", failing=True),
            alerts=[alert("s", "", signal="insecure_network", severity="critical", ssid="Guest")],
        )
    )
    order = [one.site or one.place for one in found]
    assert order == ["Worst", "Early", "Quiet", "SSID Guest", "Acked"]


def test_a_failing_site_is_told_before_its_alert_is_open() -> None:
    [found] = incidents(overview(site("Early", failing=True)))
    assert (found.severity, found.stage, found.alerts, found.state) == ("critical", "dhcp", (), "")
    assert found.headline == "40 % of attempts fail at DHCP (usual 1.0 %)"
    assert found.whom == "60 of 90 clients · in the last 15 min"
    assert incidents(overview(site("Fine"))) == []


def test_geohashes_on_the_map() -> None:
    assert world.place("ezs42") == pytest.approx((-5.603, 42.605), abs=0.05)
    assert world.place("aé") is None
    bucket = world.Bucket("dpz83", 10, 6, 3, "Toronto <b>")
    drawn = world.draw([bucket], label="Map")
    assert drawn.count('class="bucket h4"') == 2 and "&lt;b&gt;" in drawn  # wide and narrow
    for _, line in world.lines():  # nothing but Antarctica's edge goes around the world
        for (x, y), (next_x, _) in zip(line, line[1:], strict=False):
            assert abs(x - next_x) <= 180 or y < -84
