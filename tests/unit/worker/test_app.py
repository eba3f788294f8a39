"""What Faust gives no setting for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tidegate.settings import Settings
from tidegate.worker.app import FETCH_WAIT_MS, App


def test_a_fetch_is_not_held_back_for_as_long_as_faust_would(tmp_path: Path) -> None:
    async def made() -> int:
        faust_app = App(Settings(data_dir=str(tmp_path)), partitions=1).consumer._app
        thread = faust_app.consumer._thread
        consumer = thread._create_worker_consumer(faust_app.transport)
        await consumer.stop()
        thread.thread_loop.close()
        return int(consumer._fetch_max_wait_ms)

    assert asyncio.run(made()) == FETCH_WAIT_MS <= 100
