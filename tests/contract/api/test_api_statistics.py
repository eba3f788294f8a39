"""`/api/v1/stats/…` against SQL on the base tables: the rollups answer as the events would."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import table_rows
from clickhouse_connect.driver.client import Client

import builders
from tidegate.api.statistics.calls import CALLS
from tidegate.api.statistics.parameters import text_of
from tidegate.tokens import READERS, Role

Call = Callable[..., httpx.Response]

DAY = 86_400
START = 1_763_596_800  # 2025-11-20 00:00:00 UTC
STATS = "/api/v1/stats"
STREAMS = ("client_events", "connection_logs", "device_logs")
HOSTILE = ["'; DROP TABLE client_events_1m; --", '📶 "x"\\', "\0" * 32]
SUB_TEXTS: dict[tuple[int | None, int | None], str] = {
    (9, 1): "DHCP pool is dry",
    (77, 14): "DNS said nothing",
}
WHOLE = {"from": START - 3 * DAY, "to": START + 3 * DAY}


@pytest.fixture(scope="module", autouse=True)
def events(store: Client) -> None:
    pick = random.Random(4)
    clients = [f"02:00:00:00:1{n // 10}:0{n % 10}" for n in range(40)]

    def place(number: int) -> dict[str, Any]:
        site = number % 3
        return {
            "locationId": {"type": "locallocationid", "id": site},
            "ssid": pick.choice(["staff", "guests", *HOSTILE, None]),
            "associatedAPName": f"AP-{site}-{pick.randrange(3)}",
            "channel": pick.choice([1, 36, None]),
            "timestamp": (START + pick.randrange(DAY // 3, 4 * DAY // 3)) * 1_000_000,
            "macAddress": pick.choice(clients),
        }

    wifi: list[dict[str, Any]] = []
    for number in range(300):
        latencies = {name: pick.randrange(3000) for name in ("dhcpLatency", "aaaLatency", "dnsLatency")}
        wifi.append(builders.success(**place(number), **latencies))
        code, text = pick.choice(
            [(7, "Incorrect PSK"), (9, "DHCP timeout"), (77, "No answer from DNS"), (None, None)]
        )
        sub_code = pick.choice([1, 14, None]) if code else None
        texts = {"failure": text, "subFailureCode": sub_code, "subFailure": SUB_TEXTS.get((code, sub_code))}
        wifi.append(builders.failure(**place(number), failureCode=code, **texts))
        wifi.append(builders.intermediate(**place(number)))
    # A clock that is years behind: its bucket is the time of receipt.
    wifi.append(builders.success(macAddress=clients[0], timestamp=1_000_000_000))
    table_rows.store(store, "client_events", *wifi[:500], offset=1)
    table_rows.store(store, "client_events", *wifi[500:], offset=2)
    logs = [
        builders.session_log(
            device_id=f"d{pick.randrange(20)}",
            timestamp=text_of(START + pick.randrange(DAY)),
            duration=pick.randrange(4000),
            status=pick.choice(["success", "failed"]),
        )
        for _ in range(50)
    ]
    logs += [
        builders.network_log(
            network_type=pick.choice(["wi", "mo"]),
            network_security=pick.choice(["opn", "wp2"]),
            roaming=pick.choice([True, False]),
            inbytes=pick.randrange(10**9),
        )
        for _ in range(50)
    ]
    table_rows.store(store, "connection_logs", *logs, offset=1)
    entries = [
        builders.device_log(
            datetime=f"2025-11-20T{pick.randrange(24):02}:00:00Z",
            action=pick.choice(["restart", "config_change"]),
            is_pending=pick.choice([True, False]),
            parent={"id": f"ap{pick.randrange(9)}", "model": pick.choice(["C-1", "C-2"]), "location": "HQ"},
        )
        for _ in range(60)
    ]
    table_rows.store(store, "device_logs", *entries, offset=1)
    table_rows.store(store, "client_events", *wifi[:30], fleet="other", offset=3)


def ask(api: Call, path: str, role: str = "viewer", **params: Any) -> Any:
    answer = api(f"{STATS}/{path}", role=role, params=WHOLE | params)
    assert answer.status_code == 200, answer.text
    return answer.json()


# The same from the events. Names of columns as in the rollups.
BASE = {
    "client_events": "SELECT *, if(clock_skew, received_at, event_time) AS at,"
    " coalesce(ap_name, bssid, '') AS ap, ifNull(client_events.failure_code, -1) AS code,"
    " ifNull(client_events.sub_failure_code, -1) AS sub_code,"
    " mac AS client FROM client_events",
    "connection_logs": "SELECT *, if(clock_skew, received_at, event_time) AS at, ifNull(bssid, '') AS ap,"
    " device_id AS client FROM connection_logs",
    "device_logs": "SELECT *, if(clock_skew, received_at, event_time) AS at, device_location AS site,"
    " device_id AS client FROM device_logs",
}


def base(store: Client, stream: str, select: str, rest: str = "", where: str = "fleet = 'demo'") -> list[Any]:
    window = f"at >= toDateTime({WHOLE['from']}, 'UTC') AND at < toDateTime({WHOLE['to']}, 'UTC')"
    sql = f"SELECT {select} FROM ({BASE[stream]}) WHERE {where} AND {window} {rest}"
    return [list(row) for row in store.query(sql).result_rows]


def grouped(answer: Any, *names: str, keys: Sequence[str] = ()) -> dict[tuple[Any, ...], list[Any]]:
    """Values by time, groups and keys."""
    found = {}
    for row in answer["rows"]:
        at = () if row["time"] is None else (row["time"],)
        found[(*at, *row["group"].values(), *(row[key] for key in keys))] = [row[name] for name in names]
    assert len(found) == len(answer["rows"])
    return found


def by_key(rows: list[Any], keys: int) -> dict[tuple[Any, ...], list[Any]]:
    return {tuple(row[:keys]): row[keys:] for row in rows}


def different(column: str) -> str:
    return f"uniqExactIf({column}, {column} != '')"


OUTCOMES = "count(), countIf(outcome = 'success'), countIf(outcome = 'failure'), uniqExact(client)"


@pytest.mark.parametrize("stream", STREAMS)
def test_outcomes_of_the_window(api: Call, store: Client, stream: str) -> None:
    answer = ask(api, f"{stream}/outcomes")
    assert grouped(answer, "events", "success", "failure", "clients") == {
        (): base(store, stream, OUTCOMES)[0]
    }
    assert answer["rollup"] == f"{stream}_1d"
    assert (answer["from"], answer["to"]) == ("2025-11-17T00:00:00Z", "2025-11-23T00:00:00Z")


@pytest.mark.parametrize(
    ("by", "expression"),
    [
        (["site"], "site"),
        (["ssid"], "ifNull(ssid, '')"),
        (["ap", "band"], "ap, band"),
        (["outcome", "stage"], "outcome, stage"),
        (["failure_code"], "code"),
        (["geohash", "clock_skew", "fleet"], "geohash, clock_skew, fleet"),
    ],
)
def test_outcomes_by_dimension(api: Call, store: Client, by: list[str], expression: str) -> None:
    answer = ask(api, "client_events/outcomes", by=by)
    expected = base(store, "client_events", f"{expression}, {OUTCOMES}", f"GROUP BY {expression}")
    assert grouped(answer, "events", "success", "failure", "clients") == by_key(expected, len(by))
    events = [row["events"] for row in answer["rows"]]
    assert answer["by"] == by and events == sorted(events, reverse=True)


@pytest.mark.parametrize(
    ("stream", "by"),
    [
        ("connection_logs", "network_type"),
        ("connection_logs", "operator"),
        ("device_logs", "log_action"),
        ("device_logs", "device_model"),
        ("device_logs", "site"),
    ],
)
def test_outcomes_of_the_other_streams(api: Call, store: Client, stream: str, by: str) -> None:
    answer = ask(api, f"{stream}/outcomes", by=by)
    expected = base(store, stream, f"ifNull({by}, '') AS k, {OUTCOMES}", "GROUP BY k")
    assert grouped(answer, "events", "success", "failure", "clients") == by_key(expected, 1)


@pytest.mark.parametrize(("step", "start"), [("1m", "Minute"), ("1h", "Hour"), ("1d", "Day")])
def test_outcomes_by_step(api: Call, store: Client, step: str, start: str) -> None:
    answer = ask(api, "client_events/outcomes", step=step, by="site")
    assert answer["rollup"] == f"client_events_{step}"
    text = f"formatDateTime(toStartOf{start}(at), '%Y-%m-%dT%H:%i:%SZ')"
    expected = base(store, "client_events", f"{text} AS t, site, {OUTCOMES}", "GROUP BY t, site")
    assert grouped(answer, "events", "success", "failure", "clients") == by_key(expected, 2)
    times = [row["time"] for row in answer["rows"]]
    assert times == sorted(times) and len(set(times)) > 1


@pytest.mark.parametrize(
    ("window", "rollup", "window_of_answer"),
    [
        ((START, START + DAY), "1d", None),
        ((START + 3600, START + DAY), "1h", None),
        ((START + 60, START + DAY), "1m", None),
        ((START + 40_061, START + 43_601), "1m", (START + 40_020, START + 43_620)),
        (("2025-11-20", "2025-11-21T00:00:00+00:00"), "1d", (START, START + DAY)),
        ((f"{START}000", f"{START + 43_200}000000"), "1h", (START, START + 43_200)),
    ],
)
def test_the_coarsest_rollup_that_is_exact(
    api: Call, store: Client, window: tuple[Any, Any], rollup: str, window_of_answer: tuple[int, int] | None
) -> None:
    answer = ask(api, "client_events/outcomes", **{"from": window[0], "to": window[1]})
    since, until = window_of_answer or window
    [[count]] = base(
        store,
        "client_events",
        "count()",
        where=f"fleet = 'demo' AND toUnixTimestamp(at) >= {since} AND toUnixTimestamp(at) < {until}",
    )
    assert (answer["rollup"], answer["rows"][0]["events"]) == (f"client_events_{rollup}", count)


def test_stages_are_a_funnel(api: Call, store: Client) -> None:
    [row] = ask(api, "client_events/outcomes")["rows"]
    failed = dict(
        base(
            store,
            "client_events",
            "stage, count()",
            "GROUP BY stage",
            "fleet = 'demo' AND outcome = 'failure'",
        )
    )
    assert {stage["stage"]: stage["failed"] for stage in row["stages"] if stage["failed"]} == failed
    order = ["association", "authentication", "aaa", "dhcp", "dns", "network"]
    reached = row["success"] + sum(failed.get(stage, 0) for stage in order)
    for stage, found in zip(order, row["stages"], strict=False):
        assert (found["stage"], found["reached"]) == (stage, reached)
        reached -= failed.get(stage, 0)
        assert found["success_rate"] == (reached / found["reached"] if found["reached"] else None)
    assert reached == row["success"]
    assert row["success_rate"] == row["success"] / (row["success"] + row["failure"])
    assert len([stage for stage in failed if stage in order]) > 1


QUANTILES = "quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99)"


@pytest.mark.parametrize("by", [None, "site"])
def test_latency(api: Call, store: Client, by: str | None) -> None:
    """As the engine's own quantiles of the successes, and near the exact ones."""
    answer = ask(api, "client_events/latency", by=by or [], metric=["dhcp", "dns", "connect"])
    key = by or "''"
    connect = (
        "if(network_time < association_time, 0, dateDiff('millisecond', association_time, network_time))"
    )
    columns = ("dhcp_latency", "dns_latency", connect)
    successes = (f"if(outcome = 'success', {column}, NULL)" for column in columns)
    select = ", ".join([key, "count()", *(f"{QUANTILES}({column})" for column in successes)])
    for group, count, *quantiles in base(store, "client_events", select, f"GROUP BY {key}"):
        [row] = [row for row in answer["rows"] if by is None or row["group"][by] == group]
        assert row["events"] == count
        found = [list(each.values()) for each in row["latency"].values()]
        assert found == [list(each) for each in quantiles]
    [[exact]] = base(store, "client_events", "quantileExact(0.9)(dhcp_latency)")
    if by is None:
        assert abs(answer["rows"][0]["latency"]["dhcp"]["p90"] - exact) <= 32
    assert list(answer["rows"][0]["latency"]) == ["dhcp", "dns", "connect"]


