"""Administering webhooks: what one fleet does keeps no other waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tidegate.api import webhook_admin
from tidegate.api.webhook_admin import WebhookAdmin
from tidegate.settings import Settings
from tidegate.webhooks.addresses import allowed
from tidegate.webhooks.endpoints import EndpointFile


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
