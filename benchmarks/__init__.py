"""Measurements of Tidegate, side by side with what one would use instead.

stack      the engines and roles on free ports, as processes of their own
workload   the events, and raw frames of them
usage      CPU seconds and memory of processes
pipeline   Kafka → ClickHouse; `python -m benchmarks.pipeline` alone for tuning
ingest     HTTP → queryable, and its knee
latency    POST → queryable at a steady rate
memory     RSS of each role over minutes
outage     ClickHouse away under load: answers, catching up, memory; `python -m benchmarks.outage`
engine     ClickHouse alone, inserting the same events as JSONEachRow
peers      one event a record: Faust and aiokafka with pydantic, hand-written Java
beside     this checkout beside another one, in turn; `python -m benchmarks.beside ../base`
decoder    the native decoder beside Python's; `python -m benchmarks.decoder`
read       a store of a month of events: the API beside SQL, association files, verify
history    fills that store
asking     the questions, and the readers that ask them
load       the HTTP load generator
table      the result as one table
"""
