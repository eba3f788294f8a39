"""The verdict on each form: what is taken, and which code and path a refusal names."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from builders import (
    body,
    device_log,
    failure,
    intermediate,
    legacy_log,
    network_log,
    sample,
    session_log,
    success,
    wrapped,
)
from tidegate.contracts.forms import FORMS, Event, classify, echo, examine
from tidegate.contracts.rejects import Code, Fault
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.steps.decode import decode_frame


def without(event: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != name}


def taken(stream: Stream, event: Any) -> Event:
    verdict = examine(stream, event if isinstance(event, bytes) else body(event))
    assert isinstance(verdict, Event), verdict
    return verdict


def refused(stream: Stream, event: Any) -> Fault:
    verdict = examine(stream, event if isinstance(event, bytes) else body(event))
    assert isinstance(verdict, Fault), verdict
    return verdict


# --- which form


@pytest.mark.parametrize(
    ("event", "form"),
    [
        (network_log(), "network"),
        (session_log(), "session"),
        (wrapped(network_log()), "network"),
        (wrapped(session_log()), "session"),
        (wrapped(legacy_log()), "legacy"),
        (legacy_log(), "legacy"),
        (sample("app_connection_event.legacy_request"), "legacy"),
        ({"app_id": "a"}, "legacy"),
        ({"connection_status": "connected"}, "legacy"),
        (session_log(network_type_of_device="x"), "session"),
        (network_log(device_id="d"), "network"),
    ],
)
def test_the_form_of_a_connection_log(event: dict[str, Any], form: str) -> None:
    assert taken("connection_logs", event).form.name == form


@pytest.mark.parametrize("event", [{}, {"timestamp": "2024-01-15"}, {"a": 1}, {"data": "{}"}])
def test_no_form_of_a_connection_log(event: dict[str, Any]) -> None:
    fault = refused("connection_logs", event)
    assert (fault.code, fault.status) == (Code.UNKNOWN_FORM, 400)


def test_data_beside_other_fields_is_no_wrapper() -> None:
    event = taken("connection_logs", network_log(data="x"))
    assert (event.form.name, event.extra) == ("network", b'{"data":"x"}')


@pytest.mark.parametrize(
    ("event", "form"), [(success(), "success"), (failure(), "failure"), (intermediate(), "intermediate")]
)
def test_the_form_of_a_client_event_is_its_type(event: dict[str, Any], form: str) -> None:
    assert taken("client_events", event).form.name == form


def test_the_samples_of_the_documents_are_taken() -> None:
    for event in sample("client_events.response")["clientEvents"]:
        taken("client_events", event)
    logs = sample("client_connection_logs.response")
    for event in (*logs["successLogs"], *logs["failureLogs"]):
        taken("client_events", event)
    taken("device_logs", sample("inventory_device_log.detail"))
    for event in sample("inventory_device_log.list")["results"]:
        taken("device_logs", event)


# --- what is required


@pytest.mark.parametrize("missing", ["dropped", "null"])
@pytest.mark.parametrize(
    ("stream", "event", "name"),
    [
        ("connection_logs", network_log(), "network_type"),
        ("connection_logs", network_log(), "network_security"),
        ("connection_logs", session_log(), "device_id"),
        ("connection_logs", session_log(), "timestamp"),
        ("client_events", success(), "macAddress"),
        ("client_events", success(), "eventType"),
        ("client_events", success(), "timestamp"),
        ("client_events", intermediate(), "macAddress"),
        ("client_events", failure(), "timestamp"),
        ("device_logs", device_log(), "datetime"),
        ("device_logs", device_log(), "parent"),
        ("device_logs", device_log(), "action"),
    ],
)
def test_a_missing_field_is_named(stream: Stream, event: dict[str, Any], name: str, missing: str) -> None:
    broken = without(event, name) if missing == "dropped" else event | {name: None}
    fault = refused(stream, broken)
    assert (fault.code, fault.path, fault.status) == (Code.MISSING_FIELD, name, 400)
    assert fault.found == ("null" if missing == "null" else "")


def test_the_device_of_a_log_has_an_id() -> None:
    for parent in ({"name": "x"}, {"id": None}):
        fault = refused("device_logs", device_log(parent=parent))
        assert (fault.code, fault.path, fault.status) == (Code.MISSING_FIELD, "parent.id", 400)


def test_what_is_missing_comes_before_what_is_wrong() -> None:
    fault = refused("connection_logs", without(network_log(network_type="5g"), "network_security"))
    assert (fault.code, fault.path) == (Code.MISSING_FIELD, "network_security")


@pytest.mark.parametrize(
    ("stream", "event"),
    [
        ("connection_logs", {"network_type": "et", "network_security": "opn"}),
        ("connection_logs", {"device_id": "d", "timestamp": "2024-01-15"}),
        ("client_events", {"macAddress": "001a2b3c4d5e", "eventType": "Intermediate", "timestamp": 1}),
        ("device_logs", {"datetime": "2024-01-15", "parent": {"id": "d"}, "action": "restart"}),
    ],
)
def test_nothing_else_is_required_and_null_is_missing(stream: Stream, event: dict[str, Any]) -> None:
    form = taken(stream, event).form
    nulls = {wire: None for wire in form.wires.values() if wire not in event}
    assert taken(stream, event | nulls).value == taken(stream, event).value


# --- values


@pytest.mark.parametrize(
    ("stream", "event", "code", "path"),
    [
        ("connection_logs", network_log(network_type="5g"), Code.NOT_IN_ENUM, "network_type"),
        ("connection_logs", network_log(network_type="WI"), Code.NOT_IN_ENUM, "network_type"),
        ("connection_logs", network_log(authentication="pap"), Code.NOT_IN_ENUM, "authentication"),
        ("connection_logs", network_log(frequency="5.0"), Code.WRONG_TYPE, "frequency"),
        ("connection_logs", network_log(frequency="5GHz"), Code.WRONG_TYPE, "frequency"),
        ("connection_logs", network_log(frequency=-1), Code.OUT_OF_RANGE, "frequency"),
        ("connection_logs", network_log(roaming="false"), Code.WRONG_TYPE, "roaming"),
        ("connection_logs", network_log(roaming=0), Code.WRONG_TYPE, "roaming"),
        ("connection_logs", network_log(inbytes="1"), Code.WRONG_TYPE, "inbytes"),
        ("connection_logs", network_log(inbytes=-1), Code.OUT_OF_RANGE, "inbytes"),
        ("connection_logs", network_log(inbytes=1.5), Code.WRONG_TYPE, "inbytes"),
        ("connection_logs", network_log(inbytes=True), Code.WRONG_TYPE, "inbytes"),
        ("connection_logs", network_log(latitude="91"), Code.OUT_OF_RANGE, "latitude"),
        ("connection_logs", network_log(longitude=-180.5), Code.OUT_OF_RANGE, "longitude"),
        ("connection_logs", network_log(latitude="north"), Code.BAD_FORMAT, "latitude"),
        ("connection_logs", network_log(latitude=True), Code.WRONG_TYPE, "latitude"),
        ("connection_logs", network_log(bssid="00:1a"), Code.BAD_FORMAT, "bssid"),
        ("connection_logs", network_log(network_mccmnc="310"), Code.BAD_FORMAT, "network_mccmnc"),
        ("connection_logs", network_log(network_mccmnc=31026), Code.WRONG_TYPE, "network_mccmnc"),
        ("connection_logs", network_log(quality_metric="snr"), Code.NOT_IN_ENUM, "quality_metric"),
        ("connection_logs", session_log(timestamp="yesterday"), Code.BAD_FORMAT, "timestamp"),
        ("connection_logs", session_log(timestamp=1705328425), Code.WRONG_TYPE, "timestamp"),
        ("connection_logs", session_log(device_id=""), Code.BAD_FORMAT, "device_id"),
        ("connection_logs", session_log(metadata=[]), Code.WRONG_TYPE, "metadata"),
        ("connection_logs", session_log(duration=-0.1), Code.OUT_OF_RANGE, "duration"),
        ("client_events", success(eventType="Roamed"), Code.NOT_IN_ENUM, "eventType"),
        ("client_events", success(eventType=1), Code.WRONG_TYPE, "eventType"),
        ("client_events", success(protocol="ac"), Code.NOT_IN_ENUM, "protocol"),
        ("client_events", success(channel=234), Code.OUT_OF_RANGE, "channel"),
        ("client_events", success(channel="36"), Code.WRONG_TYPE, "channel"),
        ("client_events", success(macAddress="68:05"), Code.BAD_FORMAT, "macAddress"),
        ("client_events", success(timestamp="1495010943"), Code.WRONG_TYPE, "timestamp"),
        ("client_events", success(timestamp=-1), Code.OUT_OF_RANGE, "timestamp"),
        ("client_events", success(timestamp=2**60), Code.OUT_OF_RANGE, "timestamp"),
        ("client_events", success(dhcpLatency=-1), Code.OUT_OF_RANGE, "dhcpLatency"),
        ("client_events", success(locationId={"id": "x"}), Code.WRONG_TYPE, "locationId.id"),
        ("client_events", success(locationId=95), Code.WRONG_TYPE, "locationId"),
        ("client_events", failure(failureCode=2**63), Code.OUT_OF_RANGE, "failureCode"),
        ("client_events", intermediate(categoryCode=6), Code.OUT_OF_RANGE, "categoryCode"),
        ("client_events", intermediate(bstNbrMac="x"), Code.BAD_FORMAT, "bstNbrMac"),
        ("device_logs", device_log(datetime="2024-01-15T25:00:00Z"), Code.BAD_FORMAT, "datetime"),
        ("device_logs", device_log(action=""), Code.BAD_FORMAT, "action"),
        ("device_logs", device_log(is_applied="yes"), Code.WRONG_TYPE, "is_applied"),
        ("device_logs", device_log(parent="device-001"), Code.WRONG_TYPE, "parent"),
        ("device_logs", device_log(parent={"id": 5}), Code.WRONG_TYPE, "parent.id"),
        ("device_logs", device_log(old_value={"a": 1}), Code.WRONG_TYPE, "old_value"),
        ("device_logs", device_log(applied_at="2300-01-01"), Code.OUT_OF_RANGE, "applied_at"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(
    stream: Stream, event: dict[str, Any], code: Code, path: str
) -> None:
    fault = refused(stream, event)
    assert (fault.code, fault.path, fault.status) == (code, path, 422)
    assert fault.allowed and fault.detail


def test_a_fault_quotes_what_it_found_in_short() -> None:
    assert refused("connection_logs", network_log(network_type="5g")).found == "5g"
    assert refused("connection_logs", network_log(inbytes=[1, 2])).found == "[1,2]"
    assert len(refused("connection_logs", network_log(inbytes="9" * 5000)).found) == 80


@pytest.mark.parametrize("protocol", "UNKNOWN A B BG G N AN GN BGN AC AX BE".split())
def test_the_protocols_of_the_document_and_of_later_amendments(protocol: str) -> None:
    taken("client_events", success(protocol=protocol))


def test_text_of_any_length_is_kept_whole() -> None:
    notes = "é" * 100_000
    event = taken("device_logs", device_log(notes=notes))
    assert msgspec.to_builtins(event.value)["notes"] == notes


# --- bytes


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"", Code.EMPTY_RECORD),
        (b"  \t", Code.EMPTY_RECORD),
        (b'{"macAddress": "68', Code.NOT_JSON),
        (b"{'a': 1}", Code.NOT_JSON),
        (b'{"a": NaN}', Code.NOT_JSON),
        (b'{"a": 1} {"a": 1}', Code.NOT_JSON),
        (b"[" * 100_000, Code.NOT_JSON),
        (b'{"network_name": "\xff"}', Code.NOT_UTF8),
        (b"\xff\xfe{\x00}\x00", Code.NOT_UTF8),
        (b"[]", Code.NOT_OBJECT),
        (b"null", Code.NOT_OBJECT),
        (b"42", Code.NOT_OBJECT),
        (b'"text"', Code.NOT_OBJECT),
    ],
)
def test_bytes_that_are_no_json_object(stream: Stream, line: bytes, code: Code) -> None:
    fault = refused(stream, line)
    assert (fault.code, fault.path, fault.status) == (code, "", 400)


@pytest.mark.parametrize(
    ("data", "code", "path"),
    [
        (None, Code.MISSING_FIELD, "data"),
        (5, Code.WRONG_TYPE, "data"),
        ({"device_id": "d"}, Code.WRONG_TYPE, "data"),
        ("", Code.EMPTY_RECORD, "data"),
        ("{", Code.NOT_JSON, "data"),
        ("[]", Code.NOT_OBJECT, "data"),
        (json.dumps({"a": 1}), Code.UNKNOWN_FORM, "data"),
        (json.dumps(network_log(channel=1, frequency="x")), Code.WRONG_TYPE, "data.frequency"),
        (json.dumps(without(session_log(), "timestamp")), Code.MISSING_FIELD, "data.timestamp"),
    ],
)
def test_a_fault_inside_the_wrapper_says_so(data: Any, code: Code, path: str) -> None:
    fault = refused("connection_logs", {"data": data})
    assert (fault.code, fault.path) == (code, path)


# --- what is kept


def test_unknown_fields_are_kept_as_they_came() -> None:
    line = body(success()).replace(b"{", b'{"new": [1.10, null, 1e300],', 1)
    assert taken("client_events", line).extra == b'{"new":[1.10, null, 1e300]}'


def test_unknown_fields_inside_a_known_object_are_kept_under_its_name() -> None:
    event = taken("device_logs", device_log(parent={"id": "d", "rack": 7}, vendor="x"))
    assert msgspec.json.decode(event.extra) == {"parent": {"rack": 7}, "vendor": "x"}


@pytest.mark.parametrize(
    "metadata",
    [
        b'{"a": 1e400}',
        b'{"b":{"c":[1,"caf\\ud83d"]}}',
        b'{"\\ud83d":1}',
        b'{"x":[{"\\ud83d":-1e999}],"y":2}',
        b'{"n":%d}' % 10**400,
    ],
)
def test_what_a_field_of_any_content_holds_is_kept_as_it_came(metadata: bytes) -> None:
    """It was refused; a key of half a surrogate pair was a 500, and a line that no worker could store."""
    line = body(session_log(metadata="@")).replace(b'"@"', metadata)
    event = taken("connection_logs", line)
    assert msgspec.json.encode(echo(event)["metadata"]) == metadata
    decoded = decode_frame(
        "connection_logs", line, fleet="demo", device=None, received_at=1, fleets={"demo"}, native=None
    )
    assert decoded.columns["metadata"].to_pylist() == [metadata.decode()]


@pytest.mark.parametrize("line", [b'{"\\ud83d":1}', b'{"data":"{\\"\\\\ud83d\\":1}"}'])
def test_a_fault_can_be_written_whatever_it_quotes(line: bytes) -> None:
    """The refusal of a name that no UTF-8 can hold was a 500."""
    fault = refused("connection_logs", line)
    assert (fault.code, fault.found) == (Code.UNKNOWN_FORM, r"\ud83d")
    assert msgspec.json.encode(fault)


@pytest.mark.parametrize(
    ("stream", "line", "path"),
    [
        ("client_events", body(success(ssid="@")), r"ssid.\ud83dkkkk"),
        ("connection_logs", body(session_log(duration="@")), r"duration.\ud83dkkkk"),
        ("client_events", body(success(locationId={"id": "@"})), "locationId.id"),
        ("device_logs", body(device_log(parent={"id": "@"})), "parent.id"),
    ],
)
@pytest.mark.parametrize("depth", [1, 300])
def test_the_path_to_a_value_in_a_field_can_be_written(
    stream: Stream, line: bytes, path: str, depth: int
) -> None:
    """It held half a pair itself: a 500, and a line that stopped every worker that came to it. And the whole
    text was looked through again for each level: minutes for a long event."""
    key = b"\\ud83d" + b"k" * 5000
    deep = b'{"%s":' % key + b'{"a":' * depth + b"1e400" + b"}" * depth + b"}"
    fault = refused(stream, line.replace(b'"@"', deep))
    assert fault.code in (Code.OUT_OF_RANGE, Code.BAD_FORMAT)
    assert fault.path.startswith(path) and len(fault.path) < len(path) + 80 and ".a" not in fault.path
    assert msgspec.json.encode(fault)


def test_a_repeated_key_counts_as_plain_json_says() -> None:
    line = body(network_log())[:-1] + b', "network_type": "mo"}'
    assert msgspec.to_builtins(taken("connection_logs", line).value)["network_type"] == "mo"


# --- the echo


def test_the_echo_of_the_network_form_is_the_documents() -> None:
    event = taken("connection_logs", sample("app_connection_log.request"))
    assert echo(event) == sample("app_connection_log.response")
    assert list(echo(event)) == list(sample("app_connection_log.response"))


@pytest.mark.parametrize(
    ("latitude", "text"), [(40.7128, "40.7128"), ("40.71280", "40.71280"), (1e-07, "0.0000001"), (None, None)]
)
def test_coordinates_are_echoed_as_text(latitude: Any, text: str | None) -> None:
    assert echo(taken("connection_logs", network_log(latitude=latitude)))["latitude"] == text


def test_the_echo_of_the_session_form_has_what_was_sent() -> None:
    request, response = sample("app_connection_event.request"), sample("app_connection_event.response")
    found = echo(taken("connection_logs", request))
    assert found == {key: response[key] for key in found}
    assert set(response) - set(found) == {"id", "created_at"}


@pytest.mark.parametrize("builder", [success, failure, intermediate])
def test_the_echo_of_a_client_event_is_the_event(builder: Any) -> None:
    assert echo(taken("client_events", builder())) == builder()


def test_the_echo_of_a_device_log_is_the_log() -> None:
    assert echo(taken("device_logs", device_log())) == device_log()


def test_classify_looks_at_names_alone() -> None:
    assert classify("connection_logs", {"network_type": None}) is FORMS["connection_logs"][0]


@pytest.mark.parametrize(
    ("stream", "event"),
    [
        ("client_events", success(channel=11, locationId={"type": None, "id": -1})),
        ("connection_logs", network_log(inbytes=7)),
        ("device_logs", device_log(id=4)),
    ],
)
def test_a_whole_number_may_be_written_with_a_point(stream: Stream, event: dict[str, Any]) -> None:
    pointed = json.dumps(event)
    for number in ("11", "-1", "7", "4"):
        pointed = pointed.replace(f": {number}}}", f": {number}.0}}").replace(
            f": {number},", f": {number}.0,"
        )
    assert "11.0" in pointed or "7.0" in pointed or "4.0" in pointed
    found = examine(stream, pointed.encode())
    assert isinstance(found, Event), found
    assert echo(found) == echo(taken(stream, event))


def test_a_number_with_a_fraction_is_no_whole_one() -> None:
    assert refused("client_events", success(channel=11.5)).code == Code.WRONG_TYPE
