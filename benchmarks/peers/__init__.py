"""What one would write first: one event to a Kafka record, validated with pydantic, into ClickHouse.

models         the events and how a row is made of one, shared by both
rows           rows gathered and inserted, shared by both
with_faust     a Faust agent for each stream
with_aiokafka  an aiokafka consumer
run            starts one of them on preloaded topics and measures it

They are small but not naive: validation and serialisation run in pydantic's compiled core, rows go into
ClickHouse as JSONEachRow in 20,000-row inserts in a thread, buffers are large. They do less than
Tidegate: no enrichment but a geo bucket, no rollups, no rejects, and a crash loses or doubles rows.
"""
