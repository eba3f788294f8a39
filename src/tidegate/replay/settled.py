"""Waiting until everything that is in the raw topics now is stored."""

from __future__ import annotations

import time
from collections.abc import Callable

from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tidegate.contracts.topics import STREAMS, Stream, raw
from tidegate.errors import RetryLater
from tidegate.log_ends import log_ends
from tidegate.settings import Settings
from tidegate.sink.ledger import Ledger, Place

POLL_SECONDS = 0.5
STILL_ROUNDS = 10  # without a move, before it is looked whether there is a record at all
BROKER_SECONDS = 5.0


class Settled:
    """The raw topics of one epoch beside the sink's ledger."""

    def __init__(self, settings: Settings, client: Client, epoch: str) -> None:
        self._bootstrap = settings.kafka_bootstrap
        self._epoch = epoch
        self._ledger = Ledger(client, settings.clickhouse_database, cluster=bool(settings.clickhouse_cluster))

    def partitions(self) -> dict[Stream, int]:
        """How many partitions each raw topic has."""
        consumer = _consumer(self._bootstrap)
        try:
            topics = consumer.list_topics(timeout=BROKER_SECONDS).topics
        except KafkaException as error:
            raise RetryLater(f"Kafka at {self._bootstrap} is away: {error.args[0].str()}") from error
        finally:
            consumer.close()
        if missing := [raw(stream) for stream in STREAMS if raw(stream) not in topics]:
            raise RetryLater(f"no topic {', '.join(missing)}: run `tidegate topics`")
        return {stream: len(topics[raw(stream)].partitions) for stream in STREAMS}

    def wait(self, tell: Callable[[int], None]) -> None:
        """Return when every record that is there at the call is stored, or as many as are there are.

        `tell` hears twice a second of how many records the ledger lacks, and may raise. Raises RetryLater
        while the broker or ClickHouse is away.
        """
        counts = self.partitions()
        places = [Place(stream, number) for stream, count in counts.items() for number in range(count)]
        found = log_ends(self._bootstrap, [(raw(place.stream), place.partition) for place in places])
        ends = {
            place: found[raw(place.stream), place.partition][1]
            for place in places
            if found[raw(place.stream), place.partition][1] > found[raw(place.stream), place.partition][0]
        }
        last: dict[Place, int] = {}
        still = 0
        while ends:
            before, last = last, {}
            newest = self._ledger.newest(ends)
            for place, end in list(ends.items()):
                plan = newest.get(place, {}).get(self._epoch)
                last[place] = -1 if plan is None else plan.last
                if plan is not None and plan.last >= end - 1 and self._ledger.is_stored(plan):
                    del ends[place]
            still = still + 1 if last == before else 0
            if still and still % STILL_ROUNDS == 0:
                # The last offsets of a topic may hold no records, e.g. the markers of transactions.
                for place in [place for place, end in ends.items() if last[place] < end - 1]:
                    if not self._any_record(place, last[place] + 1):
                        del ends[place]
            tell(sum(max(0, end - 1 - last[place]) for place, end in ends.items()))
            if ends:
                time.sleep(POLL_SECONDS)

    def _any_record(self, place: Place, offset: int) -> bool:
        """Whether a raw partition has a record at or behind `offset`."""
        consumer = _consumer(self._bootstrap)
        try:
            consumer.assign([TopicPartition(raw(place.stream), place.partition, offset)])
            deadline = time.monotonic() + BROKER_SECONDS
            while time.monotonic() < deadline:
                message = consumer.poll(0.1)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    return True
                if error.code() == KafkaError._PARTITION_EOF:
                    return False
            return True
        finally:
            consumer.close()


def _consumer(bootstrap: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tidegate-replay-onlooker",  # joins no group, commits nothing
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
            "log_level": 0,
        }
    )
