"""Grafana's dashboards: their panels, and queries filled in as Grafana and its ClickHouse data source do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parent.parent / "deploy/grafana"
CLICKHOUSE, PROMETHEUS = "grafana-clickhouse-datasource", "prometheus"
TABLE, TIME_SERIES = 1, 0  # formats of the ClickHouse data source


class Panel(NamedTuple):
    dashboard: str
    title: str
    type: str
    targets: list[dict[str, Any]]


def dashboards() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("dashboards/*.json")}


def panels(kind: str) -> Iterator[Panel]:
    """Those that ask this kind of data source."""
    for name, board in sorted(dashboards().items()):
        for panel in board["panels"]:
            if panel["datasource"]["type"] == kind:
                yield Panel(name, panel["title"], panel["type"], panel["targets"])


def filled(
    sql: str, variables: Mapping[str, str], since: datetime, until: datetime, interval: int = 60
) -> str:
    """A query with its variables (`${name:sqlstring}`), then its macros; `interval` in seconds.

    As pkg/macros/macros.go of the data source writes them. Raises AssertionError for anything that is left.
    """
    sql = re.sub(r"\$\{(\w+):sqlstring\}", lambda match: _quoted(variables[match[1]]), sql)
    start, end = (f"toDateTime({int(moment.timestamp())})" for moment in (since, until))
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= {start} AND \1 <= {end}", sql)
    sql = re.sub(
        r"\$__timeInterval\((\w+)\)", rf"toStartOfInterval(toDateTime(\1), INTERVAL {interval} second)", sql
    )
    sql = re.sub(r"\$__fromTime\b", start, sql)
    sql = re.sub(r"\$__toTime\b", end, sql)
    assert "$" not in sql, sql
    return sql


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
