"""The process of a connector: receives, delivers, serves its status, ends on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any, Protocol

from tidegate.connectors.allowed_networks import Allowed
from tidegate.connectors.gateway_client import GatewayClient
from tidegate.connectors.hostapd import Hostapd
from tidegate.connectors.openwifi import OpenWifi
from tidegate.connectors.radius import Radius
from tidegate.connectors.webhook import VENDORS, Webhook
from tidegate.service.middleware import Middleware
from tidegate.service.server import Server, listener, url
from tidegate.service.status_pages import StatusPages
from tidegate.service.status_server import StatusServer, beside
from tidegate.settings import Settings
from tidegate.tokens import TokenFile

log = logging.getLogger(__name__)

DRAIN_SECONDS = 20.0  # for what was begun when the process is told to end


class Receiver(Protocol):
    """What listens on a port of its own and delivers what comes."""

    async def start(self) -> str:
        """Listen; returns where, for the log. Raises UsageError."""

    def delivering(self) -> asyncio.Task[None] | None:
        """The task that delivers between start and stop, where there is one: it ends with an error alone."""

    async def stop(self, seconds: float) -> None:
        """Take nothing more, and have what was taken delivered within that time."""


OTHERS: dict[str, Callable[[Settings, GatewayClient, Allowed], Receiver]] = {
    "hostapd": Hostapd,
    "openwifi": OpenWifi,
    "radius": Radius,
}


def run(settings: Settings, name: str) -> int:
    """Run the connector of that name until SIGTERM or SIGINT; returns 0. Raises UsageError."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    asyncio.run(_webhook(settings, name) if name in VENDORS else _receive(settings, name))
    log.info("stopped")
    return 0


async def _webhook(settings: Settings, name: str) -> None:
    gateway = GatewayClient(settings)

    def not_ready() -> list[str]:
        return _reasons(gateway, stopping=server.ending)

    pages = StatusPages(
        "connect",
        not_ready=not_ready,
        tokens=TokenFile(settings.tokens_path),
        behind=Webhook(name, settings, gateway),
    )
    server = Server(Middleware(pages), settings, drain_seconds=DRAIN_SECONDS)
    listening = listener(settings.connect_listen, "connect_listen")
    log.info("%s: webhooks are taken at %s/%s", name, url(listening, settings), name)
    looking = asyncio.create_task(gateway.look())
    async with beside("connect", settings, not_ready=not_ready):
        await server.serve(sockets=[listening])
    looking.cancel()
    gateway.close()


async def _receive(settings: Settings, name: str) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    gateway = GatewayClient(settings)
    receiver = OTHERS[name](settings, gateway, Allowed(settings.connect_allow))
    status = StatusServer(
        "connect", settings, not_ready=lambda: _reasons(gateway, stopping=stopping.is_set())
    )
    with status:
        log.info("%s: listens on %s; status on %s", name, await receiver.start(), settings.connect_listen)
        looking = asyncio.create_task(gateway.look())
        told: asyncio.Task[Any] = asyncio.create_task(stopping.wait())
        tasks = filter(None, (told, receiver.delivering()))
        try:
            done, _ = await asyncio.wait([*tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a bug there ends the process, which is started again, and not its work alone
        finally:
            try:
                await receiver.stop(DRAIN_SECONDS)
            finally:
                looking.cancel()
                gateway.close()


def _reasons(gateway: GatewayClient, *, stopping: bool) -> list[str]:
    if stopping:
        return ["stopping"]
    return [gateway.problem] if gateway.problem else []
