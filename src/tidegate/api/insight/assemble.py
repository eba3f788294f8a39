"""Assembles insight answers from rows of the named queries of `store/insight.py`. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tidegate.api.insight.request import Row, Span, micros_text, seconds_text
from tidegate.api.insight.service_levels import (
    NO_COUNTS,
    Counts,
    Usuals,
    band,
    counts,
    fails,
    rounded,
    share,
)
from tidegate.lookups import Lookups
from tidegate.lookups.failures import Seen
from tidegate.lookups.stages import ACTIONS
from tidegate.store.insight import ALERT_FIELDS, ATTEMPT_STAGES, CLIENT_FIELDS
from tidegate.store.site_levels import QUARTER

SILENT_AFTER = 900  # s without an event, where there was traffic in the hours before


def alert_of(values: Sequence[Any]) -> Row:
    """An alert in the shape of `tidegate.alerts`, from a row of `insight.alerts`."""
    row = dict(zip(ALERT_FIELDS, values, strict=True))
    names = ("attempts", "failures", "usual", "clients", "clients_seen", "aps", "aps_seen")
    impact = {name: row.pop(name) for name in names}
    cause = {
        "code": row.pop("code"),
        "sub_code": row.pop("sub_code"),
        "reason": row.pop("reason"),
        "share": row.pop("cause_share"),
        "dimension": row.pop("cause_dimension"),
        "value": row.pop("cause_value"),
    }
    until = row["until"]
    moments = {
        "started_at": micros_text(row["started_at"]),
        "updated_at": micros_text(row["updated_at"]),
        "until": None if until is None else micros_text(until),
    }
    return {**row, **moments, "impact": impact, "cause": cause}


class Clients:
    """Distinct clients by site and stage, from rows of `insight.clients`."""

    def __init__(self, rows: Iterable[Sequence[Any]]) -> None:
        self._of: dict[tuple[str, str], tuple[int, int]] = {
            (site, stage): (seen, failing) for site, stage, seen, failing in rows
        }

    def seen(self, site: str) -> int:
        return self._of.get((site, ""), (0, 0))[0]

    def failing(self, site: str, stage: str = "") -> int:
        return self._of.get((site, stage), (0, 0))[1]


def connects(found: Counts, usuals: Usuals, site: str, clients: int) -> Row:
    """Successful connects of a site ('' for the fleet) against its usual rate, with the band in which chance
    lies; `clients` are those that failed."""
    usual = usuals.rate(site)
    low, high = band(found.attempts, usual.rate)
    rate = share(found.good, found.attempts)
    down = fails(found.attempts, found.bad, usual.rate, clients) if found.attempts else False
    up = rate is not None and rate > high and found.attempts >= 20
    return {
        "attempts": found.attempts,
        "failures": found.bad,
        "rate": rate,
        "usual": round(1 - usual.rate, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "direction": "down" if down else "up" if up else "usual",
        "learning": usual.learning,
        "learned_from": usual.source,
    }


def stages_of(found: Counts, usuals: Usuals, site: str, clients: Clients | None) -> list[Row]:
    """Each stage of an attempt with what reached it, failed in it, and is usual; `clients` None: not
    counted."""
    rows = []
    for stage in ATTEMPT_STAGES:
        reached, failed = found.reached(stage), found.failed(stage)
        usual = usuals.rate(site, stage).rate
        hit = 0 if clients is None else clients.failing(site, stage)
        rows.append(
            {
                "stage": stage,
                "reached": reached,
                "failed": failed,
                "rate": share(failed, reached),
                "usual_rate": round(usual, 4),
                "clients": hit,
                "failing": bool(reached) and fails(reached, failed, usual, hit),
            }
        )
    return rows


def funnel_of(found: Counts, stages: Sequence[Row]) -> list[Row]:
    rows: list[Row] = [_step("attempts", found.attempts, found.elsewhere)]
    for one in stages:
        rows.append(_step(one["stage"], one["reached"], one["failed"], 1 - one["usual_rate"], one["failing"]))
    rows.append(_step("connected", found.good, 0))
    return rows


def _step(name: str, reached: int, failed: int, usual: float | None = None, failing: bool = False) -> Row:
    return {
        "step": name,
        "reached": reached,
        "failed": failed,
        "share": share(reached - failed, reached),
        "usual": rounded(usual),
        "failing": failing,
    }


class Latencies(NamedTuple):
    """Median and 95th percentile (ms) by name: a row of `insight.latencies`."""

    connect: tuple[float, float]
    aaa: tuple[float, float]
    dhcp: tuple[float, float]
    dns: tuple[float, float]


NO_LATENCIES = Latencies(*[(math.nan, math.nan)] * 4)


def latencies_of(rows: Iterable[Sequence[Any]]) -> dict[str, Latencies]:
    return {site: Latencies(*zip(values[::2], values[1::2], strict=True)) for site, *values in rows}


def is_slow(timed: int, quick: int, usual_quick: float | None) -> bool:
    """Of connects with a time and those of them within the target: ten slow ones or more, five points and
    three times beyond the usual share of them."""
    return (
        usual_quick is not None
        and timed - quick >= 10
        and quick / timed < usual_quick - 0.05
        and (1 - quick / timed) > 3 * (1 - usual_quick)
    )


def time_to_connect(
    timed: int, quick: int, usual_quick: float | None, now: Latencies, past: Latencies
) -> Row:
    """Latencies of now beside those of the past, ms, which only a slow site needs."""
    slow = is_slow(timed, quick, usual_quick)
    return {
        "p50_ms": rounded(now.connect[0], 1),
        "p95_ms": rounded(now.connect[1], 1),
        "quick": share(quick, timed),
        "usual_quick": rounded(usual_quick),
        "slow": slow,
        "blame": blamed(now, past) if slow else None,
    }


def blamed(now: Latencies, past: Latencies) -> str | None:
    """The stage whose 95th percentile is furthest above its usual one; None where none is above it. What is
    neither RADIUS, DHCP nor DNS is association."""
    above: dict[str, float] = {}
    for name in ("aaa", "dhcp", "dns"):
        value, usual = getattr(now, name)[1], getattr(past, name)[1]
        if not math.isnan(value):
            above[name] = value - (0.0 if math.isnan(usual) else usual)
    rise = now.connect[1] - (0.0 if math.isnan(past.connect[1]) else past.connect[1])
    if not math.isnan(rise):
        above["association"] = rise - sum(max(0.0, each) for each in above.values())
    worst = max(above, key=lambda name: above[name], default=None)
    return worst if worst is not None and above[worst] > 0 else None


def level(
    name: str,
    good: int,
    total: int,
    usual: float | None,
    *,
    by_stage: list[Row] | None = None,
    blame: str | None = None,
    ok: bool | None = None,
) -> Row:
    """One service level: `good` of `total` against its target, unless `ok` says so; `usual` is a share of it,
    None where unknown."""
    unit, what = LEVELS[name]
    found = share(good, total)
    if ok is None and found is not None:
        ok = found >= TARGETS[name]
    return {
        "name": name,
        "good": good,
        "total": total,
        "share": found,
        "usual": rounded(usual),
        "ok": ok,
        "unit": unit,
        "what": what,
        "by_stage": by_stage,
        "blame": blame,
    }


LEVELS: Mapping[str, tuple[str, str]] = {
    "connects": ("attempts", "Attempts that connect"),
    "time_to_connect": ("successes", "Connections that took at most two seconds"),
    "coverage": ("client-minutes", "Minutes of clients with a median RSSI of at least -72 dBm"),
    "roaming": (
        "roams",
        "Moves to another access point of the SSID within two seconds, not back within a minute",
    ),
    "capacity": ("attempts", "Attempts at access points that were not full, nor had more than 60 clients"),
    "stability": ("successes", "Connections that were not thrown off and tried again within a minute"),
}

TARGETS: Mapping[str, float] = {
    "connects": 0.95,
    "time_to_connect": 0.95,
    "coverage": 0.75,
    "roaming": 0.8,
    "capacity": 0.95,
    "stability": 0.95,
}
"""Shares from which on a level is in order, where its own past does not say otherwise."""


class Measured(NamedTuple):
    """Everything of a window that the levels and states of its sites are made of."""

    counts: dict[str, Counts]
    timed: dict[str, tuple[int, int]]  # timed and quick successes
    signs: dict[str, tuple[int, int]]  # disassociations and skewed events
    usuals: Usuals
    clients: Clients
    now: dict[str, Latencies]
    past: dict[str, Latencies]  # of sites that are slow


def state_of(site: str, found: Measured, silent: bool) -> tuple[str, Row]:
    """The state of a site, and what it is made of."""
    own = found.counts.get(site, NO_COUNTS)
    stages = stages_of(own, found.usuals, site, found.clients)
    connecting = connects(own, found.usuals, site, found.clients.failing(site))
    timed, quick = found.timed.get(site, (0, 0))
    slow = time_to_connect(
        timed,
        quick,
        found.usuals.quick(site),
        found.now.get(site, NO_LATENCIES),
        found.past.get(site, NO_LATENCIES),
    )
    failing = connecting["direction"] == "down" or any(one["failing"] for one in stages)
    state = "failing" if failing else "slow" if slow["slow"] else "silent" if silent else "usual"
    return state, {"connects": connecting, "stages": stages, "time_to_connect": slow}


def connect_levels(site: str, found: Measured, state: Row) -> list[Row]:
    """The levels of connecting and of the time that it takes."""
    own = found.counts.get(site, NO_COUNTS)
    failing = [one for one in state["stages"] if one["failing"]]
    worst = max(failing, key=lambda one: one["failed"] - one["reached"] * one["usual_rate"], default=None)
    by_stage = [
        {
            "stage": one["stage"],
            "share": share(one["reached"] - one["failed"], one["reached"]),
            "usual": round(1 - one["usual_rate"], 4),
        }
        for one in state["stages"]
    ]
    timed, quick = found.timed.get(site, (0, 0))
    slow = state["time_to_connect"]
    return [
        level(
            "connects",
            own.good,
            own.attempts,
            state["connects"]["usual"],
            by_stage=by_stage,
            blame=None if worst is None else worst["stage"],
            ok=None if not own.attempts else state["connects"]["direction"] != "down" and not failing,
        ),
        level(
            "time_to_connect",
            quick,
            timed,
            slow["usual_quick"],
            blame=slow["blame"],
            ok=None if not timed else not slow["slow"],
        ),
    ]


NO_FURTHER = [level(name, 0, 0, None) for name in ("coverage", "roaming", "capacity", "stability")]


def badness(state: str, row: Row) -> tuple[Any, ...]:
    """The key by which sites stand worst first."""
    severities = {"critical": 0, "warning": 1, "info": 2}
    alert = min((severities.get(one["severity"], 2) for one in row.get("alerts", ())), default=3)
    connecting = row["connects"]
    excess = connecting["failures"] - connecting["attempts"] * (1 - connecting["usual"])
    return (
        alert,
        ("failing", "slow", "silent", "usual").index(state),
        -round(excess, 3),
        connecting["rate"] if connecting["rate"] is not None else 1.0,
        row["site"],
    )


def together(sites: Sequence[Sequence[Row]]) -> list[Row]:
    """The levels of several sites as one: what is usual weighs as the site does."""
    levels = []
    for name in LEVELS:
        own = [one for levels_of in sites for one in levels_of if one["name"] == name]
        good, total = sum(one["good"] for one in own), sum(one["total"] for one in own)
        known = [one for one in own if one["usual"] is not None and one["total"]]
        weight = sum(one["total"] for one in known)
        usual = sum(one["usual"] * one["total"] for one in known) / weight if weight else None
        ok = None if not weight else all(one["ok"] is not False for one in own)
        levels.append(level(name, good, total, usual, ok=ok))
    return levels


def series_of(
    points: Iterable[Sequence[Any]], usuals: Usuals, site: str, within: Span, step: int
) -> list[Row]:
    """Every step of the window, those without attempts too."""
    found = {at: values for at, *values in points}
    usual = usuals.rate(site).rate
    rows = []
    for at in range(within.since // step * step, within.until, step):
        values = found.get(at)
        own = NO_COUNTS if values is None else counts(values)
        low, high = band(own.attempts, usual)
        disassociations, skewed = (0, 0) if values is None else values[-2:]
        rows.append(
            {
                "time": seconds_text(at),
                "attempts": own.attempts,
                "failures": own.bad,
                "rate": share(own.good, own.attempts),
                "usual": round(1 - usual, 4),
                "low": round(low, 4),
                "high": round(high, 4),
                "by_stage": {
                    stage: failed
                    for stage, failed in zip(ATTEMPT_STAGES, own.by_stage, strict=True)
                    if failed
                },
                "disassociations": disassociations,
                "clock_skew": skewed,
            }
        )
    return rows


def reasons_of(rows: Iterable[Sequence[Any]], failures: int, lookups: Lookups) -> list[Row]:
    """Texts are those of the events, else the catalogue's."""
    found = []
    for stage, code, sub_code, failure, sub_failure, action, events, clients, aps, first, last in rows:
        known = lookups.failures.meaning(Seen(code, sub_code, failure or None, sub_failure or None))
        found.append(
            {
                "stage": stage,
                "code": code,
                "sub_code": sub_code,
                "failure": failure or known.failure,
                "sub_failure": sub_failure or known.sub_failure,
                "action": action or ACTIONS.get(stage, ""),
                "failures": events,
                "share": share(events, failures),
                "clients": clients,
                "aps": aps,
                "first": micros_text(first),
                "last": micros_text(last),
            }
        )
    return found


