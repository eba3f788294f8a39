"""ClickHouse's own Go, JDBC and Node clients against the embedded server, with their defaults.

The Python client is everywhere else in these tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_client import rows
from toolchains import need

from tidegate.local.clickhouse import ClickHouseServer
from tidegate.local.clickhouse.credentials import User

HERE = Path(__file__).parent
CACHE = Path.home() / ".cache" / "tidegate" / "clients"
TABLE = "clients.t"
COLUMNS = (
    "id UInt64, name String, note Nullable(String), at DateTime64(3, 'UTC'), tags Array(String),"
    " kind LowCardinality(String)"
)
LARGE = "200000 19999900000"

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def table(clickhouse: ClickHouseServer) -> Iterator[str]:
    """An empty one."""
    rows(clickhouse, "CREATE DATABASE IF NOT EXISTS clients")
    rows(clickhouse, f"CREATE OR REPLACE TABLE {TABLE} ({COLUMNS}) ENGINE = MergeTree ORDER BY id")
    yield TABLE
    rows(clickhouse, f"DROP TABLE {TABLE}")


def run(argv: list[str], folder: Path, *, seconds: float = 900.0, **environment: str) -> str:
    """What a program printed; it must succeed."""
    done = subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, timeout=seconds, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def url_of(server: ClickHouseServer, scheme: str, database: str = "") -> str:
    return f"{scheme}://{server.url.removeprefix('http://')}/{database}"


def built(name: str, package: str) -> str:
    """A program of Go, built once; Go keeps what it fetched."""
    need("go")
    binary = CACHE / name
    CACHE.mkdir(parents=True, exist_ok=True)
    command = ["go", "build", "-mod=readonly", "-o", str(binary), package]
    run(command, HERE / "clickhouse_go", GOTOOLCHAIN="auto")  # an older Go fetches the one that go.mod names
    return str(binary)


@pytest.fixture(scope="module")
def go_client() -> str:
    return built("clickhouse_go", ".")


@pytest.mark.parametrize(
    "compression", [[], ["lz4"], ["zstd"], ["gzip"]], ids=lambda name: "".join(name) or "default"
)
def test_go_over_http(
    clickhouse: ClickHouseServer, table: str, go_client: str, compression: list[str]
) -> None:
    """It asks for Native with a protocol version, and for ClickHouse's own compression of blocks."""
    said = run([go_client, url_of(clickhouse, "http", "default"), table, *compression], HERE).splitlines()
    assert said == [
        "0 name note 0 2026-01-02T03:04:05.678Z [a note 0] low",
        "1 name null 2026-01-02T03:04:05.678Z [a note 1] low",
        "2 name note 2 2026-01-02T03:04:05.678Z [a note 2] low",
        LARGE,
        LARGE,
    ]


def test_what_grafana_asks_for(clickhouse: ClickHouseServer, table: str) -> None:
    """Its data source over HTTP, by its driver; Grafana itself is not run. As an analyst, who only reads."""
    rows(clickhouse, "CREATE DATABASE IF NOT EXISTS tidegate")
    columns = f"{COLUMNS}, second DateTime, day Date, size Nullable(Int64), share Nullable(Float64)"
    rows(clickhouse, f"CREATE OR REPLACE TABLE tidegate.seen ({columns}) ENGINE = MergeTree ORDER BY id")
    rows(
        clickhouse,
        "INSERT INTO tidegate.seen (id, at, second) SELECT number, toDateTime64(60 * number, 3), 7"
        " FROM numbers(3)",
    )
    password = clickhouse.credentials[User.ANALYST]
    program = built("clickhouse_grafana", "./grafana")
    said = run([program, clickhouse.address, "analyst", password, "tidegate", "seen", "at"], HERE)
    assert said.splitlines() == [
        "version true",
        "readonly 2",
        "database tidegate",
        "databases true",
        "tables true",
        "columns true",
        "functions true",
        "values 1",
        "error true",
        "series 3",
        "table 3",
    ]
    rows(clickhouse, "DROP TABLE tidegate.seen")


@pytest.fixture(scope="module")
def jars() -> str:
    need("java", "mvn")
    folder = CACHE / "clickhouse_jdbc"
    shutil.copytree(HERE / "clickhouse_jdbc", folder, dirs_exist_ok=True)
    run(["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars"], folder)
    return str(folder / "jars" / "*")


def test_jdbc(clickhouse: ClickHouseServer, table: str, jars: str) -> None:
    """As DBeaver has it: the catalogue, a batch, a large result, with compress=1 as is its default."""
    password = clickhouse.credentials[User.TIDEGATE]
    url = f"jdbc:ch://{clickhouse.address}/default?user=tidegate&password={password}"
    said = run(["java", "-cp", jars, "Main.java", url, table], HERE / "clickhouse_jdbc").splitlines()
    assert said == [
        "ClickHouse true",
        "system true",
        "0 it's \\ 0 note 0",
        "1 it's \\ 1 null",
        "2 it's \\ 2 note 2",
        "id name note at tags kind ",
        LARGE,
    ]


def test_jdbc_of_an_analyst(clickhouse: ClickHouseServer, jars: str) -> None:
    """The line that `tidegate up` prints."""
    rows(clickhouse, "CREATE DATABASE IF NOT EXISTS tidegate")
    password = clickhouse.credentials[User.ANALYST]
    url = f"jdbc:ch://{clickhouse.address}/tidegate?user=analyst&password={password}"
    said = run(["java", "-cp", jars, "Main.java", url, "-"], HERE / "clickhouse_jdbc").splitlines()
    assert said == ["ClickHouse true", "system true", LARGE]


def test_node(clickhouse: ClickHouseServer, table: str) -> None:
    need("node", "npm")
    folder = CACHE / "clickhouse_node"
    shutil.copytree(HERE / "clickhouse_node", folder, dirs_exist_ok=True)
    run(["npm", "ci", "--no-audit", "--no-fund"], folder)
    password = clickhouse.credentials[User.TIDEGATE]
    said = run(["node", "main.mjs", f"http://{clickhouse.address}", "tidegate", password, table], folder)
    row = (
        '{"id":%d,"name":"name","note":%s,"at":"2026-01-02 03:04:05.678","tags":["a","note %d"],"kind":"low"}'
    )
    each = [row % (id, "null" if id == 1 else f'"note {id}"', id) for id in range(3)]
    each.append('200000 [{"text":"it\'s\\t\\\\"}]')
    assert said.splitlines() == each * 2  # without compression of HTTP, and with
