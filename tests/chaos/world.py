"""All of Tidegate as processes, each connection through a link of its own, kept running by a keeper."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import roles
from waiting import await_

from chaos.disk import Disk
from chaos.notices import Notices
from chaos.parts import KafkaWithDoors, Part, Role, run_tidegate
from chaos.proxy import Link, Proxies
from chaos.sabotage import NOTHING, Sabotage
from tidegate import settings
from tidegate.contracts.topics import RAW_STREAMS
from tidegate.kafka.connection import Connection
from tidegate.kafka.log_ends import topic_ends
from tidegate.local.broker import EmbeddedBroker
from tidegate.local.child import Child, free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.store.client import plain
from tidegate.tokens import Role as TokenRole
from tidegate.tokens import TokenFile

PARTITIONS = 3
START_SECONDS = 120.0
DATABASE = "tidegate"
TESTS = Path(__file__).resolve().parent.parent


class World:
    """Started by `start`, and healthy again after `heal`. `folder` gets all data and logs."""

    def __init__(
        self,
        folder: Path,
        broker: str,
        *,
        seed: int,
        rate: float,
        sabotage: Sabotage = NOTHING,
        incidents: bool = False,
        own: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ):
        """`own` are settings by role."""
        folder.mkdir(parents=True, exist_ok=True)
        self.notices = Notices(folder) if incidents else None
        self.folder = folder
        self.on_kafka = broker == "kafka"
        self.session_seconds = 3.0 if self.on_kafka else 6.0
        self.sabotage = sabotage
        self.sent_log = folder / "sent.jsonl"
        self.version = 1  # of the transforms
        self.parts: list[Part] = []
        self._seed, self._rate = seed, rate
        self._own = own
        self._proxies = Proxies()
        self._named = 0
        self._gone: list[Role] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self.trouble: list[str] = []  # what went wrong outside of what was sent
        self.links: dict[str, Link] = {}
        self._producer: Child | None = None
        self.disk = Disk(folder / "clickhouse")

    # --- life

    def start(self) -> None:
        """Everything up and ready, and the load on."""
        self._engine_and_broker()
        self.direct: dict[str, Any] = {
            "kafka_bootstrap": self.broker.bootstrap,
            "kafka_partitions": PARTITIONS,
            "clickhouse_url": self.clickhouse.url,
            "data_dir": self.folder / "data",
            **(self.notices.settings if self.notices else {}),
        }
        run_tidegate(["topics"], self.direct)
        run_tidegate(["migrate"], self.direct, self.sabotage.prelude("migrate"))
        token = TokenFile(self.folder / "data" / "tokens.json").create(
            "chaos", fleet="demo", role=TokenRole.INGEST
        )
        self.gateway = self._add("gateway")
        self.links["producer-gateway"] = self._proxies.link("producer-gateway", self.gateway.listen)
        for role in ("worker", "worker", "sink", "sink"):
            self._add(role)
        if self.notices:
            self.notices.create(self.direct)
            for _ in range(2):
                self._add("notify")
        self._keeper.start()
        await_(
            lambda: all(role.ready() for role in self.roles()),
            lambda: "not ready: " + self.says(),
            START_SECONDS,
        )
        self._produce(token)

    def _engine_and_broker(self) -> None:
        """Started by this thread, which must live as long as they; started again by the keeper's."""
        self.disk.mount()
        self.clickhouse = ClickHouseServer(
            f"127.0.0.1:{free_port()}", self.disk.path / "store", self.folder / "clickhouse.log"
        )
        roles = ("producer", "gateway", "worker", "sink")
        if self.on_kafka:
            kafka = KafkaWithDoors(
                self.folder, settings.load().kafka_jars, [f"{role}-kafka" for role in roles]
            )
            for name, door in kafka.doors.items():
                self.links[name] = self._proxies.link(name, door)
                kafka.advertised[name] = self.links[name].address
            self.broker: Any = kafka
        else:
            self.broker = EmbeddedBroker(f"127.0.0.1:{free_port()}", self.folder / "broker.log")
        self.links["sink-clickhouse"] = self._proxies.link("sink-clickhouse", self.clickhouse.address)
        self.clickhouse.start()
        self.parts.append(Part("clickhouse", self.clickhouse.child))
        self.broker.start()
        if self.on_kafka:
            self.parts.append(Part("kafka", self.broker.child))

    def _keep(self) -> None:
        while not self._stop.wait(0.05):
            for part in list(self.parts):
                try:
                    part.keep()
                except OSError as error:
                    self.trouble.append(f"{part.name} cannot be started: {error}")

    def stop(self, *, keep: bool) -> None:
        """End everything. Logs stay; what ClickHouse held stays if `keep`."""
        self._stop.set()
        if self._keeper.ident is not None:
            self._keeper.join(30)
        if self._producer is not None:
            self._producer.kill()
            self._producer.wait(10)
        for part in reversed(self.parts):
            part.end()
        self.broker.child.kill()
        self.broker.stop()
        self._proxies.stop()
        if self.notices:
            self.notices.stop()
        self.disk.unmount(self.folder / "clickhouse-kept" if keep else None)

    # --- roles

    def roles(self, role: str | None = None) -> list[Role]:
        return [part for part in self.parts if isinstance(part, Role) and role in (None, part.role)]

    def part(self, name: str) -> Part | None:
        return next((part for part in self.parts if part.name == name), None)

    def add(self, role: str, **changed: Any) -> Role:
        """One more of a role."""
        with self._lock:
            return self._add(role, **changed)

    def _add(self, role: str, **changed: Any) -> Role:
        name = f"{role}-{sum(part.name.startswith(role) for part in self.parts) + self._named}"
        kafka = self.links.get(f"{role}-kafka")
        values = {
            **self.direct,
            "kafka_bootstrap": kafka.address if kafka else self.broker.bootstrap,
            "clickhouse_url": self.clickhouse.url.replace(
                self.clickhouse.address, self.links["sink-clickhouse"].address
            ),
            "kafka_session_timeout_ms": int(self.session_seconds * 1000),
            "transform_version": self.version,
            **self._own.get(role, {}),
            **changed,
        }
        part = Role(name, role, self.folder, values, self.sabotage.prelude(role))
        self.parts.append(part)
        return part

    def remove(self, part: Role, grace_seconds: float = 20.0) -> None:
        """Stop one for good, cleanly."""
        part.let_go()
        part.signal(signal.SIGCONT)
        part.child.stop(grace_seconds)
        with self._lock:
            self._named += 1  # a name is not used twice
            self.parts.remove(part)
            if part.role == "sink":
                self._gone.append(part)

    def heal(self) -> None:
        """Undo what faults may have left."""
        for link in self.links.values():
            link.end()
        self.disk.free()
        for part in self.parts:
            part.signal(signal.SIGCONT)

    def says(self) -> str:
        """What each role says of itself."""
        return "; ".join(f"{role.name}: {role.get('/readyz')}" for role in self.roles())

    # --- load

    def _produce(self, token: str) -> None:
        bootstrap = self.links.get("producer-kafka")
        command = [sys.executable, "-m", "chaos.producer"]
        command += ["--gateway", self.links["producer-gateway"].address, "--token", token]
        command += ["--bootstrap", bootstrap.address if bootstrap else self.broker.bootstrap]
        command += ["--sent-log", str(self.sent_log), "--rate", str(self._rate), "--seed", str(self._seed)]
        command += ["--partitions", str(PARTITIONS), *(["--idempotent"] if self.on_kafka else []), "--keys"]
        command += ["--clock-days", str(self.sabotage.clock_days)]
        command += ["--incidents"] if self.notices else []
        path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
        environment = os.environ | {"PYTHONPATH": path}
        self._producer = Child("producer", command, self.folder / "producer.log", environment=environment)
        self._producer.start()

    def pause_load(self) -> None:
        assert self._producer is not None
        self._producer.signal(signal.SIGSTOP)

    def resume_load(self) -> None:
        assert self._producer is not None
        self._producer.signal(signal.SIGCONT)

    def stop_load(self) -> None:
        """Let the producer end what is under way."""
        assert self._producer is not None
        status = self._producer.stop(90)
        if status != 0:
            self.trouble.append(f"the producer ended with {status}: {self._producer.tail()}")

    def ill(self) -> list[str]:
        """What nobody did to the parts: a sink that gave up by itself, a producer that failed."""
        found, self.trouble = self.trouble, []
        for part in [*self.roles("sink"), *(gone for gone in self._gone if gone.role == "sink")]:
            given_up = [status for status in part.ends if status > 0 and status != part.expected]
            if given_up:
                found.append(f"{part.name} ended by itself with {given_up}, see {part.child.log_path}")
        return found

    # --- what is in it

    @property
    def epoch(self) -> str:
        return str(self.rows("SELECT max(epoch) FROM tidegate.sink_batches")[0][0])

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        table = self.table(query)
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def table(self, query: str) -> pa.Table:
        """The answer of ClickHouse, asked past all links."""
        asked = urllib.parse.urlencode({"default_format": "ArrowStream", "database": DATABASE})
        url, headers = plain(self.clickhouse.url)
        request = urllib.request.Request(f"{url}/?{asked}", data=query.encode(), headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(f"{error.read().decode()[:500]}: {query}") from error
        return pa.ipc.open_stream(body).read_all()

    def verify(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Exit status and report of `tidegate verify`."""
        done = roles.run("verify", "--json", *arguments, values=self.direct, seconds=180)
        try:
            return done.returncode, json.loads(done.stdout)
        except ValueError:
            return done.returncode, {"findings": [{"what": done.stderr[-2000:]}], "in_flight": []}

    def goes_on(self, seconds: float) -> None:
        """Wait until what is in the raw topics now is stored."""
        ends = topic_ends(Connection(self.broker.bootstrap), RAW_STREAMS)
        wanted = {(RAW_STREAMS[topic], number): end for (topic, number), (_, end) in ends.items()}
        query = "SELECT stream, partition, max(last) + 1 FROM verify_batches GROUP BY stream, partition"

        def stored() -> bool:
            found = {(stream, partition): end for stream, partition, end in self.rows(query)}
            return all(found.get(partition, 0) >= end for partition, end in wanted.items())

        await_(stored, self.says, seconds)

    def drained(self, seconds: float, tell: Callable[[str], None]) -> bool:
        """Wait until nothing is in flight any more; False when it stopped moving towards that."""
        deadline, lowest = time.monotonic() + seconds, None
        while time.monotonic() < deadline:
            try:
                _, report = self.verify()
            except subprocess.TimeoutExpired:
                continue
            flying = report["in_flight"]
            left = sum(item["frames"] for item in flying)
            if flying and left == 0:
                return True
            if flying and (lowest is None or left < lowest):
                lowest, deadline = left, time.monotonic() + seconds
            time.sleep(0.5)
        tell(f"{lowest} frames stay in flight; {self.says()}")
        return False
