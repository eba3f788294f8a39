"""The figures of the line of progress, and the waits between restarts."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge

from tidegate.local.child import Child, free_port
from tidegate.local.progress import FIGURES, Progress, get, scrape
from tidegate.local.supervisor import LONGEST_BACKOFF, Role
from tidegate.service.status_server import StatusServer
from tidegate.settings import Settings
from tidegate.telemetry import GATEWAY_EVENTS, SINK_LAG, SINK_ROWS, WORKER_LAG, WORKER_LINES


def test_figures_are_metrics() -> None:
    declared = {GATEWAY_EVENTS, SINK_ROWS, WORKER_LINES, WORKER_LAG, SINK_LAG}
    names = {family.name for metric in declared for family in metric.describe()}
    assert {figure.metric.removesuffix("_total") for figure in FIGURES.values()} == names


def test_sums_over_labels() -> None:
    registry = CollectorRegistry()
    lines = Counter("tidegate_worker_lines_total", "", ["stream", "outcome"], registry=registry)
    lines.labels("device_logs", "rejected").inc(2)
    lines.labels("client_events", "rejected").inc(3)
    lines.labels("client_events", "accepted").inc(7)
    lag = Gauge("tidegate_worker_lag_records", "", ["stream", "partition"], registry=registry)
    lag.labels("device_logs", "0").set(4)
    lag.labels("device_logs", "1").set(5)
    with StatusServer(
        "worker", Settings(worker_listen="127.0.0.1:0"), not_ready=list, registry=registry
    ) as server:
        assert scrape("worker", f"127.0.0.1:{server.port}") == {"rejects": 5.0, "worker lag": 9.0}
    assert scrape("worker", f"127.0.0.1:{free_port()}") == {}
    assert get(f"127.0.0.1:{free_port()}", "/readyz")[0] == 0


def test_counters_go_on_over_a_restart() -> None:
    progress = Progress([])
    progress._take({("gateway", "in"): 100.0}, 1.0)
    progress._take({("gateway", "in"): 150.0}, 1.0)
    assert progress.line().startswith("in 150 (50/s)")
    progress._take({}, 1.0)  # it is down
    assert progress.line().startswith("in 150 (0/s)")
    progress._take({("gateway", "in"): 30.0}, 1.0)
    assert progress.line().startswith("in 180 (30/s)")


def test_one_of_two_processes_begins_anew() -> None:
    progress = Progress([])
    progress._take({("a", "rejects"): 100.0, ("b", "rejects"): 10.0}, 1.0)
    assert progress.line().endswith("rejects 110")
    progress._take({("a", "rejects"): 5.0, ("b", "rejects"): 12.0}, 1.0)
    assert progress.line().endswith("rejects 117")


def test_backoff_grows_to_a_limit(tmp_path: Path) -> None:
    role = Role("it", Child("it", ["true"], tmp_path / "log"), None)
    role.started_at = float("inf")
    waits = [role.died() for _ in range(8)]
    assert waits == sorted(waits)
    assert waits[0] < 1 and waits[-1] == LONGEST_BACKOFF
    role.started_at = 0.0  # it had lived long
    assert role.died() == waits[0]
