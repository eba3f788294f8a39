"""Who has no secret, and who sends without end, gets nothing from a connector; there is no gateway here."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import connector_payloads as made
import psutil
import pytest
import radius_client
import roles
from connector_process import SECRET, Connector, connecting
from waiting import await_

from tidegate.local.child import free_port

BODY_BYTES = 65_536


@pytest.fixture(scope="module")
def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def mist(nowhere: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connector]:
    folder = tmp_path_factory.mktemp("mist")
    with connecting("mist", folder, nowhere, "tg_x", "/healthz", connect_max_body_bytes=BODY_BYTES) as one:
        yield one


@pytest.fixture(scope="module")
def meraki(nowhere: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connector]:
    folder = tmp_path_factory.mktemp("meraki")
    with connecting("meraki", folder, nowhere, "tg_x", "/healthz", connect_max_body_bytes=BODY_BYTES) as one:
        yield one


def join() -> bytes:
    return made.mist("client-join", made.client_join(time.time()))


def test_what_is_signed_is_not_acknowledged_before_the_gateway_has_it(mist: Connector) -> None:
    body = join()
    answer = mist.post(body, made.signature(SECRET, body))
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    status, said = roles.get(mist.listen, "/readyz")
    assert status == 503 and "the gateway is away" in said


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Mist-Signature-v2": ""},
        {"X-Mist-Signature-v2": "0" * 64},
        made.signature("another", join()),
        {"X-Mist-Signature": made.signature(SECRET, join())["X-Mist-Signature-v2"]},
    ],
    ids=["none", "empty", "zeros", "another secret", "the header of version 1"],
)
def test_a_delivery_of_mist_without_its_signature(mist: Connector, headers: dict[str, str]) -> None:
    for body in (join(), b"{", b"[" * 60_000):
        answer = mist.post(body, headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.json()["path"] == "X-Mist-Signature-v2"
        assert SECRET not in answer.text


def test_a_signature_of_mist_holds_for_its_body_alone(mist: Connector) -> None:
    body = join()
    signed = made.signature(SECRET, body)
    assert mist.post(body.replace(b"Harbour", b"harbour"), signed).status_code == 401
    twice = [("x-mist-signature-v2", "0"), ("x-mist-signature-v2", signed["X-Mist-Signature-v2"])]
    answer = mist.client.post("/mist", content=body, headers=twice)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("secret", [None, "", "another", 7, {"x": 1}])
def test_an_alert_of_meraki_without_the_secret(meraki: Connector, secret: Any) -> None:
    document = {**made.meraki_settings(time.time(), ""), "sharedSecret": secret}
    answer = meraki.post(document)
    assert (answer.status_code, answer.json()["path"]) == (401, "sharedSecret")


def test_bodies_are_bounded_and_come_as_they_are(mist: Connector, meraki: Connector) -> None:
    for connector in (mist, meraki):
        large = b"x" * (BODY_BYTES + 1)
        assert connector.post(large).status_code == 413

        def pieces() -> Iterator[bytes]:
            for _ in range(100):
                yield b"x" * 1000

        answer = connector.client.post(f"/{connector.name}", content=pieces())
        assert answer.status_code == 413
        assert connector.post(b"", {"content-encoding": "gzip"}).status_code == 415
        assert connector.client.get(f"/{connector.name}").status_code == 405
        assert connector.client.post("/", content=b"{}").status_code == 404
    for document in (b"", b"[]", b"[" * 60_000, b'{"sharedSecret":"\xff"}', b"null"):
        assert meraki.post(document).status_code == 400
    many = [made.client_join(time.time())] * 100
    body = made.mist("client-join", *many)
    assert len(body) < BODY_BYTES and mist.post(body, made.signature(SECRET, body)).status_code == 503


@pytest.mark.parametrize("name", ["mist", "meraki", "radius"])
def test_a_connector_does_not_start_without_a_secret(name: str, nowhere: str, tmp_path: Path) -> None:
    values = {"connect_gateway_url": nowhere, "connect_token": "tg_x", "data_dir": str(tmp_path)}
    done = roles.run("connect", name, values=values)
    assert done.returncode == 2 and "connect_secret" in done.stderr
    done = roles.run("connect", name, values={**values, "connect_token": "", "connect_secret": "x"})
    assert done.returncode == 2 and "connect_token" in done.stderr


def test_datagrams_of_strangers_and_forgers_are_not_answered(nowhere: str, tmp_path: Path) -> None:
    good = radius_client.request(SECRET.encode(), radius_client.start(time.time()))
    bad = radius_client.request(b"another", radius_client.start(time.time()))
    with connecting("radius", tmp_path, nowhere, "tg_x", "/healthz") as radius:
        for sent in (bad, good[:30], good + b"x" * 5000, b"", b"\xff" * 4096):
            assert radius_client.exchange(radius.radius, sent, seconds=0.3) is None
        await_(lambda: radius.count("dropped_total", reason="secret") >= 1)
        await_(lambda: radius.count("dropped_total", reason="malformed") >= 2)
        assert radius_client.exchange(radius.radius, good, seconds=3) is None, "the gateway has it not"
        assert radius.count("events_total", outcome="unanswered") >= 1
    with connecting(
        "radius", tmp_path, nowhere, "tg_x", "/healthz", connect_allow="10.0.0.0/8, ::1"
    ) as radius:
        assert radius_client.exchange(radius.radius, good, seconds=0.5) is None
        assert radius.count("dropped_total", reason="stranger") == 1


def is_ended(connection: socket.socket) -> bool:
    connection.settimeout(10)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_syslog_without_end_fills_no_memory(nowhere: str, tmp_path: Path) -> None:
    line = b"<30>hostapd: wlan0: AP-STA-CONNECTED a4:83:e7:11:22:33 " + b"x" * 900 + b"\n"
    syslog = Connector("hostapd", tmp_path, nowhere, "tg_x").start("/healthz")
    try:
        assert syslog.child.pid is not None
        process = psutil.Process(syslog.child.pid)
        before = process.memory_info().rss
        with socket.create_connection(syslog.syslog) as endless:
            endless.sendall(b"<30>" + b"x" * 20_000)
            assert is_ended(endless)
        await_(lambda: syslog.count("dropped_total", reason="malformed") == 1)
        with socket.create_connection(syslog.syslog) as flood:
            flood.settimeout(3.0)
            sent = 0
            with pytest.raises(TimeoutError):  # the gateway is away: the sender is left waiting
                while sent < 200 << 20:
                    sent += flood.send(line * 64)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
                for _ in range(100):
                    datagrams.sendto(line, syslog.syslog)
            await_(lambda: syslog.count("dropped_total", reason="full") >= 50)
        assert process.memory_info().rss - before < 100 << 20
    finally:  # one that is told to end would try for a while to deliver what it has
        syslog.client.close()
        syslog.child.kill()
        syslog.child.wait(10)


def test_syslog_of_strangers_is_not_read(nowhere: str, tmp_path: Path) -> None:
    with connecting("hostapd", tmp_path, nowhere, "tg_x", "/healthz", connect_allow="10.0.0.0/8") as syslog:
        with socket.create_connection(syslog.syslog) as stranger:
            assert is_ended(stranger)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.sendto(json.dumps({}).encode(), syslog.syslog)
        await_(lambda: syslog.count("dropped_total", reason="stranger") == 2)


def test_an_address_that_is_none_is_refused(nowhere: str, tmp_path: Path) -> None:
    values = {
        "connect_gateway_url": nowhere,
        "connect_token": "tg_x",
        "connect_secret": "x",
        "connect_allow": "10.0.0.1/8",
        "data_dir": str(tmp_path),
    }
    done = roles.run("connect", "radius", values=values)
    assert done.returncode == 2 and "connect_allow" in done.stderr
