"""A proxy on loopback before the embedded broker, for what clients expect and tansu does not do.

Requests and answers are told apart by the eight bytes that each begins with; all but these few are passed on
by the kernel, unread (`rewrite` has what is done to them):

* ApiVersions: tagged fields behind the answer are taken off. librdkafka before 2.2 (kcat of Debian 12) skips
  one a byte short and gives up the connection; they say nothing that a client needs. A version that tansu
  does not know is refused as Kafka refuses it.
* InitProducerId before version 3 (kafkajs, sarama set to an old Kafka): tansu takes version 3 on alone. One
  with a transactional id is refused, since tansu shows aborted records to everybody.
* JoinGroup: tansu holds a member's first answer back for half of its session timeout.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable

from tidegate.local import broker_proxy_rewrite
from tidegate.service import limits

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 1000  # at once, each with two threads
FILES = 6  # of a connection: two sockets, two pipes
PAUSE_SECONDS = 0.1  # where none can be taken
PIPE_BYTES = 262_144  # what one system call moves
SMALL_BYTES = 8_192  # up to this, a copy costs less than two system calls
MAX_FRAME_BYTES = 104_857_600  # as Kafka's socket.request.max.bytes


class BrokerProxy:
    """Listens on `host` and `port`, and connects each client to the broker at port `behind` of loopback."""

    def __init__(self, host: str, port: int, behind: int) -> None:
        self._address = (host, port)
        self._behind = ("127.0.0.1", behind)
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._connections = 0
        self._full = False  # and said so
        self._most = max(1, min(MOST_CONNECTIONS, (limits.files() - limits.OWN_FILES) // FILES))

    def start(self) -> None:
        """Listen. Raises OSError where the address cannot be had."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        listener = socket.create_server(self._address, family=family, backlog=128)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="broker-proxy", daemon=True).start()

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
        """Whatever clients do, the next ones are let in until `stop`."""
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                if self._listener is not listener:
                    return
                time.sleep(PAUSE_SECONDS)  # for want of files, or it has gone again
                continue
            if not self._begin():
                client.close()
                continue
            try:
                threading.Thread(target=self._serve, args=(client,), name="broker-proxy", daemon=True).start()
            except RuntimeError:  # for want of threads
                client.close()
                self._end()
                time.sleep(PAUSE_SECONDS)

    def _begin(self) -> bool:
        with self._lock:
            if self._connections < self._most:
                self._connections += 1
                self._full = False
                return True
            if not self._full:
                log.warning("%d connections are open, and no more are taken", self._connections)
            self._full = True
            return False

    def _end(self) -> None:
        with self._lock:
            self._connections -= 1

    def _serve(self, client: socket.socket) -> None:
        try:
            self._pass_on(client)
        finally:
            self._end()

    def _pass_on(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, EOFError):
            with socket.create_connection(self._behind) as broker:
                with self._lock:
                    self._open |= {client, broker}
                try:
                    for one in (client, broker):
                        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    link = _Link(client, broker)
                    back = threading.Thread(target=_until_the_end, args=(link.answers, broker, client))
                    back.daemon = True
                    back.start()
                    _until_the_end(link.requests, client, broker)
                    back.join()
                finally:
                    with self._lock:
                        self._open -= {client, broker}


class _Link:
    """One client's connection and the one to the broker behind it."""

    def __init__(self, client: socket.socket, broker: socket.socket) -> None:
        self._client = client
        self._broker = broker
        self._awaited: dict[
            int, broker_proxy_rewrite.Answer
        ] = {}  # by correlation id: what is done to the answer
        self._writing = threading.Lock()  # to the client

    def requests(self, pipe: Pipe) -> None:
        """Pass requests on until the client ends."""
        while head := _head(self._client):
            length, key, version = struct.unpack(">ihh", head)
            mend = broker_proxy_rewrite.REQUESTS.get(key)
            if mend is None:
                self._broker.sendall(head)
                pipe.move(self._client, self._broker, length - 4)
                continue
            request = mend(version, head[4:] + _read(self._client, length - 4))
            if request.refused is not None:
                with self._writing:
                    self._client.sendall(_frame(request.refused))
                continue
            if request.answer is not None:
                (correlation,) = struct.unpack_from(">i", request.data, 4)
                self._awaited[correlation] = request.answer
            self._broker.sendall(_frame(request.data))

    def answers(self, pipe: Pipe) -> None:
        """Pass answers back until the broker ends."""
        while head := _head(self._broker):
            length, correlation = struct.unpack(">ii", head)
            mend = self._awaited.pop(correlation, None)
            with self._writing:
                if mend is not None:
                    self._client.sendall(_frame(mend(head[4:] + _read(self._broker, length - 4))))
                else:
                    self._client.sendall(head)
                    pipe.move(self._broker, self._client, length - 4)


def _until_the_end(flow: Callable[[Pipe], None], sender: socket.socket, receiver: socket.socket) -> None:
    """Run one direction until its sender ends or either side breaks."""
    try:
        with Pipe() as pipe:
            flow(pipe)
    except (OSError, EOFError, ValueError, IndexError, struct.error):
        _shut(sender, socket.SHUT_RDWR)
        _shut(receiver, socket.SHUT_RDWR)
    else:
        _shut(receiver, socket.SHUT_WR)


class Pipe:
    """Moves bytes between sockets within the kernel: they never come into this process."""

    def __init__(self) -> None:
        self._ends = os.pipe() if hasattr(os, "splice") else None
        if self._ends:
            with contextlib.suppress(OSError):  # a smaller pipe works as well
                fcntl.fcntl(self._ends[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *reason: object) -> None:
        for end in self._ends or ():
            os.close(end)

    def move(self, sender: socket.socket, receiver: socket.socket, length: int) -> None:
        """Raises EOFError where the sender ends before `length` bytes, OSError where either side breaks."""
        if length <= SMALL_BYTES or not self._ends:
            while length > 0:
                piece = _read(sender, min(length, PIPE_BYTES))
                receiver.sendall(piece)
                length -= len(piece)
            return
        read_end, write_end = self._ends
        while length > 0:
            moved = os.splice(sender.fileno(), write_end, min(length, PIPE_BYTES))
            if not moved:
                raise EOFError
            length -= moved
            while moved:
                moved -= os.splice(read_end, receiver.fileno(), moved)


def _head(sender: socket.socket) -> bytes:
    """The first eight bytes of the next frame; none where the sender has ended."""
    first = sender.recv(8)
    if first and len(first) < 8:
        first += _read(sender, 8 - len(first))
    if first and not 4 <= struct.unpack_from(">i", first)[0] <= MAX_FRAME_BYTES:
        raise ValueError("no frame of Kafka's protocol")
    return first


def _frame(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def _read(sender: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = sender.recv(min(length - len(data), PIPE_BYTES))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def _shut(one: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(how)
