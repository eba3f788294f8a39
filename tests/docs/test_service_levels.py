"""The objectives of docs/operations.md in Prometheus' own engine, and the sizes of docs/production.md."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY
from promtool import unit_tests

from tidegate import telemetry

ROOT = Path(__file__).resolve().parents[2]


def table(page: str, head: str) -> list[list[str]]:
    """The cells of the table whose first column is called so."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    lines = text.partition(f"| {head} | ")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


OBJECTIVES = {
    name: (float(target), figure.strip("`"), alerts)
    for name, target, figure, alerts in table("operations.md", "objective")
}
WRITES, READS = "tidegate_gateway_requests_total", "tidegate_api_requests_total"
ACKS = "tidegate_gateway_ack_seconds"
UNSTORED, LOST = "tidegate_sink_oldest_unstored_seconds", "tidegate_worker_lost_records_total"
DUE = "tidegate_notify_oldest_due_seconds"
Month = dict[str, str]  # series in promtool's notation, a sample in an hour, of gauges in a quarter
MONTHS: dict[str, tuple[Month, Month]] = {  # a good one and a bad one
    "writes are answered, and not by a 5xx": (
        {f'{WRITES}{{status="201"}}': "0+1000x720", f'{WRITES}{{status="503"}}': "0x720"},
        {f'{WRITES}{{status="201"}}': "0+990x720", f'{WRITES}{{status="503"}}': "0+10x720"},
    ),
    "a frame is acknowledged within half a second": (
        {f'{ACKS}_bucket{{le="0.5"}}': "0+999x720", f"{ACKS}_count": "0+1000x720"},
        {f'{ACKS}_bucket{{le="0.5"}}': "0+900x720", f"{ACKS}_count": "0+1000x720"},
    ),
    "what came in is queryable within ten seconds": (
        {f'{UNSTORED}{{stream="device_logs"}}': "1x2860 60x20"},
        {f'{UNSTORED}{{stream="device_logs"}}': "1x2780 60x100"},
    ),
    "nothing is lost": (
        {f'{LOST}{{stream="device_logs"}}': "0x720"},
        {f'{LOST}{{stream="device_logs"}}': "0x100 3x620"},
    ),
    "reads are answered, and not by a 5xx": (
        {f'{READS}{{status="200"}}': "0+100x720", f'{READS}{{status="504"}}': "0x720"},
        {f'{READS}{{status="200"}}': "0+90x720", f'{READS}{{status="504"}}': "0+10x720"},
    ),
    "a notice is due for a minute at most": ({DUE: "0x2880"}, {DUE: "0x2780 90x100"}),
}


def test_each_objective_is_of_metrics_buckets_and_alerts_that_exist() -> None:
    assert telemetry.GATEWAY_ACK_SECONDS
    samples = {(one.name, one.labels.get("le")) for metric in REGISTRY.collect() for one in metric.samples}
    known = {name for name, _ in samples} | {metric.name + "_total" for metric in REGISTRY.collect()}
    known |= {metric.name for metric in REGISTRY.collect()}
    [group] = yaml.safe_load((ROOT / "deploy/prometheus/tidegate-rules.yml").read_text())["groups"]
    rules = {rule["alert"] for rule in group["rules"]}
    assert set(OBJECTIVES) == set(MONTHS)
    for _, figure, alerts in OBJECTIVES.values():
        names = set(re.findall(r"\btidegate_\w+", figure))
        assert names and names <= known, names - known
        for name, bound in re.findall(r'(\w+_bucket)\{le="([\d.]+)"\}', figure):
            assert (name, bound) in samples, (name, bound)
        assert set(alerts.split(", ")) <= rules


@pytest.mark.parametrize("name", list(MONTHS))
def test_a_good_month_meets_it_and_a_bad_one_does_not(name: str, tmp_path: Path) -> None:
    target, figure, _ = OBJECTIVES[name]
    good, bad = MONTHS[name]
    for month, met in ((good, 1), (bad, 0)):
        series = [{"series": one, "values": values} for one, values in month.items()]
        asked = {
            "expr": f"({figure}) >= bool {target}",
            "eval_time": "30d",
            "exp_samples": [{"labels": "{}", "value": met}],
        }
        interval = "15m" if "15m" in figure else "1h"  # promtool loads 10,000 samples at most
        unit_tests(tmp_path, [{"interval": interval, "input_series": series, "promql_expr_test": [asked]}])


LEAST, SHARE, COPIES, HOURS = 2, 0.5, 3, 72


def test_the_sizes_follow_from_what_was_measured() -> None:
    costs = {what: float(an_event.split()[0]) for what, an_event, *_ in table("production.md", "what")}
    performance = (ROOT / "docs/performance.md").read_text()
    [measured] = re.findall(r"^\| Tidegate, HTTP → queryable.*\*\*: (.*) \|$", performance, re.MULTILINE)
    by_process = dict(part.rsplit(" ", 1) for part in measured.split(", "))
    for name in ("gateway", "worker", "sink", "broker", "clickhouse"):
        assert costs[name] == float(by_process[name]), name
    stored, kept = costs["ClickHouse's disk"], costs["Kafka's disk"]
    assert f"({stored:g} bytes an event)" in performance
    [[_, first, last, _]] = re.findall(
        r"^\| (broker) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", performance, re.MULTILINE
    )
    grown = (float(last.replace(",", "")) - float(first.replace(",", ""))) * 2**20 / (9 * 60 * 20_000)
    assert kept == round(grown)

    def cores(rate: float, name: str, copies: int = 1) -> float:
        return rate * costs[name] * copies / 1e6 / SHARE

    for rate, *cells in table("production.md", "events a second, peak"):
        events = float(rate.replace(",", ""))
        roles = [max(LEAST, math.ceil(cores(events, name))) for name in ("gateway", "worker", "sink")]
        assert [int(cell) for cell in cells[:6]] == [
            *roles,
            2 * roles[1],
            math.ceil(cores(events, "broker", COPIES)),
            math.ceil(cores(events, "clickhouse")),
        ]
        assert cells[6] == f"{events * stored * 86_400 / 1e9:,.0f}"
        assert cells[7] == f"{events * kept * COPIES * HOURS * 3600 / 1e12:,.1f}"
