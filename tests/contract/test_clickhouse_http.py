"""The embedded ClickHouse answers like ClickHouse: to clickhouse-connect, to urllib, to curl."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import secrets
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import clickhouse_connect
import lz4.frame
import psutil
import pyarrow as pa
import pytest
import zstandard
from clickhouse_client import ask, rows, runs, sign
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.external import ExternalData
from waiting import await_

from tidegate.local.clickhouse import ClickHouseServer
from tidegate.local.clickhouse.blocks import BlockCompressor, unpacked
from tidegate.local.clickhouse.credentials import User


@pytest.fixture(scope="module")
def events(clickhouse: ClickHouseServer) -> str:
    """An empty-able table of its own."""
    rows(clickhouse, "CREATE DATABASE IF NOT EXISTS contract")
    rows(
        clickhouse,
        "CREATE TABLE contract.events (id UInt64, name String, at DateTime64(3)) ENGINE = MergeTree"
        " ORDER BY id SETTINGS non_replicated_deduplication_window = 100",
    )
    return "contract.events"


@pytest.fixture
def table(clickhouse: ClickHouseServer, events: str) -> str:
    rows(clickhouse, f"TRUNCATE TABLE {events}")
    return events


@pytest.fixture
def client(clickhouse: ClickHouseServer) -> Iterator[Any]:
    client = clickhouse_connect.get_client(dsn=clickhouse.url)
    yield client
    client.close()


# The interface itself


def test_health_pages(clickhouse: ClickHouseServer) -> None:
    for path in ("/ping", "/replicas_status", "/"):
        with urllib.request.urlopen(f"http://{clickhouse.address}{path}") as answer:
            assert answer.read() == b"Ok.\n"
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"http://{clickhouse.address}/nowhere")
    assert error.value.code == 404
    error.value.close()


def test_query_in_url_and_in_body(clickhouse: ClickHouseServer) -> None:
    assert ask(clickhouse, query="SELECT 1")[2] == b"1\n"
    assert ask(clickhouse, b"SELECT 1")[2] == b"1\n"
    assert ask(clickhouse, b"1 + 1", query="SELECT")[2] == b"2\n"
    assert ask(clickhouse, b"SELECT 1 -- done\n;  \n")[2] == b"1\n"


def test_formats(clickhouse: ClickHouseServer) -> None:
    status, headers, body = ask(clickhouse, b"SELECT 1 AS x FORMAT JSON")
    assert json.loads(body)["data"] == [{"x": 1}]
    assert headers["Content-Type"].startswith("application/json")
    assert ask(clickhouse, b"SELECT 1 AS x", default_format="JSONEachRow")[2] == b'{"x":1}\n'
    assert ask(clickhouse, b"SELECT 1 AS x", headers={"X-ClickHouse-Format": "CSV"})[2] == b"1\n"
    assert ask(clickhouse, b"SELECT 1 AS x FORMAT CSVWithNames", default_format="JSON")[2] == b'"x"\n1\n'
    assert ask(clickhouse, b"SELECT 1 AS format")[2] == b"1\n"
    assert ask(clickhouse, b"SELECT 'FORMAT JSON' -- FORMAT JSON")[2] == b"FORMAT JSON\n"
    assert ask(clickhouse, b"SELECT 1 FORMAT TSV SETTINGS max_threads = 1")[2] == b"1\n"
    assert ask(clickhouse, b"SELECT 1 SETTINGS max_threads = 1")[2] == b"1\n"
    assert ask(clickhouse, b"EXISTS TABLE system.one FORMAT JSONEachRow")[2] == b'{"result":1}\n'
    assert b"system" in ask(clickhouse, b"SHOW DATABASES LIKE 'information%'")[2] + b"system"
    assert ask(clickhouse, b"SELECT 1 WHERE 0 FORMAT JSONCompact")[0] == 200


def test_parameters(clickhouse: ClickHouseServer) -> None:
    sql = b"SELECT {s:String}, {n:UInt8} + 1, {a:Array(String)}, {t:Identifier} FROM system.one"
    answer = ask(
        clickhouse, sql, param_s=r"it's\ta\\b", param_n="41", param_a=r"['x','y\'z']", param_t="dummy"
    )
    assert answer[2] == b"it\\'s\\ta\\\\b\t42\t['x','y\\'z']\t0\n"
    status, headers, body = ask(clickhouse, b"SELECT {missing:String}")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "456"), body


def test_settings_do_not_leak(clickhouse: ClickHouseServer) -> None:
    sql = b"SELECT getSetting('max_threads'), getSetting('max_result_rows')"
    before = ask(clickhouse, sql)[2]
    assert ask(clickhouse, sql, max_threads="1", max_result_rows="77")[2] == b"1\t77\n"
    assert ask(clickhouse, sql)[2] == before
    status, headers, _ = ask(clickhouse, b"SELECT 1", no_such_setting="1")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (404, "115")


def test_database(clickhouse: ClickHouseServer, table: str) -> None:
    assert rows(clickhouse, "SELECT currentDatabase()", database="contract") == [["contract"]]
    header = {"X-ClickHouse-Database": "contract"}
    assert ask(clickhouse, b"EXISTS TABLE events", headers=header)[2] == b"1\n"
    assert rows(clickhouse, "SELECT currentDatabase()") == [["default"]]
    assert ask(clickhouse, b"SELECT 1", database="nowhere")[0] == 404


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELECT * FROM no_such_table", 404, "60"),
        ("SELEC 1", 400, "62"),
        ("SELECT 1; SELECT 2", 400, "62"),
        ("SELECT throwIf(1)", 500, "395"),
        ("INSERT INTO no_such_table FORMAT JSONEachRow\n{}", 404, "60"),
        ("INSERT INTO contract.events FORMAT JSONEachRow\nbroken", 400, "27"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 400, "62"),
        ("INSERT INTO contract.events FROM INFILE '/etc/passwd' FORMAT LineAsString", 400, "62"),
        ("", 400, "62"),
    ],
)
def test_errors(clickhouse: ClickHouseServer, events: str, sql: str, status: int, code: str) -> None:
    answered, headers, body = ask(clickhouse, sql.encode())
    assert (answered, headers.get("X-ClickHouse-Exception-Code")) == (status, code), body
    assert body.startswith(f"Code: {code}. DB::Exception: ".encode())
    assert b"OUTFILE '/" not in body.replace(b"OUTFILE '/tmp/x'", b"")


def test_get_only_reads(clickhouse: ClickHouseServer, table: str) -> None:
    for sql in (f"INSERT INTO {table} VALUES (1, 'a', 0)", f"TRUNCATE TABLE {table}", "CREATE DATABASE x"):
        status, headers, _ = ask(clickhouse, query=sql)
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "164")
    assert ask(clickhouse, b"", query=f"INSERT INTO {table} VALUES (1, 'a', 0)")[0] == 200
    assert ask(clickhouse, query=f"SELECT count() FROM {table}")[2] == b"1\n"


def test_pages_of_other_sites_are_refused(clickhouse: ClickHouseServer) -> None:
    assert ask(clickhouse, b"SELECT 1", headers={"Origin": "https://example.com"})[0] == 403
    assert ask(clickhouse, b"SELECT 1", headers={"Origin": "http://localhost:3000"})[0] == 403
    assert ask(clickhouse, b"SELECT 1", headers={"Origin": f"http://{clickhouse.address}"})[0] == 200


def test_headers(clickhouse: ClickHouseServer) -> None:
    headers = ask(clickhouse, b"SELECT number FROM numbers(5)", query_id="mine")[1]
    assert headers["X-ClickHouse-Query-Id"] == "mine"
    assert headers["X-ClickHouse-Timezone"] == "UTC"
    summary = json.loads(headers["X-ClickHouse-Summary"])
    assert (summary["read_rows"], summary["result_rows"]) == ("5", "5")


# Inserts


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", "INSERT INTO {t} VALUES (1, 'VALUES (9)', 0), (2, 'b', now64());"),
        ("", "insert into {t} (id, name)\nvalues\n(1, 'a')\n, (2, 'b')"),
        ("", 'INSERT INTO {t} FORMAT JSONEachRow\n{{"id": 1, "name": "a"}}\n{{"id": 2}}\n'),
        ("", 'INSERT INTO {t} FORMAT JSONEachRow {{"id": 1}} {{"id": 2}}'),
        ("", "-- FORMAT CSV\nINSERT /* VALUES */ INTO {t} (id, name) FORMAT CSV\n1,a\n2,b\n"),
        ("", "INSERT INTO {t} (id) SETTINGS max_threads = 1 FORMAT TSV\n1\n2\n"),
        (
            "",
            "INSERT INTO {t} (id) FORMAT TSV SETTINGS max_threads = 1, max_block_size = 9\n1\n2\n",
        ),
        ("", "INSERT INTO {t} SELECT number, 'VALUES', now64() FROM numbers(2)"),
        ("", "INSERT INTO {t} (id) (SELECT number FROM numbers(2))"),
        ("", "INSERT INTO {t} (id) WITH 2 AS n SELECT number FROM numbers(n)"),
        ("INSERT INTO {t} (id, name) FORMAT CSV", "1,a\n2,b\n"),
        ("INSERT INTO {t} (id) VALUES", "(1), (2)"),
        ("INSERT INTO {t} (id) VALUES (1), (2)", ""),
        ("INSERT INTO {t} FORMAT JSONEachRow", '{{"id": 1}}\n{{"id": 2}}'),
        ("INSERT INTO {t} (id)", "(1),(2)"),
        ("INSERT INTO {{name:Identifier}}.events (id) VALUES", "(1), (2)"),
    ],
)
def test_insert_forms(clickhouse: ClickHouseServer, table: str, query: str, body: str) -> None:
    query, text = query.format(t=table), body.format(t=table)
    status, headers, answer = ask(clickhouse, text.encode(), query=query, param_name="contract")
    assert (status, answer) == (200, b"")
    assert json.loads(headers["X-ClickHouse-Summary"])["written_rows"] == "2"
    assert rows(clickhouse, f"SELECT count() FROM {table}") == [["2"]]


def arrow(batches: int, size: int) -> bytes:
    """An Arrow IPC stream of the columns id and name."""
    sink = io.BytesIO()
    columns: dict[str, pa.DataType] = {"id": pa.uint64(), "name": pa.string()}
    schema = pa.schema(columns)
    with pa.ipc.new_stream(sink, schema) as writer:
        for number in range(batches):
            ids = range(number * size, (number + 1) * size)
            writer.write_batch(
                pa.record_batch(
                    [pa.array(ids, pa.uint64()), pa.array([f"name {i}" for i in ids])], schema=schema
                )
            )
    return sink.getvalue()


def test_large_arrow_insert_by_every_transfer(clickhouse: ClickHouseServer, table: str) -> None:
    data = arrow(8, 100_000)
    assert len(data) > 15_000_000
    insert = f"INSERT INTO {table} (id, name) FORMAT ArrowStream"
    settings = {"min_insert_block_size_rows": "10000000", "deduplicate_insert": "disable"}
    for number, (coding, packed) in enumerate(
        [
            ("", data),
            ("gzip", gzip.compress(data, 1)),
            ("zstd", zstandard.compress(data, 1)),
            ("lz4", lz4.frame.compress(data)),
        ]
    ):
        headers = {"Content-Encoding": coding} if coding else {}
        status, _, body = ask(
            clickhouse, packed, headers=headers, user=User.TIDEGATE, query=insert, **settings
        )
        assert status == 200, body
        assert rows(clickhouse, f"SELECT count(), uniqExact(id) FROM {table}") == [
            [str((number + 1) * 800_000), "800000"]
        ]
    headers = sign(clickhouse)
    connection = http.client.HTTPConnection(clickhouse.address)
    pieces = (data[at : at + 100_000] for at in range(0, len(data), 100_000))
    url = "/?" + urllib.parse.urlencode({"query": insert, **settings})
    connection.request("POST", url, pieces, headers, encode_chunked=True)
    assert connection.getresponse().read() == b""
    url = "/?" + urllib.parse.urlencode(settings)
    all_in_one = insert.encode() + b"\n" + data
    connection.request("POST", url, all_in_one, headers)  # the same connection, all in the body
    assert connection.getresponse().read() == b""
    connection.close()
    assert rows(clickhouse, f"SELECT count() FROM {table}") == [["4800000"]]


def test_insert_token(clickhouse: ClickHouseServer, table: str) -> None:
    insert = f"INSERT INTO {table} (id) VALUES"
    for token in ("a", "a", "b"):
        ask(clickhouse, b"(1)", query=insert, insert_deduplication_token=token)
    assert rows(clickhouse, f"SELECT count() FROM {table}") == [["2"]]


def test_broken_bodies(clickhouse: ClickHouseServer, table: str) -> None:
    insert = f"INSERT INTO {table} (id) VALUES"
    for coding in ("gzip", "zstd", "lz4", "deflate"):
        status, _, body = ask(clickhouse, b"(1), (2)", headers={"Content-Encoding": coding}, query=insert)
        assert status == 400, (coding, body)
    cut = gzip.compress(b"(1), (2)")[:-4]
    assert ask(clickhouse, cut, headers={"Content-Encoding": "gzip"}, query=insert)[0] == 400
    assert ask(clickhouse, b"(1)", headers={"Content-Encoding": "snappy"}, query=insert)[0] == 500
    blocks = BlockCompressor()
    whole = blocks.compress(b"(1), (2)") + blocks.flush()
    for broken in (b"(1)", b"\0" * 40, whole[:-1], b"\0" + whole[1:]):
        status, headers, body = ask(clickhouse, broken, query=insert, decompress="1")
        assert (status, headers["X-ClickHouse-Exception-Code"]) in (
            (400, "117"),
            (500, "271"),
            (500, "40"),
        ), body
    # A client that hangs up in the middle of its data has stored nothing.
    connection = http.client.HTTPConnection(clickhouse.address)
    connection.putrequest("POST", "/?" + urllib.parse.urlencode({"query": insert}))
    for name, value in {**sign(clickhouse), "Content-Length": "1000"}.items():
        connection.putheader(name, value)
    connection.endheaders(b"(1), (2),")
    connection.close()
    time.sleep(0.2)
    assert rows(clickhouse, f"SELECT count() FROM {table}") == [["0"]]


def test_bodies_in_clickhouses_own_blocks(clickhouse: ClickHouseServer, table: str) -> None:
    """Of one block and of several, an answer and a body, with a query and without."""
    rows_sent = b"".join(b"%d,name\n" % number for number in range(300_000))
    blocks = BlockCompressor()
    body = blocks.compress(rows_sent) + blocks.flush()
    insert = f"INSERT INTO {table} (id, name) FORMAT CSV"
    assert ask(clickhouse, body, query=insert, decompress="1")[0] == 200
    sql = f"SELECT id, name FROM {table} ORDER BY id FORMAT CSV".encode()
    status, headers, packed = ask(clickhouse, sql, compress="1")
    assert status == 200 and "Content-Encoding" not in headers
    assert b"".join(unpacked(iter([packed]))) == ask(clickhouse, sql)[2]
    assert b"".join(unpacked(iter([ask(clickhouse, b"SELECT 1", compress="1")[2]]))) == b"1\n"


def test_refused_large_insert_keeps_the_connection(clickhouse: ClickHouseServer) -> None:
    connection = http.client.HTTPConnection(clickhouse.address)
    connection.request(
        "POST", "/?query=INSERT+INTO+nowhere+FORMAT+CSV", b"1\n" * 10_000_000, sign(clickhouse)
    )
    answer = connection.getresponse()
    assert answer.status == 404
    assert b"UNKNOWN_TABLE" in answer.read()
    connection.request("GET", "/?query=SELECT+1", headers=sign(clickhouse))
    assert connection.getresponse().read() == b"1\n"
    connection.close()


def test_an_insert_that_cannot_be_written_is_an_error(clickhouse: ClickHouseServer) -> None:
    """Whatever refuses the rows: the table itself, or one behind a materialized view."""
    full = "SETTINGS min_free_disk_bytes_to_perform_insert = 1000000000000000"
    database = f"full_{secrets.token_hex(4)}"
    client = clickhouse_connect.get_client(dsn=clickhouse.url)
    client.command(f"CREATE DATABASE {database}")
    client.command(f"CREATE TABLE {database}.base (a UInt64) ENGINE = MergeTree ORDER BY a")
    client.command(f"CREATE TABLE {database}.full (a UInt64) ENGINE = MergeTree ORDER BY a {full}")
    with pytest.raises(DatabaseError, match="enough free space"):
        client.insert(f"{database}.full", [[1]], column_names=["a"])
    view = f"CREATE MATERIALIZED VIEW {database}.view TO {database}.full"
    client.command(f"{view} AS SELECT a FROM {database}.base")
    with pytest.raises(DatabaseError, match="enough free space"):
        client.insert(f"{database}.base", [[1]], column_names=["a"])
    client.command(f"DROP DATABASE {database}")
    client.close()


# Large results


@pytest.mark.parametrize("format", ["TSV", "JSON", "CSVWithNames", "Native", "ArrowStream", "Parquet"])
@pytest.mark.parametrize("wait", ["0", "1"])
def test_large_result_is_one_document(clickhouse: ClickHouseServer, format: str, wait: str) -> None:
    sql = f"SELECT number AS n, toString(number) AS s FROM numbers(300000) FORMAT {format}"
    status, headers, body = ask(clickhouse, sql.encode(), wait_end_of_query=wait)
    assert status == 200
    if format == "TSV":
        assert body.count(b"\n") == 300_000
    elif format == "JSON":
        assert json.loads(body)["rows"] == 300_000
    elif format == "CSVWithNames":
        assert (body.count(b'"n","s"'), body.count(b"\n")) == (1, 300_001)
    elif format == "ArrowStream":
        assert pa.ipc.open_stream(body).read_all().num_rows == 300_000
    if wait == "1":
        assert json.loads(headers["X-ClickHouse-Summary"])["read_rows"] == "300000"


@pytest.mark.parametrize("coding", ["gzip", "zstd", "lz4", "deflate"])
@pytest.mark.parametrize("count", [10, 500_000])
def test_compressed_answers(clickhouse: ClickHouseServer, coding: str, count: int) -> None:
    sql = f"SELECT number FROM numbers({count})".encode()
    plain = ask(clickhouse, sql)[2]
    status, headers, body = ask(
        clickhouse, sql, headers={"Accept-Encoding": coding}, enable_http_compression="1"
    )
    assert headers["Content-Encoding"] == coding
    unpack = {
        "gzip": gzip.decompress,
        "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
        "lz4": lz4.frame.decompress,
        "deflate": __import__("zlib").decompress,
    }[coding]
    assert unpack(body) == plain
    assert "Content-Encoding" not in ask(clickhouse, sql, headers={"Accept-Encoding": coding})[1]


def test_error_in_the_middle_of_a_result(clickhouse: ClickHouseServer) -> None:
    sql = b"SELECT throwIf(number = 3000000), toString(number) FROM numbers(10000000)"
    status, headers, body = ask(clickhouse, sql, wait_end_of_query="1")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "395")
    with pytest.raises(http.client.IncompleteRead) as error:
        ask(clickhouse, sql)
    assert b"__exception__" in error.value.partial[-2000:]
    assert b"Code: 395" in error.value.partial[-2000:]


def test_memory_stays_flat_while_a_large_result_streams(clickhouse: ClickHouseServer) -> None:
    assert clickhouse.child.pid is not None
    process = psutil.Process(clickhouse.child.pid)
    before = process.memory_info().rss
    sql = "SELECT number, toString(number) AS s FROM numbers(20000000) FORMAT JSONEachRow"
    url = f"http://{clickhouse.address}/?query={urllib.parse.quote(sql)}"
    peak, size = before, 0
    with urllib.request.urlopen(urllib.request.Request(url, headers=sign(clickhouse))) as answer:
        while piece := answer.read(4 << 20):
            size += len(piece)
            peak = max(peak, process.memory_info().rss)
    assert size > 600_000_000
    assert peak - before < 250_000_000


def test_query_ends_when_its_client_hangs_up(clickhouse: ClickHouseServer) -> None:
    for sql in (
        "SELECT number FROM numbers(100000000000)",  # is sending
        "SELECT count() FROM numbers(100000000000) WHERE sipHash64(number) = 1",  # is computing
    ):
        connection = http.client.HTTPConnection(clickhouse.address)
        connection.request("POST", "/", sql, sign(clickhouse))
        await_(lambda: runs(clickhouse, "100000000000"))
        assert connection.sock is not None
        connection.sock.close()
        connection.close()
        await_(lambda: not runs(clickhouse, "100000000000"))


def test_query_whose_client_is_gone_at_once_ends_too(clickhouse: ClickHouseServer) -> None:
    """Also where the engine has not begun with it when the connection ends."""
    host, port = clickhouse.address.split(":")
    names = "".join(f"{name}: {value}\r\n" for name, value in sign(clickhouse).items())
    head = f"POST / HTTP/1.1\r\nHost: {clickhouse.address}\r\n{names}".encode()
    sql = b"SELECT count() FROM numbers(200000000000) WHERE sipHash64(number) = 1"
    for _ in range(20):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(sql), sql))
    time.sleep(0.5)
    await_(lambda: not runs(clickhouse, "200000000000"))


# Sessions


def test_session_keeps_tables_and_settings(clickhouse: ClickHouseServer) -> None:
    rows(clickhouse, "CREATE TEMPORARY TABLE mine (x UInt8)", session_id="s1")
    rows(clickhouse, "INSERT INTO mine VALUES (7)", session_id="s1")
    rows(clickhouse, "SET max_threads = 1", session_id="s1")
    assert rows(clickhouse, "SELECT x, getSetting('max_threads') FROM mine", session_id="s1") == [["7", "1"]]
    sql = "SELECT getSetting('max_threads')"
    assert rows(clickhouse, sql, session_id="s1", max_threads="2") == [["2"]]
    assert rows(clickhouse, sql, session_id="s1") == [["1"]]
    assert ask(clickhouse, b"SELECT x FROM mine")[0] == 404
    assert ask(clickhouse, b"SELECT x FROM mine", session_id="s2")[0] == 404
    assert (
        ask(clickhouse, b"SELECT 1", session_id="never", session_check="1")[1]["X-ClickHouse-Exception-Code"]
        == "372"
    )


def test_session_times_out(clickhouse: ClickHouseServer) -> None:
    rows(clickhouse, "CREATE TEMPORARY TABLE brief (x UInt8)", session_id="s3", session_timeout="1")
    time.sleep(1.5)
    assert ask(clickhouse, b"SELECT * FROM brief", session_id="s3")[0] == 404
    assert ask(clickhouse, b"SELECT 1", session_id="s3", session_timeout="9999")[0] != 200


def test_session_is_locked_while_it_works(clickhouse: ClickHouseServer) -> None:
    slow = threading.Thread(target=ask, args=(clickhouse, b"SELECT sleep(3)"), kwargs={"session_id": "s4"})
    slow.start()
    await_(lambda: runs(clickhouse, "sleep(3)"))
    status, headers, _ = ask(clickhouse, b"SELECT 1", session_id="s4")
    slow.join()
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "373")
    assert rows(clickhouse, "SELECT 1", session_id="s4") == [["1"]]


# clickhouse-connect


def test_client(client: Any, table: str) -> None:
    assert client.ping()
    assert client.command("SELECT 1") == 1
    client.insert(table, [[1, "it's", 0], [2, "\t\\", 0]], column_names=["id", "name", "at"])
    assert client.query(f"SELECT id, name FROM {table} ORDER BY id").result_rows == [(1, "it's"), (2, "\t\\")]
    found = client.query(f"SELECT name FROM {table} WHERE name = {{n:String}}", parameters={"n": "\t\\"})
    assert found.result_rows == [("\t\\",)]
    client.insert_arrow(table, pa.table({"id": pa.array([3, 4], pa.uint64()), "name": ["c", "d"]}))
    assert client.query_arrow(f"SELECT id FROM {table} ORDER BY id").column("id").to_pylist() == [1, 2, 3, 4]
    summary = client.raw_insert(table, ["id", "name"], b"5,e\n6,f\n", fmt="CSV")
    assert summary.written_rows == 2
    client.raw_insert(table, ["id", "name"], gzip.compress(b"7,e\n"), fmt="CSV", compression="gzip")
    assert client.raw_query(f"SELECT count() FROM {table}", fmt="TSV") == b"7\n"
    with client.query_rows_stream("SELECT number FROM numbers(1000000)") as stream:
        assert sum(1 for _ in stream) == 1_000_000
    assert client.query(f"SELECT id FROM {table} LIMIT 0").column_names == ("id",)
    assert client.query_df(f"SELECT id FROM {table} WHERE id < 3").shape == (2, 1)
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        client.query("SELECT * FROM nowhere")
    assert client.query("SELECT 1", settings={"max_threads": 1}).result_rows == [(1,)]


def test_client_binds_long_parameters_and_external_tables(client: Any) -> None:
    long = ["x" * 100] * 1000
    assert client.query("SELECT length({a:Array(String)})", parameters={"a": long}).result_rows == [(1000,)]
    data = ExternalData(
        file_name="wanted.csv", data=b"1,a\n2,b\n", fmt="CSV", structure=["id UInt64", "name String"]
    )
    answer = client.query("SELECT name FROM wanted ORDER BY id", external_data=data)
    assert answer.result_rows == [("a",), ("b",)]


@pytest.mark.parametrize("coding", ["lz4", "zstd", "gzip", False])
def test_client_compression(clickhouse: ClickHouseServer, table: str, coding: str | bool) -> None:
    client = clickhouse_connect.get_client(dsn=clickhouse.url, compress=coding)
    data = [[number, "name" * 10, number] for number in range(50_000)]
    client.insert(table, data, column_names=["id", "name", "at"])
    assert client.query(f"SELECT sum(id) FROM {table}").result_rows == [(sum(range(50_000)),)]
    assert len(client.query(f"SELECT * FROM {table}").result_rows) == 50_000
    client.close()


async def test_async_client(clickhouse: ClickHouseServer, table: str) -> None:
    client = await clickhouse_connect.get_async_client(dsn=clickhouse.url)
    await client.insert(table, [[1, "a", 0]], column_names=["id", "name", "at"])
    await client.insert_arrow(table, pa.table({"id": pa.array([2], pa.uint64()), "name": ["b"]}))
    await client.raw_insert(table, ["id"], b"3\n", fmt="CSV")
    assert (await client.query(f"SELECT sum(id) FROM {table}")).result_rows == [(6,)]
    assert (await client.query_arrow(f"SELECT id FROM {table}")).num_rows == 3
    assert await client.command("SELECT {x:UInt8} + 1", parameters={"x": 1}) == 2
    async with await client.query_rows_stream("SELECT number FROM numbers(300000)") as stream:
        assert len([row async for row in stream]) == 300_000
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        await client.query("SELECT * FROM nowhere")
    await client.close()


def test_clients_in_parallel(clickhouse: ClickHouseServer, table: str) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            client = clickhouse_connect.get_client(dsn=clickhouse.url)
            for turn in range(10):
                client.insert(table, [[number * 100 + turn, "x", 0]], column_names=["id", "name", "at"])
                client.query(f"SELECT count() FROM {table}")
            client.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert rows(clickhouse, f"SELECT uniqExact(id) FROM {table}") == [["80"]]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(clickhouse: ClickHouseServer, table: str) -> None:
    def curl(*arguments: str, data: bytes = b"") -> str:
        done = subprocess.run(["curl", "-sS", *arguments], input=data, capture_output=True, check=True)
        return done.stdout.decode()

    url = clickhouse.url
    assert curl(url, "-d", "SELECT 1") == "1\n"
    assert curl(f"{url}/?query=SELECT%201") == "1\n"
    rows_sent = b"".join(b"%d,name\n" % number for number in range(300_000))
    insert = urllib.parse.quote(f"INSERT INTO {table} (id, name) FORMAT CSV")
    assert curl(f"{url}/?query={insert}", "--data-binary", "@-", data=rows_sent) == ""
    assert curl(url, "-G", "--data-urlencode", f"query=SELECT count() FROM {table}") == "300000\n"
    password = clickhouse.credentials[User.ANALYST]
    assert curl("--user", f"analyst:{password}", f"http://{clickhouse.address}", "-d", "SELECT 1") == "1\n"
    assert curl("--compressed", f"{url}/?enable_http_compression=1", "-d", "SELECT 1") == "1\n"
    assert curl("-I", f"{url}/ping").startswith("HTTP/1.1 200")


DEFAULT = "defaultValueOfTypeName('%s')"
TYPES = (
    "DateTime", "DateTime('UTC')", "DateTime64(6)", "Date", "Date32", "UUID", "IPv4", "IPv6", "Bool",
    "Nullable(UInt64)", "Nullable(Float64)", "Nullable(Int8)", "Nullable(String)", "Nullable(DateTime)",
    "Nullable(Nothing)", "LowCardinality(Nullable(String))", "Array(DateTime)", "Array(Nullable(Int32))",
    "Map(String, DateTime)", "Tuple(DateTime, Nullable(UInt8))", "Decimal(9, 2)", "Enum8('a' = 1)",
    "FixedString(3)", "Int256",
)  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
def test_native_for_a_newer_client_has_every_type(clickhouse: ClickHouseServer, kind: str) -> None:
    """clickhouse-go's connection was cut at a DateTime, Date, UUID, IPv4 or a number that may be null."""
    value = "NULL" if kind == "Nullable(Nothing)" else DEFAULT % kind.replace("'", "''")
    sql = f"SELECT materialize({value}) AS t FROM numbers(3)"
    _, _, plain = ask(clickhouse, sql.encode(), default_format="Native")
    status, _, newer = ask(clickhouse, sql.encode(), default_format="Native", client_protocol_version="54460")
    assert status == 200, newer
    head = 2 + 2 + 1 + plain[4]  # columns, rows; the name and the type, each with its length
    assert newer == b"\x01\x00\x02\xff\xff\xff\xff\x00" + plain[:head] + b"\x00" + plain[head:]


def test_a_type_that_native_cannot_give_a_newer_client_is_told(clickhouse: ClickHouseServer) -> None:
    sql = b"SELECT countState() AS t"
    status, _, body = ask(clickhouse, sql, default_format="Native", client_protocol_version="54460")
    assert status >= 400 and b"AggregateFunction(count)" in body and b"cast it" in body
