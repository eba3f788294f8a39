"""Looking for lines that are not stored yet: one at a time, and a share of the places for each fleet."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tidegate.api.problems import Problem
from tidegate.api.raw_log import WAITING, WAITING_OF_A_FLEET, RawLog
from tidegate.contracts.position import Position
from tidegate.settings import Settings

POSITION = Position("01K9ZQ4T3M8W5X0R2B7C6D1E9F", "client_events", 0, 1, 0)


def test_a_fleet_that_asks_without_end_keeps_no_other_out(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def look(log: RawLog, position: Position) -> str:
        assert go.wait(30)
        return "demo"

    monkeypatch.setattr(RawLog, "_look", look)

    async def run() -> None:
        log = RawLog(Settings())
        many = [asyncio.create_task(log.fleet_at(POSITION, "many")) for _ in range(3 * WAITING)]
        await asyncio.sleep(0)
        other = asyncio.create_task(log.fleet_at(POSITION, "demo"))
        await asyncio.sleep(0)
        go.set()
        assert await other == "demo"
        found = await asyncio.gather(*many, return_exceptions=True)
        assert found.count("demo") == WAITING_OF_A_FLEET
        assert all(one == "demo" or isinstance(one, Problem) for one in found)
        assert await log.fleet_at(POSITION, "many") == "demo", "and they may ask again"

    asyncio.run(run())
