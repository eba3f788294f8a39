"""The sources that record what operators do, each as entries of one form.

The audit file beside the tokens has tokens and keys; ClickHouse has erasures, exports, accepted gaps, epochs
and groups, and the versions of the lookups; the control topic has pauses, acknowledgements, silences and
which alert rules are in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from clickhouse_connect.driver.client import Client

from tidegate import audit_file
from tidegate.contracts.alert_rules import NOTED_KEY, Noted
from tidegate.contracts.alerts import Acknowledgement, Silence, is_acknowledgement, is_silence
from tidegate.contracts.control import Signed
from tidegate.contracts.pauses import Pause, read_key
from tidegate.kafka import control
from tidegate.kafka.connection import Connection
from tidegate.store import audit
from tidegate.store.client import infrastructure


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: one line of `tidegate audit`."""

    at: str  # ISO 8601, UTC, microseconds
    kind: str
    by: str = ""  # empty where nobody says
    fleet: str = ""
    subject: str = ""
    details: dict[str, Any] = {}


def of_file(found: audit_file.Found) -> Iterator[Entry]:
    for line in found.entries:
        yield Entry(
            at=line.at,
            kind=line.kind,
            by=line.by,
            fleet=line.fleet,
            subject=line.subject,
            details=line.details,
        )


def of_store(client: Client, database: str) -> Iterator[Entry]:
    """Raises RetryLater while ClickHouse is away."""
    for entry in audit.entries(client, database):
        details = {"id": entry.id, **msgspec.json.decode(entry.details)}
        yield Entry(
            at=_iso(entry.at),
            kind=entry.kind,
            by=entry.by,
            fleet=entry.fleet,
            subject=entry.subject,
            details=details,
        )
    with infrastructure():
        gaps = client.query(
            f"SELECT at, epoch, stream, partition, after, next, accepted_by, reason FROM {database}.sink_gaps"
            " WHERE accepted ORDER BY at"
        ).result_rows
        epochs = client.query(
            f"SELECT first_seen, epoch, row_number() OVER (PARTITION BY epoch ORDER BY first_seen) AS time"
            f" FROM {database}.epochs ORDER BY first_seen"
        ).result_rows
        groups = client.query(
            f"SELECT at, epoch, sink_group, row_number() OVER (PARTITION BY epoch ORDER BY at) AS time"
            f" FROM {database}.sink_groups ORDER BY at"
        ).result_rows
        versions = client.query(
            f"SELECT min(planned_at) AS at, stream, transform_version FROM {database}.sink_batches"
            " GROUP BY stream, transform_version ORDER BY at"
        ).result_rows
    for at, epoch, stream, partition, after, next_, by, reason in gaps:
        details = {"epoch": epoch, "from": after + 1, "to": next_ - 1, "reason": reason}
        yield Entry(
            at=_iso(at),
            kind="gap_accepted",
            by=by,
            subject=f"{stream} partition {partition}",
            details=details,
        )
    for at, epoch, time in epochs:
        yield Entry(at=_iso(at), kind="epoch_accepted" if time > 1 else "epoch_begun", subject=epoch)
    for at, epoch, group, time in groups:
        kind = "group_accepted" if time > 1 else "group_begun"
        yield Entry(at=_iso(at), kind=kind, subject=group, details={"epoch": epoch})
    for at, stream, version in versions:
        yield Entry(at=_iso(at), kind="transform_changed", subject=stream, details={"version": version})


def of_control(kafka: Connection) -> Iterator[Entry]:
    """What the control topic has, of every epoch. Raises RetryLater while the broker is away."""
    return of_records(control.history(kafka))


def of_records(records: Iterable[Signed]) -> Iterator[Entry]:
    """The same of its records, in their order."""
    silences: dict[bytes, Entry] = {}
    rules = ""
    for record in records:
        entry = _of_record(record)
        if is_silence(record.key):
            if entry is None and (begun := silences.pop(record.key, None)):
                # Who ended it, the record does not say.
                yield msgspec.structs.replace(begun, at=_at(record), kind="silence_ended", by="", details={})
            elif entry is not None:
                silences[record.key] = entry
        if entry is not None and entry.kind == "rules_changed":
            if entry.details["digest"] == rules:  # noted again, by a worker that had not read it yet
                continue
            rules = entry.details["digest"]
        if entry is not None:
            yield entry


def _of_record(record: Signed) -> Entry | None:
    at = _at(record)
    try:
        if record.key == NOTED_KEY and record.value:
            rules = msgspec.json.decode(record.value, type=Noted)
            return Entry(at=at, kind="rules_changed", details=msgspec.to_builtins(rules))
        if named := read_key(record.key):
            if not record.value:
                return Entry(at=at, kind="resumed", fleet=named[1], subject=named[0])
            pause = msgspec.json.decode(record.value, type=Pause)
            details = {"lines": pause.lines, "rejected": pause.rejected}
            return Entry(at=at, kind="paused", fleet=named[1], subject=named[0], details=details)
        if is_acknowledgement(record.key) and record.value:
            ack = msgspec.json.decode(record.value, type=Acknowledgement)
            return Entry(at=at, kind="acknowledged", by=ack.by, fleet=ack.fleet, subject=ack.id)
        if is_silence(record.key) and record.value:
            silence = msgspec.json.decode(record.value, type=Silence)
            told = msgspec.to_builtins(silence)
            return Entry(
                at=at,
                kind="silenced",
                by=str(told.pop("by", "")),
                fleet=str(told.pop("fleet", "")),
                subject=str(told.pop("id", "")),
                details=told,
            )
    except msgspec.DecodeError:
        return None
    return None


def _at(record: Signed) -> str:
    return _iso(datetime.fromtimestamp(record.at / 1000, UTC))


def _iso(moment: datetime) -> str:
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
