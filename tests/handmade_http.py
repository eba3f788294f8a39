"""HTTP written byte by byte, as no library would: for what a server must bear."""

from __future__ import annotations

import json
import socket
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

PATIENCE = 30.0  # seconds


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection."""

    def __init__(self, url: str, seconds: float = PATIENCE) -> None:
        address = urlsplit(url)
        assert address.hostname in ("127.0.0.1", "localhost")  # nowhere else
        self.socket = socket.create_connection((address.hostname, address.port), timeout=seconds)
        self._read = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def try_send(self, data: bytes) -> bool:
        """False where the server has hung up."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def answer(self, *, head: bool = False) -> Answer:
        """The next answer; its body by Content-Length or chunks, none for a HEAD."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        text, _, self._read = self._read.partition(b"\r\n\r\n")
        first, *lines = text.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        status = int(first.split(" ")[1])
        if head or status == 100:
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self._chunks())
        return Answer(status, headers, self._take(int(headers["content-length"])))

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        try:
            while True:
                self._more()
        except OSError:
            pass
        found, self._read = self._read, b""
        return found

    def closes(self, seconds: float = PATIENCE) -> bool:
        """Whether the server ends the connection, without another byte of an answer."""
        self.socket.settimeout(seconds)
        try:
            return not self._read and self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._read:
                self._more()
            size, _, self._read = self._read.partition(b"\r\n")
            piece = self._take(int(size, 16) + 2)[:-2]
            if not piece:
                return body
            body += piece

    def _take(self, size: int) -> bytes:
        while len(self._read) < size:
            self._more()
        taken, self._read = self._read[:size], self._read[size:]
        return taken

    def _more(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError(f"the server hung up; read until then: {self._read[:200]!r}")
        self._read += data


def exchange(url: str, *parts: bytes, pause: float = 0.05) -> Answer:
    """Send the parts one after the other on a connection of its own; the first answer."""
    with Wire(url) as wire:
        for number, part in enumerate(parts):
            if number:
                time.sleep(pause)
            if not wire.try_send(part):
                break
        return wire.answer()
