"""aiokafka's fetching, with batches that are unpacked within bounds. See `batches`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.structs import ConsumerRecord

from tidegate.contracts.rejects import Code
from tidegate.contracts.topics import RAW_STREAMS
from tidegate.kafka.batches import Batches, RefusedRecord
from tidegate.settings import Settings

log = logging.getLogger(__name__)


class Refusal(NamedTuple):
    """Why a record was refused unread, and the first offset that it stands for; the last is its own."""

    first: int
    code: Code
    detail: str
    allowed: str


def refusal_of(headers: Sequence[Any] | None) -> Refusal | None:
    """The refusal of a record that was refused unread. No producer can write such a header."""
    value = headers[0][1] if headers else None
    return value if isinstance(value, Refusal) else None


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """Of a raw topic, a refused record is told with the offsets that it stands for. Elsewhere it is left
    out: those topics are the workers' own."""

    def __init__(self, tp: Any, records: Any, aborted: Any, fetch_offset: int, *more: Any) -> None:
        super().__init__(tp, records, aborted, fetch_offset, *more)
        self._from = fetch_offset  # no record stands between it and the next one

    def __next__(self) -> Any:
        while True:
            record = super().__next__()
            if record is not None:
                return record

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        first, self._from = self._from, record.offset + 1
        if not isinstance(record, RefusedRecord):
            return super()._consumer_record(tp, record)
        why = record.why
        if tp.topic not in RAW_STREAMS:
            log.warning("%s partition %d offset %d left out: %s", tp.topic, tp.partition, record.offset, why)
            return None
        refusal = Refusal(first, why.code, why.detail, why.allowed)
        return ConsumerRecord(
            tp.topic,
            tp.partition,
            record.offset,
            record.timestamp,
            record.timestamp_type,
            None,
            record.value,
            None,
            -1,
            len(record.value),
            (("refusal", refusal),),
        )


def bound_once() -> None:
    """`bound`, where nothing is bound yet, by the largest record as the settings have it by default."""
    if fetcher.PartitionRecords is not _PartitionRecords:
        bound(Settings().kafka_max_record_bytes)


def bound(record_bytes: int) -> None:
    """Bound what every aiokafka consumer of this process makes of a batch, `record_bytes` being the largest
    record of a topic."""
    fetcher.MemoryRecords = partial(Batches, record_bytes=record_bytes)
    fetcher.PartitionRecords = _PartitionRecords
