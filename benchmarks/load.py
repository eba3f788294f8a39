"""The HTTP load generator: request bodies made beforehand, posted at a steady rate whatever the answers.

A process of its own, driven over its pipes: it prints ``ready`` when the bodies are made, begins on a line
on standard input, and prints its result as one JSON line. Latencies count from the moment a post was due,
not from when a connection was free for it: a slow answer is not hidden by the posts that waited for it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click
import uvloop
import zstandard

from benchmarks import workload
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.service.http_connection import Connection, Endpoint, Lost, endpoint, request_head
from tidegate.simulate.send_http import PATHS


@dataclass(slots=True)
class Load:
    """What one run of the generator found."""

    offered: float  # events per second
    seconds: float  # from the first post to the last answer
    sent: int = 0  # events
    acked: int = 0
    refused: int = 0  # answered otherwise than 201
    lost: int = 0  # no answer
    latencies: list[float] = field(default_factory=list)  # seconds, one a post, sorted

    @property
    def rate(self) -> float:
        return self.acked / self.seconds

    def quantile(self, part: float) -> float:
        return self.latencies[min(len(self.latencies) - 1, int(part * len(self.latencies)))]


class Generator:
    """The load generator's process, seen from outside."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        batch: int = 500,
        connections: int = 16,
        unique: int = 200_000,
        compress: bool = False,
        sites: int = workload.SITES,
    ) -> None:
        argv = [sys.executable, "-m", "benchmarks.load", "--url", url, "--token", token]
        argv += ["--batch", str(batch), "--connections", str(connections), "--unique", str(unique)]
        argv += ["--sites", str(sites)]
        argv += ["--zstd"] if compress else []
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._line() != "ready":
            raise RuntimeError("the load generator did not start")

    @property
    def pid(self) -> int:
        return self._process.pid

    def begin(self, rate: float, seconds: float) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{rate} {seconds}\n")
        self._process.stdin.flush()

    def finish(self) -> Load:
        """Wait for the run's end."""
        return Load(**json.loads(self._line()))

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def prepare(batch: int, unique: int, sites: int) -> list[tuple[Stream, bytes]]:
    """NDJSON bodies of `batch` events of one stream each, from `unique` different events."""
    bodies: list[tuple[Stream, bytes]] = []
    gathered: dict[Stream, list[bytes]] = {stream: [] for stream in STREAMS}
    for event in workload.events(unique, sites=sites):
        lines = gathered[event.stream]
        lines.append(event.body)
        if len(lines) == batch:
            bodies.append((event.stream, b"\n".join(lines)))
            lines.clear()
    return bodies


async def run(
    target: Endpoint,
    posts: Sequence[tuple[bytes, bytes]],
    *,
    batch: int,
    connections: int,
    rate: float,
    seconds: float,
) -> Load:
    """Post in turn, `rate` events per second for `seconds`."""
    load = Load(rate, 0.0)
    due: asyncio.Queue[tuple[float, int] | None] = asyncio.Queue()

    async def work() -> None:
        connection: Connection | None = None
        while (item := await due.get()) is not None:
            at, number = item
            load.sent += batch
            try:
                if connection is None or not connection.usable:
                    connection = await Connection.open(target)
                response = await connection.post(*posts[number % len(posts)])
            except (Lost, OSError):
                load.lost += batch
                continue
            load.latencies.append(time.perf_counter() - at)
            if response.status == 201:
                load.acked += batch
            else:
                load.refused += batch
        if connection is not None:
            connection.close()

    workers = [asyncio.create_task(work()) for _ in range(connections)]
    begin = time.perf_counter()
    interval = batch / rate
    count = int(seconds / interval)
    for number in range(count):
        at = begin + number * interval
        wait = at - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        due.put_nowait((at, number))
    for _ in workers:
        due.put_nowait(None)
    await asyncio.gather(*workers)
    load.seconds = time.perf_counter() - begin
    load.latencies.sort()
    return load


@click.command()
@click.option("--url", required=True)
@click.option("--token", required=True)
@click.option("--batch", default=500, show_default=True, help="Events in a post.")
@click.option("--connections", default=16, show_default=True)
@click.option("--unique", default=200_000, show_default=True, help="Different events, posted in turn.")
@click.option("--sites", default=workload.SITES, show_default=True, help="Of the simulated fleet.")
@click.option("--zstd", is_flag=True, help="Compressed bodies.")
def main(url: str, token: str, batch: int, connections: int, unique: int, sites: int, zstd: bool) -> None:
    """Post prepared batches; reads lines of `EVENTS_PER_SECOND SECONDS` and answers each with JSON."""
    target = endpoint(url)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
    if zstd:
        headers["Content-Encoding"] = "zstd"
    pack: Any = zstandard.ZstdCompressor(level=1).compress if zstd else bytes
    heads = {stream: request_head(target, PATHS[stream], headers) for stream in STREAMS}
    posts = [(heads[stream], pack(body)) for stream, body in prepare(batch, unique, sites)]
    print("ready", flush=True)
    for line in sys.stdin:
        rate, seconds = map(float, line.split())
        load = uvloop.run(
            run(target, posts, batch=batch, connections=connections, rate=rate, seconds=seconds)
        )
        print(json.dumps(dataclasses.asdict(load)), flush=True)


if __name__ == "__main__":
    main()
