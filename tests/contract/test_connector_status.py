"""The status of connectors: what every role says of itself, and at what address."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest
import radius_client
import roles
from connector_process import SECRET, Connector, connecting
from waiting import PATIENCE, await_

from tidegate.local.child import free_port

# One by webhook, one with a port of its own.
CONNECTORS = pytest.mark.parametrize("name", ["mist", "radius"])


@CONNECTORS
def test_metrics_at_an_address_of_their_own(tmp_path: Path, name: str) -> None:
    """Prometheus is elsewhere."""
    listen, nobody = (f"127.0.0.1:{free_port()}" for _ in range(2))
    url = f"http://{nobody}"
    with connecting(name, tmp_path, url, "no token", path="/healthz", metrics_listen=listen):
        status, text = roles.get(listen, "/metrics")
        assert status == 200 and "tidegate_connect_" in text
        assert roles.get(listen, "/readyz")[0] == 503
        assert roles.get(listen, f"/{name}")[0] == 404


@CONNECTORS
def test_readyz_says_stopping_until_the_end(tmp_path: Path, name: str) -> None:
    """At both addresses. The webhook goes on for its notice; RADIUS waits for a gateway that is silent."""
    own = f"127.0.0.1:{free_port()}"
    values: dict[str, object] = {"metrics_listen": own, "http_notice_seconds": PATIENCE}
    with socket.create_server(("127.0.0.1", 0)) as gateway:
        gateway.settimeout(PATIENCE)
        url = f"http://127.0.0.1:{gateway.getsockname()[1]}"
        with connecting(name, tmp_path, url, "no token", path="/healthz", **values) as connector:
            delivering = accounting_under_way(connector, gateway) if name == "radius" else None
            connector.child.signal(signal.SIGTERM)
            both = {(503, "stopping\n")}
            await_(lambda: {roles.get(listen, "/readyz") for listen in (connector.listen, own)} == both)
            if delivering is not None:
                delivering.close()


def accounting_under_way(connector: Connector, gateway: socket.socket) -> socket.socket:
    """The connection over which an accounting request is posted, once it is."""
    await_(lambda: "listens on" in connector.child.tail())
    sent = radius_client.request(SECRET.encode(), radius_client.start(time.time()))
    radius_client.exchange(connector.radius, sent, seconds=0.1)
    while True:
        connection, _ = gateway.accept()
        if not connection.recv(65_536).endswith(b"\r\n\r\n[]"):  # no look at whether the gateway is there
            return connection
        connection.close()
