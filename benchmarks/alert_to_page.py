"""Alert → page: changes go to `tidegate.alerts` and are followed at `GET /api/v1/live`, as the page does.

python -m benchmarks.alert_to_page --rate 20000 --probes 40
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import click
import httpx
import msgspec
from confluent_kafka import Producer

from benchmarks.asking import quantile
from benchmarks.load import Generator
from benchmarks.stack import FLEET, Stack
from benchmarks.usage import machine
from tidegate.contracts.alerts import Alert, Cause, Impact, Scope
from tidegate.contracts.topics import ALERTS
from tidegate.tokens import TokenFile

RATE = 20_000.0
LIMIT_SECONDS = 30.0


def measure(stack: Stack, *, rate: float, probes: int) -> list[float]:
    """Seconds from producing a change until its message has come, sorted; the roles are ready.

    Raises TimeoutError where one does not come.
    """
    token = TokenFile(stack.settings.tokens_path).create("page", fleet=FLEET, role="viewer")
    generator = Generator(f"http://{stack.settings.gateway_listen}", stack.token, unique=100_000)
    arrived: dict[str, float] = {}
    came = threading.Condition()
    follower = threading.Thread(target=_follow, args=(stack, token, arrived, came), daemon=True)
    producer = Producer({"bootstrap.servers": stack.settings.kafka_bootstrap, "linger.ms": 0})
    taken = []
    try:
        if rate:
            generator.begin(rate, probes * 4.0 + 30.0)
        follower.start()
        with came:
            if not came.wait_for(lambda: "overview" in arrived, LIMIT_SECONDS):
                raise TimeoutError("no overview came")
        for number in range(probes):
            time.sleep(random.uniform(0.5, 2.5))  # at any moment of the ticks on the way
            change = _change(number)
            began = time.monotonic()
            producer.produce(ALERTS, key=f"{FLEET}/Toronto", value=msgspec.json.encode(change))
            producer.flush(LIMIT_SECONDS)
            with came:
                if not came.wait_for(lambda id=change.id: id in arrived, LIMIT_SECONDS):  # type: ignore[misc]
                    raise TimeoutError(f"alert {number} did not come")
            taken.append(arrived[change.id] - began)
    finally:
        generator.close()
    return sorted(taken)


def _change(number: int) -> Alert:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return Alert(
        fleet=FLEET,
        id=f"{time.time_ns():016x}{number:04x}",
        sequence=1,
        incident=f"{number}",
        rule="stage-failures",
        signal="stage_failures",
        state="open",
        severity="critical",
        scope=Scope(site="Toronto", stage="aaa"),
        started_at=now,
        updated_at=now,
        impact=Impact(2924, 1690, 0.004, 206, 284, 26, 26),
        cause=Cause(902, 1, "RADIUS server did not respond.", 0.97),
        summary="58 % of logins fail at Toronto (usual 0.4 %)",
    )


def _follow(stack: Stack, token: str, arrived: dict[str, float], came: threading.Condition) -> None:
    url = f"{stack.url('api')}/api/v1/live"
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.stream("GET", url, headers=headers, timeout=None, trust_env=False) as answer:
        for event, document in _messages(answer.iter_lines()):
            with came:
                arrived[event if event == "overview" else document["id"]] = time.monotonic()
                came.notify_all()


def _messages(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, str]]]:
    event = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            yield event, msgspec.json.decode(value)


@click.command()
@click.option("--rate", default=RATE, show_default=True, help="Events per second beside it; 0 for none.")
@click.option("--probes", default=40, show_default=True)
def main(rate: float, probes: int) -> None:
    """Measure the time from an alert's record to the page that follows."""
    click.echo(machine())
    with Stack() as stack:
        roles = ("gateway", "worker", "sink", "api")
        stack.start(*roles)
        stack.await_ready(*roles)
        taken = measure(stack, rate=rate, probes=probes)
    p50, p95 = quantile(taken, 0.5), quantile(taken, 0.95)
    click.echo(f"{len(taken)} probes: p50 {p50:.2f} s, p95 {p95:.2f} s, longest {taken[-1]:.2f} s")


if __name__ == "__main__":
    main()
