"""Whether everything that the broker has acknowledged is in ClickHouse: Kafka's ends against the ledger."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, NamedTuple

from tidegate.contracts.topics import RAW_STREAMS, Stream
from tidegate.errors import RetryLater
from tidegate.kafka.connection import Connection
from tidegate.kafka.log_ends import topic_ends
from tidegate.store.client import plain

Ends = dict[tuple[Stream, int], int]  # the offset behind the last record of each raw partition


class Batch(NamedTuple):
    """The newest batch of a partition in the ledger."""

    first: int
    last: int
    accepted: int


class Ledger:
    """Reads the sink's ledger of one epoch."""

    def __init__(self, url: str, database: str, epoch: str) -> None:
        self._url, self._headers = plain(url)
        self._database = database
        self._epoch = epoch

    def missing(self, ends: Ends) -> int:
        """How many raw records are not stored yet. Raises RetryLater while ClickHouse is away."""
        batches = self._newest()
        missing = 0
        for (stream, partition), end in ends.items():
            batch = batches.get((stream, partition))
            if batch is None:
                missing += end
            elif batch.last < end - 1:
                missing += end - 1 - batch.last
            elif self._rows(stream, partition, batch) < batch.accepted:
                missing += batch.last - batch.first + 1  # planned, and still on its way in
        return missing

    def _newest(self) -> dict[tuple[str, int], Batch]:
        rows = self._query(
            "SELECT stream, partition, argMax((first, last, accepted), (last, planned_at)) AS newest"
            f" FROM {self._database}.sink_batches WHERE epoch = {{epoch:String}} GROUP BY stream, partition"
        )
        return {(stream, partition): Batch(*map(int, newest)) for stream, partition, newest in rows}

    def _rows(self, stream: Stream, partition: int, batch: Batch) -> int:
        [[count]] = self._query(
            f"SELECT count() FROM {self._database}.{stream} WHERE epoch = {{epoch:String}}"
            f" AND partition = {partition} AND offset BETWEEN {batch.first} AND {batch.last}"
        )
        return int(count)

    def _query(self, sql: str) -> list[list[Any]]:
        arguments = {"query": sql, "param_epoch": self._epoch, "default_format": "JSONCompactEachRow"}
        try:
            request = urllib.request.Request(
                f"{self._url}/?{urllib.parse.urlencode(arguments)}", headers=self._headers
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                return [json.loads(line) for line in answer.read().splitlines()]
        except urllib.error.HTTPError as error:
            with error:
                raise RetryLater(error.read().decode("utf-8", "replace").strip()) from error
        except OSError as error:
            raise RetryLater(f"ClickHouse does not answer: {error}") from error


def raw_ends(kafka: Connection) -> Ends:
    """Where the records of the raw topics end now; partitions without one are left out. Raises RetryLater."""
    ends = topic_ends(kafka, RAW_STREAMS)
    return {
        (RAW_STREAMS[topic], partition): end
        for (topic, partition), (first, end) in ends.items()
        if end > first
    }