def test_latency_that_was_not_measured_is_null(api: Call) -> None:
    [row] = ask(api, "client_events/latency", outcome="failure", metric=["dhcp", "connect"])["rows"]
    assert set(row["latency"]["dhcp"].values()) == {None}
    assert set(row["latency"]["connect"].values()) == {
        None
    }  # what a failure waited for is no time to connect
    assert set(ask(api, "connection_logs/latency")["rows"][0]["latency"]) == {"duration"}


@pytest.mark.parametrize("by", [[], ["site"]])
def test_failures_by_class(api: Call, store: Client, by: list[str]) -> None:
    answer = ask(api, "client_events/failures", by=by)
    keys = ", ".join([*by, "code", "sub_code", "stage"])
    failing = "fleet = 'demo' AND outcome = 'failure'"
    expected = base(
        store, "client_events", f"{keys}, count(), uniqExact(client)", f"GROUP BY {keys}", failing
    )
    found = grouped(answer, "events", "clients", keys=("failure_code", "sub_failure_code", "stage"))
    assert found == by_key(expected, len(by) + 3)
    groups = {tuple(row["group"].values()) for row in answer["rows"]}
    assert sum(row["share"] for row in answer["rows"]) == pytest.approx(len(groups))
    texts = {row["failure_code"]: row["failure"] for row in answer["rows"]}
    assert texts == {7: "Incorrect PSK", 9: "DHCP timeout", 77: "No answer from DNS", -1: None}
    details = {(row["failure_code"], row["sub_failure_code"]): row["sub_failure"] for row in answer["rows"]}
    assert details[9, 1] == "DHCP pool is dry" and details[77, 14] == "DNS said nothing"
    assert details[7, 14] == "Wrong passphrase."  # the catalogue's: no event says it
    assert details[9, 14] is None
    assert all(row["action"] for row in answer["rows"] if row["stage"] == "dhcp")


