"""The embedded ClickHouse against a web page in the user's browser and other users of the machine.

Each attack succeeded before its mend: no user was asked for, `Host` and `Sec-Fetch-Site` were not looked at,
`file` and `url` were everybody's, and what `up` wrote had the modes of the umask.
"""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from clickhouse_client import Answer, ask, sign
from up_rig import Up
from waiting import await_

from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.local.clickhouse.credentials import User
from tidegate.local.clickhouse.engine_users import REFUSED_SETTINGS
from tidegate.local.clickhouse.handler import MOST_CONNECTIONS, STRANGER_SECONDS

HERE = Path(__file__).parent
SECRET = "a secret of the owner"
BOTH = pytest.mark.parametrize("user", list(User))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """One with a table, beside a file that nobody may read by SQL."""
    folder = tmp_path_factory.mktemp("guarded")
    made = ClickHouseServer(f"127.0.0.1:{free_port()}", folder / "store", folder / "log")
    (folder / "demo-tokens.json").write_text(SECRET)
    made.start()
    for sql in (
        "CREATE DATABASE tidegate",
        "CREATE TABLE tidegate.t (a UInt8, s String) ENGINE = MergeTree ORDER BY a",
        "INSERT INTO tidegate.t VALUES (1, 'x')",
        "CREATE DATABASE other",
        "CREATE TABLE other.t (a UInt8) ENGINE = MergeTree ORDER BY a",
        "CREATE VIEW tidegate.v AS SELECT a FROM tidegate.t WHERE a >= {least:UInt8}",
    ):
        assert ask(made, sql.encode())[0] == 200
    yield made
    made.stop()


def test_silent_connections_of_strangers_are_bounded_and_end(server: ClickHouseServer) -> None:
    """Each had a thread and a file of the engine's for ten minutes, however many there were."""
    host, _, port = server.address.partition(":")
    assert ask(server, b"SELECT 1")[0] == 200
    with ExitStack() as open_:
        silent = []
        for _ in range(MOST_CONNECTIONS + 20):
            silent.append(open_.enter_context(socket.create_connection((host, int(port)), timeout=30)))
        kept = http.client.HTTPConnection(server.address, timeout=30)
        for one in reversed(silent):  # those behind the bound at once, the others in their time
            assert one.recv(1) == b""
        # Who has shown the password may be silent for longer.
        kept.request("POST", "/?query=SELECT+1", headers=sign(server))
        assert kept.getresponse().read() == b"1\n"
        own = kept.sock
        time.sleep(STRANGER_SECONDS + 1)
        kept.request("POST", "/?query=SELECT+1", headers=sign(server))
        assert kept.getresponse().read() == b"1\n" and kept.sock is own
        kept.close()


def request(
    server: ClickHouseServer, headers: dict[str, str], path: str = "/?query=SELECT+1"
) -> tuple[int, bytes]:
    """With nothing but these headers."""
    connection = http.client.HTTPConnection(server.address, timeout=30)
    connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


# Row 1: a page in a browser, and who asks


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8123"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost.evil.example:8123"},
        {"Host": "192.168.0.1:8123"},
        {"Host": "2130706433:8123"},
        {"Host": "[::ffff:8.8.8.8]:8123"},
        {"Host": ""},
        {},
        {"Host": "localhost", "Sec-Fetch-Site": "cross-site"},
        {"Host": "localhost", "Sec-Fetch-Site": "same-site"},
        {"Host": "localhost", "Origin": "https://evil.example"},
        {"Host": "localhost", "Origin": "http://localhost:3000"},
        {"Host": "localhost", "Origin": "null"},
    ],
    ids=str,
)
def test_a_page_of_another_site_is_refused_with_the_right_password_too(
    server: ClickHouseServer, headers: dict[str, str]
) -> None:
    for path in ("/?query=SELECT+1", "/ping", "/"):
        status, body = request(server, {**headers, **sign(server)}, path)
        assert status == 403 and b"ACCESS_DENIED" in body, body


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8123", "127.0.0.1:1", "127.9.8.7", "[::1]:8123", "[::1]"]
)
@pytest.mark.parametrize("site", ["none", "same-origin", ""])
def test_loopback_by_any_of_its_names_is_served(server: ClickHouseServer, host: str, site: str) -> None:
    headers = {"Host": host, **({"Sec-Fetch-Site": site} if site else {}), **sign(server)}
    assert request(server, headers) == (200, b"1\n")


