"""Connections of syslog senders that say nothing, or not to the end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tidegate import settings
from tidegate.connectors import hostapd, syslog, syslog_connections
from tidegate.connectors.allowed_networks import Allowed
from tidegate.connectors.hostapd import Hostapd
from tidegate.local.child import free_port

LINE = b"<30>hostapd: wlan0: AP-STA-CONNECTED a4:83:e7:11:22:33\n"


class Gateway:
    """Takes what comes."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    async def deliver(self, stream: str, events: list[dict[str, Any]], *, key: str) -> list[Any]:
        self.events += events
        return []

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.events) < count:
                await asyncio.sleep(0.01)


class Senders:
    def __init__(self, port: int, gateway: Gateway) -> None:
        self.gateway = gateway
        self._port = port
        self._open: list[asyncio.StreamWriter] = []

    async def connect(self, host: str, data: bytes = LINE) -> asyncio.StreamReader:
        """A connection from that address of loopback."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(host, 0))
        self._open.append(writer)
        writer.write(data)
        await writer.drain()
        return reader

    def close(self) -> None:
        for writer in self._open:
            writer.transport.abort()


@asynccontextmanager
async def receiving() -> Any:
    port = free_port()
    gateway = Gateway()
    values = settings.load({}, overrides={"connect_syslog_listen": f"127.0.0.1:{port}"})
    receiver = Hostapd(values, gateway, Allowed("127.0.0.0/8"))  # type: ignore[arg-type]
    await receiver.start()
    senders = Senders(port, gateway)
    try:
        yield senders
    finally:
        senders.close()
        await receiver.stop(5.0)


async def is_ended(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(30):
        try:
            return await reader.read(1) == b""
        except ConnectionResetError:
            return True


@pytest.mark.parametrize("begun", [b"<30>hostapd: wlan0", b"50 <30>hostapd", b"5"])
def test_a_message_that_does_not_come_to_its_end_ends_its_connection(
    monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(syslog, "FRAME_SECONDS", 0.2)

    async def run() -> None:
        async with receiving() as senders:
            silent = await senders.connect("127.0.0.1")
            assert await is_ended(await senders.connect("127.0.0.1", begun))
            assert not silent.at_eof(), "between messages a sender may be silent"

    asyncio.run(run())


def test_senders_that_are_gone_without_a_word_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """An access point that lost its power leaves a connection behind, which took its place for ever."""
    monkeypatch.setattr(hostapd, "CONNECTIONS", 4)
    monkeypatch.setattr(syslog_connections, "SILENT_SECONDS", 0.0)

    async def run() -> None:
        async with receiving() as senders:
            other = await senders.connect("127.0.0.2")
            await senders.gateway.until(1)
            hoard = [await senders.connect("127.0.0.1", b"") for _ in range(3)]
            await senders.connect("127.0.0.3")
            await senders.gateway.until(2)
            assert await is_ended(hoard[0]) and not other.at_eof()

    asyncio.run(run())


def test_a_connection_that_speaks_or_is_its_hosts_only_one_gives_way_to_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hostapd, "CONNECTIONS", 3)

    async def run() -> None:
        async with receiving() as senders:
            for host in ("127.0.0.1", "127.0.0.1", "127.0.0.2"):
                await senders.connect(host)
            await senders.gateway.until(3)
            assert await is_ended(await senders.connect("127.0.0.3", b""))

    asyncio.run(run())