def test_blast_radius(api: Call, store: Client) -> None:
    answer = ask(api, "client_events/blast_radius")
    failing = "fleet = 'demo' AND outcome = 'failure'"
    touched = ", ".join(["uniqExact(client)", *map(different, ("ap", "site", "ssid", "geohash"))])
    expected = base(
        store,
        "client_events",
        f"code, sub_code, stage, count(), {touched}",
        "GROUP BY code, sub_code, stage",
        failing,
    )
    found = {
        (row["failure_code"], row["sub_failure_code"], row["stage"]): [
            row["events"],
            *row["touched"].values(),
        ]
        for row in answer["rows"]
    }
    assert found == {tuple(row[:3]): [*row[3:], None] for row in expected}
    assert [[*answer["of"].values()][:-1]] == base(store, "client_events", touched)
    widths = [row["clients"] for row in answer["rows"]]
    assert widths == sorted(widths, reverse=True)
    # How many there are does not depend on which failures are asked for.
    assert ask(api, "client_events/blast_radius", stage="dhcp")["of"] == answer["of"]
    [first] = base(
        store,
        "client_events",
        "min(toUnixTimestamp(toStartOfDay(at))), max(toUnixTimestamp(toStartOfDay(at)))",
        where=failing,
    )
    assert [min(row["first"] for row in answer["rows"])] == [text_of(first[0])]
    assert [max(row["last"] for row in answer["rows"])] == [text_of(first[1])]


