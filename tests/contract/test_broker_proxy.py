"""The proxy passes everything on but the tags behind an answer to ApiVersions."""

from __future__ import annotations

import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tidegate.local.broker_proxy import FILES, BrokerProxy
from tidegate.local.broker_proxy_rewrite import init_producer_id, join_group, without_tags
from tidegate.local.child import free_port
from tidegate.service.limits import OWN_FILES

# correlation 1, no error, one api (Produce 0 to 11), no throttle
PLAIN = bytes.fromhex("00000001 0000 02 0000 0000 000b 00 00000000")
TAGS = bytes.fromhex("04 000101 0108ffffffffffffffff 020101 030100")


def test_the_tags_are_taken_off() -> None:
    assert without_tags(PLAIN + TAGS) == PLAIN + b"\0"
    assert without_tags(PLAIN + b"\0") == PLAIN + b"\0"


def test_tags_of_an_api_stay() -> None:
    tagged = bytes.fromhex("00000001 0000 02 0000 0000 000b 01 0501ff 00000000")
    assert without_tags(tagged + TAGS) == tagged + b"\0"


def test_an_error_stays_as_it_is() -> None:
    refused = bytes.fromhex("00000001 0023 00000001 0012 0000 0002")
    assert without_tags(refused) == refused


# client id "c", no transactional id, 60 s
@pytest.mark.parametrize(
    "old",
    [
        "0000 00000009 0001 63 ffff 0000ea60",
        "0001 00000009 0001 63 ffff 0000ea60",
        "0002 00000009 0001 63 00 00 0000ea60 00",
    ],
)
def test_an_old_init_producer_id_becomes_version_3(old: str) -> None:
    request = init_producer_id(int(old[:4]), bytes.fromhex("0016" + old))
    assert request.data == bytes.fromhex("0016 0003 00000009 0001 63 00 00 0000ea60 ffffffffffffffff ffff 00")
    answer = bytes.fromhex("00000009 00 00000000 0000 0000000000000007 0000 00")
    if int(old[:4]) < 2:
        assert request.answer is not None
        assert request.answer(answer) == bytes.fromhex("00000009 00000000 0000 0000000000000007 0000")
    else:
        assert request.answer is None


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("0001 00000009 0001 63 0002 7478 0000ea60", "00000009 00000000 0023 ffffffffffffffff ffff"),
        (
            "0004 00000009 0001 63 00 03 7478 0000ea60 ffffffffffffffff ffff 00",
            "00000009 00 00000000 0023 ffffffffffffffff ffff 00",
        ),
    ],
)
def test_a_transactional_id_is_refused_as_unsupported(asked: str, told: str) -> None:
    assert init_producer_id(int(asked[:4]), bytes.fromhex("0016" + asked)).refused == bytes.fromhex(told)


def test_a_group_gets_a_session_of_ten_seconds_at_most() -> None:
    for version, group in ((5, "0001 67"), (9, "00 02 67")):
        for asked, given in (("0000afc8", "00002710"), ("00001770", "00001770")):
            before = f"000b {version:04x} 00000009 ffff {group} %s 0000ea60 00"
            assert join_group(version, bytes.fromhex(before % asked)).data == bytes.fromhex(before % given)


@pytest.fixture
def places() -> Iterator[tuple[socket.socket, int]]:
    """A server that plays the broker, and the port of a proxy before it."""
    behind, port = free_port(), free_port()
    with socket.create_server(("127.0.0.1", behind)) as broker:
        broker.settimeout(10)
        proxy = BrokerProxy("127.0.0.1", port, behind)
        proxy.start()
        yield broker, port
        proxy.stop()


def frame(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def receive(sender: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = sender.recv(length - len(data))
        assert piece, "the connection ended"
        data += piece
    return bytes(data)


def request(key: int, version: int) -> bytes:
    return frame(struct.pack(">hhi", key, version, 1))


def test_what_comes_behind_the_greeting_is_passed_on_as_it_is(places: tuple[socket.socket, int]) -> None:
    broker, port = places
    large = bytes(range(256)) * 20_000
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(request(18, 3))
        server, _ = broker.accept()
        with server:
            server.settimeout(10)
            assert receive(server, 12) == request(18, 3)
            server.sendall(frame(PLAIN + TAGS))
            assert receive(client, 4 + len(PLAIN) + 1) == frame(PLAIN + b"\0")
            client.sendall(request(3, 12))
            assert receive(server, 12) == request(3, 12)
            sender = threading.Thread(target=server.sendall, args=(frame(large),))
            sender.start()
            assert receive(client, 4 + len(large)) == frame(large)
            sender.join()
            client.shutdown(socket.SHUT_WR)
            assert server.recv(1) == b""
            server.sendall(frame(b"late answer"))
            server.close()
            assert receive(client, 15) == frame(b"late answer")
            assert client.recv(1) == b""


def test_a_greeting_that_is_too_new_is_answered_as_kafka_does(places: tuple[socket.socket, int]) -> None:
    broker, port = places
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(request(18, 5))
        # correlation 1, UNSUPPORTED_VERSION, one api: ApiVersions 0 to 4
        assert receive(client, 20) == frame(bytes.fromhex("00000001 0023 00000001 0012 0000 0004"))
        client.sendall(request(18, 4))  # and the client asks again
        server, _ = broker.accept()
        with server:
            assert receive(server, 12) == request(18, 4)


def test_a_broker_that_is_away_ends_the_connection(places: tuple[socket.socket, int]) -> None:
    broker, port = places
    broker.close()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass


def test_stopped_it_closes_what_is_open() -> None:
    behind, port = free_port(), free_port()
    with socket.create_server(("127.0.0.1", behind)) as broker:
        proxy = BrokerProxy("127.0.0.1", port, behind)
        proxy.start()
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(request(3, 12))
            server, _ = broker.accept()
            with server:
                receive(server, 12)
                proxy.stop()
                assert client.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)
        proxy.start()  # the address is free again
        proxy.stop()


FEW_FILES = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
from tidegate.local.broker_proxy import FILES, BrokerProxy
BrokerProxy("127.0.0.1", int(sys.argv[1]), int(sys.argv[2])).start()
print("listens", flush=True)
sys.stdin.read()
"""


class UntilTheEnd(socketserver.BaseRequestHandler):
    """A broker that says nothing, and ends a connection when its client does."""

    def handle(self) -> None:
        with suppress(OSError):
            while self.request.recv(4096):
                pass


def test_more_connections_than_there_are_files_for_keep_nobody_out_for_good() -> None:
    """The thread that takes them ended, and with it the way to the broker."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), UntilTheEnd) as broker:
        threading.Thread(target=broker.serve_forever, args=(0.05,), daemon=True).start()
        port, behind = free_port(), broker.server_address[1]
        arguments = [sys.executable, "-c", FEW_FILES, str(port), str(behind)]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None and process.stdout is not None
            assert process.stdout.readline() == b"listens\n"
            try:
                with ExitStack() as open_:
                    many = [open_.enter_context(connected(port)) for _ in range(100)]
                    assert sum(map(answers, many)) == (300 - OWN_FILES) // FILES
                deadline = time.monotonic() + 30
                while True:
                    with connected(port) as one:
                        if answers(one):
                            break
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            finally:
                process.stdin.close()
                broker.shutdown()


def connected(port: int) -> socket.socket:
    """A client that has asked what the proxy answers by itself."""
    client = socket.create_connection(("127.0.0.1", port), timeout=2)
    with suppress(OSError):
        client.sendall(request(18, 5))
    return client


def answers(client: socket.socket) -> bool:
    try:
        return len(client.recv(20)) == 20
    except OSError:
        return False
