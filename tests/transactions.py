"""Transactions of a producer on a partition, as tests need them: committed, aborted, open."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from waiting import await_


class Transactional:
    """A transactional producer; each method writes `values` into one partition as a transaction.

    A broker answers before it has written the marker of a transaction's end; here it is there on return.
    """

    def __init__(self, bootstrap: str, name: str, topic: str, *, partition: int = 0) -> None:
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "transactional.id": name, "transaction.timeout.ms": 600_000}
        )
        self._producer.init_transactions(30)
        self._topic = topic
        self._partition = partition
        self._bootstrap = bootstrap
        self._last = -1  # offset that was written last

    def committed(self, values: Iterable[bytes]) -> None:
        self.open(values)
        self.commit()

    def aborted(self, values: Iterable[bytes]) -> None:
        self.open(values)
        self.abort()

    def open(self, values: Iterable[bytes]) -> None:
        """Begun, its records written, and not ended."""
        self._producer.begin_transaction()
        self.write(values)

    def write(self, values: Iterable[bytes]) -> None:
        """More records within the open transaction, there when this returns."""

        def written(error: object, message: Message) -> None:
            self._last = message.offset() or 0

        for value in values:
            self._producer.produce(
                self._topic, value, partition=self._partition, headers={"fleet": b"demo"}, on_delivery=written
            )
        assert self._producer.flush(30) == 0

    def commit(self) -> None:
        self._producer.commit_transaction(30)
        self._await_marker()

    def abort(self) -> None:
        self._producer.abort_transaction(30)
        self._await_marker()

    def _await_marker(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "end",
                "isolation.level": "read_uncommitted",
            }
        )
        partition = TopicPartition(self._topic, self._partition)
        await_(lambda: consumer.get_watermark_offsets(partition, timeout=10)[1] > self._last + 1)
        consumer.close()