def test_no_password_is_a_401_that_drivers_know(server: ClickHouseServer) -> None:
    connection = http.client.HTTPConnection(server.address, timeout=30)
    connection.request("GET", "/?query=SELECT+1")
    answer = connection.getresponse()
    body = answer.read()
    assert (answer.status, answer.getheader("X-ClickHouse-Exception-Code")) == (401, "194")
    assert (answer.getheader("WWW-Authenticate") or "").startswith("Basic realm=")
    assert body.startswith(b"Code: 194. DB::Exception: ") and b"REQUIRED_PASSWORD" in body
    connection.close()


def test_three_ways_to_say_who_one_is_and_none_beside_another(server: ClickHouseServer) -> None:
    name, password = "analyst", server.credentials[User.ANALYST]
    basic = {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}
    host = {"Host": "localhost"}
    assert request(server, {**host, **basic}) == (200, b"1\n")
    assert request(server, host, f"/?query=SELECT+1&user={name}&password={password}") == (200, b"1\n")
    assert request(server, {**host, **sign(server, User.ANALYST)}) == (200, b"1\n")
    assert request(server, {**host, **basic, **sign(server, User.ANALYST)})[0] == 403
    for wrong in ("", password[:-1], password + "0", server.credentials[User.TIDEGATE]):
        status, body = request(server, {**host, "X-ClickHouse-User": name, "X-ClickHouse-Key": wrong})
        assert status == 403 and b"Code: 516" in body and b"AUTHENTICATION_FAILED" in body
    assert request(server, {**host, "Authorization": "Bearer x"})[0] == 403


def test_a_stranger_cannot_make_it_read_a_large_body(server: ClickHouseServer) -> None:
    connection = http.client.HTTPConnection(server.address, timeout=30)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders(b"SELECT 1")
    connection.sock.settimeout(30)
    with pytest.raises((http.client.HTTPException, OSError)):
        for _ in range(64):  # it hangs up behind the first megabyte
            connection.send(b" " * (1 << 20))
        connection.getresponse().read(1)
        raise ConnectionError
    connection.close()


def test_the_passwords_are_in_a_file_of_their_owner_and_in_no_command_line(server: ClickHouseServer) -> None:
    assert stat.S_IMODE(server.credentials_path.stat().st_mode) == 0o600
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = line.read_bytes()
        except OSError:
            continue
        assert not any(server.credentials[user].encode() in text for user in User)


# Row 2: files and networks by SQL


class Listener:
    """A server that must not be asked anything."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200)
                self.end_headers()

            do_POST = do_HEAD = do_PUT = do_GET

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.server.shutdown()
    made.server.server_close()


REACHING = (HERE / "sql_that_reaches_out.sql").read_text(encoding="utf-8").splitlines()

ONLY_OF_THE_ROLES = (HERE / "sql_of_the_roles.sql").read_text(encoding="utf-8").splitlines()


def refused(
    server: ClickHouseServer, sql: str, user: User, file: Path, out: Path, listener: Listener
) -> Answer:
    peer = listener.url.removeprefix("http://")
    text = sql.replace("{file}", str(file)).replace("{out}", str(out))
    text = text.replace("{url}", listener.url).replace("{peer}", peer)
    answer = ask(server, text.encode(), user=user)
    assert answer[0] != 200, (text, answer)
    assert SECRET.encode() not in answer[2]
    assert not out.exists() and listener.asked == []
    return answer


@BOTH
@pytest.mark.parametrize("sql", REACHING)
def test_no_sql_reaches_a_file_or_a_network(
    server: ClickHouseServer, listener: Listener, tmp_path: Path, user: User, sql: str
) -> None:
    """With the credentials of a role as little as with an analyst's."""
    for file in (server.credentials_path.with_name("demo-tokens.json"), Path("/etc/passwd")):
        _, _, body = refused(server, sql, user, file, tmp_path / "out", listener)
        assert b"root:" not in body


