"""Every SQL query in the pages runs on the schema that `tidegate migrate` makes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from databases import migrated

from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent
OWN = {"cookbook.md"}  # whose answers are known too: test_cookbook.py
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name not in OWN),
]
QUERIES = [
    pytest.param(query.strip(), id=f"{path.stem}-{number}")
    for path in PAGES
    for number, query in enumerate(re.findall(r"```sql\n(.*?)```", path.read_text("utf-8"), re.DOTALL))
]


@pytest.fixture(scope="module")
def client(clickhouse: ClickHouseServer) -> Iterator[Client]:
    """A client on the database of the name that the pages use."""
    settings = Settings(clickhouse_url=clickhouse.url)
    with migrated(settings) as client:
        yield client


@pytest.mark.parametrize("query", QUERIES)
def test_it_runs(client: Client, query: str) -> None:
    for statement in filter(None, map(str.strip, query.split(";"))):
        client.query(statement)
