"""Waits until everything that is in the raw topics now is stored."""

from __future__ import annotations

import time
from collections.abc import Callable

from clickhouse_connect.driver.client import Client

from tidegate.contracts.topics import RAW_STREAMS, STREAMS, Stream, StreamPartition, raw
from tidegate.errors import RetryLater
from tidegate.kafka.connection import connection
from tidegate.kafka.log_ends import topic_ends
from tidegate.kafka.records import Records
from tidegate.kafka.topics import partition_counts
from tidegate.settings import Settings
from tidegate.store.ledger import Ledger

POLL_SECONDS = 0.5
STILL_ROUNDS = 10  # without a move, before it is looked whether there is a record at all


class Backlog:
    """The raw topics of one epoch beside the sink's ledger."""

    def __init__(self, settings: Settings, client: Client, epoch: str) -> None:
        self._kafka = connection(settings)
        self._epoch = epoch
        self._ledger = Ledger(client, settings.clickhouse_database, cluster=bool(settings.clickhouse_cluster))

    def partitions(self) -> dict[Stream, int]:
        """How many partitions each raw topic has."""
        counts = partition_counts(self._kafka, map(raw, STREAMS))
        if missing := [raw(stream) for stream in STREAMS if raw(stream) not in counts]:
            raise RetryLater(f"no topic {', '.join(missing)}: run `tidegate topics`")
        return {stream: counts[raw(stream)] for stream in STREAMS}

    def wait(self, tell: Callable[[int], None]) -> None:
        """Return when every record that is there at the call is stored, or as many as are there are.

        `tell` hears twice a second of how many records the ledger lacks, and may raise. Raises RetryLater
        while the broker or ClickHouse is away.
        """
        self.partitions()  # a topic that is not there has no end, and nothing could be sent to it
        ends = {
            StreamPartition(RAW_STREAMS[topic], partition): end
            for (topic, partition), (first, end) in topic_ends(self._kafka, RAW_STREAMS).items()
            if end > first
        }
        last: dict[StreamPartition, int] = {}
        still = 0
        while ends:
            before, last = last, {}
            newest = self._ledger.newest(ends)
            for partition, end in list(ends.items()):
                plan = newest.get(partition, {}).get(self._epoch)
                last[partition] = -1 if plan is None else plan.last
                if plan is not None and plan.last >= end - 1 and self._ledger.is_stored(plan):
                    del ends[partition]
            still = still + 1 if last == before else 0
            if still and still % STILL_ROUNDS == 0:
                # Records that were there at the call may have expired since.
                for partition in [partition for partition, end in ends.items() if last[partition] < end - 1]:
                    if not self._any_record(partition, last[partition] + 1):
                        del ends[partition]
            tell(sum(max(0, end - 1 - last[partition]) for partition, end in ends.items()))
            if ends:
                time.sleep(POLL_SECONDS)

    def _any_record(self, partition: StreamPartition, offset: int) -> bool:
        """Whether a raw partition has a record at or behind `offset`."""
        try:
            found = Records(self._kafka).first(raw(partition.stream), partition.partition, offset)
        except RetryLater:
            return True  # nobody can say yet
        return found is not None
