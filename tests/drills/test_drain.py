"""SIGTERM to one of each role under load, within the grace that the chart gives its pod.

Two of each role run, with the chart's own settings. Whoever sends and reads goes through a balancer that asks
/readyz, and must not notice; what was sent is held to what is stored, as after the faults of `chaos`.
"""

from __future__ import annotations

import signal
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import roles
import yaml
from alert_documents import alert
from chaos.balance import balance
from chaos.notices import Notices
from chaos.parts import Role
from chaos.proxy import Link, Proxies
from chaos.sent_log import Acked, entries
from chaos.world import World
from confluent_kafka import Producer
from conftest import require_apache_kafka
from waiting import await_
from webhook_receiver import Reply

from tidegate.contracts.alerts import record_key
from tidegate.contracts.topics import ALERTS
from tidegate.service.background import Background
from tidegate.setting_sources import PREFIX
from tidegate.tokens import Role as TokenRole
from tidegate.tokens import TokenFile

ROLES = ("gateway", "worker", "sink", "api", "notify")
SECONDS = 120.0
TOLD = 12  # alerts


class Chart:
    """What the chart's values say of each role."""

    def __init__(self, repository: Path) -> None:
        self._values = yaml.safe_load((repository / "deploy/helm/tidegate/values.yaml").read_text())

    def grace(self, role: str) -> float:
        return float(self._values[role]["terminationGracePeriodSeconds"])

    def settings(self, role: str) -> dict[str, Any]:
        return {name.removeprefix(PREFIX).lower(): value for name, value in self._values[role]["env"].items()}


class Repeated(Background):
    """`again` in a thread of its own until the end of the block."""

    def __init__(self, every: float) -> None:
        super().__init__("repeated", stop_seconds=60.0)
        self._every = every

    @abstractmethod
    def again(self) -> None: ...

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            self.again()


class Balancer(Repeated):
    """Leads new connections of a link to a role that is ready, as a Service does."""

    def __init__(self, link: Link, roles: list[Role]) -> None:
        super().__init__(0.1)
        self._link, self._roles = link, roles

    def again(self) -> None:
        ready = next((role for role in self._roles if role.ready()), None)
        if ready is not None:
            self._link.lead(ready.listen)


class Reader(Repeated):
    """Asks the API for device logs again and again, on a connection that it keeps."""

    def __init__(self, address: str, token: str) -> None:
        super().__init__(0.05)
        headers = {"authorization": f"Bearer {token}"}
        self.http = httpx.Client(base_url=f"http://{address}", headers=headers, timeout=60.0)
        self.seen: set[str] = set()  # lines
        self.answers = 0
        self.trouble: list[str] = []

    def ask(self, **which: int) -> list[str]:
        answer = self.http.get(
            "/api/v1/inventory_device_log/",
            params={"format": "ndjson", **which},
        )
        assert answer.status_code == 200, answer.text
        return answer.text.splitlines()

    def again(self) -> None:
        try:
            self.seen.update(self.ask(limit=500))
            self.answers += 1
        except (httpx.HTTPError, AssertionError) as error:
            self.trouble.append(repr(error))


@contextmanager
def running(folder: Path, chart: Chart) -> Iterator[World]:
    own = {role: chart.settings(role) for role in ROLES}
    world = World(folder, "kafka", seed=1, rate=200.0, own=own)
    try:
        world.start()
        yield world
    finally:
        world.stop(keep=False)


def end(role: Role, grace_seconds: float) -> None:
    """SIGTERM: /readyz says no before the socket closes, and the process ends with 0 within its grace."""
    begun = time.monotonic()
    role.let_go()
    role.child.signal(signal.SIGTERM)
    said = [roles.get(role.listen, "/readyz", seconds=30)]
    while said[-1][0]:
        said.append(roles.get(role.listen, "/readyz", seconds=30))
    statuses = [status for status, _ in said[:-1]]
    assert statuses == sorted(statuses), statuses
    assert said[-2][0] == 503 and "stopping" in said[-2][1], said[-5:]
    assert role.child.wait(grace_seconds - (time.monotonic() - begun)) == 0, role.child.tail()


def tell(bootstrap: str) -> None:
    """Alerts, as a worker writes them."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    for number in range(TOLD):
        told = alert(id=f"alert{number}", site=f"Site {number}", started_at=now, updated_at=now)
        producer.produce(ALERTS, msgspec.json.encode(told), key=record_key(told))
    assert producer.flush(60) == 0


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_each_role_drains_under_load(tmp_path: Path, repository: Path) -> None:
    require_apache_kafka()
    chart = Chart(repository)
    with running(tmp_path, chart) as world, ExitStack() as ending:
        notices = Notices(tmp_path, lambda path, before: Reply(wait=0.2))
        ending.callback(notices.stop)
        notices.create(world.direct | notices.settings)
        world.add("gateway")
        for role in ("api", "api", "notify", "notify"):
            world.add(role, **(notices.settings if role == "notify" else {}))
        await_(lambda: all(role.ready() for role in world.roles()), world.says, SECONDS)
        tokens = TokenFile(tmp_path / "data" / "tokens.json")
        proxies = Proxies()
        ending.callback(proxies.stop)
        link = proxies.link("reader-api", world.roles("api")[0].listen)
        reader = Reader(link.address, tokens.create("reader", fleet="demo", role=TokenRole.OPERATOR))
        ending.enter_context(reader.http)
        ending.enter_context(Balancer(world.links["producer-gateway"], world.roles("gateway")))
        ending.enter_context(Balancer(link, world.roles("api")))

        with reader:
            await_(lambda: reader.seen, world.says, SECONDS)
            for name in ROLES:
                if name == "notify":
                    tell(world.broker.bootstrap)
                    await_(lambda: notices.at.received, world.says, SECONDS)
                end(world.roles(name)[0], chart.grace(name))
                if name in ("worker", "sink"):
                    world.goes_on(SECONDS)
            answers = reader.answers
            await_(lambda: reader.answers > answers, world.says, SECONDS)
        world.stop_load()
        assert world.drained(SECONDS, print), world.says()

        found = balance(world)
        assert not found.damage and not world.ill(), found.damage
        again = [one for one in entries(world.sent_log) if isinstance(one, Acked) and one.attempts > 1]
        assert not again, f"senders noticed: {again[:3]}"
        assert not reader.trouble, reader.trouble[:3]
        assert reader.seen <= {*reader.ask()}
        told, wrong = notices.damage(world)
        assert told >= 2 * TOLD and not wrong, wrong
        ids = [one.headers["webhook-id"] for one in notices.at.received]
        assert len(ids) == len({*ids})  # the other one sends what is owed, and nothing anew
