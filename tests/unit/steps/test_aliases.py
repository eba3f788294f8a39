"""Lines that the contract refuses, taken by what their values mean."""

from __future__ import annotations

from typing import Any

import pytest

from builders import RECEIVED_AT, device_log, envelope, network_log, success, wrapped
from tidegate.contracts.topics import Stream
from tidegate.lookups.aliases import COLUMNS, Aliases, read_aliases
from tidegate.lookups.table import BadLookup, Row
from tidegate.steps.decode import Decoded, decode_frame


def aliases(*rows: tuple[str, str, str, str]) -> Aliases:
    return read_aliases(
        Row("value_aliases.csv", line, dict(zip(COLUMNS, row, strict=True)))
        for line, row in enumerate(rows, 2)
    )


FREQUENCIES = aliases(
    ("connection_logs", "frequency", "5GHz", "5"),
    ("connection_logs", "frequency", "true", "2.4"),
    ("connection_logs", "network_security", "WPA2", "wp2"),
)


def decode(stream: Stream, event: Any, meant: Aliases) -> Decoded:
    return decode_frame(
        stream, envelope(event), fleet=None, device=None, received_at=RECEIVED_AT, fleets=None, aliases=meant
    )


@pytest.mark.parametrize(("said", "meant"), [("5GHz", 5.0), (True, 2.4), (2.4, 2.4)])
def test_a_value_is_taken_for_what_it_means(said: Any, meant: float) -> None:
    found = decode("connection_logs", network_log(frequency=said), FREQUENCIES)
    assert found.columns["frequency"].to_pylist() == [meant]


def test_several_fields_of_a_line_and_what_the_model_does_not_know_stay_as_sent() -> None:
    event = network_log(frequency="5GHz", network_security="WPA2", firmware=1.50)
    found = decode("connection_logs", event, FREQUENCIES)
    columns = {name: found.columns[name].to_pylist() for name in ("frequency", "network_security", "extra")}
    assert columns == {"frequency": [5.0], "network_security": ["wp2"], "extra": ['{"firmware":1.5}']}


def test_inside_the_legacy_wrapper() -> None:
    found = decode("connection_logs", wrapped(network_log(frequency="5GHz")), FREQUENCIES)
    assert found.columns["frequency"].to_pylist() == [5.0]


def test_nested_fields() -> None:
    event = device_log()
    event["parent"] = event["parent"] | {"id": ["a"]}
    found = decode("device_logs", event, aliases(("device_logs", "parent.id", '["a"]', '"7"')))
    assert found.columns["device_id"].to_pylist() == ["7"]


def test_a_value_without_an_alias_is_refused_for_what_it_is() -> None:
    found = decode("connection_logs", network_log(frequency="6GHz", network_security="WPA2"), FREQUENCIES)
    [refused] = found.refused
    assert (refused.fault.path, b"6GHz" in refused.line) == ("frequency", True)


def test_an_alias_that_is_no_better_ends_in_the_refusal() -> None:
    meant = aliases(("client_events", "channel", "x", '"x"'))
    [refused] = decode("client_events", success(channel="x"), meant).refused
    assert refused.fault.path == "channel"


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (("connectionlogs", "frequency", "5GHz", "5"), "stream"),
        (("connection_logs", "frequenzy", "5GHz", "5"), "field"),
        (("connection_logs", "frequency", "5GHz", ""), "means"),
    ],
)
def test_a_row_that_could_never_hold_is_named(row: tuple[str, str, str, str], column: str) -> None:
    with pytest.raises(BadLookup, match=f"line 2, column {column}"):
        aliases(row)


def test_a_value_has_one_meaning() -> None:
    row = ("connection_logs", "frequency", "5GHz", "5")
    with pytest.raises(BadLookup, match="line 3, column value"):
        aliases(row, row)
