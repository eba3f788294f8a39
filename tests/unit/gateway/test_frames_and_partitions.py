from hypothesis import given
from hypothesis import strategies as st

import builders
from tidegate.contracts.forms import Event, examine
from tidegate.contracts.frames import envelope_line, envelope_prefix
from tidegate.contracts.topics import Stream
from tidegate.gateway.frame_writer import envelope_lines
from tidegate.gateway.partitioner import group, partition_of, seed

START = seed("demo")


@given(st.lists(st.binary(min_size=1).filter(lambda line: not {10, 13} & set(line)), min_size=1))
def test_envelope_lines_are_the_lines_of_the_contract(events: list[bytes]) -> None:
    prefix = envelope_prefix("demo", 1, "dev")
    assert envelope_lines(prefix, events) == b"\n".join(envelope_line(prefix, event) for event in events)


def partition(stream: Stream, event: object, header: str | None = None, partitions: int = 1000) -> int | None:
    verdict = examine(stream, builders.body(event))
    assert isinstance(verdict, Event), verdict
    (only,) = group(stream, [verdict.value], header, START, partitions)
    assert only == partition_of(stream, verdict.value, header, START, partitions)
    return only


def test_a_client_is_its_mac_in_any_spelling() -> None:
    spellings = ["AA:BB:CC:00:11:22", "aa-bb-cc-00-11-22", "aabb.cc00.1122", "aabbcc001122"]
    found = {partition("client_events", builders.success(macAddress=mac), "header") for mac in spellings}
    assert len(found) == 1 and None not in found


def test_a_device_log_goes_by_its_parent() -> None:
    one = partition("device_logs", builders.device_log(parent={"id": "a"}))
    assert one == partition("device_logs", builders.device_log(parent={"id": "a", "name": "b"}, id=7))
    assert one != partition("device_logs", builders.device_log(parent={"id": "b"}))


def test_a_connection_log_goes_by_its_device_id_then_by_the_header() -> None:
    session = partition("connection_logs", builders.session_log(device_id="d1"), "header")
    assert session == partition("connection_logs", builders.network_log(), "d1")
    assert session == partition("connection_logs", builders.wrapped(builders.legacy_log(device_id="d1")))
    assert partition("connection_logs", builders.network_log()) is None


def test_fleets_have_partitions_of_their_own() -> None:
    verdict = examine("device_logs", builders.body(builders.device_log()))
    assert isinstance(verdict, Event)
    found = {partition_of("device_logs", verdict.value, None, seed(fleet), 1000) for fleet in ("a", "b", "c")}
    assert len(found) == 3


def test_groups_keep_the_order_of_the_batch() -> None:
    events = [builders.success(macAddress=f"00:00:00:00:00:{n % 7:02x}") for n in range(50)]
    verdicts = [examine("client_events", builders.body(event)) for event in events]
    values = [verdict.value for verdict in verdicts if isinstance(verdict, Event)]
    groups = group("client_events", values, None, START, 4)
    assert sorted(index for indexes in groups.values() for index in indexes) == list(range(50))
    assert all(indexes == sorted(indexes) for indexes in groups.values())
