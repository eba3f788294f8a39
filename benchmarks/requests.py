"""What a request costs the gateway, beside another checkout: `python -m benchmarks.requests --base ../base`.

    git worktree add ../base COMMIT

A gateway of each checkout runs on an embedded broker of its own. The same posts go to one and the other in
turn, in short rounds, over connections that stay open; what counts is the CPU that the gateway's process
uses, system calls and sending to Kafka with it. The ratio is the median of the rounds' own ratios: whatever
else the machine does hits both sides of one.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import uvloop

from benchmarks import workload
from benchmarks.usage import machine
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.service.http_connection import Connection, Endpoint, endpoint, request_head
from tidegate.simulate.send_http import PATHS

CONNECTIONS = 32
BATCH = 500
BODIES = 20_000  # different events of a stream

_SERVE = """
import sys
from benchmarks.stack import FLEET, Stack
from tidegate.kafka.topics import ensure_topics
from tidegate.tokens import TokenFile

stack = Stack(gateway_ack_timeout_ms=30_000)  # others may have the machine meanwhile
try:
    stack.broker.start()
    ensure_topics(stack.settings)
    rates = dict(rate_events_per_second=1e9, rate_bytes_per_second=1e12)
    token = TokenFile(stack.settings.tokens_path).create("bench", fleet=FLEET, role="ingest", **rates)
    stack.start("gateway")
    stack.await_ready("gateway")
    print(stack.settings.gateway_listen, token, stack.roles["gateway"].pid, flush=True)
    sys.stdin.read()
finally:
    stack.stop_roles()
    stack.broker.stop()
"""


class Case(NamedTuple):
    """`bodies` of one stream, each posted as one request; `keyed` with an Idempotency-Key."""

    name: str
    stream: Stream
    bodies: list[bytes]
    events: int  # of one body
    keyed: bool = False


class Cost(NamedTuple):
    """CPU of the gateway, µs an event: medians of the rounds, and the median of their ratios."""

    case: Case
    base: float
    own: float
    ratios: list[float]

    def describe(self) -> str:
        low, middle, high = statistics.quantiles(self.ratios, n=4)
        return (
            f"{self.case.stream:16} {self.case.name:14} {self.base:8.2f} {self.own:8.2f} {middle:7.3f}"
            f"   half of the rounds {low:.3f} to {high:.3f}"
        )


class Gateway:
    """A gateway of the checkout in `folder`, on a broker of its own, until `close`."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": f"{folder.resolve() / 'src'}:{folder.resolve()}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        found = self._process.stdout.readline().split()
        if len(found) != 3:
            self.close()
            raise RuntimeError(f"the gateway of {folder} did not start")
        self.target: Endpoint = endpoint(f"http://{found[0]}")
        self.token = found[1]
        self._clock = (~int(found[2]) << 3) | 2  # the kernel's clock of another process's CPU time

    def cpu(self) -> float:
        """CPU seconds that its process has used."""
        return time.clock_gettime(self._clock)

    def close(self) -> None:
        self._process.communicate()


def cases(streams: Sequence[Stream]) -> Iterator[Case]:
    for stream in streams:
        events = [event.body for event in workload.events(BODIES, streams=(stream,))]
        batches = [b"\n".join(events[at : at + BATCH]) for at in range(0, BODIES, BATCH)]
        yield Case("single", stream, events, 1)
        yield Case("single, keyed", stream, events, 1, keyed=True)
        yield Case(f"{BATCH} a batch", stream, batches, BATCH)


async def post(gateway: Gateway, case: Case, requests: int, name: str) -> float:
    """CPU µs an event of `requests` posts; `name` makes their keys. Raises RuntimeError for any but a 201."""
    media = "application/json" if case.events == 1 else "application/x-ndjson"
    numbers = iter(range(requests))
    connections = [await Connection.open(gateway.target) for _ in range(CONNECTIONS)]

    async def work(connection: Connection) -> None:
        for number in numbers:
            head, body = posts[number]
            response = await connection.post(head, body)
            if response.status != 201:
                raise RuntimeError(f"{case.name}: {response.status}")

    headers = {"Content-Type": media, "Authorization": f"Bearer {gateway.token}"}
    head = request_head(gateway.target, PATHS[case.stream], headers)
    posts = [
        (
            head + (f"Idempotency-Key: {name}-{number}\r\n".encode() if case.keyed else b""),
            case.bodies[number % len(case.bodies)],
        )
        for number in range(requests)
    ]
    before = gateway.cpu()
    await asyncio.gather(*map(work, connections))
    used = gateway.cpu() - before
    for connection in connections:
        connection.close()
    return used * 1e6 / requests / case.events


async def compare(base: Gateway, own: Gateway, case: Case, rounds: int, requests: int) -> Cost:
    spent: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        sides = [(0, base), (1, own)] if number % 2 else [(1, own), (0, base)]
        pair = [0.0, 0.0]
        for side, gateway in sides:
            pair[side] = await post(gateway, case, requests, f"{case.name}-{number}")
        if number:  # the first warms up
            spent.append((pair[0], pair[1]))
    ratios = [two / one for one, two in spent]
    return Cost(case, *(statistics.median(side) for side in zip(*spent, strict=True)), ratios)


@click.command()
@click.option(
    "--base",
    required=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The checkout of Tidegate to compare with.",
)
@click.option("--rounds", default=20, show_default=True)
@click.option("--requests", default=2000, show_default=True, help="Of a round; of batches a fiftieth.")
@click.option("--streams", default=",".join(STREAMS), show_default=True)
@click.option("--only", default="", help="Cases whose name holds this.")
def main(base: Path, rounds: int, requests: int, streams: str, only: str) -> None:
    """Measure what requests cost this checkout's gateway and another's."""
    click.echo(machine())
    wanted = [stream for stream in STREAMS if stream in streams.split(",")]
    sides = []
    try:
        sides = [Gateway(base), Gateway(Path(__file__).parent.parent)]
        click.echo(f"{'stream':16} {'request':14} {'base':>8} {'own':>8} {'ratio':>7}   CPU µs an event")
        for case in cases(wanted):
            if only in case.name:
                count = requests if case.events == 1 else requests // 50
                click.echo(uvloop.run(compare(sides[0], sides[1], case, rounds, count)).describe())
    finally:
        for gateway in sides:
            gateway.close()


if __name__ == "__main__":
    main()
