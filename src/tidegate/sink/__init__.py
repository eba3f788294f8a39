"""The sink: enriched frames into ClickHouse, each event exactly once.

frame → chain (order) → gathering (cut) → blocks (bytes) → ledger (plan) → Kafka commit (fence) → insert.
`partition` holds one partition's place in that order, `consumer` drives all of them, `role` is the process.
"""
