"""The sink: enriched frames into ClickHouse, each event exactly once.

frame → offset_sequence (order) → batch_buffer (cut) → blocks (bytes) → plan (ledger) → fence (Kafka commit) →
insert. `partition` is one partition's state, `pipeline` moves batches through it, `consumer` drives all
partitions, `role` is the process.
"""
