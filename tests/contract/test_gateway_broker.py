"""The gateway and its broker: away, frozen, back; a drain under load; what was acked is in the log."""

from __future__ import annotations

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from gateways import CLIENT_EVENTS, GatewayProcess, position, prepare_topics, read_all, total
from waiting import await_

import builders
from tidegate.local.broker import Broker
from tidegate.local.child import free_port
from tidegate.settings import Settings


def gateway_on(broker: Broker, folder: Path, **values: object) -> GatewayProcess:
    """With the product's own patience."""
    own = {"gateway_answer_ms": Settings().gateway_answer_ms, **values}
    return GatewayProcess(broker.bootstrap, folder / "gateway", **own)


def refused(answer: httpx.Response, code: str) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.json()["code"] == code
    assert int(answer.headers["retry-after"]) >= 1


def test_without_a_broker_it_starts_and_answers_503(tmp_path: Path) -> None:
    gateway = GatewayProcess(f"127.0.0.1:{free_port()}", tmp_path).start(ready=False)
    try:
        refused(gateway.post(CLIENT_EVENTS, builders.success()), "broker_away")
        assert gateway.client.get("/readyz").status_code == 503
        assert gateway.client.get("/healthz").status_code == 200
        assert gateway.post(CLIENT_EVENTS, b"{}", token="wrong").status_code == 401
    finally:
        assert gateway.stop() == 0


def test_without_topics_it_is_not_ready_and_makes_none(own_broker: Broker, tmp_path: Path) -> None:
    gateway = gateway_on(own_broker, tmp_path).start(ready=False)
    try:
        time.sleep(1.0)
        refused(gateway.post(CLIENT_EVENTS, builders.success()), "broker_away")
        prepare_topics(own_broker.bootstrap)  # would refuse topics of one partition that the gateway made
        gateway.await_status("/readyz", 200)
        assert gateway.post(CLIENT_EVENTS, builders.success()).status_code == 201
    finally:
        assert gateway.stop() == 0


def test_the_producer_is_idempotent(own_broker: Broker, tmp_path: Path) -> None:
    """On the embedded broker too, behind its proxy."""
    prepare_topics(own_broker.bootstrap)
    gateway = gateway_on(own_broker, tmp_path).start()
    assert "idempotent True" in gateway.child.tail()
    assert gateway.stop() == 0


def test_a_broker_that_stops_is_503_at_once_and_its_return_is_noticed(
    own_broker: Broker, tmp_path: Path
) -> None:
    first_epoch = prepare_topics(own_broker.bootstrap)
    gateway = gateway_on(own_broker, tmp_path).start()
    try:
        answer = gateway.post(CLIENT_EVENTS, [builders.success()])
        assert position(answer.json()["ids"][0]).epoch == first_epoch
        own_broker.stop()
        times = []
        for _ in range(3):
            began = time.monotonic()
            answer = gateway.post(CLIENT_EVENTS, builders.success())
            assert answer.status_code == 503, answer.text
            times.append(time.monotonic() - began)
        assert min(times) < 5  # and not after the producer's own timeouts
        refused(answer, "broker_away")
        assert gateway.client.get("/readyz").status_code == 503
        own_broker.start()
        epoch = prepare_topics(own_broker.bootstrap)
        assert (epoch == first_epoch) == own_broker.durable
        gateway.await_status("/readyz", 200)
        answer = gateway.post(CLIENT_EVENTS, [builders.success(ssid="back")])
        assert answer.status_code == 201, answer.text
        (id,) = answer.json()["ids"]
        assert position(id).epoch == epoch
        assert gateway.lines(id)[0]["event"]["ssid"] == "back"
        assert total(gateway, "tidegate_gateway_held_bytes") == 0
    finally:
        assert gateway.stop() == 0


def test_a_frozen_broker_is_503_and_holds_no_more_than_the_queue(own_broker: Broker, tmp_path: Path) -> None:
    prepare_topics(own_broker.bootstrap)
    gateway = gateway_on(
        own_broker, tmp_path, gateway_ack_timeout_ms=3000, gateway_queue_bytes=3_000_000
    ).start()
    try:
        assert gateway.post(CLIENT_EVENTS, builders.success()).status_code == 201
        own_broker.child.signal(signal.SIGSTOP)
        body = json.dumps([builders.success() for _ in range(1000)]).encode()
        answers = _at_once(gateway, [body] * 20)
        assert {answer.status_code for answer in answers} == {503}
        assert {answer.json()["code"] for answer in answers} <= {
            "queue_full",
            "broker_away",
            "outcome_unknown",
        }
        assert total(gateway, "tidegate_gateway_held_bytes") <= 3_000_000
        refused(gateway.post(CLIENT_EVENTS, builders.success()), "broker_away")
        own_broker.child.signal(signal.SIGCONT)
        # Apache Kafka may have fenced itself meanwhile, and has a leader again a little later.
        await_(lambda: gateway.post(CLIENT_EVENTS, builders.success()).status_code == 201)
    finally:
        assert gateway.stop() == 0


