import dataclasses
import re

import pytest

from tidegate.contracts.topics import STREAMS
from tidegate.errors import UsageError
from tidegate.settings import Settings
from tidegate.store.migrate import ttl_days
from tidegate.store.templates import migrations, places


def statements(settings: Settings) -> list[str]:
    return [statement for migration in migrations() for statement in migration.statements(settings)]


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [migration.version for migration in migrations()] == list(range(1, len(migrations()) + 1))


def test_every_statement_may_run_twice() -> None:
    for statement in statements(Settings()):
        assert re.search(r"IF (NOT )?EXISTS|OR REPLACE|MODIFY (COLUMN|SETTING)", statement), statement


def test_nothing_is_left_to_fill_in() -> None:
    text = "\n".join(statements(Settings()))
    assert "$" not in text and "--" not in text


def test_on_a_cluster_every_statement_runs_everywhere_and_every_table_is_replicated() -> None:
    for statement in statements(Settings(clickhouse_cluster="main")):
        assert "ON CLUSTER 'main'" in statement, statement
        engine = re.search(r"^ENGINE = (\S+)", statement, re.MULTILINE)
        if engine:
            assert engine[1].startswith("Replicated"), statement
            assert "replicated_deduplication_window_seconds" in statement


def test_one_server_knows_nothing_of_clusters() -> None:
    text = "\n".join(statements(Settings()))
    assert "CLUSTER" not in text and "Replicated" not in text


def test_every_table_with_rows_of_a_batch_recognises_its_tokens() -> None:
    tables = [s for s in statements(Settings()) if s.startswith("CREATE TABLE")]
    assert len(tables) == len(STREAMS) * 4 + 21
    for statement in tables:
        assert "non_replicated_deduplication_window = 10000" in statement


def test_every_big_table_has_a_ttl_setting() -> None:
    assert set(ttl_days(Settings())) == {
        "alerts",
        "webhook_deliveries",
        "site_events",
        "site_levels",
        "site_minutes",
        "site_outcomes",
        "stage_hours",
        "radio_hours",
        "contrast_hours",
        "site_hours",
        "site_states",
        "expiries",
        "rejects",
        *STREAMS,
        *(f"{stream}_{level}" for stream in STREAMS for level in ("1m", "1h", "1d")),
    }


def test_a_template_has_one_checksum_whatever_the_settings() -> None:
    [first, *_] = migrations()
    assert first.statements(Settings()) != first.statements(Settings(clickhouse_database="other"))
    assert len(first.checksum) == 64


def test_a_migration_says_from_where_roles_work_with_it() -> None:
    [first, *_] = migrations()
    adds = dataclasses.replace(first, version=12, template=f"-- works from 0009\n{first.template}")
    assert adds.works_from == 9 and adds.checksum == first.checksum
    assert dataclasses.replace(first, version=12).works_from == 12


@pytest.mark.parametrize("name", ["", "a b", "a;DROP", "`a`"])
def test_a_database_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="clickhouse_database"):
        places(Settings(clickhouse_database=name))


def test_a_cluster_name_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="clickhouse_cluster"):
        places(Settings(clickhouse_cluster="a'b"))