@pytest.mark.parametrize("stream", ["connection_logs", "device_logs"])
def test_failures_of_streams_without_codes(api: Call, stream: str) -> None:
    for call in ("failures", "blast_radius"):
        for row in ask(api, f"{stream}/{call}")["rows"]:
            assert row["failure_code"] is None and row["stage"]


RANKED = {
    "events": "count()",
    "failures": "countIf(outcome = 'failure')",
    "failure_rate": "countIf(outcome = 'failure') / nullIf(countIf(outcome IN ('success', 'failure')), 0)",
    "clients": "uniqExact(client)",
    "dhcp_p95": f"{QUANTILES}(dhcp_latency)[5]",
}


@pytest.mark.parametrize("metric", list(RANKED))
@pytest.mark.parametrize("ascending", [False, True])
def test_top(api: Call, store: Client, metric: str, ascending: bool) -> None:
    answer = ask(api, "client_events/top", by=["ap"], metric=metric, count=4, ascending=ascending)
    order = "ASC" if ascending else "DESC"
    expected = base(
        store,
        "client_events",
        f"ap, {RANKED[metric]} AS v, count() AS n",
        f"GROUP BY ap ORDER BY v {order} NULLS LAST, n DESC, ap LIMIT 4",
    )
    found = [[row["group"]["ap"], row["value"], row["events"]] for row in answer["rows"]]
    assert [row[0] for row in found] == [row[0] for row in expected]
    assert [row[1:] for row in found] == [pytest.approx(row[1:]) for row in expected]
    assert answer["metric"] == metric


def test_top_of_each_step(api: Call) -> None:
    rows = ask(api, "client_events/top", by=["ap"], count=2, step="1d")["rows"]
    times = [row["time"] for row in rows]
    assert [len(list(group)) for _, group in itertools.groupby(times)] == [2, 2]


