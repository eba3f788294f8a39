"""Orders of the control topic: a time that is none is refused by its field's name."""

from __future__ import annotations

import msgspec
import pytest

from tidegate.alerts.control import Silences, acknowledgement
from tidegate.contracts.alerts import Acknowledgement, Silence, acknowledgement_key, silence_key
from tidegate.contracts.control import Signed

NO_TIMES = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00", "tomorrow", "")  # in UTC: year 0, 10000


def silence(until: str) -> Signed:
    value = Silence(fleet="demo", site="Oslo", until=until, by="eve")
    return Signed(silence_key("demo", "", "Oslo"), msgspec.json.encode(value), "epoch", 1)


@pytest.mark.parametrize("text", NO_TIMES)
def test_a_silence_until_no_time_is_refused(text: str, caplog: pytest.LogCaptureFixture) -> None:
    silences = Silences()
    assert silences.take(silence(text)) is None
    assert list(silences.all()) == []
    assert f"until: {text!r} is no time" in caplog.text


@pytest.mark.parametrize("text", NO_TIMES)
def test_an_acknowledgement_at_no_time_is_refused(text: str, caplog: pytest.LogCaptureFixture) -> None:
    value = Acknowledgement(fleet="demo", id="a1", by="eve", at=text)
    assert acknowledgement(acknowledgement_key("demo", "a1"), msgspec.json.encode(value)) is None
    assert f"at: {text!r} is no time" in caplog.text


def test_times_are_written_alike() -> None:
    for text in ("2026-11-21T13:00:00+01:00", "2026-11-21T12:00:00Z", "2026-11-21T12:00:00"):
        found = Silences().take(silence(text))
        assert found is not None and found.until == "2026-11-21T12:00:00Z"
