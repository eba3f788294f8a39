"""The query API answers as its OpenAPI document says, whatever is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import table_rows
from api_server import serve
from clickhouse_connect.driver.client import Client
from fuzzing import finds_nothing

import builders
from tidegate.settings import Settings

KEY_FILE = "FUZZ_LINK_KEY_FILE"


@pytest.mark.timeout(900)
def test_schemathesis_finds_nothing_at_the_api(
    settings: Settings, tokens: dict[str, str], store: Client, tmp_path: Path
) -> None:
    # The entry that the document's example of an id names.
    table_rows.store(store, "device_logs", builders.device_log(), partition=3, offset=1042)
    table_rows.plan(store, "device_logs", 1042, partition=3)
    table_rows.store(store, "client_events", builders.success(), builders.failure(), builders.intermediate())
    table_rows.store(store, "connection_logs", builders.network_log(), builders.session_log())
    with serve(settings) as url:
        finds_nothing(
            url,
            tokens["superuser"],
            "api",
            tmp_path,
            environment={KEY_FILE: str(settings.link_key_path)},
            left_out=4,  # /api/v1/live, and three that make, try and replay webhooks
        )
