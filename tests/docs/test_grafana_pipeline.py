"""Grafana's dashboard of the pipeline: its panels speak of metrics that there are, and show what is worked
out here, in Prometheus' own engine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grafana import PROMETHEUS, panels
from prometheus_client import metrics
from promtool import promtool, unit_tests

from tidegate import telemetry

RATE_INTERVAL = "4m"
AT = "16m"

SERIES = {
    'up{job="tidegate",instance="gateway"}': "1x20",
    'up{job="tidegate",instance="sink"}': "1x20",
    'up{job="tidegate",instance="worker"}': "0x20",
    'up{job="other",instance="x"}': "1x20",
    'tidegate_gateway_events_total{stream="client_events",instance="1"}': "0+60x20",
    'tidegate_gateway_events_total{stream="device_logs",instance="2"}': "0+30x20",
    'tidegate_worker_lines_total{stream="client_events",outcome="accepted",instance="1"}': "0+120x20",
    'tidegate_worker_lines_total{stream="client_events",outcome="accepted",instance="2"}': "0+60x20",
    'tidegate_worker_lines_total{stream="client_events",outcome="rejected",instance="1"}': "0+6x20",
    'tidegate_sink_rows_total{stream="client_events"}': "0+6000x20",
    'tidegate_sink_batches_total{stream="client_events"}': "0+6x20",
    'tidegate_gateway_requests_total{stream="client_events",status="201",instance="1"}': "0+30x20",
    'tidegate_gateway_requests_total{stream="device_logs",status="201",instance="2"}': "0+30x20",
    'tidegate_gateway_requests_total{stream="client_events",status="503",instance="1"}': "0+6x20",
    'tidegate_http_refused_requests_total{code="400"}': "0+12x20",
    'tidegate_http_refused_requests_total{code="431"}': "0+12x20",
    'tidegate_worker_lag_records{stream="client_events",partition="0"}': "5x20",
    'tidegate_worker_lag_records{stream="client_events",partition="1"}': "7x20",
    'tidegate_sink_lag_records{stream="client_events"}': "3x20",
    'tidegate_worker_oldest_unread_seconds{stream="client_events",instance="1"}': "4x20",
    'tidegate_worker_oldest_unread_seconds{stream="client_events",instance="2"}': "9x20",
    'tidegate_sink_oldest_unstored_seconds{stream="client_events"}': "2x20",
    'tidegate_worker_retention_share{stream="client_events",instance="1"}': "0.1x20",
    'tidegate_worker_retention_share{stream="client_events",instance="2"}': "0.2x20",
    'tidegate_sink_retention_share{stream="client_events"}': "0.3x20",
    'tidegate_gateway_ack_seconds_bucket{le="0.01"}': "0+50x20",
    'tidegate_gateway_ack_seconds_bucket{le="0.02"}': "0+100x20",
    'tidegate_gateway_ack_seconds_bucket{le="+Inf"}': "0+100x20",
    'tidegate_sink_insert_seconds_bucket{le="0.1"}': "0+90x20",
    'tidegate_sink_insert_seconds_bucket{le="0.2"}': "0+100x20",
    'tidegate_sink_insert_seconds_bucket{le="+Inf"}': "0+100x20",
    "tidegate_sink_insert_seconds_sum": "0+12x20",
    "tidegate_sink_insert_seconds_count": "0+100x20",
    'tidegate_sink_gaps{stream="client_events"}': "1x20",
    'tidegate_sink_gaps{stream="device_logs"}': "0x20",
    'tidegate_worker_paused_streams{stream="client_events"}': "2x20",
    "tidegate_sink_retries_total": "0+1x20",
    'tidegate_gateway_broker_ready{instance="1"}': "1x20",
    'tidegate_gateway_broker_ready{instance="2"}': "0x20",
    'tidegate_worker_transform_seconds_total{stream="client_events",instance="1"}': "0+30x20",
    'tidegate_worker_transform_seconds_total{stream="client_events",instance="2"}': "0+15x20",
    "tidegate_worker_detect_seconds_total": "0+0.6x20",
    'tidegate_worker_alerts_total{state="open"}': "0+2x20",
    'tidegate_worker_alerts_late_seconds{instance="1"}': "42x20",
    'tidegate_worker_alerts_late_seconds{instance="2"}': "7x20",
    'tidegate_api_query_seconds_bucket{query="clientevents",le="0.1"}': "0+90x20",
    'tidegate_api_query_seconds_bucket{query="clientevents",le="0.2"}': "0+100x20",
    'tidegate_api_query_seconds_bucket{query="clientevents",le="+Inf"}': "0+100x20",
    'tidegate_notify_attempts_total{outcome="delivered"}': "0+30x20",
    'tidegate_notify_attempts_total{outcome="failed"}': "0+6x20",
    "tidegate_notify_owed_notices": "8x20",
    "tidegate_notify_oldest_due_seconds": "1.5x20",
}
"""What is scraped, a sample a minute: a counter that grows by 60 has a rate of 1/s."""

EVENTS = '{stream="client_events"}'
SHOWN: dict[str, list[dict[str, float]]] = {
    "Roles that answer": [{"": 2}, {"": 3}],
    "Events taken in, transformed, stored": [{"": 1.5}, {"": 3.1}, {"": 100}],
    "Lines by what became of them": [
        {
            '{stream="client_events", outcome="accepted"}': 3,
            '{stream="client_events", outcome="rejected"}': 0.1,
        }
    ],
    "Requests to the gateway": [{'{status="201"}': 1, '{status="503"}': 0.1}, {"": 0.4}],
    "Behind, records": [{EVENTS: 12}, {EVENTS: 3}],
    "Behind, age of the oldest": [{EVENTS: 9}, {EVENTS: 2}],
    "Behind, share of what Kafka keeps": [{EVENTS: 0.2}, {EVENTS: 0.3}],
    "From an event to its ack": [{"": 0.01}, {"": 0.0198}],
    "Inserts of the sink": [{"": 0.15}, {"": 0.12}],
    "Rows a batch": [{EVENTS: 1000}],
    "What stands still": [{"": 1}, {"": 2}, {"": 4}, {"": 1}],
    "Share of a core": [{EVENTS: 0.75}, {"": 0.01}],
    "Alerts told": [{'{state="open"}': 8}],
    "Detection is behind": [{"": 42}],
    "Queries of the API, p95": [{'{query="clientevents"}': 0.15}],
    "Notices": [{'{outcome="delivered"}': 0.5, '{outcome="failed"}': 0.1}, {"": 8}, {"": 1.5}],
}
"""By panel, of each of its queries: the value by labels."""
PANELS = {panel.title: [target["expr"] for target in panel.targets] for panel in panels(PROMETHEUS)}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def exported() -> dict[str, set[str]]:
    """Every series that the roles export, with its labels."""
    found = {}
    for value in vars(telemetry).values():
        if isinstance(value, metrics.MetricWrapperBase):
            [family] = value.describe()
            for suffix in SUFFIXES[family.type]:
                own = set(value._labelnames) | ({"le"} if suffix == "_bucket" else set())
                found[family.name + suffix] = own
    return found


def test_panels_and_what_they_are_held_to_are_of_metrics_that_exist() -> None:
    known = exported()
    named = set(re.findall(r"\btidegate_\w+", " ".join(sum(PANELS.values(), []))))
    assert len(named) > 20 and named <= known.keys(), named - known.keys()
    scraped = {re.sub(r"\{.*", "", series) for series in SERIES}
    assert scraped == named | {"up"}
    for series in SERIES:
        name, labels = re.sub(r"\{.*", "", series), set(re.findall(r"(\w+)=", series))
        if name != "up":
            assert labels - {"instance"} == known[name], series


def rendered(query: str) -> str:
    query = query.replace("$__rate_interval", RATE_INTERVAL)
    assert "$" not in query
    return query


def test_prometheus_takes_each_query(tmp_path: Path) -> None:
    rules = [
        f"      - {{record: 'x:{number}', expr: {rendered(query)!r}}}"
        for number, query in enumerate(sum(PANELS.values(), []))
    ]
    (tmp_path / "rules.yml").write_text(
        "\n".join(["groups:", "  - name: panels", "    rules:", *rules]), encoding="utf-8"
    )
    done = promtool("check", "rules", "rules.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_show_what_is_scraped(tmp_path: Path) -> None:
    assert PANELS.keys() == SHOWN.keys()
    asked = []
    for title, queries in PANELS.items():
        assert len(queries) == len(SHOWN[title]), title
        asked += [expected(query, values) for query, values in zip(queries, SHOWN[title], strict=True)]
    series = [{"series": name, "values": values} for name, values in SERIES.items()]
    unit_tests(tmp_path, [{"input_series": series, "promql_expr_test": asked}])


def expected(query: str, values: Mapping[str, float]) -> dict[str, Any]:
    """A test of promtool's, to six places: a rate is as near as floats are."""
    return {
        "expr": f"round({rendered(query)}, 0.000001)",
        "eval_time": AT,
        "exp_samples": [{"labels": labels or "{}", "value": value} for labels, value in values.items()],
    }


def test_prometheus_takes_its_configuration() -> None:
    folder = Path(__file__).resolve().parents[2] / "deploy/prometheus"
    done = promtool("check", "config", str(folder / "prometheus.yml"))
    assert done.returncode == 0 and "1 rule files found" in done.stdout, done.stdout + done.stderr
