"""The alert rules: of metrics that there are, each fires and clears in Prometheus' own engine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from prometheus_client import REGISTRY
from promtool import promtool, unit_tests

from tidegate import telemetry

RULES = Path(__file__).resolve().parents[2] / "deploy/prometheus/tidegate-rules.yml"
[GROUP] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]


def samples() -> set[str]:
    assert telemetry.SINK_RETENTION_SHARE
    return {
        metric.name + ("_total" if metric.type == "counter" else "")
        for metric in REGISTRY.collect()
        if metric.name.startswith("tidegate_")
    }


def test_each_rule_is_of_metrics_that_exist_and_says_what_to_do() -> None:
    known = samples()
    for rule in GROUP["rules"]:
        assert rule["annotations"]["summary"] and rule["annotations"]["description"], rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical")
        names = re.findall(r"\btidegate_[a-z_]+\b(?!\()", rule["expr"])
        patterns = re.findall(r'__name__=~"([^"]+)"', rule["expr"])
        for pattern in patterns:
            options = [name for name in known if re.fullmatch(pattern, name)]
            assert len(options) == 2, pattern
        if not patterns and 'up{job="tidegate"}' not in rule["expr"]:
            assert names and set(names) <= known, rule["alert"]


def test_each_alert_has_its_section_and_each_section_an_alert() -> None:
    text = (RULES.parents[2] / "docs/operations.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### (Tidegate\w+)\n\n(.+)$", text, re.MULTILINE)
    assert [name for name, _ in sections] == [rule["alert"] for rule in GROUP["rules"]]


class Case(NamedTuple):
    """Series in promtool's notation, a sample a minute; at which minutes the alert is and is not there."""

    series: Mapping[str, str]
    quiet: int  # what it watches is bad, or about to be, and it waits
    fires: int
    clears: int
    labels: Mapping[str, str] = {}


STREAM = {"stream": "client_events"}
NOTIFY = {"instance": "notify:9464", "job": "tidegate"}
CASES = {
    "TidegateRetentionHalfGone": Case(
        {
            'tidegate_worker_retention_share{stream="client_events"}': "0.1 0.6 0.6 0.6 0.4 0.4",
            'tidegate_sink_retention_share{stream="device_logs"}': "0.5x6",
        },
        quiet=1,
        fires=2,
        clears=4,
        labels=STREAM,
    ),
    "TidegateRetentionRunsOut": Case(
        {'tidegate_sink_retention_share{stream="client_events"}': "0.8 0.81 0.81 0.8"},
        quiet=0,
        fires=1,
        clears=3,
        labels=STREAM,
    ),
    "TidegateRecordsLost": Case(
        {'tidegate_worker_lost_records_total{stream="client_events"}': "0 0 5x20"},
        quiet=1,
        fires=3,
        clears=14,
        labels=STREAM,
    ),
    "TidegateSinkAtGap": Case(
        {
            'tidegate_sink_gaps{stream="client_events",instance="sink-1"}': "0 1x6 0 0",
            'tidegate_sink_gaps{stream="client_events",instance="sink-2"}': "0x9",
        },
        quiet=5,
        fires=6,
        clears=8,
        labels=STREAM,
    ),
    "TidegateSinkRetries": Case(
        {'tidegate_sink_retries_total{instance="sink:9464"}': "0+20x12 240x20"},
        quiet=4,
        fires=9,
        clears=22,
        labels={"instance": "sink:9464"},
    ),
    "TidegateGatewayRefuses": Case(
        {
            'tidegate_gateway_broker_ready{instance="gateway-1"}': "1 1 0 0 0 1 1",
            'tidegate_gateway_broker_ready{instance="gateway-2"}': "1x6",
        },
        quiet=2,
        fires=3,
        clears=5,
    ),
    "TidegateNoticesGivenUp": Case(
        {
            'tidegate_notify_ended_notices_total{outcome="failed"}': "0 0 1x30",
            'tidegate_notify_ended_notices_total{outcome="delivered"}': "0+1x40",
        },
        quiet=1,
        fires=3,
        clears=20,
        labels={"outcome": "failed"},
    ),
    "TidegateNoticesFail": Case(
        {
            'tidegate_notify_attempts_total{outcome="failed"}': "0+1x40 40x30",
            'tidegate_notify_attempts_total{outcome="delivered"}': "0+9x70",
        },
        quiet=15,
        fires=30,
        clears=60,
        labels={"outcome": "failed"},
    ),
    "TidegateNoticesWait": Case(
        {"tidegate_notify_oldest_due_seconds": "0 61x6 60 60"}, quiet=5, fires=6, clears=8
    ),
    "TidegateDeliveriesNotStored": Case(
        {"tidegate_notify_unstored_entries": "0 3x11 0 0"}, quiet=10, fires=11, clears=13
    ),
    "TidegateRoleAway": Case(
        {
            'up{job="tidegate",instance="notify:9464"}': "1 0 0 0 0 1 1",
            'up{job="other",instance="elsewhere:1"}': "0x6",
        },
        quiet=2,
        fires=3,
        clears=5,
        labels=NOTIFY,
    ),
}


def test_prometheus_takes_the_file() -> None:
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_has_a_case() -> None:
    assert list(CASES) == [rule["alert"] for rule in GROUP["rules"]]


@pytest.mark.parametrize("alert", CASES)
def test_it_fires_and_clears(alert: str, tmp_path: Path) -> None:
    case = CASES[alert]
    [rule] = [one for one in GROUP["rules"] if one["alert"] == alert]
    told = {
        name: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: case.labels[match[1]], text)
        for name, text in rule["annotations"].items()
    }
    fired = [{"exp_labels": {**case.labels, **rule["labels"]}, "exp_annotations": told}]

    def at(minute: int, alerts: list[dict[str, Any]]) -> dict[str, Any]:
        return {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": alerts}

    unit_tests(
        tmp_path,
        [
            {
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "alert_rule_test": [at(case.quiet, []), at(case.fires, fired), at(case.clears, [])],
            }
        ],
        rules=RULES,
    )
