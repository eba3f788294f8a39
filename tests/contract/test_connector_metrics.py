"""Connectors have an address of their own for /metrics, as every role has: Prometheus is elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import roles
from connector_process import connecting

from tidegate.local.child import free_port


@pytest.mark.parametrize("name", ["mist", "radius"])  # one by webhook, one with a port of its own
def test_metrics_at_an_address_of_their_own(tmp_path: Path, name: str) -> None:
    listen, nobody = (f"127.0.0.1:{free_port()}" for _ in range(2))
    url = f"http://{nobody}"
    with connecting(name, tmp_path, url, "no token", path="/healthz", metrics_listen=listen):
        status, text = roles.get(listen, "/metrics")
        assert status == 200 and "tidegate_connect_" in text
        assert roles.get(listen, "/readyz")[0] == 503
        assert roles.get(listen, f"/{name}")[0] == 404
