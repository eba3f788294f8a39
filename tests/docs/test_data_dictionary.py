"""docs/data-dictionary.md is what the migrations make, and leaves no column unexplained."""

from pathlib import Path

from databases import migrated, settings_of

from tidegate.local.clickhouse import ClickHouseServer
from tidegate.store.data_dictionary import document


def test_the_data_dictionary_is_what_the_migrations_make(
    clickhouse: ClickHouseServer, repository: Path
) -> None:
    settings = settings_of(clickhouse)
    with migrated(settings) as client:
        page = document(client, settings.clickhouse_database)
        unexplained = client.query(
            "SELECT table, name FROM system.columns WHERE database = {database:String} AND comment = ''"
            " AND table IN (SELECT name FROM system.tables WHERE database = {database:String}"
            " AND engine LIKE '%MergeTree')",
            parameters={"database": settings.clickhouse_database},
        ).result_rows
    assert unexplained == []
    written = (repository / "docs" / "data-dictionary.md").read_text(encoding="utf-8")
    assert written == page, "python -m tidegate.store.data_dictionary > docs/data-dictionary.md"
