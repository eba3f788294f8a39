"""Tidegate: exactly-once connection telemetry of device fleets, from HTTP and Kafka into ClickHouse."""

__version__ = "0.1.0"
