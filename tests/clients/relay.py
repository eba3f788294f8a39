"""A TCP relay on loopback that keeps what clients sent, by connection: what one does on the wire."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Relay:
    """`sent` has the bytes of each connection, in the order in which they were made. The first `lose` answers
    are lost: the connection ends in their place."""

    def __init__(self, upstream: tuple[str, int], lose: int = 0) -> None:
        self.sent: list[bytearray] = []
        self.lose = lose
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # until the listener is closed
            while True:
                client, _ = self._listener.accept()
                self.sent.append(bytearray())
                threading.Thread(target=self._serve, args=(client, self.sent[-1]), daemon=True).start()

    def _serve(self, client: socket.socket, sent: bytearray) -> None:
        with suppress(OSError), client, socket.create_connection(self._upstream) as server:
            back = threading.Thread(target=self._answer, args=(server, client), daemon=True)
            back.start()
            _pump(client, server, sent)
            back.join()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            if self.lose and server.recv(1 << 16):
                self.lose -= 1
                client.shutdown(socket.SHUT_RDWR)
                return
        _pump(server, client, bytearray())


def _pump(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            kept += data
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def relay(host: str, port: int, lose: int = 0) -> Iterator[Relay]:
    made = Relay((host, port), lose)
    try:
        yield made
    finally:
        made.close()
