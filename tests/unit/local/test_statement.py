"""Cutting statements: where an INSERT's data begin, where a query's FORMAT stands."""

from __future__ import annotations

import pytest

from tidegate.local.clickhouse.statement import cut_insert, cut_query, first_word


@pytest.mark.parametrize(
    ("text", "sql", "format", "data"),
    [
        (b"INSERT INTO t VALUES (1)", "INSERT INTO t ", "Values", b" (1)"),
        (b"insert into t values(1)", "insert into t ", "Values", b"(1)"),
        (b"INSERT INTO t FORMAT CSV\n1\n", "INSERT INTO t ", "CSV", b"1\n"),
        (b"INSERT INTO t FORMAT CSV  \r\n1", "INSERT INTO t ", "CSV", b"1"),
        (b"INSERT INTO t FORMAT CSV\n\n1", "INSERT INTO t ", "CSV", b"\n1"),
        (b"INSERT INTO t FORMAT Native\n\x00\xff", "INSERT INTO t ", "Native", b"\x00\xff"),
        (b"INSERT INTO db.values VALUES (1)", "INSERT INTO db.values ", "Values", b" (1)"),
        (b"INSERT INTO format FORMAT CSV 1", "INSERT INTO format ", "CSV", b"1"),
        (b"INSERT INTO TABLE `a VALUES` (`x FORMAT`) VALUES (1)", None, "Values", b" (1)"),
        (b"INSERT INTO {db:Identifier}.{t:Identifier} (a) VALUES (1)", None, "Values", b" (1)"),
        (b"INSERT INTO FUNCTION file('x', 'CSV', 'a Int8') VALUES (1)", None, "Values", b" (1)"),
        (b"/* FORMAT */ INSERT INTO t -- VALUES\n FORMAT TSV\n1", None, "TSV", b"1"),
        (b"INSERT INTO t SETTINGS a = 1, b = 'FORMAT X' FORMAT TSV\n1", None, "TSV", b"1"),
        (
            b"INSERT INTO t FORMAT TSV SETTINGS a = 1, b=-2\n1",
            "INSERT INTO t  SETTINGS a = 1, b=-2",
            "TSV",
            b"1",
        ),
        (b"INSERT INTO t (a, b)", "INSERT INTO t (a, b)", None, b""),
    ],
)
def test_inserts_with_data(text: bytes, sql: str | None, format: str | None, data: bytes) -> None:
    insert = cut_insert(text)
    assert insert is not None
    assert (insert.format, text[insert.data_start :]) == (format, data)
    if sql is not None:
        assert insert.sql == sql


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t SELECT 1 FORMAT CSV",
        b"INSERT INTO t (a) (SELECT 1)",
        b"INSERT INTO t WITH 1 AS x SELECT x",
        b"SELECT 'INSERT INTO t VALUES (1)'",
        b"-- INSERT INTO t VALUES (1)\nSELECT 1",
        b"",
    ],
)
def test_what_has_no_data(text: bytes) -> None:
    assert cut_insert(text) is None


@pytest.mark.parametrize(
    ("text", "head", "format", "tail"),
    [
        (b"SELECT 1", "SELECT 1", None, ""),
        (b"SELECT 1;\n -- end\n", "SELECT 1", None, ""),
        (b"SELECT 1 FORMAT JSON", "SELECT 1 ", "JSON", ""),
        (b"SELECT 1 format json ;", "SELECT 1 ", "json", ""),
        (b"SELECT 1 FORMAT JSON SETTINGS x = 1", "SELECT 1 ", "JSON", " SETTINGS x = 1"),
        (b"SELECT 1 SETTINGS x = 1 FORMAT JSON", "SELECT 1 SETTINGS x = 1 ", "JSON", ""),
        (b"SELECT 1 AS format", "SELECT 1 AS format", None, ""),
        (b"SELECT format FROM t", "SELECT format FROM t", None, ""),
        (b"SELECT 'FORMAT JSON'", "SELECT 'FORMAT JSON'", None, ""),
        (b"SELECT `FORMAT JSON` -- FORMAT JSON", "SELECT `FORMAT JSON`", None, ""),
        (b"SELECT $$a; FORMAT JSON$$", "SELECT $$a; FORMAT JSON$$", None, ""),
        (b"SELECT * FROM (SELECT 1 FORMAT JSON)", "SELECT * FROM (SELECT 1 FORMAT JSON)", None, ""),
        ("SELECT 'größer; ' FORMAT CSV".encode(), "SELECT 'größer; ' ", "CSV", ""),
    ],
)
def test_queries(text: bytes, head: str, format: str | None, tail: str) -> None:
    assert cut_query(text) == (head, format, tail)


@pytest.mark.parametrize("text", [b"SELECT 1; SELECT 2", b"SELECT 1 INTO OUTFILE 'x'"])
def test_what_a_server_does_not_run(text: bytes) -> None:
    with pytest.raises(ValueError):
        cut_query(text)


def test_first_word() -> None:
    assert first_word(b"/* x */ ((select 1))") == b"SELECT"
    assert first_word(b"") == b""
