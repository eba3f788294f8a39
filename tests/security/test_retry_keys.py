"""Keys of retries, across fleets: one fleet's take nothing from another's, at gateway and worker."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import running_broker
from gateways import CLIENT_EVENTS, DEVICE_LOGS, GatewayProcess, running_gateway
from waiting import await_
from worker_rig import Rig

import builders
from tidegate.contracts import keys
from tidegate.contracts.topics import StreamPartition
from tidegate.local.broker import Broker
from tidegate.worker.dedup_window import DedupTable, Seen

REPLAYED = "idempotent-replayed"
KEYS_BYTES = 60_000  # some fifty requests


@pytest.fixture(scope="module")
def gateway(embedded_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(embedded_broker.bootstrap, folder, gateway_keys_bytes=KEYS_BYTES) as gateway:
        for fleet in ("loud", "quiet"):
            gateway.token[fleet] = gateway.tokens.create(fleet, fleet=fleet, role="ingest")  # type: ignore[index]
            token = gateway.token[fleet]  # type: ignore[index]
            await_(lambda token=token: post(gateway, token, "warm") == (201, False))  # type: ignore[misc]
        yield gateway


def post(gateway: GatewayProcess, token: str, key: str, **event: object) -> tuple[int, bool]:
    """The status, and whether it is the answer of before."""
    headers = {"idempotency-key": key}
    answer = gateway.post(CLIENT_EVENTS, builders.success(**event), token=token, headers=headers)
    return answer.status_code, REPLAYED in answer.headers


def test_a_flood_of_one_fleets_keys_leaves_anothers_at_the_gateway(gateway: GatewayProcess) -> None:
    """All keys shared one memory, and the oldest went first, whoever's: quiet's were gone."""
    quiet, loud = gateway.token["quiet"], gateway.token["loud"]  # type: ignore[index]
    for number in range(20):
        assert post(gateway, quiet, f"quiet-{number}") == (201, False)
    for number in range(300):
        assert post(gateway, loud, f"loud-{number}") == (201, False)
    assert [post(gateway, quiet, f"quiet-{number}") for number in range(20)] == [(201, True)] * 20
    assert post(gateway, loud, "loud-299") == (201, True)
    assert post(gateway, loud, "loud-0") == (201, False)


def test_the_same_key_of_another_fleet_is_another_key(gateway: GatewayProcess) -> None:
    """Settled: a key belongs to the token's fleet, and neither answers nor blocks elsewhere."""
    quiet, loud = gateway.token["quiet"], gateway.token["loud"]  # type: ignore[index]
    assert post(gateway, quiet, "shared", ssid="quiet's") == (201, False)
    assert post(gateway, loud, "shared", ssid="loud's") == (201, False)
    assert post(gateway, quiet, "shared", ssid="quiet's") == (201, True)
    assert post(gateway, loud, "shared", ssid="loud's") == (201, True)
    assert post(gateway, loud, "shared", ssid="quiet's") == (422, False)
    for token in (quiet, loud):
        event = builders.device_log(event_id="once")
        assert gateway.post(DEVICE_LOGS, event, token=token).status_code == 201
        assert REPLAYED in gateway.post(DEVICE_LOGS, event, token=token).headers


def test_no_fleet_and_key_read_as_another_fleet_and_key() -> None:
    """They were joined by a zero byte, which an event_id may hold."""
    assert keys.event_key("a", "b\0c") != keys.event_key("a\0b", "c")
    assert keys.request_key("ab", b"c") != keys.request_key("a", b"bc")
    key = keys.request_key("a", b"k")
    assert {keys.fleet_of(keys.piece_key(key, number)) for number in range(3)} == {keys.fleet_of(key)}
    assert keys.fleet_of(key) == keys.fleet_of(keys.event_key("a", "x"))
    assert len({keys.piece_key(key, number) for number in range(99)}) == 99
    assert {len(keys.piece_key(key, number)) for number in range(3)} == {keys.KEY_BYTES}


def line(fleet: str, event_id: str) -> bytes:
    return builders.envelope(builders.network_log(event_id=event_id), fleet=fleet)


@pytest.mark.timeout(600)
def test_a_flood_of_one_fleets_keys_leaves_anothers_at_the_worker(tmp_path: Path) -> None:
    """As at the gateway: a retry of quiet's that came behind the flood landed twice."""
    with (
        running_broker("embedded", tmp_path) as broker,
        Rig(broker.bootstrap, tmp_path / "worker", worker_keys_bytes=400_000) as rig,
    ):
        tokens = {"tokens": [], "fleets": ["quiet", "loud"]}
        (tmp_path / "worker" / "tokens.json").write_text(json.dumps(tokens))
        rig.start()
        mine = [line("quiet", f"q{number}") for number in range(50)]
        rig.send("connection_logs", b"\n".join(mine))
        for block in range(40):
            rig.send(
                "connection_logs", b"\n".join(line("loud", f"l{block}-{number}") for number in range(200))
            )
        accepted = 'tidegate_worker_lines_total{outcome="accepted",stream="connection_logs"}'
        await_(lambda: rig.metric(accepted) == 50 + 40 * 200, rig.worker.tail)
        await_(lambda: 0 < rig.metric("tidegate_worker_keys") < 3000, rig.worker.tail)
        rig.send("connection_logs", b"\n".join(mine))
        duplicates = 'tidegate_worker_lines_total{outcome="duplicate",stream="connection_logs"}'
        await_(
            lambda: rig.metric(duplicates) + rig.metric(accepted) == 8100, lambda: rig.get("/metrics") or ""
        )
        assert rig.metric(duplicates) == 50
        rig.stop()


def test_what_the_window_gives_up_is_of_whoever_holds_most() -> None:
    """Fair among any number of fleets, over all partitions, and the same after the table is read again."""
    pick = random.Random(3)
    table: dict[bytes, bytes] = {}
    limit = 200_000
    window = DedupTable(table, "01K9ZQ4T3M8W5X0R2B7C6D1E9F", window_seconds=3600, limit=limit)
    sent: dict[str, list[tuple[int, bytes]]] = {fleet: [] for fleet in ("loud", "b", "c")}
    for offset in range(600):
        partition = pick.randrange(3)
        part = window.window("client_events", partition)
        part.advance(1_000_000 * (offset + 1))
        entries = []
        for fleet, share in (("loud", 1.0), ("b", 0.05), ("c", 0.02)):
            if pick.random() < share:
                key = keys.event_key(fleet, str(offset))
                sent[fleet].append((partition, key))
                entries.append(key + b"contents")
        part.claim(offset, entries)
        window.forget()
    size = sum(window.window("client_events", partition).memory for partition in range(3))
    assert size <= limit

    def known(fleet: str) -> list[bool]:
        return [
            window.window("client_events", partition).seen(10**6, key, b"contents") is Seen.DUPLICATE
            for partition, key in sent[fleet]
        ]

    assert all(known("b")) and all(known("c"))
    assert not all(known("loud")) and known("loud")[-1]
    before = {fleet: known(fleet) for fleet in sent}
    window.recovered({StreamPartition("client_events", partition): 10**6 for partition in range(3)})
    assert {fleet: known(fleet) for fleet in sent} == before
