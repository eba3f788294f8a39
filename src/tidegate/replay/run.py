"""The run: wait, choose, validate, send, wait; begun again where the broker left something open."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.client import Client

from tidegate import lookups
from tidegate.contracts.topics import Stream, StreamPartition
from tidegate.errors import RetryLater
from tidegate.fleets import Fleets
from tidegate.kafka.connection import connection
from tidegate.kafka.topics import read_epoch
from tidegate.replay.backlog import Backlog
from tidegate.replay.choice import Portion, Refused, chosen, portions
from tidegate.replay.criteria import Criteria
from tidegate.replay.lock import ReplayLock
from tidegate.replay.raw_log import RawLog
from tidegate.replay.report import Report
from tidegate.replay.send import Sender
from tidegate.replay.validator import ValidatedFrame, Validator
from tidegate.settings import Settings
from tidegate.store.client import infrastructure
from tidegate.store.migrate import ttl_days

log = logging.getLogger(__name__)

FRAME_LINES = 500
FRAME_BYTES = 524_288
FLIGHT_FRAMES = 16  # that are not acknowledged
ATTEMPTS = 5

Tell = Callable[[str], None]
"""Hears where the run is, often; may drop what it likes."""


def dry_run(settings: Settings, client: Client, criteria: Criteria, tell: Tell) -> Report:
    """The verdicts on what would be chosen. Raises UsageError for a bad `where`, RetryLater."""
    criteria.check(client, settings.clickhouse_database)
    validator = _validator(settings)
    report = Report(True, validator.version)
    for _ in _frames(settings, client, criteria, validator, report, tell):
        pass
    return report


def replay(settings: Settings, client: Client, criteria: Criteria, tell: Tell) -> Report:
    """Send what passes, and see it stored.

    Raises UsageError for a bad `where`, Stop where another replay runs, RetryLater where broker or
    ClickHouse stay away: run it again, nothing comes twice.
    """
    criteria.check(client, settings.clickhouse_database)
    validator = _validator(settings)
    with ReplayLock(settings) as lock:
        epoch = read_epoch(connection(settings))
        backlog = Backlog(settings, client, epoch)
        sender = Sender(settings, lock.hold, lock.send_seconds)

        def waiting(missing: int) -> None:
            lock.hold()
            if missing:
                tell(f"waiting until what is in the raw topics is stored: {missing:,} records to go")

        for attempt in range(1, ATTEMPTS + 1):
            try:
                backlog.wait(waiting)  # what a run before this one has sent is in the tables then
                partitions = backlog.partitions()
                report = Report(False, validator.version)
                frames = _frames(settings, client, criteria, validator, report, tell)
                for number, (source, frame) in enumerate(frames, 1):
                    lock.hold()
                    if frame.passing:
                        partition = source.partition % partitions[source.stream]
                        sender.send(
                            source.stream, partition, frame.value, len(frame.passing), validator.headers
                        )
                    if number % FLIGHT_FRAMES == 0:
                        sender.flush()
                sender.flush()
                backlog.wait(waiting)
                report.sent = sender.lines
                _count_outcomes(client, settings.clickhouse_database, epoch, sender, report)
                return report
            except RetryLater as error:
                if attempt == ATTEMPTS:
                    raise
                log.warning("%s; beginning again with what is not stored", error)
                time.sleep(lock.send_seconds)  # what is still on its way has come then, or will not
        raise AssertionError("the last attempt returns or raises")


def _validator(settings: Settings) -> Validator:
    return Validator(settings, lookups.load(settings.lookups_dir), Fleets(settings.tokens_path))


def _frames(
    settings: Settings, client: Client, criteria: Criteria, validator: Validator, report: Report, tell: Tell
) -> Iterator[tuple[StreamPartition, ValidatedFrame]]:
    """The chosen lines in frames of one stream, partition and received day, their verdicts in `report`."""
    raw_log = RawLog(connection(settings), settings.kafka_max_record_bytes)
    for portion in portions(client, settings.clickhouse_database, criteria):
        expired: dict[str, bool] = {}  # by fleet
        open_frames: dict[int, list[Refused]] = {}
        sizes: dict[int, int] = {}

        def close(
            partition: int,
            *,
            stream: Stream = portion.stream,
            waiting: dict[int, list[Refused]] = open_frames,
            sizes: dict[int, int] = sizes,
        ) -> tuple[StreamPartition, ValidatedFrame]:
            frame = validator.frame(stream, waiting.pop(partition))
            sizes.pop(partition)
            for item in frame.passing:
                report.passes(stream, item)
            for item, fault in frame.failing:
                report.refuses(stream, item, fault)
            tell(f"{report.chosen:,} lines looked at, {report.passing:,} pass")
            return StreamPartition(stream, partition), frame

        for item in _limited(client, settings, criteria, portion, validator.version, report.chosen):
            if item.fleet not in expired:
                expired[item.fleet] = _expired(settings, portion, item.fleet)
            if expired[item.fleet]:
                report.expires(portion.stream, item, f"received {portion.day}")
                continue
            whole = raw_log.restored(portion.stream, item)
            if whole is None:
                report.expires(portion.stream, item, "the raw topic has it no more")
                continue
            item = whole
            frame = open_frames.setdefault(item.partition, [])
            size = sizes.get(item.partition, 0) + len(item.original)
            if frame and size > FRAME_BYTES:
                yield close(item.partition)
                frame = open_frames.setdefault(item.partition, [])
                size = len(item.original)
            frame.append(item)
            sizes[item.partition] = size
            if len(frame) >= FRAME_LINES:
                yield close(item.partition)
        for partition in list(open_frames):
            yield close(partition)
        if criteria.limit is not None and report.chosen >= criteria.limit:
            return


def _limited(
    client: Client, settings: Settings, criteria: Criteria, portion: Portion, version: str, before: int
) -> Iterator[Refused]:
    """The chosen rejects of a portion, as many as the criteria leave behind the `before` first."""
    left = None if criteria.limit is None else criteria.limit - before
    for block in chosen(client, settings.clickhouse_database, criteria, portion, version):
        for item in block:
            if left is not None:
                if left == 0:
                    return
                left -= 1
            yield item


def _expired(settings: Settings, portion: Portion, fleet: str) -> bool:
    """Whether a fleet's rows received on that day are dropped by their table's TTL or the fleet's retention,
    or will be before tomorrow. Sent all the same, they would be stored as received today, and again by each
    replay to come."""
    _, in_table = ttl_days(settings)[portion.stream]
    days = settings.kept_days(fleet, in_table)
    return bool(days) and portion.day + timedelta(days=days) <= datetime.now(UTC).date()


def _count_outcomes(client: Client, database: str, epoch: str, sender: Sender, report: Report) -> None:
    """What the tables have of the frames that were sent."""
    for (stream, partition), (first, last) in sender.offsets.items():
        where = (
            "epoch = {epoch:String} AND partition = {partition:UInt32}"
            " AND offset BETWEEN {first:UInt64} AND {last:UInt64} AND origin > ''"
        )
        parameters = {
            "epoch": epoch,
            "partition": partition,
            "first": first,
            "last": last,
            "stream": stream,
            "version": report.transform_version,
        }
        with infrastructure():
            [[stored]] = client.query(
                f"SELECT count() FROM {database}.{stream} WHERE {where}", parameters=parameters
            ).result_rows
            [[again]] = client.query(
                f"SELECT count() FROM {database}.rejects WHERE stream = {{stream:String}} AND {where}",
                parameters=parameters,
            ).result_rows
            versions = client.query(
                f"SELECT DISTINCT transform_version FROM {database}.sink_batches"
                " WHERE epoch = {epoch:String} AND stream = {stream:String}"
                " AND partition = {partition:UInt32}"
                " AND last >= {first:UInt64} AND first <= {last:UInt64}"
                " AND transform_version != {version:String}",
                parameters=parameters,
            ).result_rows
        report.stored += int(stored)
        report.refused_again += int(again)
        report.duplicates = max(0, report.sent - report.stored - report.refused_again)
        if again:
            report.other_versions = sorted({*report.other_versions, *(str(row[0]) for row in versions)})
