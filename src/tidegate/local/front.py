"""front: a loopback address before the embedded broker, for clients of older librdkafka (kcat of Debian 12).

tansu ends its answer to ApiVersions with tagged fields, as the protocol allows. librdkafka before 2.2 skips
a tagged field one byte short, and gives up the connection. The fields say nothing that a client needs
(feature levels of the broker), so the front takes them off that one answer. It stands at the beginning of
each connection; everything behind it is passed on by the kernel, unread.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import threading

API_VERSIONS = 18
PIPE_BYTES = 262_144  # what one system call moves


class Front:
    """Listens on `host` and `port`, and connects each client to the broker at port `behind` of loopback."""

    def __init__(self, host: str, port: int, behind: int) -> None:
        self._address = (host, port)
        self._behind = ("127.0.0.1", behind)
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def start(self) -> None:
        """Listen. Raises OSError where the address cannot be had."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        listener = socket.create_server(self._address, family=family, backlog=128)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="broker-front", daemon=True).start()

    def stop(self) -> None:
        """Close the address and every connection through it."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        listener.close()
        with self._lock:
            for one in self._open:
                _shut(one, socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="broker-front", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, EOFError):
            with socket.create_connection(self._behind) as broker:
                with self._lock:
                    self._open |= {client, broker}
                try:
                    for one in (client, broker):
                        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    _greet(client, broker)
                    back = threading.Thread(target=_pass_on, args=(broker, client), daemon=True)
                    back.start()
                    _pass_on(client, broker)
                    back.join()
                finally:
                    with self._lock:
                        self._open -= {client, broker}


def _greet(client: socket.socket, broker: socket.socket) -> None:
    """Pass requests and answers on one by one, up to the first request that is not ApiVersions."""
    while True:
        request = _read_frame(client)
        key, version = struct.unpack_from(">hh", request)
        _write_frame(broker, request)
        if key != API_VERSIONS:
            return
        answer = _read_frame(broker)
        _write_frame(client, without_tags(answer) if version >= 3 else answer)


def without_tags(answer: bytes) -> bytes:
    """An ApiVersions response of version 3 or later without the tagged fields at its end.

    Correlation id (4 bytes), error (2), compact array of key, first and last version (2 each) and tags,
    throttle time (4), tags. One with an error is in the form of version 0 and stays as it is.
    """
    if answer[4:6] != b"\0\0":
        return answer
    count, place = _varint(answer, 6)
    for _ in range(count - 1):
        place = _behind_tags(answer, place + 6)
    return answer[: place + 4] + b"\0"


def _behind_tags(data: bytes, place: int) -> int:
    count, place = _varint(data, place)
    for _ in range(count):
        _, place = _varint(data, place)
        length, place = _varint(data, place)
        place += length
    return place


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """An unsigned varint, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7


def _read_frame(sender: socket.socket) -> bytes:
    (length,) = struct.unpack(">i", _read(sender, 4))
    return _read(sender, length)


def _write_frame(receiver: socket.socket, data: bytes) -> None:
    receiver.sendall(struct.pack(">i", len(data)) + data)


def _read(sender: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = sender.recv(min(length - len(data), PIPE_BYTES))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def _pass_on(sender: socket.socket, receiver: socket.socket) -> None:
    """Move bytes until the sender ends or either side breaks."""
    try:
        if hasattr(os, "splice"):
            _splice(sender, receiver)
        else:
            while piece := sender.recv(PIPE_BYTES):
                receiver.sendall(piece)
    except OSError:
        _shut(sender, socket.SHUT_RDWR)
        _shut(receiver, socket.SHUT_RDWR)
    else:
        _shut(receiver, socket.SHUT_WR)


def _splice(sender: socket.socket, receiver: socket.socket) -> None:
    """Through a pipe within the kernel: the bytes never come into this process."""
    read_end, write_end = os.pipe()
    try:
        with contextlib.suppress(OSError):  # a smaller pipe works as well
            fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        while moved := os.splice(sender.fileno(), write_end, PIPE_BYTES):
            while moved:
                moved -= os.splice(read_end, receiver.fileno(), moved)
    finally:
        os.close(read_end)
        os.close(write_end)


def _shut(one: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(how)
