"""TCP connections of syslog senders, so many at once.

A connection may be silent for hours: a sender that says nothing has nothing to say. One whose sender is gone
without a word (an access point that lost its power) is found by keep-alive. Where there are too many all
the same, hosts with several of them give up what has been silent, so that no host keeps others out.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from dataclasses import dataclass

SILENT_SECONDS = 60.0  # for which a connection was, before another may take its place
KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}  # seconds, seconds, probes


@dataclass(slots=True, eq=False)
class Connection:
    host: str
    writer: asyncio.StreamWriter
    heard: float  # monotonic seconds: since when it is silent


class Connections:
    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[Connection] = set()

    def enter(self, host: str, writer: asyncio.StreamWriter, now: float) -> Connection | None:
        """A place for a connection; None where there is none and nobody has to give one up."""
        if len(self._open) >= self._most:
            silent = self._silent(host, now)
            if silent is None:
                return None
            self._open.discard(silent)
            silent.writer.transport.abort()
        _keep_alive(writer.get_extra_info("socket"))
        connection = Connection(host, writer, now)
        self._open.add(connection)
        return connection

    def leave(self, connection: Connection) -> None:
        self._open.discard(connection)

    def _silent(self, host: str, now: float) -> Connection | None:
        """What gives way to one more of `host`: the longest silent of whoever has most, if more than one."""
        by_host = Counter(one.host for one in self._open)
        by_host[host] += 1
        found = [one for one in self._open if by_host[one.host] > 1 and now - one.heard >= SILENT_SECONDS]
        return min(found, key=lambda one: (-by_host[one.host], one.heard), default=None)


def _keep_alive(own: socket.socket | None) -> None:
    if own is None:
        return
    with contextlib.suppress(OSError):
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEP_ALIVE.items():
            if hasattr(socket, name):  # not everywhere
                own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
