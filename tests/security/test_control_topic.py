"""A stranger who can write to the broker appends to `tidegate.control`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import handmade_batches
import pytest
import roles
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from gateways import GatewayProcess, running_gateway
from waiting import await_

from tidegate.contracts.control import sign
from tidegate.contracts.pauses import key_of
from tidegate.contracts.topics import CONTROL, EPOCH_KEY
from tidegate.kafka import control, topics
from tidegate.kafka.connection import Connection, connection
from tidegate.kafka.write_record import write_record
from tidegate.local.broker import Broker
from tidegate.tokens import Role

PLACE = key_of("connection_logs", "demo")
PAUSE = b'{"fleet":"demo","stream":"connection_logs","since":"2026-01-01T00:00:00Z","lines":9,"rejected":9}'
BODY = {"network_type": "wi", "network_security": "wp2", "network_name": "Office"}


class Stranger:
    """Has the broker's address and no key."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})

    def append(self, key: bytes, value: bytes | None, headers: list[tuple[str, bytes]] | None = None) -> None:
        self._producer.produce(CONTROL, value, key, headers=headers, partition=0)
        assert self._producer.flush(30) == 0

    def again(self, message: Message) -> None:
        """Append a record that is there, byte for byte."""
        self.append(message.key(), message.value(), message.headers())

    def records(self) -> list[Message]:
        consumer = Consumer(
            {"bootstrap.servers": self._bootstrap, "group.id": "stranger", "enable.partition.eof": True}
        )
        consumer.assign([TopicPartition(CONTROL, 0, 0)])
        found = []
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is not None and message.error() is not None:
                break
            if message is not None:
                found.append(message)
        consumer.close()
        return found


@pytest.fixture
def gateway(own_broker: Broker, tmp_path: Path) -> Iterator[GatewayProcess]:
    with running_gateway(own_broker.bootstrap, tmp_path / "gateway") as process:
        yield process


def post(gateway: GatewayProcess) -> int:
    headers = {"Authorization": f"Bearer {gateway.token[Role.INGEST]}"}
    path = "/api/v1/device_app_connection_log/"
    return gateway.client.post(path, json=BODY, headers=headers).status_code


def ignored(gateway: GatewayProcess, why: str) -> float:
    name = f'tidegate_control_ignored_records_total{{why="{why}"}} '
    lines = gateway.client.get("/metrics").text.splitlines()
    return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)


def kafka_of(gateway: GatewayProcess) -> Connection:
    return connection(gateway.settings)


def signed_pause(gateway: GatewayProcess) -> None:
    """As the worker writes it."""
    log, _ = control.read(kafka_of(gateway))
    write_record(kafka_of(gateway), CONTROL, PLACE, PAUSE, log.signed(PLACE, PAUSE))
    await_(lambda: post(gateway) == 503, gateway.child.tail)


def test_a_forged_pause_stops_no_fleet(gateway: GatewayProcess) -> None:
    """It did: an unsigned `pause/…` record made the gateway answer that fleet 503."""
    stranger = Stranger(gateway.bootstrap)
    stranger.append(PLACE, PAUSE)
    stranger.append(
        PLACE, PAUSE, [("epoch", b"x"), ("at", b"9"), ("key-id", b"k1"), ("signature", b"0" * 64)]
    )
    stranger.append(b"pause/\x1b[2J\nforged line", b"\xff")
    await_(lambda: ignored(gateway, "unsigned") == 2 and ignored(gateway, "forged") == 1)
    assert post(gateway) == 201
    log = gateway.child.tail(200)
    assert "records passed over" in log
    assert "\x1b" not in log and "\nforged line" not in log


def test_a_header_that_no_client_can_read_is_an_unsigned_record(gateway: GatewayProcess) -> None:
    """Its name is not UTF-8: whoever read the topic raised, at its start and behind it."""
    named = handmade_batches.record(PAUSE, headers=[(b"\xff", b"x")])
    written = handmade_batches.produce(gateway.bootstrap, CONTROL, 0, handmade_batches.batch(named))
    assert written[0] == 0
    await_(lambda: ignored(gateway, "unsigned") == 1)
    signed_pause(gateway)  # what reads the log anew passes it over, and what follows it goes on
    assert topics.read_epoch(kafka_of(gateway))


def test_a_stranger_ends_no_pause_and_begins_none_again(gateway: GatewayProcess) -> None:
    """A record without a value let a paused stream go on; a pause copied behind its end paused it again."""
    stranger = Stranger(gateway.bootstrap)
    signed_pause(gateway)
    stranger.append(PLACE, None)
    await_(lambda: ignored(gateway, "unsigned") == 1)
    assert post(gateway) == 503

    [pause] = [message for message in stranger.records() if message.headers() and message.key() == PLACE]
    done = roles.run("fleet", "resume", "connection_logs", "demo", values=gateway.values)
    assert done.returncode == 0, done.stderr
    await_(lambda: post(gateway) == 201, gateway.child.tail)

    stranger.again(pause)
    await_(lambda: ignored(gateway, "replayed") == 1)
    assert post(gateway) == 201
    # One that starts now reads the same log.
    assert roles.run("fleet", "paused", values=gateway.values).stdout == ""


def test_a_stranger_names_no_epoch(gateway: GatewayProcess) -> None:
    """An unsigned `epoch` record, or one that is no JSON, was read as the topics' own."""
    kafka = kafka_of(gateway)
    epoch = topics.read_epoch(kafka)
    stranger = Stranger(gateway.bootstrap)
    other = topics.mint_epoch().encode()
    stranger.append(EPOCH_KEY, b'{"epoch":"' + other + b'","created_at":"2026-01-01T00:00:00Z"}')
    stranger.append(EPOCH_KEY, b"{")
    assert topics.read_epoch(kafka) == epoch
    assert topics.ensure_topics(gateway.settings).epoch == epoch


def test_records_of_an_earlier_life_of_the_topics_count_for_nothing(
    gateway: GatewayProcess,
) -> None:
    """The same key signs them: an old epoch, and a pause in it, put before and behind the new one."""
    kafka = kafka_of(gateway)
    epoch = topics.read_epoch(kafka)
    old = topics.mint_epoch()
    value = b'{"epoch":"' + old.encode() + b'","created_at":"2020-01-01T00:00:00Z"}'
    keys = control.control_keys(kafka)
    stranger = Stranger(gateway.bootstrap)
    stranger.append(EPOCH_KEY, value, sign(keys, epoch=old, at=1000, key=EPOCH_KEY, value=value))
    stranger.append(PLACE, PAUSE, sign(keys, epoch=old, at=2000, key=PLACE, value=PAUSE))
    await_(lambda: ignored(gateway, "other_epoch") == 1)
    assert topics.read_epoch(kafka) == epoch
    assert post(gateway) == 201


def test_another_key_mints_no_second_epoch(gateway: GatewayProcess, tmp_path: Path) -> None:
    """`tidegate topics` on a machine without the roles' key says so, and writes nothing."""
    before = len(Stranger(gateway.bootstrap).records())
    values = {**gateway.values, "control_key_file": str(tmp_path / "other.json")}
    made = roles.role("topics", tmp_path, values)
    made.start()
    try:
        await_(lambda: "signed with another key" in made.tail(), made.tail)
    finally:
        made.stop()
    assert (tmp_path / "other.json").stat().st_mode & 0o777 == 0o600
    assert len(Stranger(gateway.bootstrap).records()) == before
