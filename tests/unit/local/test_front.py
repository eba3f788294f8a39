"""The front passes everything on but the tags behind an answer to ApiVersions."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tidegate.local.child import free_port
from tidegate.local.front import Front, without_tags

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


@pytest.fixture
def places() -> Iterator[tuple[socket.socket, int]]:
    """A server that plays the broker, and the port of a front before it."""
    behind, port = free_port(), free_port()
    with socket.create_server(("127.0.0.1", behind)) as broker:
        broker.settimeout(10)
        front = Front("127.0.0.1", port, behind)
        front.start()
        yield broker, port
        front.stop()


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
            sender = threading.Thread(target=server.sendall, args=(large,))
            sender.start()
            assert receive(client, len(large)) == large
            sender.join()
            client.shutdown(socket.SHUT_WR)
            assert server.recv(1) == b""
            server.sendall(b"late")
            server.close()
            assert receive(client, 4) == b"late"
            assert client.recv(1) == b""


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
        front = Front("127.0.0.1", port, behind)
        front.start()
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(request(3, 12))
            server, _ = broker.accept()
            with server:
                receive(server, 12)
                front.stop()
                assert client.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)
        front.start()  # the address is free again
        front.stop()