@pytest.mark.parametrize("sql", ONLY_OF_THE_ROLES)
def test_an_analyst_changes_nothing_and_reads_nothing_else(
    server: ClickHouseServer, listener: Listener, tmp_path: Path, sql: str
) -> None:
    before = ask(server, b"SELECT * FROM tidegate.t")
    refused(server, sql, User.ANALYST, Path("/etc/passwd"), tmp_path / "out", listener)
    assert ask(server, b"SELECT * FROM tidegate.t")[2] == before[2] == b"1\tx\n"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM tidegate.t",
        "SELECT * FROM tidegate.v(least = 1)",
        "SELECT uniqIf(a, a > 0), quantiles(0.5)(a), any(a) OVER () FROM tidegate.t GROUP BY a",
        "SELECT name FROM system.tables WHERE database = 'tidegate' SETTINGS max_threads = 1",
        "SELECT count() FROM numbers(10) FORMAT JSON",
        "SELECT geohashEncode(1.0, 2.0), geoToH3(1.0, 2.0, 8), JSONExtractString('{\"a\": \"b\"}', 'a')",
        "SELECT 'file(1) INTO OUTFILE ''x''' AS file",
        "WITH file AS (SELECT 1 AS a) SELECT a AS outfile FROM file",
        "SHOW TABLES FROM tidegate",
        "SHOW CREATE TABLE tidegate.t",
        "SHOW DATABASES",
        "DESCRIBE tidegate.t",
        "EXISTS tidegate.t",
        "EXPLAIN indexes = 1 SELECT * FROM tidegate.t WHERE a = 1",
        "SELECT * FROM information_schema.tables LIMIT 1",
        "SELECT * FROM system.processes",
        "SET max_threads = 2",
        "USE tidegate",
    ],
)
def test_an_analyst_may_ask(server: ClickHouseServer, sql: str) -> None:
    drivers: list[dict[str, str]] = [{}, {"max_threads": "2", "max_result_rows": "1000", "readonly": "1"}]
    for settings in drivers:
        status, _, body = ask(server, sql.encode(), headers=None, user=User.ANALYST, **settings)
        assert status == 200, body


def test_no_url_parameter_or_session_opens_what_sql_cannot(server: ClickHouseServer, tmp_path: Path) -> None:
    file = str(server.credentials_path)
    for user in User:
        for name in REFUSED_SETTINGS:
            assert ask(server, b"SELECT 1", headers=None, user=user, **{name: file})[0] != 200, name
        for name in ("max_threads=1, dialect", "readonly = 0, max_threads", "x'y"):
            assert ask(server, b"SELECT 1", headers=None, user=user, **{name: "1"})[0] != 200
        name = "TSV\nSETTINGS format_template_resultset = '/etc/passwd'"
        assert ask(server, b"SELECT 1", headers=None, user=user, default_format=name)[0] != 200
        name = f"TSV INTO OUTFILE '{tmp_path}/out'"
        assert ask(server, b"SELECT 1", headers=None, user=user, default_format=name)[0] != 200
    assert ask(server, b"SELECT 1", user=User.ANALYST, readonly="0")[0] == 200
    assert ask(server, b"INSERT INTO tidegate.t VALUES (3, '')", user=User.ANALYST, readonly="0")[0] == 403
    assert ask(server, b"CREATE TEMPORARY TABLE mine (a UInt8)", session_id="one")[0] == 200
    assert ask(server, b"SELECT * FROM mine", user=User.ANALYST, session_id="one")[0] == 404
    assert ask(server, b"SET max_threads = 3", user=User.ANALYST, session_id="two")[0] == 200
    assert ask(server, b"SELECT getSetting('max_threads')", user=User.ANALYST, session_id="two")[2] == b"3\n"
    assert list(tmp_path.iterdir()) == []


def test_what_a_client_sends_as_a_table_is_checked_as_well(server: ClickHouseServer) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n1\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for structure in (
        f"a UInt8, b String DEFAULT file('{server.credentials_path}')",
        "a UInt8) ENGINE = File(TSV",
    ):
        for user in User:
            answer = ask(
                server, form, headers=headers, user=user, query="SELECT * FROM f", f_structure=structure
            )
            assert answer[0] != 200 and b'analyst":' not in answer[2]
    good = ask(
        server, form, headers=headers, user=User.TIDEGATE, query="SELECT * FROM f", f_structure="a UInt8"
    )
    assert good[2] == b"1\n"