def _at_once(gateway: GatewayProcess, bodies: list[bytes]) -> list[httpx.Response]:
    headers = {"authorization": f"Bearer {gateway.token['ingest']}"}  # type: ignore[index]
    with (
        httpx.Client(base_url=gateway.url, timeout=60) as client,
        ThreadPoolExecutor(max_workers=len(bodies)) as threads,
    ):
        return list(
            threads.map(lambda body: client.post(CLIENT_EVENTS, content=body, headers=headers), bodies)
        )


class Senders:
    """Threads that post numbered events until they are told to stop or the gateway goes."""

    def __init__(self, gateway: GatewayProcess, count: int) -> None:
        self._gateway = gateway
        self._stop = threading.Event()
        self.acked: dict[str, str] = {}  # id -> ssid
        self.statuses: set[int] = set()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def _send(self, number: int) -> None:
        headers = {"authorization": f"Bearer {self._gateway.token['ingest']}"}  # type: ignore[index]
        with httpx.Client(base_url=self._gateway.url, timeout=30, headers=headers) as client:
            turn = 0
            while not self._stop.is_set():
                turn += 1
                names = [f"{number}-{turn}-{part}" for part in range(5)]
                events: Any = [
                    builders.success(ssid=name, macAddress=f"00:11:22:33:44:{turn % 256:02x}")
                    for name in names
                ]
                try:
                    answer = client.post(CLIENT_EVENTS, json=events if turn % 2 else events[0])
                except httpx.TransportError:
                    if not self._gateway.child.running:
                        return
                    time.sleep(0.01)
                    continue
                self.statuses.add(answer.status_code)
                if answer.status_code != 201:
                    continue
                if turn % 2:
                    self.acked.update(zip(answer.json()["ids"], names, strict=True))
                else:
                    self.acked[answer.json()["id"]] = names[0]

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_a_drain_under_load_loses_no_acked_event(own_broker: Broker, tmp_path: Path) -> None:
    epoch = prepare_topics(own_broker.bootstrap)
    gateway = gateway_on(own_broker, tmp_path).start()
    senders = Senders(gateway, 8)
    await_(lambda: len(senders.acked) > 100)
    gateway.child.signal(signal.SIGTERM)
    assert gateway.child.wait(30) == 0, gateway.child.tail()
    senders.stop()
    gateway.client.close()
    assert senders.statuses == {201}
    log = read_all(own_broker.bootstrap, "client_events")
    for id, ssid in senders.acked.items():
        place = position(id)
        assert place.epoch == epoch
        assert log[place.partition, place.offset, place.index]["event"]["ssid"] == ssid
    # nothing is in the log twice
    assert len({line["event"]["ssid"] for line in log.values()}) == len(log)


def test_a_kill_loses_no_acked_event(own_broker: Broker, tmp_path: Path) -> None:
    prepare_topics(own_broker.bootstrap)
    gateway = gateway_on(own_broker, tmp_path).start()
    senders = Senders(gateway, 4)
    time.sleep(1.0)
    gateway.child.kill()
    gateway.child.wait(5)
    senders.stop()
    gateway.client.close()
    log = read_all(own_broker.bootstrap, "client_events")
    for id, ssid in senders.acked.items():
        place = position(id)
        assert log[place.partition, place.offset, place.index]["event"]["ssid"] == ssid


def test_an_address_in_use_is_wrong_usage(tmp_path: Path) -> None:
    gateway = GatewayProcess(f"127.0.0.1:{free_port()}", tmp_path).start(ready=False)
    try:
        again = GatewayProcess("127.0.0.1:1", tmp_path / "other", gateway_listen=gateway.url[7:])
        again.child.start()
        assert again.child.wait(20) == 2
        assert "gateway_listen" in again.child.tail()
        again.client.close()
    finally:
        assert gateway.stop() == 0
