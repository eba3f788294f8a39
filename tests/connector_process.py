"""`tidegate connect NAME` as a process, for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import metrics
import roles
from waiting import await_

from tidegate.local.child import Child, free_port

SECRET = "the sender's and ours"


class Connector:
    """One connector on free ports, for a gateway that need not be there."""

    def __init__(self, name: str, folder: Path, gateway: str, token: str, **values: object) -> None:
        self.name = name
        ports = [free_port() for _ in range(3)]
        self.listen = f"127.0.0.1:{ports[0]}"
        self.radius = ("127.0.0.1", ports[1])
        self.syslog = ("127.0.0.1", ports[2])
        self.values: dict[str, object] = {
            "connect_listen": self.listen,
            "connect_radius_listen": f"127.0.0.1:{ports[1]}",
            "connect_syslog_listen": f"127.0.0.1:{ports[2]}",
            "connect_gateway_url": gateway,
            "connect_token": token,
            "connect_secret": SECRET,
            "data_dir": str(folder),
            **values,
        }
        log = folder / f"connect-{name}.log"
        environment = roles.environment(self.values)
        self.child = Child(f"connect {name}", roles.command("connect", name), log, environment=environment)
        self.client = httpx.Client(base_url=f"http://{self.listen}", timeout=30.0)

    def start(self, path: str = "/readyz") -> Connector:
        self.child.start()
        await_(lambda: self.answers(path), self.child.tail)
        return self

    def answers(self, path: str) -> bool:
        assert self.child.running, self.child.tail()
        return roles.get(self.listen, path)[0] == 200

    def post(self, document: bytes | dict[str, Any], headers: dict[str, str] | None = None) -> httpx.Response:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        sent = {"content-type": "application/json", **(headers or {})}
        return self.client.post(f"/{self.name}", content=body, headers=sent)

    def count(self, metric: str, **labels: str) -> float:
        _, text = roles.get(self.listen, "/metrics")
        named = ",".join(f'{name}="{value}"' for name, value in {"connector": self.name, **labels}.items())
        return metrics.sample(text, f"tidegate_connect_{metric}{{{named}}}")


@contextmanager
def connecting(
    name: str, folder: Path, gateway: str, token: str, path: str = "/readyz", **values: object
) -> Iterator[Connector]:
    """A connector that answers on `path`; it must end cleanly."""
    connector = Connector(name, folder, gateway, token, **values)
    try:
        yield connector.start(path)
        assert connector.child.stop(30.0) == 0, connector.child.tail()
    finally:
        connector.client.close()
        connector.child.stop()
