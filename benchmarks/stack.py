"""The engines and the roles on free ports, each a process of its own, as `tidegate up` runs them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from clickhouse_connect.driver.client import Client

from tidegate import settings as settings_module
from tidegate.contracts.topics import STREAMS
from tidegate.kafka.topics import ensure_topics
from tidegate.local.broker import Broker, EmbeddedBroker
from tidegate.local.child import Child, free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.local.kafka import KafkaBroker
from tidegate.settings import Settings
from tidegate.store.client import connect
from tidegate.store.migrate import migrate
from tidegate.tokens import TokenFile

FLEET = "demo"
PROBE_FLEET = "probe"
_ROLES = ("gateway", "worker", "sink", "api")  # in the order in which they are stopped


class Stack:
    """Use as a context manager: the engines run inside, roles when `start` is called for them."""

    def __init__(
        self,
        *,
        workers: int = 1,
        second: Mapping[str, object] | None = None,
        store: Path | None = None,
        on_kafka: bool = False,
        broker: Broker | None = None,
        **overrides: Any,
    ) -> None:
        """Keyword arguments are settings; of the worker there are as many as `workers` says. With `second`
        there are two of each role, and the second has those settings besides.

        `on_kafka` runs Apache Kafka instead of the embedded broker, `broker` is one of the caller's, not
        started, which settings name. `store` is a ClickHouse folder to keep;
        without it there is a new one that goes with the stack.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="tidegate-bench-"))
        kafka = f"127.0.0.1:{free_port()}"
        self.clickhouse = ClickHouseServer(
            f"127.0.0.1:{free_port()}", store or self.folder / "clickhouse", self.folder / "clickhouse.log"
        )
        values: dict[str, Any] = {
            "data_dir": str(self.folder),
            "kafka_bootstrap": kafka,
            "clickhouse_url": self.clickhouse.url,
            "log_level": "warning",
            "kafka_partitions": max(workers, 1 if second is None else 2, Settings().up_partitions),
            **{f"{role}_listen": f"127.0.0.1:{free_port()}" for role in _ROLES},
            **overrides,
        }
        self.settings: Settings = settings_module.load({}, overrides=values)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")},
            **{f"TIDEGATE_{name.upper()}": str(value) for name, value in values.items()},
        }
        log = self.folder / "broker.log"
        self.broker: Broker = broker or (
            KafkaBroker(kafka, self.folder / "kafka", log, jars=settings_module.load().kafka_jars)
            if on_kafka
            else EmbeddedBroker(kafka, log)
        )
        self.roles: dict[str, Child] = {}
        self._listens = {role: [str(values[f"{role}_listen"])] for role in _ROLES}
        self._second = second or {}
        self._listens["worker"] += [f"127.0.0.1:{free_port()}" for _ in range(workers - 1)]
        if second is not None:
            self._listens = {
                role: [listens[0], f"127.0.0.1:{free_port()}"] for role, listens in self._listens.items()
            }
        self.client: Client
        self.token = ""
        self.probe_token = ""

    def __enter__(self) -> Stack:
        try:
            self.broker.start()
            self.clickhouse.start()
            ensure_topics(self.settings)
            admin = connect(self.settings, database="")
            migrate(admin, self.settings)
            admin.close()
            self.client = connect(self.settings)
            tokens = TokenFile(self.settings.tokens_path)
            self.token = tokens.create(
                "bench", fleet=FLEET, role="ingest", rate_events_per_second=1e9, rate_bytes_per_second=1e12
            )
            self.probe_token = tokens.create("probe", fleet=PROBE_FLEET, role="ingest")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, *roles: str) -> None:
        """Start roles; `await_ready` waits for them."""
        for role in roles:
            for number, listen in enumerate(self._listens[role]):
                name = f"{role}-{number + 1}" if number else role
                environment = {**self.environment, f"TIDEGATE_{role.upper()}_LISTEN": listen}
                if number:
                    environment |= {f"TIDEGATE_{name.upper()}": str(v) for name, v in self._second.items()}
                child = Child(
                    name,
                    [sys.executable, "-m", "tidegate", role],
                    self.folder / f"{name}.log",
                    environment=environment,
                )
                child.start()
                self.roles[name] = child

    def await_ready(self, *roles: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        for role in roles:
            while not self._ready(role):
                self.check()
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{role} is not ready:\n{self.roles[role].tail()}")
                time.sleep(0.05)

    def check(self) -> None:
        """Raise if a role ended by itself."""
        for role, child in self.roles.items():
            if child.status is not None:
                raise RuntimeError(f"{role} ended with status {child.status}:\n{child.tail()}")

    def url(self, role: str, number: int = 0) -> str:
        """Where a process of the role is reached."""
        return f"http://{self._listens[role][number]}"

    def metrics(self, role: str, number: int | None = None) -> dict[str, float]:
        """The role's metrics, summed over labels and processes (of one process alone where it is numbered);
        empty while one does not answer."""
        text = ""
        for listen in self._listens[role] if number is None else [self._listens[role][number]]:
            try:
                with urllib.request.urlopen(f"http://{listen}/metrics", timeout=2) as answer:
                    text += answer.read().decode()
            except OSError:
                return {}
        sums: dict[str, float] = {}
        for line in text.splitlines():
            if not line.startswith("#") and line:
                name, _, value = line.rpartition(" ")
                key = name.partition("{")[0]
                sums[key] = sums.get(key, 0.0) + float(value)
        return sums

    def stored(self) -> int:
        """Rows in the event tables."""
        parts = " + ".join(f"(SELECT count() FROM {stream})" for stream in STREAMS)
        return int(self.client.query(f"SELECT {parts}").result_rows[0][0])

    def pids(self) -> dict[str, int]:
        """Every process of the stack by name."""
        children = {"broker": self.broker.child, "clickhouse": self.clickhouse.child, **self.roles}
        return {name: child.pid for name, child in children.items() if child.pid is not None}

    def stop_roles(self) -> None:
        for role in _ROLES:
            for name in [name for name in self.roles if name.partition("-")[0] == role]:
                self.roles.pop(name).stop(20.0)

    def stop(self) -> None:
        self.stop_roles()
        self.clickhouse.stop()
        self.broker.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ready(self, role: str) -> bool:
        try:
            for listen in self._listens[role]:
                urllib.request.urlopen(f"http://{listen}/readyz", timeout=2).close()
        except OSError:
            return False
        return True
