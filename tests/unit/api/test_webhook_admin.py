"""Administering webhooks: what one fleet does keeps no other waiting."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tidegate.api import webhook_admin
from tidegate.api.webhook_admin import WebhookAdmin
from tidegate.settings import Settings
from tidegate.webhooks.addresses import allowed
from tidegate.webhooks.endpoints import Created, EndpointFile


def test_tries_of_a_fleet_whose_receivers_do_not_answer_hold_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=str(tmp_path), webhook_allow="127.0.0.1")
    file, allow = EndpointFile(settings.webhooks_path), allowed("127.0.0.1")
    ids = {
        fleet: file.create(
            "noc", fleet=fleet, format="standard", url="https://127.0.0.1/", allow=allow
        ).endpoint.id
        for fleet in ("slow", "demo")
    }

    async def run() -> None:
        answers = asyncio.Event()

        async def tried(endpoint: Any, transport: Any) -> AsyncIterator[Any]:
            if endpoint.fleet == "slow":
                await answers.wait()
            yield endpoint.fleet

        monkeypatch.setattr(webhook_admin, "tried", tried)
        admin: Any = WebhookAdmin(settings)
        waiting = [asyncio.create_task(admin.try_out("slow", ids["slow"])) for _ in range(40)]
        await asyncio.sleep(0.5)
        async with asyncio.timeout(30):
            assert await admin.try_out("demo", ids["demo"]) == ["demo"]
            assert not any(task.done() for task in waiting)
            answers.set()
            assert await asyncio.gather(*waiting) == [["slow"]] * 40

    asyncio.run(run())


def test_new_webhooks_whose_name_servers_do_not_answer_hold_up_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They had all the threads that the loop has, which events by id, rules and exports wait for."""
    over = threading.Event()

    def look_up(host: str, port: int, **more: object) -> list[Any]:
        if host == "silent.example":
            over.wait(300)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    def create(admin: WebhookAdmin, name: str, fleet: str, host: str) -> Coroutine[Any, Any, Created]:
        kept = {"format": "standard", "routing_key": "", "severity": "info"}
        return admin.create(name, fleet=fleet, url=f"https://{host}/", sites=(), **kept)

    async def run() -> None:
        admin = WebhookAdmin(Settings(data_dir=str(tmp_path), webhook_allow="127.0.0.1"))
        names = [f"n{number}" for number in range(40)]
        waiting = [asyncio.create_task(create(admin, name, "slow", "silent.example")) for name in names]
        try:
            await asyncio.sleep(0.5)
            async with asyncio.timeout(30):
                assert await asyncio.to_thread(str, 1) == "1"
                made = await create(admin, "noc", "demo", "hooks.example")
                assert made.endpoint.fleet == "demo"
            assert not any(task.done() for task in waiting)
        finally:
            over.set()
        assert {made.endpoint.name for made in await asyncio.gather(*waiting)} == set(names)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    asyncio.run(run())
