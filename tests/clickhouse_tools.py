"""What the tests of ClickHouse's own clients share: a table, and the tools that build the clients."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tidegate.local.clickhouse import ClickHouseServer

CACHE = Path.home() / ".cache" / "tidegate" / "clients"
TABLE = "clients.t"
COLUMNS = (
    "id UInt64, name String, note Nullable(String), at DateTime64(3, 'UTC'), tags Array(String),"
    " kind LowCardinality(String)"
)


def run(argv: list[str], folder: Path, *, seconds: float = 900.0, **environment: str) -> str:
    """What a program printed; it must succeed."""
    done = subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, timeout=seconds, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def url_of(server: ClickHouseServer, scheme: str, database: str = "") -> str:
    return f"{scheme}://{server.url.removeprefix('http://')}/{database}"
