"""Asking the embedded ClickHouse by HTTP and nothing else."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request

from tidegate.local.clickhouse import ClickHouseServer
from tidegate.local.clickhouse.credentials import User

Answer = tuple[int, dict[str, str], bytes]


def ask(
    server: ClickHouseServer,
    body: bytes | None = None,
    *,
    headers: dict[str, str] | None = None,
    user: User = User.TIDEGATE,
    **params: str,
) -> Answer:
    """One request of a user with urllib: GET without a body, POST with one."""
    url = f"http://{server.address}/?{urllib.parse.urlencode(params)}"
    request = urllib.request.Request(url, data=body, headers={**sign(server, user), **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def sign(server: ClickHouseServer, user: User = User.TIDEGATE) -> dict[str, str]:
    """The headers that say who asks."""
    return {"X-ClickHouse-User": user.value, "X-ClickHouse-Key": server.credentials[user]}


def rows(server: ClickHouseServer, sql: str, **params: str) -> list[list[str]]:
    status, _, body = ask(server, sql.encode(), headers=None, user=User.TIDEGATE, **params)
    assert status == 200, body
    return [line.split("\t") for line in body.decode().splitlines()]


def runs(clickhouse: ClickHouseServer, text: str) -> bool:
    """Whether a query with this text is under way."""
    sql = f"SELECT count() FROM system.processes WHERE query LIKE '%{text}%' AND query NOT LIKE '%processes%'"
    return rows(clickhouse, sql) != [["0"]]
