"""What crosses a boundary: event models, frames, columns, topics, rejects, failures.

Nothing in here imports Faust, Kafka, ClickHouse or HTTP.
"""
