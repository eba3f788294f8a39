"""How it goes: figures from the roles' /metrics, once a second, as one line."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tidegate.settings import address


class Figure(NamedTuple):
    """One figure of the line: the sum of a metric over its labels."""

    role: str
    metric: str
    labels: Mapping[str, str] = {}


FIGURES = {
    "in": Figure("gateway", "tidegate_gateway_events_total"),
    "stored": Figure("sink", "tidegate_sink_rows_total"),
    "rejects": Figure("worker", "tidegate_worker_lines_total", {"outcome": "rejected"}),
    "worker lag": Figure("worker", "tidegate_worker_lag_records"),
    "sink lag": Figure("sink", "tidegate_sink_lag_records"),
}
COUNTERS = ("in", "stored", "rejects")


class Progress:
    """Scrapes in a thread of its own; `line` tells the latest. Counters go on over a role's restart."""

    def __init__(self, listens: Sequence[tuple[str, str]]) -> None:
        """`listens` has the role and the address of each process."""
        self._listens = listens
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._latest: dict[tuple[str, str], float] = {}  # by address and figure
        self._before: dict[str, float] = {}  # what counters had reached in former lives of their processes
        self._rates: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def line(self) -> str:
        """Events in and stored with their rates, frames on the way (lag), events refused."""
        with self._lock:
            total = {name: int(self._before.get(name, 0)) for name in FIGURES}
            for (_, name), value in self._latest.items():
                total[name] += int(value)
            rate = {name: self._rates.get(name, 0.0) for name in COUNTERS}
        lag = total["worker lag"] + total["sink lag"]
        return (
            f"in {total['in']:,} ({rate['in']:,.0f}/s) · stored {total['stored']:,} ({rate['stored']:,.0f}/s)"
            f" · lag {lag:,} · rejects {total['rejects']:,}"
        )

    def _run(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(1.0):
            found = {
                (listen, name): value
                for role, listen in self._listens
                for name, value in scrape(role, listen).items()
            }
            now = time.monotonic()
            self._take(found, now - last)
            last = now

    def _take(self, found: Mapping[tuple[str, str], float], seconds: float) -> None:
        with self._lock:
            rates = dict.fromkeys(COUNTERS, 0.0)
            for (listen, name), value in found.items():
                old = self._latest.get((listen, name), 0.0)
                if name in COUNTERS:
                    if value < old:  # the process began anew
                        self._before[name] = self._before.get(name, 0.0) + old
                        old = 0.0
                    rates[name] += (value - old) / seconds
                self._latest[listen, name] = value
            self._rates = rates


def scrape(role: str, listen: str) -> dict[str, float]:
    """The figures that a role tells; empty while it does not answer."""
    status, body = get(listen, "/metrics")
    if status != 200:
        return {}
    figures = {name: figure for name, figure in FIGURES.items() if figure.role == role}
    sums = dict.fromkeys(figures, 0.0)
    for family in text_string_to_metric_families(body):
        for sample in family.samples:
            for name, figure in figures.items():
                if sample.name == figure.metric and figure.labels.items() <= sample.labels.items():
                    sums[name] += sample.value
    return sums


def get(listen: str, path: str, seconds: float = 1.0) -> tuple[int, str]:
    """One GET on a role's address: status and body; status 0 when there is no answer."""
    host, port = address(listen, "listen")
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()
