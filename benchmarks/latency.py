"""POST → queryable: single events posted beside a steady load, and looked for by SQL until they are there.

python -m benchmarks.latency --rate 20000 --seconds 30
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass

import click

from benchmarks.load import Generator
from benchmarks.stack import PROBE_FLEET, Stack
from benchmarks.usage import machine

RATE = 20_000.0
PROBE_SECONDS = 0.1  # between probes
POLL_SECONDS = 0.02
LIMIT_SECONDS = 30.0


@dataclass(slots=True)
class Latency:
    """Seconds from before the POST until a query answered with the event, sorted."""

    probes: list[float]
    missing: int

    def quantile(self, part: float) -> float:
        return self.probes[min(len(self.probes) - 1, int(part * len(self.probes)))]

    def describe(self) -> str:
        missing = f", {self.missing} never came" if self.missing else ""
        return (
            f"{len(self.probes)} probes: p50 {self.quantile(0.5) * 1000:.0f} ms, "
            f"p99 {self.quantile(0.99) * 1000:.0f} ms, longest {self.probes[-1] * 1000:.0f} ms{missing}"
        )


def measure(stack: Stack, *, rate: float = RATE, seconds: float = 30.0) -> Latency:
    """On a stack whose gateway, worker and sink are ready."""
    generator = Generator(f"http://{stack.settings.gateway_listen}", stack.token, unique=100_000)
    open_probes: dict[str, float] = {}
    found: list[float] = []
    posting = threading.Thread(target=_post, args=(stack, seconds, open_probes), daemon=True)
    try:
        generator.begin(rate, seconds + 2.0)
        time.sleep(1.0)
        posting.start()
        deadline = time.monotonic() + seconds + LIMIT_SECONDS
        while (posting.is_alive() or open_probes) and time.monotonic() < deadline:
            waiting = list(open_probes)
            if waiting:
                rows = stack.client.query(
                    "SELECT mac FROM client_events"
                    " WHERE fleet = {fleet:String} AND mac IN {macs:Array(String)}",
                    parameters={"fleet": PROBE_FLEET, "macs": waiting},
                ).result_rows
                now = time.monotonic()
                for (mac,) in rows:
                    if mac in open_probes:
                        found.append(now - open_probes.pop(mac))
            time.sleep(POLL_SECONDS)
        generator.finish()
    finally:
        generator.close()
    return Latency(sorted(found), len(open_probes))


def _post(stack: Stack, seconds: float, open_probes: dict[str, float]) -> None:
    connection = http.client.HTTPConnection(stack.settings.gateway_listen, timeout=30)
    headers = {"Authorization": f"Bearer {stack.probe_token}", "Content-Type": "application/json"}
    serial = time.time_ns() & 0xFFFFFFFF
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        serial += 1
        tail = f"{serial & 0xFFFFFFFF:08x}"
        mac = "02:99:" + ":".join(tail[index : index + 2] for index in range(0, 8, 2))
        event = {
            "macAddress": mac,
            "eventType": "Success",
            "timestamp": time.time_ns() // 1000,
            "ssid": "probe",
            "channel": 36,
        }
        begin = time.monotonic()
        open_probes[mac] = begin
        connection.request("POST", "/api/v1/client_events/", json.dumps(event), headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 201:
            raise RuntimeError(f"the probe was answered {answer.status}: {body[:300]!r}")
        time.sleep(max(0.0, PROBE_SECONDS - (time.monotonic() - begin)))
    connection.close()


@click.command()
@click.option("--rate", default=RATE, show_default=True, help="Load beside the probes, events per second.")
@click.option("--seconds", default=30.0, show_default=True)
def main(rate: float, seconds: float) -> None:
    """Measure POST → queryable alone."""
    click.echo(machine())
    with Stack() as stack:
        stack.start("gateway", "worker", "sink")
        stack.await_ready("gateway", "worker", "sink")
        click.echo(measure(stack, rate=rate, seconds=seconds).describe())


if __name__ == "__main__":
    main()
