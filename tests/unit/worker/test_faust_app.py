"""What Faust gives no setting for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tidegate.settings import Settings
from tidegate.worker.faust_app import FETCH_WAIT_MS, FaustApp


def test_what_faust_says_it_says_under_its_own_name(tmp_path: Path) -> None:
    async def names() -> set[str]:
        consumer = FaustApp(Settings(data_dir=str(tmp_path)), partitions=1).consumer._app.consumer
        consumer._thread.thread_loop.close()
        return {consumer.log.logger.name, consumer._thread.log.logger.name}

    assert {name.partition(".")[0] for name in asyncio.run(names())} == {"faust"}


def test_a_fetch_is_not_held_back_for_as_long_as_faust_would(tmp_path: Path) -> None:
    async def made() -> int:
        faust_app = FaustApp(Settings(data_dir=str(tmp_path)), partitions=1).consumer._app
        thread = faust_app.consumer._thread
        consumer = thread._create_worker_consumer(faust_app.transport)
        await consumer.stop()
        thread.thread_loop.close()
        return int(consumer._fetch_max_wait_ms)

    assert asyncio.run(made()) == FETCH_WAIT_MS <= 100
