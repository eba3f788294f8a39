"""`tidegate audit` gathers what was done from where it is on record, on a real store."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import msgspec
import roles
from clickhouse_connect.driver.client import Client

from tidegate import audit_file
from tidegate.audit.sources import of_records
from tidegate.contracts.alert_rules import NOTED_KEY, Rule, Rules, noted
from tidegate.contracts.alerts import Acknowledgement, Silence, acknowledgement_key, silence_key
from tidegate.contracts.control import Signed
from tidegate.contracts.ledger import Gap
from tidegate.contracts.pauses import Pause, key_of
from tidegate.contracts.topics import StreamPartition
from tidegate.settings import Settings
from tidegate.store import audit
from tidegate.store.ledger import Ledger
from tidegate.tokens import TokenFile

EPOCH = "01K9ZQ4T3M8W5X0R2B7C6D1E9F"


def test_everything_that_was_done_is_told_in_its_order(client: Client, settings: Settings) -> None:
    tokens = TokenFile(settings.tokens_path)
    secret = tokens.create("one", fleet="demo", role="viewer")
    ledger = Ledger(client, settings.clickhouse_database)
    ledger.note_epoch(EPOCH)
    ledger.claim(EPOCH, "tidegate-sink")
    partition, gap = StreamPartition("device_logs", 1), Gap(4, 9, 4)
    ledger.note_gap(EPOCH, partition, gap, datetime.now(UTC), "frames are missing")
    ledger.accept_gap(EPOCH, partition, gap, datetime.now(UTC), by="ops@desk", reason="a dead disk")
    ledger.accept_group(EPOCH, "another-sink")
    audit.note(
        client,
        settings.clickhouse_database,
        "erasure",
        id="e1",
        fleet="demo",
        subject="k1.ab",
        details={"rows": 3},
    )
    tokens.revoke("one")

    done = told(settings)
    assert done.returncode == 0, done.stderr
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["kind"] for entry in entries] == [
        *("token_created", "epoch_begun", "group_begun", "gap_accepted", "group_accepted", "erasure"),
        "token_revoked",
    ]
    assert secret not in done.stdout
    by_kind = {entry["kind"]: entry for entry in entries}
    assert by_kind["gap_accepted"]["by"] == "ops@desk"
    assert by_kind["gap_accepted"]["details"] == {"epoch": EPOCH, "from": 5, "to": 8, "reason": "a dead disk"}
    assert by_kind["erasure"]["details"] == {"id": "e1", "rows": 3}
    assert by_kind["erasure"]["by"] == audit_file.operator()
    one = told(settings, "--kind", "erasure", "--since", "2020-01-01").stdout.splitlines()
    assert [json.loads(line)["subject"] for line in one] == ["k1.ab"]
    assert told(settings, "--since", "2199-01-01").stdout == ""

    path = audit_file.beside(settings.tokens_path)
    path.write_bytes(path.read_bytes().replace(b'"demo"', b'"demi"', 1))
    touched = told(settings)
    assert touched.returncode == 1 and "line 2 does not follow" in touched.stderr
    assert len(touched.stdout.splitlines()) == len(entries)


def told(settings: Settings, *options: str) -> Any:
    return roles.run("audit", "--no-kafka", *options, values=asdict(settings))


def test_what_the_control_topic_tells() -> None:
    pause = Pause("demo", "client_events", "2026-01-01T00:00:00Z", 100, 90)
    ack = Acknowledgement(fleet="demo", id="a1", by="ops", at="2026-01-01T00:00:00Z")
    silence = Silence(fleet="demo", rule="slow", until="2026-01-01T01:00:00Z", by="ops")
    quiet = silence_key("demo", "slow", "")
    one, other = (
        msgspec.json.encode(noted(Rules((Rule(name=name, signal="no_events"),)))) for name in ("a", "b")
    )
    records = [
        Signed(key_of("client_events", "demo"), msgspec.json.encode(pause), EPOCH, 1_767_225_600_000),
        Signed(key_of("client_events", "demo"), None, EPOCH, 1_767_225_601_000),
        Signed(acknowledgement_key("demo", "a1"), msgspec.json.encode(ack), EPOCH, 1_767_225_602_000),
        Signed(b"another", b"{}", EPOCH, 1_767_225_603_000),
        Signed(quiet, msgspec.json.encode(silence), EPOCH, 1_767_225_604_000),
        Signed(quiet, None, EPOCH, 1_767_225_605_000),
        Signed(quiet, None, EPOCH, 1_767_225_606_000),
        *(Signed(NOTED_KEY, value, EPOCH, 1_767_225_607_000) for value in (one, one, other, one)),
    ]
    found = list(of_records(records))
    assert [(entry.kind, entry.by, entry.fleet, entry.subject) for entry in found] == [
        ("paused", "", "demo", "client_events"),
        ("resumed", "", "demo", "client_events"),
        ("acknowledged", "ops", "demo", "a1"),
        ("silenced", "ops", "demo", ""),
        ("silence_ended", "", "demo", ""),
        *[("rules_changed", "", "", "")] * 3,
    ]
    assert found[0].at == "2026-01-01T00:00:00.000000+00:00"
    assert [entry.details["rules"] for entry in found[-3:]] == [["a"], ["b"], ["a"]]
