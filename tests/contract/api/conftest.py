"""The API as its own server on a free port, over a database of its own on the real engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from api_server import serve
from clickhouse_connect.driver.client import Client
from databases import migrated, settings_of

from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.tokens import Role, TokenFile

Call = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def bootstrap() -> str:
    """The API's Kafka: none, unless a module has one of its own."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def settings(
    clickhouse: ClickHouseServer, bootstrap: str, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    folder = tmp_path_factory.mktemp("api")
    return settings_of(
        clickhouse,
        api_listen=f"127.0.0.1:{free_port()}",
        data_dir=str(folder),
        kafka_bootstrap=bootstrap,
    )


@pytest.fixture(scope="module")
def tokens(settings: Settings) -> dict[str, str]:
    """A token of each role for fleet `demo`, and `other`: an operator of another fleet."""
    file = TokenFile(settings.tokens_path)
    made = {role.value: file.create(role.value, fleet="demo", role=role) for role in Role}
    return made | {"other": file.create("other", fleet="other", role=Role.OPERATOR)}


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[Client]:
    """A client on the API's database, migrated and empty at the start of the module."""
    with migrated(settings) as client:
        yield client


@pytest.fixture(scope="module")
def api(settings: Settings, tokens: dict[str, str], store: Client) -> Iterator[Call]:
    """GET a path: `api("/V5/…", role="viewer", params={…})`; role None sends no token."""
    with serve(settings) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:

        def call(path: str, *, role: str | None = "viewer", **request: Any) -> httpx.Response:
            headers = dict(request.pop("headers", {}))
            if role is not None:
                headers["authorization"] = f"Bearer {tokens[role]}"
            method = request.pop("method", "GET")
            return client.request(method, path, headers=headers, **request)

        yield call
