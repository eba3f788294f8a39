"""docs/cookbook.md: each query answers what is counted here in the events of the seeded store."""

from __future__ import annotations

import json
import math
import re
import statistics
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import seeded_store as store
from seeded_answers import Between, OneOf, bare, by, like, share
from seeded_store import DAY, FLEET, SINCE, UNTIL, WEEK, Seeded, Seen, attempts, failures, received

from builders import FAILURES

PAGE = (Path(__file__).resolve().parents[2] / "docs/cookbook.md").read_text("utf-8")
RECIPES = {
    question: re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    for question, text in re.findall(r"^### \d+\. (.+?)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
}
SITE = "Toronto"
AT_SITE = [one for one in received() if one.site == SITE]
MAC = Counter(one.mac for one in failures(AT_SITE) if not one.skewed).most_common(1)[0][0]
PARAMETERS = {
    "fleet": FLEET,
    "since": f"{SINCE:%Y-%m-%d %H:%M:%S}",
    "until": f"{UNTIL:%Y-%m-%dT%H:%M:%S}",
    "site": SITE,
    "mac": MAC,
}
Rows = Sequence[tuple[Any, ...]]


# On call


def which_sites_fail() -> Rows:
    sites = by(attempts(received()), lambda one: one.site)
    rows = [(site, len(own), len(failures(own)), share(own)) for site, own in sites.items()]
    return sorted(rows, key=lambda row: (-row[3], row[0]))


def since_when() -> Rows:
    steps = by(attempts(AT_SITE), lambda one: one.received - (one.received - DAY) % timedelta(minutes=10))
    rows = []
    for at, own in sorted(steps.items()):
        bad = len(failures(own))
        eighths = int(20 * 8 * bad / len(own))
        drawn = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        rows.append((bare(at), len(own) - bad, bad, drawn))
    return rows


def stage_and_reason() -> Rows:
    stages = Counter(one.stage for one in failures(AT_SITE))
    rows = []
    for stage, count in stages.items():
        code, text, sub_code, sub_text = FAILURES[stage]
        rows.append((stage, code, sub_code, text, sub_text, count))
    return sorted(rows, key=lambda row: (-row[5], row[0]))


def whom_it_hits() -> Rows:
    rows = []
    for site, own in by(received(), lambda one: one.site).items():
        bad = failures(own)
        rows.append(
            (
                site,
                len({one.mac for one in own}),
                len({one.mac for one in bad}),
                len({one.ap for one in own}),
                len({one.ap for one in bad}),
            )
        )
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def hit_hardest() -> Rows:
    rows = []
    for mac, own in by(attempts(AT_SITE), lambda one: one.mac).items():
        if bad := failures(own):
            last = max(bad, key=lambda one: one.received)
            rows.append((mac, own[0].vendor, len(own), len(bad), FAILURES[last.stage][1]))
    return sorted(rows, key=lambda row: (-row[3], row[0]))[:10]


def one_access_point() -> Rows:
    rows = []
    for ap, own in by(attempts(AT_SITE), lambda one: one.ap).items():
        bad = failures(own)
        rows.append((ap, len(own), len(bad), share(own), len({one.mac for one in bad})))
    return sorted(rows, key=lambda row: (-row[3], row[0]))


def in_common() -> Rows:
    sides: dict[str, Callable[[Seen], str]] = {
        "ssid": lambda one: one.ssid,
        "ap": lambda one: one.ap,
        "band": lambda one: one.band,
        "vendor": lambda one: one.vendor,
    }  # all have one protocol, and MACs of their own
    rows = []
    for dimension, side in sides.items():
        for value in {side(one) for one in attempts(AT_SITE)}:
            own = [one for one in attempts(AT_SITE) if side(one) == value]
            others = [one for one in attempts(AT_SITE) if side(one) != value]
            counts = (len(own), len(failures(own)), len(others), len(failures(others)))
            rows.append((dimension, value, *counts, share(own) - share(others)))
    rows.sort(key=lambda row: (-row[6], row[0], row[1]))
    assert rows[0][:2] == ("ssid", "staff")
    return rows[:8]


def changed_before() -> Rows:
    own = [
        one
        for one in store.CHANGES
        if one.fleet == FLEET
        and one.location in (SITE, f"{SITE} 2nd floor")
        and SINCE - timedelta(minutes=30) <= one.at < UNTIL
    ]
    return [
        (bare(one.at), one.device, one.action, one.variable, one.old, one.new, one.user)
        for one in sorted(own, key=lambda one: one.at)
    ]


def one_client() -> Rows:
    own = [
        one
        for one in attempts(store.CLIENT_EVENTS)
        if one.fleet == FLEET and one.mac == MAC and store.within(one.moment)
    ]
    rows = []
    for one in sorted(own, key=lambda one: one.moment):
        text = FAILURES[one.stage][1] if one.stage else ""
        took = 4000 if one.kind == "failure" else one.took
        rows.append((bare(one.moment), one.kind, one.stage, one.ap, one.ssid, text, took))
    return rows


def open_alerts() -> Rows:
    own = [one for one in store.newest_alerts() if one.state != "resolved"]
    own.sort(key=lambda one: one.severity != "critical")
    assert [one.scope.site for one in own] == ["Lima", "Oslo"]
    return [
        (
            one.severity,
            one.scope.site,
            one.scope.stage,
            one.state,
            one.by,
            one.impact.clients,
            bare(datetime.fromisoformat(one.started_at)),
            one.summary,
        )
        for one in own
    ]


def how_long() -> Rows:
    return [
        ("alert-Lima", "Lima", 4 * 60, None, None),
        ("alert-Oslo", "Oslo", 3 * 60, 11 * 60, None),
        ("alert-Toronto", "Toronto", 2 * 60, 9 * 60, 49 * 60),
    ]


def fallen_silent() -> Rows:
    last = {site: own[-1].received for site, own in by(received(), lambda one: one.site).items()}
    silent = {site: at for site, at in last.items() if at < UNTIL - timedelta(minutes=15)}
    assert list(silent) == ["Lima"]
    return [
        (site, bare(at), int(UNTIL.timestamp() // 60 - at.timestamp() // 60)) for site, at in silent.items()
    ]


# How well it works


def stage_success() -> Rows:
    stages = ("association", "authentication", "aaa", "dhcp", "dns", "network")
    tried = attempts(AT_SITE)
    rows: list[tuple[Any, ...]] = [("connect", len(tried), len(failures(tried)), 1 - share(tried))]
    for place, stage in enumerate(stages):
        came = [one for one in tried if not one.stage or stages.index(one.stage) >= place]
        bad = sum(one.stage == stage for one in came)
        rows.append((stage, len(came), bad, 1 - bad / len(came)))
    return rows


def connect_times() -> Rows:
    own = [
        one
        for one in store.CLIENT_EVENTS
        if one.fleet == FLEET and one.took is not None and store.within(one.moment)
    ]
    rows = []
    for site, ones in by(own, lambda one: one.site).items():
        times = [one.took or 0 for one in ones]
        rows.append((site, Between(times, 0.5), Between(times, 0.95)))
    return sorted(rows, key=lambda row: (-row[2].high, row[0]))


def quick_connects() -> Rows:
    rows = []
    for site, own in by(received(), lambda one: one.site).items():
        times = [one.took for one in own if one.took is not None]
        quick = sum(time < 2048 for time in times)
        rows.append((site, len(times), quick, quick / len(times)))
    return sorted(rows, key=lambda row: (row[3], row[0]))


def week_ago() -> Rows:
    before = by(received(since=SINCE - WEEK, until=UNTIL - WEEK), lambda one: one.site)
    rows = [
        (site, share(own), share(before[site])) for site, own in by(received(), lambda one: one.site).items()
    ]
    return sorted(rows, key=lambda row: (row[2] - row[1], row[0]))


def new_failures() -> Rows:
    known = {one.stage for one in failures(received(since=SINCE - WEEK, until=SINCE))}
    rows = []
    for stage, own in by(failures(received()), lambda one: one.stage).items():
        if stage not in known:
            code, text, sub_code, _ = FAILURES[stage]
            first = min(one.received for one in own).replace(second=0, microsecond=0)
            rows.append((code, sub_code, text, {one.site for one in own}, bare(first)))
    assert [row[0] for row in rows] == [904]
    return rows


def covered() -> Rows:
    rows = []
    for site, own in by(received(), lambda one: one.site).items():
        minutes = by(
            (one for one in own if one.rssi is not None),
            lambda one: (one.mac, one.received.replace(second=0, microsecond=0)),
        )
        medians = [statistics.median_high([one.rssi or 0 for one in ones]) for ones in minutes.values()]
        rows.append((site, len(medians), sum(median >= -72 for median in medians) / len(medians)))
    return sorted(rows, key=lambda row: (row[2], row[0]))


def roams() -> Counter[tuple[str, bool]]:
    """Of the site: by the access point that a client came to, and whether it took two seconds at most."""
    steps = [one for one in AT_SITE if one.attempt or one.kind == "left"]
    found: Counter[tuple[str, bool]] = Counter()
    for own in by(steps, lambda one: (one.mac, one.received.hour)).values():
        own.sort(key=lambda one: one.moment)
        for before, one in zip(own, own[1:], strict=False):
            both = before.kind == one.kind == "success"
            if both and before.ssid == one.ssid and before.ap != one.ap:
                assert one.took is not None
                found[one.ap, one.took <= 2000] += 1
    assert found.total() > 10
    return found


def weak_access_points() -> Rows:
    rows = []
    moved = roams()
    for ap, own in by(AT_SITE, lambda one: one.ap).items():
        rssi = [one.rssi for one in own if one.rssi is not None]
        rows.append(
            (
                ap,
                round(statistics.mean(rssi), 1),
                sum(one >= -72 for one in rssi) / len(rssi),
                max(one.load or 0 for one in own),
                moved[ap, True] + moved[ap, False],
                moved[ap, True],
                sum(one.kind == "left" for one in own),
            )
        )
    return sorted(rows, key=lambda row: (row[2], row[0]))


def sticky_clients() -> Rows:
    rows = []
    for mac, own in by((one for one in AT_SITE if one.rssi is not None), lambda one: one.mac).items():
        stuck = [
            one.ap
            for one in own
            if one.rssi is not None and one.rssi < -72 and (one.neighbour_rssi or 0) >= one.rssi + 6
        ]
        if stuck:
            most = max(Counter(stuck).values())
            aps = OneOf(ap for ap, count in Counter(stuck).items() if count == most)
            rows.append((mac, len(own), len(stuck), aps))
    assert rows
    return sorted(rows, key=lambda row: (-row[2], row[0]))


# Fleets over time


def clients_a_day() -> Rows:
    own = [one for one in store.CLIENT_EVENTS if one.fleet == FLEET]
    days = by(own, lambda one: (one.received.date(), one.site))
    return [(*key, len({one.mac for one in ones}), len(ones)) for key, ones in sorted(days.items())]


def insecure_networks() -> Rows:
    own = [one for one in store.CONNECTIONS if one.fleet == FLEET and store.within(one.received)]
    found: dict[tuple[str, str, bool, bool], list[str]] = defaultdict(list)
    for one in own:
        insecure = one.security in ("opn", "wep")
        if insecure or one.unapproved:
            found[one.network, one.security, insecure, one.unapproved].append(one.device)
    rows = [(*key, len(devices), len(set(devices))) for key, devices in found.items()]
    assert rows
    return sorted(rows, key=lambda row: (-row[4], row[0]))


def operators() -> Rows:
    own = [one for one in store.CONNECTIONS if one.fleet == FLEET and store.within(one.received)]
    rows = []
    for carrier in {one.operator or "Wi-Fi" for one in own}:
        ones = [one for one in own if (one.operator or "Wi-Fi") == carrier]
        rssi = [one.value for one in ones if one.metric == "rssi" and one.value is not None]
        megabytes = sum(one.inbytes + one.outbytes for one in ones) / 1e6
        rows.append((carrier, len(ones), round(megabytes, 1), round(statistics.mean(rssi), 1)))
    return sorted(rows, key=lambda row: -row[2])


# The data themselves


def wrong_clocks() -> Rows:
    skewed = by((one for one in received() if one.skewed), lambda one: one.mac)
    rows = [(mac, own[0].site, len(own), -72) for mac, own in skewed.items()]
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def refused() -> Rows:
    own = [one for one in store.REJECTS if one["fleet"] == FLEET]
    rows = []
    for code, path in {(one["code"], one["path"]) for one in own}:
        lines = [one for one in own if one["code"] == code]
        rows.append(
            (
                code,
                path,
                len(lines),
                {one["device"] for one in lines},
                OneOf(one["found"] for one in lines),
            )
        )
    return sorted(rows, key=lambda row: (-row[2], row[0]))


ANSWERS: dict[str, Callable[[], Rows]] = {
    "Which sites fail, and how badly?": which_sites_fail,
    "Since when does a site fail?": since_when,
    "At which stage, and for which reason?": stage_and_reason,
    "Whom does it hit?": whom_it_hits,
    "Which clients are hit hardest?": hit_hardest,
    "Is it one access point?": one_access_point,
    "What do the failing attempts have in common?": in_common,
    "What was changed shortly before?": changed_before,
    "What did this client go through?": one_client,
    "Which alerts are open, and who looks after them?": open_alerts,
    "How long until somebody looked, and until it was over?": how_long,
    "Which sites have fallen silent?": fallen_silent,
    "How often does each stage succeed?": stage_success,
    "How long does connecting take?": connect_times,
    "Which share connects within two seconds?": quick_connects,
    "How does it compare with the same hours a week ago?": week_ago,
    "Which failures are new?": new_failures,
    "Are the clients covered?": covered,
    "Which access points are weak, crowded, or left?": weak_access_points,
    "Which clients stick to a weak access point?": sticky_clients,
    "How many clients come each day?": clients_a_day,
    "Who is on insecure or unapproved networks?": insecure_networks,
    "Which operators carry how much, at which signal?": operators,
    "Whose clocks are wrong?": wrong_clocks,
    "What was refused, and whose was it?": refused,
}


def test_each_question_has_one_query_and_is_asked_here() -> None:
    assert list(RECIPES) == list(ANSWERS) and len(ANSWERS) >= 25
    assert {len(queries) for queries in RECIPES.values()} == {1}


rounded = partial(like, within=0.000501)
"""As near as the page rounds."""


@pytest.mark.parametrize("question", ANSWERS)
def test_the_answer_is_what_the_events_say(seeded: Seeded, question: str) -> None:
    [query] = RECIPES[question]
    found = seeded.client.query(query, parameters=PARAMETERS).result_rows
    wanted = ANSWERS[question]()
    assert len(found) == len(wanted) > 0
    for row, other in zip(found, wanted, strict=True):
        assert tuple(map(rounded, row, other)) == tuple(other)


def test_the_shell_of_the_page_asks(seeded: Seeded, tmp_path: Path) -> None:
    [script] = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    hours = math.ceil((datetime.now(SINCE.tzinfo) - DAY) / timedelta(hours=1))
    for written, here in (
        ("http://127.0.0.1:8123", seeded.url),
        ("2 hours ago", f"{hours} hours ago"),
        ("PrettyCompact", "TSV"),
    ):
        assert written in script
        script = script.replace(written, here)
    (tmp_path / "tidegate-data").mkdir()
    credentials = tmp_path / "tidegate-data/clickhouse-credentials.json"
    credentials.write_text(json.dumps({"tidegate": "", "analyst": seeded.password}))
    done = subprocess.run(
        ["bash", "-eu", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    minutes = Counter(
        f"{one.received:%Y-%m-%d %H:%M}:00"
        for one in store.CLIENT_EVENTS
        if one.fleet == FLEET and one.site == SITE and one.received >= DAY
    )
    assert done.stdout.splitlines() == [f"{at}\t{count}" for at, count in sorted(minutes.items())]
