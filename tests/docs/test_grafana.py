"""Grafana's dashboards on ClickHouse: each panel shows what is counted in the seeded events.

Grafana is not run. The time range begins and ends within hours: tables of hours are asked for whole ones.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
import seeded_store as store
import yaml
from grafana import CLICKHOUSE, FOLDER, PROMETHEUS, TABLE, TIME_SERIES, dashboards, filled, panels
from seeded_answers import Between, bare, by, like, share
from seeded_store import DAY, FLEET, Seeded, Seen, attempts, failures

from builders import FAILURES
from tidegate.local.clickhouse.credentials import User
from tidegate.lookups.stages import ACTIONS

SINCE, UNTIL = DAY + timedelta(hours=10, minutes=20), DAY + timedelta(hours=11, minutes=40)
STEP = timedelta(minutes=5)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SITE = "Toronto"
OWN = [one for one in store.CLIENT_EVENTS if one.fleet == FLEET]
IN_MINUTES = [one for one in OWN if SINCE <= one.received < UNTIL + MINUTE]
IN_HOURS = [one for one in OWN if DAY + 10 * HOUR <= one.received < DAY + 12 * HOUR]
EVENTS = [one for one in OWN if SINCE <= one.received <= UNTIL]
MAC = Counter(one.mac for one in failures(EVENTS) if one.site == SITE).most_common(1)[0][0]
VARIABLES = {"fleet": FLEET, "site": SITE, "mac": MAC}
Rows = Sequence[tuple[Any, ...]]


def here(events: Iterable[Seen]) -> list[Seen]:
    return [one for one in events if one.site == SITE]


def of_client() -> list[Seen]:
    return [one for one in EVENTS if one.mac == MAC]


def step(moment: datetime) -> datetime:
    return bare(moment - (moment - DAY) % STEP)


def counted(events: Iterable[Seen], key: Callable[[Seen], str]) -> Rows:
    """Rows of step, key and number."""
    found = Counter((step(one.received), key(one)) for one in events)
    return [(*place, found[place]) for place in sorted(found)]


def outcome(one: Seen) -> str:
    return one.kind if one.attempt else "intermediate"


# Overview


def connects_that_succeed() -> Rows:
    return [(1 - share(IN_MINUTES),)]


def clients_that_failed() -> Rows:
    return [(len({one.mac for one in failures(EVENTS)}),)]


def sites_with_failures() -> Rows:
    return [(3,)]


def open_alerts() -> Rows:
    return [(2,)]


def failed_share_by_site() -> Rows:
    places = by(attempts(IN_MINUTES), lambda one: (step(one.received), one.site))
    return [(*place, share(own)) for place, own in sorted(places.items())]


def events_by_outcome() -> Rows:
    return counted(IN_MINUTES, outcome)


def open_alerts_and_their_cause() -> Rows:
    own = {one.scope.site: one for one in store.newest_alerts() if one.state != "resolved"}
    return [
        (
            one.severity,
            one.scope.site,
            one.scope.stage,
            one.state,
            one.impact.clients,
            one.by,
            bare(datetime.fromisoformat(one.started_at)),
            one.summary,
            one.cause.reason,
            one.action,
        )
        for one in (own["Lima"], own["Oslo"])
    ]


def sites() -> Rows:
    rows = []
    for site, own in by(IN_MINUTES, lambda one: one.site).items():
        tried = attempts(own)
        rows.append((site, len(tried), len(failures(own)), share(own), bare(own[-1].received)))
    return sorted(rows, key=lambda row: (-row[3], row[0]))


# Site


def attempts_by_outcome() -> Rows:
    return counted(attempts(here(IN_MINUTES)), outcome)


def failures_by_stage() -> Rows:
    return counted(failures(here(IN_MINUTES)), lambda one: one.stage)


def reasons() -> Rows:
    rows = []
    for stage, count in Counter(one.stage for one in failures(here(IN_MINUTES))).items():
        code, text, sub_code, sub_text = FAILURES[stage]
        rows.append((stage, code, sub_code, text, sub_text, count))
    return sorted(rows, key=lambda row: (-row[5], row[0]))


def success_by_stage() -> Rows:
    stages = ("association", "authentication", "aaa", "dhcp", "dns", "network")
    tried = attempts(here(IN_HOURS))
    rows: list[tuple[Any, ...]] = [("connect", 1 - share(tried))]
    for place, stage in enumerate(stages):
        came = [one for one in tried if not one.stage or stages.index(one.stage) >= place]
        rows.append((stage, 1 - sum(one.stage == stage for one in came) / len(came)))
    return rows


def what_the_failing_share() -> Rows:
    tried = attempts(here(IN_HOURS))
    rows = []
    for dimension in ("ssid", "ap", "band", "vendor"):
        for value in {getattr(one, dimension) for one in tried}:
            own = [one for one in tried if getattr(one, dimension) == value]
            others = [one for one in tried if getattr(one, dimension) != value]
            bad = len(failures(own))
            explained = bad - len(own) * share(others)
            rows.append((dimension, value, len(own), bad, share(own), share(others), explained))
    rows.sort(key=lambda row: (-row[6], row[0], row[1]))
    assert rows[0][1] == "staff"
    return rows[:15]


def access_points() -> Rows:
    rows = []
    for ap, own in by(here(EVENTS), lambda one: one.ap).items():
        bad = failures(own)
        clients = (len({one.mac for one in own}), len({one.mac for one in bad}))
        rows.append((ap, len(attempts(own)), len(bad), *clients))
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def time_to_connect() -> Rows:
    own = [one for one in here(OWN) if one.took is not None and SINCE <= one.moment < UNTIL + MINUTE]
    rows = []
    for at, ones in sorted(by(own, lambda one: step(one.moment)).items()):
        times = [one.took or 0 for one in ones]
        rows.append((at, Between(times, 0.5), Between(times, 0.95)))
    return rows


def signal_by_access_point() -> Rows:
    own = [one for one in here(IN_HOURS) if one.rssi is not None]
    places = by(own, lambda one: (bare(one.received - (one.received - DAY) % HOUR), one.ap))
    return [
        (*place, statistics.fmean(one.rssi or 0 for one in ones)) for place, ones in sorted(places.items())
    ]


def hit_hardest() -> Rows:
    rows = []
    for mac, own in by(attempts(here(EVENTS)), lambda one: one.mac).items():
        if bad := failures(own):
            last = max(bad, key=lambda one: one.received)
            rows.append((mac, own[0].vendor, len(own), len(bad), FAILURES[last.stage][1]))
    return sorted(rows, key=lambda row: (-row[3], row[0]))


def changes() -> Rows:
    own = [
        one
        for one in store.CHANGES
        if one.fleet == FLEET
        and one.location in (SITE, f"{SITE} 2nd floor")
        and SINCE - timedelta(minutes=30) <= one.at <= UNTIL
    ]
    return [
        (bare(one.at), one.device, one.action, one.variable, one.old, one.new, one.user)
        for one in sorted(own, key=lambda one: one.at, reverse=True)
    ]


# Client


def attempts_and_failures() -> Rows:
    return [(len(attempts(of_client())), len(failures(of_client())))]


def client_time_to_connect() -> Rows:
    own = [(bare(one.moment), one.took) for one in of_client() if one.took is not None]
    return sorted(own)


def client_signal() -> Rows:
    return sorted(
        (bare(one.moment), one.rssi, one.neighbour_rssi) for one in of_client() if one.rssi is not None
    )


def client_events() -> Rows:
    rows = []
    for one in sorted(of_client(), key=lambda one: one.moment, reverse=True):
        _, text, _, sub_text = FAILURES[one.stage] if one.stage else (0, None, 0, None)
        action = ACTIONS[one.stage] if one.stage else ""
        if one.stage == "authentication":
            action = "Check signal quality between client and access point, then raise the EAPOL retries;" + (
                " update the client's driver if only one model fails"
            )
        place = (one.site, one.ap, one.ssid, one.band)
        described = None if one.attempt else "Disassociation" if one.kind == "left" else "Report"
        said = (text, sub_text, action, described, one.rssi, one.skewed)
        rows.append((bare(one.moment), outcome(one), one.stage, *place, *said))
    return rows


SHOWN: dict[tuple[str, str], Callable[[], Rows]] = {
    ("overview", "Connects that succeed"): connects_that_succeed,
    ("overview", "Clients that failed"): clients_that_failed,
    ("overview", "Sites with failures"): sites_with_failures,
    ("overview", "Open alerts"): open_alerts,
    ("overview", "Failed share by site"): failed_share_by_site,
    ("overview", "Events by outcome"): events_by_outcome,
    ("overview", "Open alerts and their cause"): open_alerts_and_their_cause,
    ("overview", "Sites"): sites,
    ("site", "Attempts by outcome"): attempts_by_outcome,
    ("site", "Failures by stage"): failures_by_stage,
    ("site", "Reasons"): reasons,
    ("site", "Success by stage"): success_by_stage,
    ("site", "What the failing attempts share"): what_the_failing_share,
    ("site", "Access points"): access_points,
    ("site", "Time to connect"): time_to_connect,
    ("site", "Signal by access point"): signal_by_access_point,
    ("site", "Clients hit hardest"): hit_hardest,
    ("site", "Changes of devices"): changes,
    ("client", "Attempts and failures"): attempts_and_failures,
    ("client", "Time to connect"): client_time_to_connect,
    ("client", "Signal"): client_signal,
    ("client", "Events"): client_events,
}
PANELS = {(panel.dashboard.removeprefix("tidegate-"), panel.title): panel for panel in panels(CLICKHOUSE)}


def test_each_panel_is_held_to_something() -> None:
    assert set(PANELS) == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN, ids=" ".join)
def test_a_panel_shows_what_the_events_say(seeded: Seeded, name: tuple[str, str]) -> None:
    [target] = PANELS[name].targets
    result = seeded.client.query(
        filled(target["rawSql"], VARIABLES, SINCE, UNTIL, interval=int(STEP.total_seconds()))
    )
    wanted = SHOWN[name]()
    assert len(result.result_rows) == len(wanted) > 0
    for row, other in zip(result.result_rows, wanted, strict=True):
        assert tuple(map(like, row, other)) == tuple(other)
    # Grafana makes lines of a time, names, and numbers; the rest it shows as it stands.
    if PANELS[name].type == "timeseries":
        assert target["format"] == TIME_SERIES and result.column_names[0] == "time"
        values = [column for column, value in zip(result.column_names, wanted[0], strict=True) if value]
        assert len(values) >= 2
    else:
        assert target["format"] == TABLE


def test_variables_offer_what_there_is(seeded: Seeded) -> None:
    offered: dict[str, set[tuple[str, ...]]] = {}
    for board in dashboards().values():
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                sql = filled(variable["query"], {"fleet": FLEET}, SINCE, UNTIL)
                rows = seeded.client.query(sql).result_rows
                offered.setdefault(variable["name"], set()).add(tuple(row[0] for row in rows))
    assert offered == {
        "fleet": {(FLEET, store.OTHER)},
        "site": {tuple(sorted(site.name for site in store.SITES.values()))},
    }


def test_a_hostile_variable_stays_a_value(seeded: Seeded) -> None:
    [target] = PANELS["overview", "Sites"].targets
    hostile = {"fleet": "x' OR 1 = 1 --"}
    assert seeded.client.query(filled(target["rawSql"], hostile, SINCE, UNTIL)).result_rows == []


def test_links_lead_to_dashboards_that_take_what_they_say() -> None:
    boards = dashboards()
    found = 0
    for board in boards.values():
        for panel in board["panels"]:
            for override in panel["fieldConfig"]["overrides"]:
                for entry in override["properties"]:
                    for link in entry["value"] if entry["id"] == "links" else ():
                        path, _, query = link["url"].partition("?")
                        other = boards[path.removeprefix("/d/")]
                        names = {variable["name"] for variable in other["templating"]["list"]}
                        said = {part.split("=")[0] for part in query.split("&") if part.startswith("var-")}
                        assert said and said <= {f"var-{name}" for name in names}
                        found += 1
    assert found == 3


def test_dashboards_and_sources_find_each_other() -> None:
    boards = dashboards()
    assert set(boards) == {board["uid"] for board in boards.values()} and len(boards) == 4
    for board in boards.values():
        sources = {
            f"${{{variable['name']}}}": variable["query"]
            for variable in board["templating"]["list"]
            if variable["type"] == "datasource"
        }
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        for panel in board["panels"]:
            for asked in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
                assert sources[asked["uid"]] == asked["type"]
    provisioned = yaml.safe_load((FOLDER / "provisioning/datasources/tidegate.yml").read_text("utf-8"))
    assert {source["type"] for source in provisioned["datasources"]} == {CLICKHOUSE, PROMETHEUS}


def test_the_provisioned_source_only_reads(seeded: Seeded) -> None:
    """Whatever its user may do: what it sends with each query cannot be lifted by the query."""
    document = yaml.safe_load((FOLDER / "provisioning/datasources/tidegate.yml").read_text("utf-8"))
    [source] = [one for one in document["datasources"] if one["type"] == CLICKHOUSE]
    sent = {one["setting"]: one["value"] for one in source["jsonData"]["customSettings"]}

    def ask(sql: str) -> httpx.Response:
        user = (User.TIDEGATE, seeded.server.credentials[User.TIDEGATE])
        return httpx.post(seeded.url, params={**sent, "database": "tidegate"}, content=sql, auth=user)

    assert ask("SELECT 1 SETTINGS max_execution_time = 60").text == "1\n"
    for sql in (
        "INSERT INTO epochs VALUES ('x', now64(6))",
        "TRUNCATE TABLE client_events",
        "DROP TABLE client_events",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
    ):
        answer = ask(sql)
        assert answer.status_code >= 400 and "READONLY" in answer.text, (sql, answer.text)
