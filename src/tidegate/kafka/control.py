"""The control topic as a log of signed records: which epoch holds, and what was written in it.

Whoever can write to the topic can append anything, records of the roles from before among them. So a record
counts where its signature holds, it is of the epoch in force, and it is later than what its key had: a
stranger can lengthen the log, and that is all. The topic is not compacted: a stranger's record would push
out the one that has the same key.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from tidegate.contracts.control import Doubt, Headers, Signed, sign, verified
from tidegate.contracts.topics import CONTROL, EPOCH_KEY
from tidegate.errors import RetryLater, UsageError
from tidegate.kafka.connection import Connection
from tidegate.kafka.groupless import ATTEMPT_SECONDS, groupless_consumer
from tidegate.kafka.headers import headers_of
from tidegate.keyfile import Keys, load
from tidegate.telemetry import CONTROL_IGNORED

log = logging.getLogger(__name__)

RACE_MS = 60_000  # between the epochs of two `tidegate topics` that began together
TOLD_SECONDS = 60.0  # between two times that the log tells of ignored records
READ_SECONDS = 20.0


class EpochRecord(msgspec.Struct, frozen=True):
    """The value of the record `epoch` in the control topic, as JSON."""

    epoch: str
    created_at: str  # ISO 8601, UTC


def control_keys(kafka: Connection) -> Keys:
    """The keys that control records are signed with. Raises RetryLater where the file is missing or wrong."""
    path = Path(kafka.control_key_file)
    if not kafka.control_key_file or not path.exists():
        raise RetryLater(
            f"control_key_file: no file at {path}: `tidegate topics` makes it; on other machines it must be"
            " the same file"
        )
    try:
        return load(path)
    except UsageError as error:
        raise RetryLater(f"control_key_file: {error}") from error


class ControlLog:
    """What is known of the topic so far. `tells`: whether what it passes over is counted and logged."""

    def __init__(self, kafka: Connection, *, tells: bool = False) -> None:
        self._kafka = kafka
        self._keys = control_keys(kafka)
        self._tells = tells
        self._epochs: list[Signed] = []
        self._newest: dict[bytes, int] = {}  # by key: when the last record that counts was written
        self._signed: dict[bytes, int] = {}  # of what this process signed, and may not have read yet
        self._told = -TOLD_SECONDS
        self._since = 0  # records passed over since then
        self.foreign_epochs = 0  # records that would name an epoch, were they signed

    @property
    def epoch(self) -> str:
        """The epoch in force, "" for none.

        Of two that began together the first in the log; records from an earlier life of the topics are older.
        """
        newest = max((record.at for record in self._epochs), default=0)
        for record in self._epochs:
            if record.at >= newest - RACE_MS:
                return record.epoch
        return ""

    def take(self, message: Message) -> Signed | None:
        """The next record of the log, None for one that is passed over."""
        key, value = _key_and_value(message)
        found = verified(self._keys, key, value, headers_of(message))
        if found is Doubt.UNKNOWN_KEY and self._reread():
            found = verified(self._keys, key, value, headers_of(message))
        if isinstance(found, Signed):
            found = self._in_order(found)
        if isinstance(found, Signed):
            return found
        self.foreign_epochs += key == EPOCH_KEY and found in (Doubt.UNKNOWN_KEY, Doubt.FORGED)
        self._pass_over(found, key or b"", message.offset() or 0)
        return None

    def signed(self, key: bytes, value: bytes | None, *, epoch: str = "") -> Headers:
        """The headers of the next record of a key, later than those that are known."""
        at = max(time.time_ns() // 1_000_000, self._newest.get(key, 0) + 1, self._signed.get(key, 0) + 1)
        self._signed[key] = at
        return sign(self._keys, epoch=epoch or self.epoch, at=at, key=key, value=value)

    def unreadable(self, record: Signed) -> None:
        """Count a record that is signed, and not what its reader can take."""
        self._pass_over(Doubt.UNREADABLE, record.key, -1)

    def _in_order(self, record: Signed) -> Signed | Doubt:
        if record.key == EPOCH_KEY:
            if _epoch_of(record) != record.epoch:
                return Doubt.UNREADABLE
            self._epochs.append(record)
            return record
        if record.epoch != self.epoch:
            return Doubt.OTHER_EPOCH
        if record.at <= self._newest.get(record.key, 0):
            return Doubt.REPLAYED
        self._newest[record.key] = record.at
        return record

    def _reread(self) -> bool:
        """Whether the key file has other keys by now."""
        try:
            keys = control_keys(self._kafka)
        except RetryLater:
            return False
        changed = keys != self._keys
        self._keys = keys
        return changed

    def _pass_over(self, why: Doubt, key: bytes, offset: int) -> None:
        if not self._tells:
            return
        CONTROL_IGNORED.labels(why).inc()
        self._since += 1
        now = time.monotonic()
        if now - self._told >= TOLD_SECONDS:
            log.warning(
                "%s: %d records passed over, the last at offset %d with key %.80r: %s. Whoever writes there"
                " is none of the roles, or has another control_key_file",
                CONTROL,
                self._since,
                offset,
                key[:80],
                why,
            )
            self._told, self._since = now, 0


def read(kafka: Connection) -> tuple[ControlLog, list[Signed]]:
    """The log and its records as they are now. Raises RetryLater while the broker or the key is away."""
    found = ControlLog(kafka)
    records = [record for message in _messages(kafka) if (record := found.take(message)) is not None]
    return found, records


def history(kafka: Connection) -> list[Signed]:
    """Every record that was signed with a key of the file, of earlier lives of the topics too, in the order
    in which they were written; each once. Raises as `read`."""
    keys = control_keys(kafka)
    found: dict[tuple[bytes, str, int], Signed] = {}
    for message in _messages(kafka):
        record = verified(keys, *_key_and_value(message), headers_of(message))
        if isinstance(record, Signed):
            found.setdefault((record.key, record.epoch, record.at), record)
    return sorted(found.values(), key=lambda record: record.at)


def _messages(kafka: Connection) -> Iterator[Message]:
    """The records up to the end as it is at the call; nothing where there is no topic."""
    consumer = groupless_consumer(kafka, "tidegate-control")
    try:
        if consumer.list_topics(CONTROL, timeout=ATTEMPT_SECONDS).topics[CONTROL].error is not None:
            return
        first, end = consumer.get_watermark_offsets(TopicPartition(CONTROL, 0), timeout=ATTEMPT_SECONDS)
        if first >= end:
            return
        consumer.assign([TopicPartition(CONTROL, 0, first)])
        deadline = time.monotonic() + READ_SECONDS
        while time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is None:
                continue
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                return
            else:
                raise KafkaException(error)
        raise RetryLater(f"{CONTROL} could not be read to its end")
    except KafkaException as error:
        raise RetryLater(f"Kafka does not answer as it should: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _key_and_value(message: Message) -> tuple[bytes | None, bytes | None]:
    key, value = message.key(), message.value()
    return (
        key.encode() if isinstance(key, str) else key,
        value.encode() if isinstance(value, str) else value,
    )


def _epoch_of(record: Signed) -> str:
    try:
        return msgspec.json.decode(record.value or b"", type=EpochRecord).epoch
    except msgspec.DecodeError:
        return ""