class Cell(NamedTuple):
    """An access point in a quarter of an hour, or all of them: a row of `insight.heat`."""

    whole: int
    ap: str
    time: int  # s
    attempts: int
    failures: int
    clients: int
    failing: int


NO_CELL = Cell(1, "", 0, 0, 0, 0, 0)


def reach_of(cells: Sequence[Cell], whole: Cell) -> Row:
    """How many clients and access points there are, and have failures."""
    return {
        "clients": whole.clients,
        "clients_failing": whole.failing,
        "aps": len({cell.ap for cell in cells}),
        "aps_failing": len({cell.ap for cell in cells if cell.failures}),
    }


def heat_of(cells: Sequence[Cell], within: Span) -> Row:
    """Access points, those with the most failures first, each with a cell a quarter of an hour."""
    begin = within.since // QUARTER * QUARTER
    length = -(-(within.until - begin) // QUARTER)
    rows: dict[str, Row] = {}
    for cell in cells:
        row = rows.setdefault(
            cell.ap,
            {
                "ap": cell.ap,
                "total_attempts": 0,
                "total_failures": 0,
                "attempts": [0] * length,
                "failures": [0] * length,
                "clients": [0] * length,
            },
        )
        place = (cell.time - begin) // QUARTER
        row["attempts"][place], row["failures"][place] = cell.attempts, cell.failures
        row["clients"][place] = cell.clients
        row["total_attempts"] += cell.attempts
        row["total_failures"] += cell.failures
    aps = sorted(rows.values(), key=lambda row: (-row["total_failures"], row["ap"]))
    times = [seconds_text(begin + place * QUARTER) for place in range(length)]
    return {"step": QUARTER, "times": times, "aps": aps}


def hit_of(rows: Iterable[Sequence[Any]]) -> list[Row]:
    """Clients that failed, with their newest failure: rows of `insight.hardest_hit`."""
    found = []
    for mac, vendor, attempts, failures, newest in rows:
        last, stage, code, sub_code, failure, sub_failure, ssid, ap = newest
        found.append(
            {
                "mac": mac,
                "vendor": vendor,
                "attempts": attempts,
                "failures": failures,
                "last": micros_text(last),
                "stage": stage,
                "code": code,
                "sub_code": sub_code,
                "failure": failure,
                "sub_failure": sub_failure,
                "ssid": ssid,
                "ap": ap,
            }
        )
    return found


def change_of(values: Sequence[Any], onset: int | None) -> Row:
    """A device log; `onset` in seconds."""
    at, id, device_id, name, model, location, action, variable, old, new, user, notes, outcome = values
    return {
        "time": micros_text(at),
        "id": id,
        "device_id": device_id,
        "device": name,
        "model": model,
        "site": location,
        "action": action,
        "variable": variable,
        "old": old,
        "new": new,
        "user": user,
        "notes": notes,
        "outcome": outcome,
        "minutes_before": None if onset is None else round((onset - at / 1e6) / 60, 1),
    }


_CLIENT_NAMES = {
    "received": "received_at",
    "failure_code": "code",
    "sub_failure_code": "sub_code",
    "event_description": "description",
    "sub_event_description": "detail",
}


def client_event(values: Sequence[Any]) -> Row:
    row = {_CLIENT_NAMES.get(name, name): value for name, value in zip(CLIENT_FIELDS, values, strict=True)}
    return {**row, "time": micros_text(row["time"]), "received_at": micros_text(row["received_at"])}


def lanes_of(events: Sequence[Row]) -> list[Row]:
    """The access points of events, which stand newest first."""
    lanes: dict[str, Row] = {}
    for one in reversed(events):
        lane = lanes.setdefault(
            one["ap"],
            {
                "ap": one["ap"],
                "site": one["site"],
                "events": 0,
                "successes": 0,
                "failures": 0,
                "first": one["time"],
                "last": one["time"],
            },
        )
        lane["events"] += 1
        lane["successes"] += one["outcome"] == "success"
        lane["failures"] += one["outcome"] == "failure"
        lane["last"] = one["time"]
    return list(lanes.values())


WORDS = {
    "site": "site",
    "ssid": "SSID",
    "ap": "access point",
    "band": "band",
    "vendor": "vendor",
    "protocol": "protocol",
    "randomised": "kind of MAC",
}


def sentence(said: Sequence[Row], excess: float) -> str:
    """What the verdicts come to, for people."""
    if excess <= 0:
        return "No more failures than usual."
    pointing = [one for one in said if one["verdict"] == "one value"]
    pointing.sort(key=lambda one: -one["explained"])
    parts = [
        f"{WORDS[one['dimension']]} {one['value'] or '(none)'} has {min(1.0, one['explained']):.0%}"
        " of the failures beyond the usual"
        for one in pointing
    ]
    even = [WORDS[one["dimension"]] for one in said if one["verdict"] == "even"]
    if even:
        parts.append("not one " + ", not one ".join(even))
    if not parts:
        return "The failures lie unevenly, and no single value explains half of them."
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."