@pytest.mark.parametrize(
    ("stream", "metric", "expression"),
    [
        ("connection_logs", "inbytes", "sum(inbytes)"),
        ("connection_logs", "duration_p50", f"{QUANTILES}(duration)[2]"),
        ("connection_logs", "insecure", "countIf(insecure)"),
        ("connection_logs", "roaming", "countIf(ifNull(roaming, false))"),
        ("device_logs", "pending", "countIf(is_pending)"),
        ("device_logs", "applied", "countIf(is_applied)"),
    ],
)
def test_metrics_of_one_stream(api: Call, store: Client, stream: str, metric: str, expression: str) -> None:
    [row] = ask(api, f"{stream}/top", by="fleet", metric=metric)["rows"]
    [[expected]] = base(store, stream, expression)
    assert row["value"] == (expected or 0)


def test_distinct(api: Call, store: Client) -> None:
    answer = ask(api, "client_events/distinct", of=["clients", "ap", "ssid", "failure_code"], by="site")
    columns = [different("ap"), different("ssid"), "uniqExactIf(code, code != -1)"]
    select = ", ".join(["site, count(), uniqExact(client)", *columns])
    expected = base(store, "client_events", select, "GROUP BY site")
    assert {row["group"]["site"]: [row["events"], *row["distinct"].values()] for row in answer["rows"]} == {
        row[0]: row[1:] for row in expected
    }
    assert list(ask(api, "client_events/distinct")["rows"][0]["distinct"]) == ["clients"]


# The examples of docs/api.md

PAGE = Path(__file__).resolve().parents[3] / "docs" / "api.md"
EXAMPLES = re.findall(
    r"""```sh\ncurl [^`]*?"http://127.0.0.1:8081(/api/v1/stats/[^"]+)"\n```\n\n```sql\n(.*?)```""",
    PAGE.read_text("utf-8"),
    re.DOTALL,
)


@pytest.mark.parametrize(("path", "sql"), EXAMPLES, ids=[path.split("?")[0] for path, _ in EXAMPLES])
def test_an_example_of_the_page_gives_what_its_sql_gives(
    api: Call, store: Client, path: str, sql: str
) -> None:
    answer = api(path).json()
    result = store.query(sql.replace("tidegate.", ""))
    assert len(answer["rows"]) == len(result.result_rows) > 0
    for row, expected in zip(answer["rows"], result.result_rows, strict=True):
        latencies = {name: list(values.values()) for name, values in row.get("latency", {}).items()}
        found = {**row.get("touched", {}), **row.get("distinct", {}), **latencies, **row, **row["group"]}
        for name, value in zip(result.column_names, expected, strict=True):
            assert found[name] == (
                pytest.approx(value, nan_ok=True) if isinstance(value, float) else value
            ), name


def test_every_call_has_its_example() -> None:
    assert {path.split("?")[0].rsplit("/", 1)[1] for path, _ in EXAMPLES} == set(CALLS)


# Filters, limits, refusals


@pytest.mark.parametrize(
    ("filters", "condition"),
    [
        ({"site": "1"}, "site = '1'"),
        ({"site": ["1", "2"], "outcome": "failure"}, "site IN ('1', '2') AND outcome = 'failure'"),
        ({"failure_code": [7, -1]}, "code IN (7, -1)"),
        ({"clock_skew": "true"}, "clock_skew"),
        ({"ssid": ""}, "ifNull(ssid, '') = ''"),
        ({"fleet": "other"}, "false"),
        ({"stage": "none"}, "false"),
    ],
)
def test_filters(api: Call, store: Client, filters: dict[str, Any], condition: str) -> None:
    answer = ask(api, "client_events/outcomes", by="fleet", **filters)
    [[count]] = base(store, "client_events", "count()", where=f"fleet = 'demo' AND {condition}")
    assert sum(row["events"] for row in answer["rows"]) == count


@pytest.mark.parametrize("ssid", HOSTILE)
def test_hostile_names_come_back_as_they_went_in(api: Call, ssid: str) -> None:
    [row] = ask(api, "client_events/outcomes", by="ssid", ssid=ssid)["rows"]
    assert row["group"] == {"ssid": ssid} and row["events"] > 0


