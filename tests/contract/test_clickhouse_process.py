"""The embedded ClickHouse as a process: data outlive it, it ends behind what is under way, it is alone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_client import Answer, ask, rows, runs
from waiting import await_

from tidegate.errors import RetryLater, UsageError
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ClickHouseServer]:
    server = ClickHouseServer(f"127.0.0.1:{free_port()}", tmp_path / "store", tmp_path / "log")
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_data_survive(own: ClickHouseServer, number: signal.Signals) -> None:
    rows(own, "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x")
    rows(own, "INSERT INTO t SELECT number FROM numbers(1000000)")
    own.child.signal(number)
    assert own.child.wait(30) == (0 if number == signal.SIGTERM else -number)
    own.start()
    assert rows(own, "SELECT count() FROM t") == [["1000000"]]


def test_sigterm_waits_for_the_insert_under_way(own: ClickHouseServer) -> None:
    rows(own, "CREATE TABLE t (x UInt64, y String) ENGINE = MergeTree ORDER BY x")
    answers: list[Answer] = []
    sql = b"INSERT INTO t SELECT number, toString(sleepEachRow(0.0002)) FROM numbers(10000)"
    thread = threading.Thread(target=lambda: answers.append(ask(own, sql)))
    thread.start()
    await_(lambda: runs(own, "sleepEachRow"))
    assert own.child.stop(30) == 0
    thread.join()
    assert answers[0][0] == 200
    own.start()
    assert rows(own, "SELECT count() FROM t") == [["10000"]]


def test_it_starts_again_with_an_empty_default_database_and_with_tables_there(own: ClickHouseServer) -> None:
    """chDB lays `default` over the file system; it is made an ordinary database at each start."""
    for stored in (None, "INSERT INTO t VALUES (7)", None):
        own.stop()
        own.start()
        engine = "SELECT engine FROM system.databases WHERE name = 'default'"
        assert rows(own, engine) == [["Atomic"]]
        assert ask(own, b"SELECT * FROM `/etc/passwd`")[0] == 404
        if stored:
            rows(own, "CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x")
            rows(own, stored)
    assert rows(own, "SELECT x FROM t") == [["7"]]


def test_one_store_one_server_one_port(own: ClickHouseServer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="clickhouse_listen"):
        ClickHouseServer(own.address, tmp_path / "b", tmp_path / "b.log").start()
    with pytest.raises(RetryLater, match="(?i)lock"):
        ClickHouseServer(f"127.0.0.1:{free_port()}", tmp_path / "store", tmp_path / "c.log").start()
