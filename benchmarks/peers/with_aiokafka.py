"""aiokafka, one event a record: ``python -m benchmarks.peers.with_aiokafka KAFKA CLICKHOUSE_URL FIRST``."""

from __future__ import annotations

import sys

import uvloop
from aiokafka import AIOKafkaConsumer

from benchmarks.peers.models import TABLES, row, topic
from benchmarks.peers.rows import Rows, connect, say_first


async def work(bootstrap: str, url: str, first: str) -> None:
    client = connect(url)
    gathered = {topic(table): (table, Rows(client, table)) for table in TABLES}
    consumer = AIOKafkaConsumer(
        *gathered,
        bootstrap_servers=bootstrap,
        group_id="peer-aiokafka",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=6000,
        heartbeat_interval_ms=2000,
        max_partition_fetch_bytes=16_777_216,
    )
    await consumer.start()
    said = False
    while True:
        found = await consumer.getmany(timeout_ms=100, max_records=20_000)
        for partition, records in found.items():
            table, rows = gathered[partition.topic]
            for record in records:
                if rows.add(row(table, record.value)):
                    await rows.flush()
        for _, rows in gathered.values():
            if rows.late:
                await rows.flush()
        if found and not said:
            say_first([rows for _, rows in gathered.values()], first)
            said = True
        await consumer.commit()


if __name__ == "__main__":
    uvloop.run(work(*sys.argv[1:]))
