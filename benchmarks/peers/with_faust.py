"""Faust, one event a record: ``python -m benchmarks.peers.with_faust KAFKA CLICKHOUSE_URL FIRST_FILE``."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from typing import Any

import faust

from benchmarks.peers.models import TABLES, Table, row, topic
from benchmarks.peers.rows import Rows, connect, say_first


def main() -> None:
    bootstrap, url, first = sys.argv[1:4]
    sys.argv[1:] = ["worker"]  # what is left is Faust's own command line
    app = faust.App(
        "peer-faust",
        broker=f"kafka://{bootstrap}",
        datadir=tempfile.mkdtemp(),
        web_enabled=False,
        topic_disable_leader=True,
        stream_buffer_maxsize=16_384,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=6,
        broker_heartbeat_interval=2,
        consumer_max_fetch_size=16_777_216,
    )
    client = connect(url)
    gathered = {table: Rows(client, table) for table in TABLES}

    def agent(table: Table) -> None:
        source = app.topic(topic(table), value_type=bytes, value_serializer="raw")
        rows = gathered[table]

        async def process(stream: Any) -> None:
            async for value in stream:
                if rows.add(row(table, value)):
                    await rows.flush()

        app.agent(source, name=f"{table}_agent")(process)

    for table in TABLES:
        agent(table)

    @app.timer(0.1)  # type: ignore[untyped-decorator]
    async def flush_late() -> None:
        say_first(list(gathered.values()), first)
        for rows in gathered.values():
            if rows.late:
                await rows.flush()

    logging.disable(logging.INFO)
    asyncio.set_event_loop(asyncio.new_event_loop())
    faust.Worker(app, loglevel="WARN", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
