"""The ClickHouse engine (chDB) in a process of its own, behind ClickHouse's HTTP protocol on loopback."""

from tidegate.local.clickhouse.server import ClickHouseServer

__all__ = ["ClickHouseServer"]
