"""Sinks as processes on a real broker and the real engine, for tests; frames are written by the test."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import enriched_frames
import metrics
import psutil
import roles
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer
from databases import settings_of
from waiting import PATIENCE, await_

from tidegate.contracts.topics import STREAMS, Stream, StreamPartition, enriched
from tidegate.kafka.topics import ensure_topics
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.store.client import connect
from tidegate.store.migrate import LEVELS, migrate

PARTITIONS = 2


class SinkProcess:
    """`tidegate sink` with its settings as environment."""

    def __init__(self, name: str, folder: Path, values: dict[str, Any], prelude: str = "") -> None:
        self.listen = f"127.0.0.1:{free_port()}"
        self.child = roles.role(
            "sink", folder, {**values, "sink_listen": self.listen}, name=name, prelude=prelude
        )

    def start(self) -> SinkProcess:
        self.child.start()
        return self

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page; status 0 without an answer."""
        return roles.get(self.listen, path)

    def ready(self) -> bool:
        assert self.child.running, self.child.tail()
        return self.get("/readyz")[0] == 200

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels."""
        status, text = 0, ""

        def answered() -> bool:
            nonlocal status, text
            status, text = self.get("/metrics")
            return status == 200

        await_(answered, self.child.tail)
        return metrics.total(text, name)

    def paused(self) -> bool:
        """Whether it has stopped itself at a moment; see `stopping`."""
        assert self.child.running and self.child.pid is not None, self.child.tail()
        return psutil.Process(self.child.pid).status() == psutil.STATUS_STOPPED

    def freeze(self) -> None:
        self.child.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.child.signal(signal.SIGCONT)

    def kill(self) -> None:
        self.child.kill()
        assert self.child.wait(10) == -signal.SIGKILL

    def stop(self) -> None:
        assert self.child.stop(30) == 0, self.child.tail()


class SinkRig:
    def __init__(self, bootstrap: str, clickhouse: ClickHouseServer, folder: Path, **changed: Any) -> None:
        self.folder = folder
        self.settings = settings_of(
            clickhouse,
            kafka_bootstrap=bootstrap,
            kafka_session_timeout_ms=3000,
            **{"kafka_partitions": PARTITIONS, "sink_group": f"sink-{free_port()}", **changed},
        )
        first: Client = connect(self.settings, database="")
        migrate(first, self.settings)
        first.close()
        self.client = connect(self.settings)
        self.epoch = ensure_topics(self.settings).epoch
        self.sinks: list[SinkProcess] = []
        self.expected: Counter[tuple[str, Stream, int, int, int]] = Counter()  # rows by position
        self.refused: Counter[tuple[str, Stream, int, int, int]] = Counter()
        self.next: Counter[StreamPartition] = Counter()  # source offset to write next
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "message.max.bytes": 16_000_000, "log_level": 0}
        )

    def close(self) -> None:
        for sink in self.sinks:
            sink.child.kill()
            sink.child.wait(10)
        self.client.close()

    # --- sinks

    def sink(self, prelude: str = "", **changed: Any) -> SinkProcess:
        """Start a sink with the rig's settings; `prelude` is Python that runs in its process before."""
        names = ["clickhouse_url", "clickhouse_database", "kafka_bootstrap", "kafka_session_timeout_ms"]
        names += ["sink_group", "kafka_partitions"]
        values = {name: getattr(self.settings, name) for name in names}
        sink = SinkProcess(f"sink-{len(self.sinks)}", self.folder, {**values, **changed}, prelude)
        self.sinks.append(sink)
        return sink.start()

    # --- what goes in

    def write(self, stream: Stream, partition: int, frames: int = 1, **changed: Any) -> None:
        """The next frames of a partition, which belong into the tables."""
        for _ in range(frames):
            offset = self.next[StreamPartition(stream, partition)]
            self.next[StreamPartition(stream, partition)] += 1
            self.put(stream, partition, offset, **changed)
            accepted = (
                len(changed["received"]) if changed.get("received") is not None else changed.get("count", 3)
            )
            self.expect(stream, partition, offset, accepted, changed.get("rejected", 0))

    def expect(
        self, stream: Stream, partition: int, offset: int, accepted: int = 3, rejected: int = 0
    ) -> None:
        for index in range(accepted):
            self.expected[self.epoch, stream, partition, offset, index] += 1
        for index in range(accepted, accepted + rejected):
            self.refused[self.epoch, stream, partition, offset, index] += 1

    def put(self, stream: Stream, partition: int, offset: int, **changed: Any) -> None:
        """One enriched record, whether it belongs into the tables or not."""
        changed.setdefault("epoch", self.epoch)
        value, headers = enriched_frames.record(stream, partition, offset, **changed)
        self.put_raw(stream, partition, value, headers)

    def put_raw(
        self, stream: Stream, partition: int, value: bytes, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        self._producer.produce(enriched(stream), value, partition=partition, headers=list(headers))
        assert self._producer.flush(PATIENCE) == 0

    # --- what came out

    def stored(self) -> Counter[tuple[str, Stream, int, int, int]]:
        found: Counter[tuple[str, Stream, int, int, int]] = Counter()
        for stream in STREAMS:
            for epoch, partition, offset, index in self._rows(stream, "epoch, partition, offset, `index`"):
                found[epoch, stream, partition, offset, index] += 1
        return found

    def rejects(self) -> Counter[tuple[str, Stream, int, int, int]]:
        return Counter(self._rows("rejects", "epoch, stream, partition, offset, `index`"))

    def count(self, table: str) -> int:
        return int(self._rows(table, "count()")[0][0])

    def _events(self, rollup: str) -> int:
        return int(self._rows(rollup, "sum(events)")[0][0])

    def _reached(self, rollup: str, events: int) -> bool:
        return self._events(rollup) >= events

    def _rows(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.client.query(f"SELECT {columns} FROM {table}").result_rows]

    def await_all(self) -> None:
        """Wait until everything expected is there, then check it."""
        wanted, refused = self.expected.total(), self.refused.total()
        await_(
            lambda: (
                sum(self.count(stream) for stream in STREAMS) >= wanted and self.count("rejects") >= refused
            ),
            self._say,
        )
        self.check()

    def check(self) -> None:
        """Every row once, every rollup the same as its base, and the ledger adds up to both."""
        assert self.stored() == self.expected
        assert self.rejects() == self.refused
        for stream in STREAMS:
            for level in LEVELS:
                wanted, rollup = self.count(stream), f"{stream}_{level}"
                # ClickHouse shows a block in its table before the views behind it have run.
                await_(partial(self._reached, rollup, wanted))
                assert self._events(rollup) == wanted, rollup
        planned = self.client.query(
            "SELECT epoch, stream, partition, sum(accepted), sum(rejected), sum(lines - duplicates)"
            " FROM verify_batches GROUP BY epoch, stream, partition"
        ).result_rows
        accepted = Counter({tuple(row[:3]): row[3] for row in planned if row[3]})
        rejected = Counter({tuple(row[:3]): row[4] for row in planned if row[4]})
        assert accepted == Counter(row[:3] for row in self.expected.elements())
        assert rejected == Counter(row[:3] for row in self.refused.elements())
        lines = sum(row[5] for row in planned)
        assert lines == self.expected.total() + self.refused.total()

    def _say(self) -> str:
        missing = self.expected - self.stored()
        logs = "\n".join(sink.child.tail(15) for sink in self.sinks)
        return f"{missing.total()} rows are missing, e.g. {next(iter(missing), None)}\n{logs}"