def test_a_cut_answer_says_so(api: Call) -> None:
    whole = ask(api, "client_events/outcomes", by="ap")
    cut = ask(api, "client_events/outcomes", by="ap", limit=2)
    assert (whole["truncated"], cut["truncated"]) == (False, True)
    assert cut["rows"] == whole["rows"][:2]
    assert not ask(api, "client_events/outcomes", by="ap", limit=len(whole["rows"]))["truncated"]


@pytest.mark.parametrize(
    ("path", "name", "allowed"),
    [
        (
            "client_events/outcomes?by=nonsense",
            "by",
            "fleet, site, ssid, ap, band, geohash, outcome, stage, failure_code, sub_failure_code,"
            " clock_skew",
        ),
        (
            "device_logs/outcomes?by=ssid",
            "by",
            "fleet, site, device_model, log_action, outcome, stage, clock_skew",
        ),
        (
            "client_events/top?by=site&metric=inbytes",
            "metric",
            "events, successes, failures, success_rate, failure_rate, clients, dhcp_p50,",
        ),
        ("client_events/latency?metric=duration", "metric", "dhcp, aaa, dns, connect"),
        ("connection_logs/distinct?of=site", "of", "clients, fleet, network_type, ssid,"),
        ("client_events/outcomes?step=5m", "step", "1m, 1h, 1d"),
        ("client_events/outcomes?from=yesterday", "from", "a date or time"),
        ("client_events/outcomes?from=-5", "from", "a date"),
        ("client_events/outcomes?from=2025-11-21&to=2025-11-20", "to", "a time after `from`"),
        ("client_events/outcomes?failure_code=x", "failure_code", "an integer"),
        ("client_events/outcomes?clock_skew=perhaps", "clock_skew", "true or false"),
        ("client_events/outcomes?limit=0", "limit", "greater than or equal to 1"),
        ("client_events/top?by=site&count=x", "count", "an integer"),
    ],
)
def test_an_invalid_parameter_is_named_with_what_is_allowed(
    api: Call, path: str, name: str, allowed: str
) -> None:
    answer = api(f"{STATS}/{path}")
    assert (answer.status_code, answer.json()["path"]) == (422, name), answer.text
    assert answer.json()["allowed"].startswith(allowed)


def test_top_needs_a_dimension(api: Call) -> None:
    answer = api(f"{STATS}/client_events/top")
    assert (answer.status_code, answer.json()["path"]) == (400, "by")


@pytest.mark.parametrize(
    "path", ["clients/outcomes", "device_logs/latency", "client_events/mean", "client_events"]
)
def test_what_is_not_there(api: Call, path: str) -> None:
    assert api(f"{STATS}/{path}").status_code == 404


def test_the_last_day_unless_asked_otherwise(api: Call) -> None:
    answer = api(f"{STATS}/client_events/outcomes").json()
    assert answer["rollup"] in ("client_events_1m", "client_events_1h", "client_events_1d")
    assert answer["rows"] == []


def calls() -> Iterator[str]:
    for stream in STREAMS:
        for call in ("outcomes", "failures", "blast_radius", "distinct", "top?by=stage"):
            yield f"{stream}/{call}"
    yield from ("client_events/latency", "connection_logs/latency")


@pytest.mark.parametrize("role", list(Role))
def test_readers_read_them(api: Call, role: Role) -> None:
    for path in calls():
        assert api(f"{STATS}/{path}", role=role).status_code == (200 if role in READERS else 403)


def test_a_token_sees_its_fleet_and_a_superuser_all(api: Call, store: Client) -> None:
    def fleets(role: str) -> dict[str, int]:
        rows = ask(api, "client_events/outcomes", by="fleet", role=role)["rows"]
        return {row["group"]["fleet"]: row["events"] for row in rows}

    assert fleets("other") == {"other": 30}
    assert fleets("superuser") == {**fleets("viewer"), "other": 30}
    assert set(fleets("viewer")) == {"demo"}


def test_the_contract_names_dimensions_and_metrics(api: Call) -> None:
    contract = api("/openapi.json", role=None).json()
    operation = contract["paths"]["/api/v1/stats/client_events/top"]["get"]
    parameters = {each["name"]: each for each in operation["parameters"]}
    assert parameters["by"]["required"] and not parameters["from"]["required"]
    assert "failure_rate" in parameters["metric"]["schema"]["enum"]
    assert {"from", "to", "step", "by", "limit", "site", "failure_code"} <= set(parameters)
    assert operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Top")
