"""Pauses as records of the control topic."""

from __future__ import annotations

import msgspec
import pytest

from tidegate.contracts.pauses import Pause, alert, key_of, read_key
from tidegate.contracts.topics import EPOCH_KEY, STREAMS, Stream

PAUSE = Pause("demo", "device_logs", "2026-11-21T12:00:00+00:00", 3000, 2000)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("fleet", ["demo", "", "a/b", "connection_logs/é"])
def test_a_key_says_stream_and_fleet(stream: Stream, fleet: str) -> None:
    assert read_key(key_of(stream, fleet)) == (stream, fleet)


@pytest.mark.parametrize(
    "key", [EPOCH_KEY, b"", b"pause/", b"pause/nothing/demo", b"device_logs/demo", b"\xff"]
)
def test_other_records_are_none(key: bytes) -> None:
    assert read_key(key) is None


def test_an_alert_is_the_same_one_while_it_lasts() -> None:
    opened = alert(PAUSE, state="open", at=PAUSE.since)
    resolved = alert(PAUSE, state="resolved", at="2026-11-21T13:00:00+00:00")
    assert opened.id == resolved.id and opened.started_at == resolved.started_at
    assert (opened.sequence, resolved.sequence) == (1, 2)
    assert "2000 of 3000" in opened.summary and "fleet resume device_logs demo" in opened.action
    again = alert(
        msgspec.structs.replace(PAUSE, since="2026-11-21T12:00:01+00:00"), state="open", at=PAUSE.since
    )
    assert again.id != opened.id
