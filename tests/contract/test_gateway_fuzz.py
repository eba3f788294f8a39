"""The gateway answers as its OpenAPI document says, whatever is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzzing import finds_nothing
from gateways import GatewayProcess, prepare_topics

from tidegate.local.broker import Broker
from tidegate.tokens import Role


@pytest.mark.timeout(900)
def test_schemathesis_finds_nothing_at_the_gateway(embedded_broker: Broker, tmp_path: Path) -> None:
    prepare_topics(embedded_broker.bootstrap)
    # A limit that a batch can be longer than without being a megabyte.
    gateway = GatewayProcess(embedded_broker.bootstrap, tmp_path, gateway_max_batch_events=100).start()
    try:
        finds_nothing(gateway.url, gateway.token[Role.INGEST], "gateway", tmp_path)
    finally:
        gateway.stop()