STRINGS = frozenset(
    """aggregate_function_input_format bool_false_representation bool_true_representation
    column_names_for_schema_inference compatibility compression count_distinct_implementation database
    default_format distributed_cache_client_id distributed_cache_file_cache_name
    distributed_plan_force_exchange_kind errors_output_format exclude_materialize_skip_indexes_on_insert
    filesystem_cache_name force_data_skipping_indices force_optimize_projection_name format
    format_csv_null_representation format_custom_field_delimiter format_custom_result_after_delimiter
    format_custom_result_before_delimiter format_custom_row_after_delimiter format_custom_row_before_delimiter
    format_custom_row_between_delimiter format_json_object_each_row_column_for_object_name format_regexp
    format_template_resultset_format format_template_row_format format_template_rows_between_delimiter
    format_tsv_null_representation framing_output_format function_implementation http_response_headers
    iceberg_metadata_compression_method ignore_data_skipping_indices input_format
    input_format_mysql_dump_table_name input_format_orc_reader_time_zone_name insert_deduplication_token
    local_filesystem_read_method log_comment metrics_perf_events_list network_compression_method
    output_format output_format_avro_codec output_format_avro_confluent_subject
    output_format_avro_string_column_pattern output_format_image_terminal_mode
    output_format_orc_writer_time_zone_name output_format_pretty_grid_charset
    output_format_sql_insert_table_name preferred_optimize_projection_name promql_database promql_table
    query_cache_tag remote_filesystem_read_method s3_upload_checksum_algorithm schema_inference_hints
    send_logs_source_regexp stream_like_engine_insert_queue temporary_files_codec trace_profile_events_list
    workload chdb_client_name""".split()
)
"""Settings of text that name no file and no address, and are no SQL: looked at one by one."""


def test_every_setting_of_text_was_looked_at(server: ClickHouseServer) -> None:
    """A later engine may bring one that names a file: this test then asks for a look."""
    sql = b"SELECT name FROM system.settings WHERE type IN ('String', 'Map', 'URI')"
    found = set(ask(server, sql)[2].decode().split())
    assert found - STRINGS - set(REFUSED_SETTINGS) == set()


NOT_CALLED = """
    addressToLine addressToLineWithInlines addressToSymbol aiClassify aiEmbed aiExtract aiFilter aiGenerate
    aiRedact aiSimilarity aiTranslate evalMLMethod file getClientHTTPHeader getMacro logTrace
    naiveBayesClassifier currentRequestURL regionHierarchy regionToName showCertificate tid
    zookeeperSessionUptime
""".split()


@pytest.mark.parametrize("name", NOT_CALLED)
def test_functions_that_reach_out_are_refused(server: ClickHouseServer, name: str) -> None:
    for call in (name, f"`{name}`", name.upper() if name == "file" else name):
        status, _, body = ask(server, f"SELECT {call}('x')".encode())
        assert (status, b"ACCESS_DENIED" in body) == (403, True), body


# Row 9: modes


def test_what_up_writes_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        up = Up(tmp_path, "--simulate", "0")
        (up.data / "logs").mkdir(parents=True)
        (up.data / "logs" / "sink.log").write_text("of an earlier version")
        try:
            up.start()
            assert "open to others" in up.said()
            found = [up.data, *up.data.rglob("*")]
            assert {path.name for path in found} > {"clickhouse", "logs", "tokens.json", "demo-tokens.json"}
            for path in found:
                mode = path.lstat().st_mode
                assert stat.S_ISLNK(mode) or not mode & 0o077, (path, oct(mode))
            assert up.stop() == 0
            up.start()
            assert "open to others" not in up.said()
            assert up.stop() == 0
        finally:
            up.end()
    finally:
        os.umask(before)


# A real browser

PAGE = (HERE / "page_of_another_site.html").read_text(encoding="utf-8")


def test_a_page_in_chromium_takes_nothing(server: ClickHouseServer, tmp_path: Path) -> None:
    """By an image, fetch, a script and a form."""
    chromium = shutil.which("chromium")
    if chromium is None:
        assert not os.environ.get("CI"), "chromium is not installed"
        pytest.skip("chromium is not installed")
    said: list[str] = []
    page = b""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page if self.path == "/" else b"")

        do_POST = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    own = f"http://localhost:{web.server_address[1]}"
    page = PAGE.replace("{own}", own).replace("{target}", f"http://{server.address}").encode()
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    flags += f" --disable-component-update --disable-sync --user-data-dir={tmp_path / 'profile'}"
    flags += " --remote-debugging-port=0"  # without one, headless Chromium ends at once
    browser = subprocess.Popen(
        [chromium, *flags.split(), own + "/"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await_(lambda: "/said/done" in said, lambda: str(said), 120.0)
    finally:
        browser.terminate()
        browser.wait(30)
        web.shutdown()
        web.server_close()
    assert "/sql" not in said  # the engine did not call out
    assert "/said/" + quote("cors failed") in said
    assert not any("42" in path for path in said)
    assert b"taken" not in ask(server, b"SHOW DATABASES")[2]
