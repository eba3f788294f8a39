"""Retries land once: through a gateway that does not know them, behind a killed worker, on another worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from databases import settings_of
from gateways import CLIENT_EVENTS, CONNECTION_LOGS, GatewayProcess
from roles import assert_verified
from sink_rig import SinkProcess
from waiting import await_
from worker_rig import PARTITIONS, Rig, in_sequence

from builders import network_log, success
from tidegate.contracts.frames import read_rejects
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.local.broker import Broker
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.store.client import connect
from tidegate.store.migrate import migrate

QUICK: dict[str, Any] = {"kafka_session_timeout_ms": 4000}  # the embedded broker forms a group in half of it


def mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


class Expected:
    """What was sent, kept beside the product."""

    def __init__(self) -> None:
        self.rows: dict[Stream, int] = {"connection_logs": 0, "client_events": 0, "device_logs": 0}
        self.duplicates = self.reused = 0

    @property
    def lines(self) -> int:
        return sum(self.rows.values()) + self.duplicates + self.reused


REQUESTS: list[tuple[str, Stream, list[dict[str, Any]]]] = [
    (CLIENT_EVENTS, "client_events", [success(macAddress=mac(number)) for number in range(40)]),
    (CONNECTION_LOGS, "connection_logs", [network_log(inbytes=number) for number in range(7)]),
    (CLIENT_EVENTS, "client_events", [success(event_id="one of its own")]),
]


def post(gateway: GatewayProcess, number: int, key: str) -> list[str]:
    """Post a request under a key; the ids that its events got."""
    path, _, events = REQUESTS[number]
    keyed = {} if "event_id" in events[0] else {"idempotency-key": f"{key}-{number}"}
    answer = gateway.post(path, events, headers=keyed)
    assert answer.status_code == 201, answer.text
    assert "idempotent-replayed" not in answer.headers
    ids: list[str] = answer.json()["ids"]
    return ids


def post_all(gateway: GatewayProcess, expected: Expected, key: str, *, is_retry: bool) -> None:
    for number, (_, stream, events) in enumerate(REQUESTS):
        post(gateway, number, key)
        if is_retry or ("event_id" in events[0] and expected.rows[stream] > len(REQUESTS[0][2])):
            expected.duplicates += len(events)
        else:
            expected.rows[stream] += len(events)


def outcome(rig: Rig) -> tuple[int, int, int, int]:
    """Lines, accepted, rejected and duplicates of all frames that the sink would take."""
    totals = [0, 0, 0, 0]
    for stream in STREAMS:
        frames = rig.frames(stream)
        for partition in range(PARTITIONS):
            for one in in_sequence(frames, partition):
                head = one.head
                counts = (head.lines, head.accepted, head.rejected, head.duplicates)
                totals = [total + count for total, count in zip(totals, counts, strict=True)]
    return totals[0], totals[1], totals[2], totals[3]


def await_outcome(rig: Rig, expected: Expected) -> None:
    """Every line has its outcome, and it is the one that is expected."""
    await_(lambda: outcome(rig)[0] >= expected.lines, lambda: f"{outcome(rig)}: {rig.worker.tail()}")
    assert outcome(rig) == (expected.lines, sum(expected.rows.values()), expected.reused, expected.duplicates)


def test_retries_land_once_whatever_dies(
    own_broker: Broker, clickhouse: ClickHouseServer, tmp_path: Path
) -> None:
    expected = Expected()
    rig = Rig(own_broker.bootstrap, tmp_path / "one", **QUICK)
    other = Rig(own_broker.bootstrap, tmp_path / "other", **QUICK)
    # A gateway without a memory stands for any other: it knows none of the requests that it retries.
    gateway = GatewayProcess(
        own_broker.bootstrap, tmp_path / "gateway", gateway_keys_bytes=0, kafka_partitions=PARTITIONS
    )
    sink: SinkProcess | None = None
    try:
        gateway.start()
        # Both tries are in the log before a worker sees either.
        post_all(gateway, expected, "a", is_retry=False)
        post_all(gateway, expected, "a", is_retry=True)
        rig.start()
        await_outcome(rig, expected)
        # A killed worker: some of what it did is committed, some is done again.
        post_all(gateway, expected, "b", is_retry=False)
        await_outcome(rig, expected)
        rig.kill()
        post_all(gateway, expected, "a", is_retry=True)
        post_all(gateway, expected, "b", is_retry=True)
        rig.start()
        await_outcome(rig, expected)
        # A second worker takes a share of the partitions, then all of them.
        other.start()
        await_(lambda: other.metric("tidegate_worker_keys") > 0, other.worker.tail)
        post_all(gateway, expected, "a", is_retry=True)
        post_all(gateway, expected, "c", is_retry=False)
        await_outcome(other, expected)
        rig.stop()
        post_all(gateway, expected, "b", is_retry=True)
        post_all(gateway, expected, "c", is_retry=True)
        # Another content under a key that only the worker knows.
        changed = [event | {"ssid": "another"} for event in REQUESTS[0][2]]
        answer = gateway.post(CLIENT_EVENTS, changed, headers={"idempotency-key": "a-0"})
        assert answer.status_code == 201
        expected.reused += len(changed)
        await_outcome(other, expected)
        assert_refused_by_code(other, len(changed), answer.json()["ids"])

        values = settings_of(clickhouse, kafka_bootstrap=own_broker.bootstrap, kafka_partitions=PARTITIONS)
        first = connect(values, database="")
        migrate(first, values)
        first.close()
        names = ["clickhouse_url", "clickhouse_database", "kafka_bootstrap", "kafka_partitions"]
        own = {name: getattr(values, name) for name in names}
        sink = SinkProcess("sink", tmp_path, own | QUICK)
        sink.start()
        client = connect(values)

        def stored() -> dict[Stream, int]:
            return {
                stream: client.query(f"SELECT count() FROM {stream}").result_rows[0][0] for stream in STREAMS
            }

        await_(lambda: stored() == expected.rows, lambda: f"{stored()} of {expected.rows}")
        totals = "SELECT sum(lines), sum(rejected), sum(duplicates) FROM verify_batches"
        booked = (expected.lines, expected.reused, expected.duplicates)
        await_(lambda: client.query(totals).result_rows == [booked], sink.child.tail)
        client.close()
        assert_verified(own)
    finally:
        gateway.stop()
        for one in (rig, other):
            if one.worker.running:
                one.stop()
        if sink is not None and sink.child.running:
            sink.stop()


def assert_refused_by_code(rig: Rig, count: int, ids: list[str]) -> None:
    found = {
        reject.id: reject
        for frame in rig.frames("client_events")
        for reject in read_rejects(frame.headers.items())
    }
    assert found.keys() == set(ids) and len(found) == count
    assert {(reject.kind, reject.code, reject.fleet) for reject in found.values()} == {
        ("key", "key_reused", "demo")
    }
    assert all(b"another" in reject.original.encode() for reject in found.values())
