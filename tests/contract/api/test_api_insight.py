"""The insight calls beside a model in Python over the same events, on the real engine."""

from __future__ import annotations

import time
from collections import Counter, defaultdict

import pytest
import table_rows
from alert_documents import alert
from clickhouse_connect.driver.client import Client
from insight_events import (
    BASE,
    EVENTS,
    NOW,
    SINCE,
    STAGES,
    Call,
    Seen,
    ask,
    event,
    failed,
    of,
    reached,
    rounded,
    store_events,
    text,
    tries,
    usual,
)
from prometheus_client import REGISTRY

from builders import FAILURES
from tidegate.api.insight import answers as models
from tidegate.api.insight import request as requests
from tidegate.steps.aggregate import aggregate
from tidegate.store.alerts import block
from tidegate.store.insert import insert


@pytest.fixture(scope="module", autouse=True)
def events(store: Client) -> None:
    store_events(store)


@pytest.mark.parametrize("site", ["1", "2"])
def test_a_site(api: Call, site: str) -> None:
    answer = ask(api, f"sites/{site}", models.Site)
    own = of(site)
    attempts, bad = tries(own), failed(own)
    assert answer["state"] == ("failing" if site == "1" else "usual")
    assert [answer["connects"][name] for name in ("attempts", "failures", "rate")] == [
        len(attempts),
        len(bad),
        rounded(len(attempts) - len(bad), len(attempts)),
    ]
    assert answer["connects"]["usual"] == pytest.approx(1 - usual(site), abs=6e-5)
    for row in answer["stages"]:
        stage = row["stage"]
        assert (row["reached"], row["failed"]) == (len(reached(own, stage)), len(failed(own, stage)))
        assert row["clients"] == len({one.mac for one in failed(own, stage)})
        assert row["usual_rate"] == pytest.approx(usual(site, stage), abs=6e-5), stage
        assert row["failing"] == (site == "1" and stage == "aaa")
    funnel = {row["step"]: row["reached"] for row in answer["funnel"]}
    assert funnel == {
        "attempts": len(attempts),
        **{stage: len(reached(own, stage)) for stage in STAGES},
        "connected": len(attempts) - len(bad),
    }
    assert answer["reach"] == {
        "clients": len({one.mac for one in own}),
        "clients_failing": len({one.mac for one in bad}),
        "aps": len({one.ap for one in own}),
        "aps_failing": len({one.ap for one in bad}),
    }
    points = {row["time"]: row for row in answer["series"]["points"]}
    assert answer["series"]["step"] == 60 and len(points) == 120
    for minute in range(SINCE, NOW, 60):
        here = of(site, minute, minute + 60)
        row = points[text(minute)]
        assert (row["attempts"], row["failures"]) == (len(tries(here)), len(failed(here)))
        assert row["by_stage"] == Counter(one.stage for one in failed(here))
        assert row["disassociations"] == sum(one.kind == "disassociation" for one in here)
    found = {(row["stage"], row["code"], row["sub_code"]): row for row in answer["reasons"]}
    assert found.keys() == {(stage, *FAILURES[stage][::2]) for stage in {one.stage for one in bad}}
    for (stage, *_), row in found.items():
        these = failed(own, stage)
        assert (row["failure"], row["sub_failure"]) == FAILURES[stage][1::2]
        assert (row["failures"], row["clients"], row["aps"]) == (
            len(these),
            len({one.mac for one in these}),
            len({one.ap for one in these}),
        )
        assert row["share"] == rounded(len(these), len(bad)) and row["action"]
    cells: dict[tuple[str, int], list[Seen]] = defaultdict(list)
    for one in own:
        cells[one.ap, (one.at - SINCE) // 900].append(one)
    for row in answer["heat"]["aps"]:
        for place in range(8):
            here = cells[row["ap"], place]
            assert (row["attempts"][place], row["failures"][place], row["clients"][place]) == (
                len(tries(here)),
                len(failed(here)),
                len({one.mac for one in here}),
            )
    assert answer["heat"]["times"] == [text(SINCE + place * 900) for place in range(8)]
    by_mac = Counter(one.mac for one in bad)
    assert [row["failures"] for row in answer["clients"]] == [count for _, count in by_mac.most_common(20)]
    assert all(by_mac[row["mac"]] == row["failures"] for row in answer["clients"])
    assert [row["action"] for row in answer["changes"]] == (
        ["change-10", "change-140"] if site == "1" else ["change-20"]
    )


@pytest.mark.parametrize("site", ["1", "2"])
def test_levels(api: Call, site: str) -> None:
    answer = ask(api, "sle", models.Levels)
    [row] = [row for row in answer["sites"] if row["site"] == site]
    levels = {level["name"]: (level["good"], level["total"]) for level in row["levels"]}
    own = of(site)
    attempts = tries(own)
    good = [one for one in attempts if one.kind == "success"]
    assert levels["connects"] == (len(good), len(attempts))
    quick = [one for one in good if one.connect is not None and one.connect <= 2000]
    assert levels["time_to_connect"] == (len(quick), len(good))
    minutes: dict[tuple[str, int], list[int]] = defaultdict(list)
    for one in own:
        if one.rssi is not None:
            minutes[one.mac, one.at // 60].append(one.rssi)
    medians = [sorted(values)[len(values) // 2] for values in minutes.values()]
    assert levels["coverage"] == (sum(median >= -72 for median in medians), len(medians))
    refused = [one for one in attempts if one.stage == "association"]
    assert levels["capacity"] == (len(attempts) - len(refused), len(attempts))
    roams = good_roams = thrown = 0
    lines: dict[str, list[Seen]] = defaultdict(list)
    for one in own:
        if one.kind != "report":
            lines[one.mac].append(one)
    for line in lines.values():
        for place, one in enumerate(line):
            before = line[place - 1] if place else None
            behind = line[place + 1] if place + 1 < len(line) else None
            soon = behind is not None and behind.at - one.at <= 60
            if one.kind == "disassociation":
                thrown += soon and behind is not None and behind.kind != "disassociation"
                continue
            if before is None or before.kind != "success" or before.ssid != one.ssid or before.ap == one.ap:
                continue
            roams += 1
            back = (
                soon
                and behind is not None
                and (behind.kind, behind.ap, behind.ssid)
                == (
                    "success",
                    before.ap,
                    one.ssid,
                )
            )
            good_roams += one.kind == "success" and (one.connect or 0) <= 2000 and not back
    assert levels["roaming"] == (good_roams, roams) and roams > 5
    assert levels["stability"] == (len(good) - thrown, len(good)) and thrown > 0
    assert ask(api, f"sites/{site}", models.Site)["levels"] == row["levels"]
    whole = {level["name"]: (level["good"], level["total"]) for level in answer["levels"]}
    for name, pair in whole.items():
        parts = [level for one in answer["sites"] for level in one["levels"] if level["name"] == name]
        assert pair == (sum(level["good"] for level in parts), sum(level["total"] for level in parts))


def test_overview(api: Call) -> None:
    answer = api(f"{BASE}/overview", params={"to": NOW, "minutes": 30}).json()
    models.Overview.model_validate(answer)
    last = max(one.at for one in EVENTS) // 60 * 60 + 60
    assert (answer["from"], answer["to"]) == (text(last - 1800), text(last))
    assert [row["site"] for row in answer["sites"]] == ["1", "2"]
    assert answer["summary"] == {"sites": 2, "need_you": 1, "silent": 0, "as_usual": 1}
    assert answer["fleets"] == ["demo"]
    for row in answer["sites"]:
        own = of(row["site"], last - 1800, last)
        attempts, bad = tries(own), failed(own)
        assert (row["connects"]["attempts"], row["connects"]["failures"]) == (len(attempts), len(bad))
        assert row["state"] == ("failing" if row["site"] == "1" else "usual")
        assert [stage["stage"] for stage in row["stages"] if stage["failing"]] == (
            ["aaa"] if row["site"] == "1" else []
        )
        assert row["clients"] == len({one.mac for one in own})
        assert row["clients_failing"] == len({one.mac for one in bad})
        assert row["disassociations"] == sum(one.kind == "disassociation" for one in own)
        for back in range(24):
            hour = -(-last // 3600) * 3600 - (24 - back) * 3600
            here = tries(of(row["site"], hour, min(hour + 3600, last)))
            assert row["sparkline"][back] == rounded(len(here) - len(failed(here)), len(here))


def test_the_past_of_now_is_read_once_in_minutes(api: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(name: str) -> float:
        return REGISTRY.get_sample_value("tidegate_api_query_seconds_count", {"query": name}) or 0.0

    first = api(f"{BASE}/overview").json()
    before = {name: asked(name) for name in ("insight_usual", "insight_attempts")}
    monkeypatch.setattr(requests, "SHARED_SECONDS", 0.0)
    again = api(f"{BASE}/overview").json()
    assert asked("insight_usual") == before["insight_usual"]
    assert asked("insight_attempts") == before["insight_attempts"] + 1
    assert [one["name"] for one in again["sql"]] == [one["name"] for one in first["sql"]]
    assert again["sites"] == first["sites"]
    api(f"{BASE}/overview", params={"minutes": 60})  # another window, another past
    assert asked("insight_usual") == before["insight_usual"] + 1
    named = {"to": NOW - 7200}  # a moment that is named is not moving: its past is another one
    first = api(f"{BASE}/overview", params=named).json()
    assert asked("insight_usual") == before["insight_usual"] + 2
    again = api(f"{BASE}/overview", params=named).json()
    api(f"{BASE}/overview", params={"to": NOW - 7260})  # begins in the same hour
    assert asked("insight_usual") == before["insight_usual"] + 2
    assert again["sites"] == first["sites"]


def test_contrast(api: Call) -> None:
    answer = ask(api, "contrast", models.Contrast, site="1", stage="aaa")
    came = reached(of("1"), "aaa")
    rate = usual("1", "aaa")
    assert (answer["attempts"], answer["failures"]) == (len(came), len(failed(came, "aaa")))
    excess = len(failed(came, "aaa")) - len(came) * rate
    assert answer["excess"] == pytest.approx(excess, abs=0.06)
    values: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Seen]] = defaultdict(list)
    for one in came:
        named = {"ssid": one.ssid, "ap": one.ap, "band": "2.4" if one.channel == 1 else "5"}
        for first, value in named.items():
            values[(first,), (value,)].append(one)
            for second, other in named.items():
                if list(named).index(first) < list(named).index(second):
                    values[(first, second), (value, other)].append(one)
    checked = 0
    for row in [*answer["values"], *answer["pairs"]]:
        own = values.get((tuple(row["dimensions"]), tuple(row["values"])))
        if own is None:
            continue
        checked += 1
        bad = failed(own, "aaa")
        assert (row["attempts"], row["failures"]) == (len(own), len(bad))
        assert row["clients"] == len({one.mac for one in bad})
        assert row["explained"] == pytest.approx((len(bad) - len(own) * rate) / excess, abs=2e-4)
    assert checked > 12
    first = answer["values"][0]
    assert (first["dimensions"], first["values"], first["stands_out"]) == (["ssid"], ["staff"], True)
    verdicts = {row["dimension"]: row["verdict"] for row in answer["verdicts"]}
    assert verdicts["ssid"] == "one value" and {"ap", "band"} <= set(answer["even"])
    assert "SSID staff has" in answer["sentence"] and "not one access point" in answer["sentence"]
    assert {row["stage"] for row in answer["reasons"]} == {"aaa"}
    fleet_wide = ask(api, "contrast", models.Contrast, stage="aaa")
    assert {row["dimension"]: row["verdict"] for row in fleet_wide["verdicts"]}["site"] == "one value"


def test_a_client(api: Call) -> None:
    mac = Counter(one.mac for one in of("1")).most_common(1)[0][0]
    answer = ask(api, f"clients/{mac.upper()}", models.Client)
    own = [one for one in of(None) if one.mac == mac]
    assert answer["mac"] == mac and answer["sites"] == ["1"] and not answer["truncated"]
    assert len(answer["events"]) == len(own)
    found = sorted(
        (one["time"], one["ap"], one["ssid"], one["outcome"], one["connect_ms"]) for one in answer["events"]
    )
    wanted = sorted(
        (
            f"{text(one.at)[:-1]}.000000Z",
            one.ap,
            one.ssid,
            one.kind if one.kind in ("success", "failure") else "intermediate",
            9000 if one.kind == "failure" else one.connect,
        )
        for one in own
    )
    assert [row[:4] for row in found] == [row[:4] for row in wanted]
    assert [row[4] for row in found if row[3] != "intermediate"] == [
        row[4] for row in wanted if row[3] != "intermediate"
    ]
    times = [one["time"] for one in answer["events"]]
    assert times == sorted(times, reverse=True)
    assert {lane["ap"]: (lane["events"], lane["failures"]) for lane in answer["lanes"]} == {
        ap: (len(these), len(failed(these)))
        for ap in {one.ap for one in own}
        if (these := [one for one in own if one.ap == ap])
    }
    assert answer["summary"]["attempts"] == len(tries(own))
    empty = ask(api, f"clients/{mac}", **{"from": NOW - 400 * 86_400, "to": NOW - 399 * 86_400})
    assert empty["events"] == [] and empty["newest"] >= times[0]


def test_changes_of_an_onset(api: Call) -> None:
    answer = ask(api, "changes", models.Changes, site="1", onset=NOW - 180 * 60)
    assert [(row["action"], row["minutes_before"]) for row in answer["changes"]] == [
        ("change-10", -170.0),
        ("change-140", -40.0),
        ("change-200", 20.0),
    ]
    assert {row["site"] for row in ask(api, "changes")["changes"]} == {"1", "2", "12"}


def test_site_minutes_are_the_minutes_of_the_health_topic(store: Client) -> None:
    """The same events, counted by the worker's step and by the view."""
    rows = table_rows.table(
        "client_events",
        [event(one) for one in EVENTS[-300:]],
        fleet="health",
        received_at=NOW * 1_000_000,
    )
    partials = aggregate(
        "client_events", rows.select(rows.column_names[:-3]).combine_chunks().to_batches()[0]
    )
    counted = {
        (
            partial.fleet,
            partial.site,
            count.ssid,
            count.stage,
            count.outcome,
            count.code,
            count.sub_code,
        ): count.events
        for partial in partials
        for count in partial.counts
    }
    table_rows.insert(store, "client_events", rows, token="health")
    stored = store.query(
        "SELECT fleet, site, ssid, stage, outcome, nullIf(failure_code, -1), nullIf(sub_failure_code, -1),"
        f" sum(events) FROM site_minutes WHERE fleet = 'health' AND minute = toDateTime({NOW}, 'UTC')"
        " GROUP BY ALL"
    ).result_rows
    assert {tuple(row[:-1]): row[-1] for row in stored} == counted
    signals = {
        (partial.site, signal.name): signal.events for partial in partials for signal in partial.signals
    }
    found = store.query(
        "SELECT site, sum(disassociations), sum(skewed) FROM site_minutes"
        f" WHERE fleet = 'health' AND minute = toDateTime({NOW}, 'UTC') GROUP BY site"
    ).result_rows
    for site, disassociations, skewed in found:
        assert disassociations == signals.get((site, "disassociations"), 0) > 0
        assert skewed == signals.get((site, "clock_skew"), 0)


def test_what_is_open_is_in_the_overview_though_no_event_is_near_it(api: Call, store: Client) -> None:
    now = text(int(time.time()))
    silent = alert(id="a1", site="nowhere", stage="", started_at=now, updated_at=now)
    flood = alert(id="a2", site="", stage="", started_at=now, updated_at=now)
    insert(store, str(store.database), block([silent, flood], ""), token="")
    try:
        answer = api(f"{BASE}/overview").json()
    finally:
        store.command("TRUNCATE TABLE alerts")
    models.Overview.model_validate(answer)
    [row] = [row for row in answer["sites"] if row["site"] == "nowhere"]
    assert row["state"] == "silent" and [one["id"] for one in row["alerts"]] == ["a1"]
    assert [one["id"] for one in answer["alerts"]] == ["a2"]
    assert answer["summary"]["sites"] == 3
