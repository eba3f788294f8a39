"""Place A takes events and is cut off; place B begins from what was mirrored, and gets the rest from A later.

Each place is a network namespace with a Kafka of its own. The commands are those of docs/production.md.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import control_key
import pyarrow as pa
import pytest
import roles
import toolchains
from chaos import contents
from chaos.producer import PATHS
from chaos.sent_log import Event, Sent, entries, read
from chaos.world import World
from conftest import require_apache_kafka
from namespaces import Place, two_places
from waiting import await_

from tidegate import settings
from tidegate.contracts.topics import RAW_STREAMS
from tidegate.kafka.connection import Connection
from tidegate.kafka.log_ends import topic_ends
from tidegate.local.child import Child, free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.local.kafka import VERSION, KafkaBroker, find_jars
from tidegate.store.client import plain
from tidegate.tokens import Role as TokenRole
from tidegate.tokens import TokenFile

SECONDS = 200.0
PARTITIONS = 3
TESTS = Path(__file__).resolve().parents[1]
AGAIN = 40  # requests that were answered by A, and are sent again to B


class Site:
    """A place with a Kafka, and settings for all that runs there."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self.folder = place, folder
        folder.mkdir()
        with place.entered():
            listen = f"{place.address}:{free_port(place.address)}"
            self.kafka = KafkaBroker(
                listen, folder / "kafka", folder / "kafka.log", jars=settings.load().kafka_jars
            )
            self.kafka.start()
        self.values: dict[str, Any] = {
            "data_dir": folder,
            "control_key_file": os.environ[control_key.VARIABLE],
            "kafka_bootstrap": self.kafka.bootstrap,
            "kafka_partitions": PARTITIONS,
            **{f"{role}_listen": f"127.0.0.1:{free_port()}" for role in ("gateway", "worker", "sink")},
        }
        self.children: list[Child] = []

    def start(self, child: Child) -> Child:
        with self.place.entered():
            child.start()
        self.children.append(child)
        return child

    def roles(self, *names: str) -> None:
        """Start roles; returns when they are ready."""
        started = [self.start(roles.role(name, self.folder, self.values)) for name in names]

        def ready() -> bool:
            with self.place.entered():
                return all(roles.get(self.values[f"{name}_listen"], "/readyz")[0] == 200 for name in names)

        await_(ready, lambda: "\n".join(child.tail() for child in started), SECONDS)

    def ends(self) -> dict[tuple[str, int], int]:
        """Behind the last record of each raw partition."""
        with self.place.entered():
            found = topic_ends(Connection(self.kafka.bootstrap), RAW_STREAMS)
        return {key: end for key, (_, end) in found.items()}

    def stop(self) -> None:
        for child in reversed(self.children):
            child.stop(20)
        self.kafka.stop()


class Second(Site):
    """The place that takes over: with a ClickHouse, and a shell that finds the commands."""

    def __init__(self, place: Place, folder: Path) -> None:
        super().__init__(place, folder)
        with place.entered():
            self.clickhouse = ClickHouseServer(
                f"127.0.0.1:{free_port()}", folder / "store", folder / "clickhouse.log"
            )
            self.clickhouse.start()
        self.values["clickhouse_url"] = self.clickhouse.url
        self._bin = folder / "bin"
        self._bin.mkdir()
        self._command("tidegate", f"{sys.executable} -m tidegate")
        classpath = f"{find_jars(settings.load().kafka_jars)}/*:{mirror_jars()}/*"
        log = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true"
        self._command(
            "connect-mirror-maker.sh",
            f"java -Xmx320m {log} -cp '{classpath}' org.apache.kafka.connect.mirror.MirrorMaker",
        )

    def _command(self, name: str, does: str) -> None:
        (self._bin / name).write_text(f'#!/bin/sh\nexec {does} "$@"\n')
        (self._bin / name).chmod(0o755)

    def shell(self, name: str, commands: str) -> Child:
        """Commands as an operator types them there, not started."""
        environment = roles.environment(self.values)
        environment["PATH"] = f"{self._bin}:{environment['PATH']}"
        return Child(name, ["bash", "-euc", commands], self.folder / f"{name}.log", environment=environment)

    def type(self, name: str, commands: str) -> None:
        with self.place.entered():
            child = self.shell(name, commands)
            child.start()
            assert child.wait(SECONDS) == 0, child.tail()

    def table(self, query: str) -> pa.Table:
        asked = urllib.parse.urlencode({"default_format": "ArrowStream", "database": "tidegate"})
        url, headers = plain(self.clickhouse.url)
        request = urllib.request.Request(f"{url}/?{asked}", data=query.encode(), headers=headers)
        with self.place.entered(), urllib.request.urlopen(request, timeout=60) as answer:
            return pa.ipc.open_stream(answer.read()).read_all()

    def stored(self) -> bool:
        """Whether nothing is in flight."""
        with self.place.entered():
            report = json.loads(roles.run("verify", "--json", values=self.values).stdout)
        return bool(report["in_flight"]) and not sum(item["frames"] for item in report["in_flight"])

    def stop(self) -> None:
        super().stop()
        self.clickhouse.stop()


def mirror_jars() -> Path:
    """MirrorMaker's own jars, which the product does without: fetched once."""
    given = settings.load().kafka_jars
    if given and [*Path(given).glob("connect-mirror-*.jar")]:
        return Path(given)
    cache = Path.home() / ".cache" / "tidegate" / f"mirror-{VERSION}"
    toolchains.need("mvn")
    for name in ("connect-mirror", "connect-mirror-client"):
        if not (cache / f"{name}-{VERSION}.jar").is_file():
            artifact = f"-Dartifact=org.apache.kafka:{name}:{VERSION}"
            command = ["mvn", "-q", "-B", "dependency:copy", artifact, f"-DoutputDirectory={cache}"]
            done = subprocess.run(command, capture_output=True, text=True, cwd="/")
            assert done.returncode == 0, done.stdout
    return cache


def blocks(repository: Path, a: Site, b: Site) -> list[str]:
    """The shell blocks of the page, with these brokers, of which each place has one."""
    text = (repository / "docs/production.md").read_text()
    section = text.partition("## 9. A second place\n")[2].partition("\n## ")[0]
    found = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    named = {"BROKER-OF-A:9092": a.kafka.bootstrap, "BROKER-OF-B:9092": b.kafka.bootstrap}
    for said, meant in (named | {"REPLICATION=3": "REPLICATION=1"}).items():
        found = [block.replace(said, meant) for block in found]
    return found


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[tuple[Site, Second]]:
    require_apache_kafka()
    with two_places() as (here, there), ExitStack() as ending:
        a = Site(here, tmp_path / "a")
        ending.callback(a.stop)
        b = Second(there, tmp_path / "b")
        ending.callback(b.stop)
        yield a, b


def load(a: Site, token: str, sent_log: Path) -> Child:
    """The producer of `chaos`, at A. Half of what it writes straight into Kafka has no `event_id`: mirrored
    twice, it would be stored twice."""
    command = [sys.executable, "-m", "chaos.producer", "--keys"]
    command += ["--gateway", a.values["gateway_listen"], "--bootstrap", a.kafka.bootstrap, "--token", token]
    command += ["--sent-log", str(sent_log), "--rate", "300", "--seed", "1", "--partitions", str(PARTITIONS)]
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": path}
    return Child("producer", command, a.folder / "producer.log", environment=environment)


def send_again(b: Second, token: str, sent_log: Path) -> None:
    """The last requests once more, to B, under their keys."""
    sent = [one for one in entries(sent_log) if isinstance(one, Sent) and one.way == "http"][-AGAIN:]
    with b.place.entered():
        gateway = http.client.HTTPConnection(b.values["gateway_listen"], timeout=60)
        for one in sent:
            headers = {
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/x-ndjson",
                "X-Device-Id": one.devices[0],
                "Idempotency-Key": f"chaos-{one.batch}",
            }
            body = b"\n".join(line.event for line in one.lines())
            gateway.request("POST", PATHS[one.stream], body, headers)
            answer = gateway.getresponse()
            assert answer.status in (201, 207, 422), answer.read()
            answer.read()
        gateway.close()


def compare(b: Second, sent: dict[int, Event]) -> tuple[Counter[int], list[str]]:
    """How often each event is stored, and rows that are not what was sent."""
    seen: Counter[int] = Counter()
    changed: list[str] = []
    for table, rows in contents.stored(cast(World, b), sent):
        seen.update(number for number, _ in rows)
        changed += contents.changed(table, rows, sent)
    return seen, changed


def doubled(seen: Counter[int]) -> list[int]:
    return [number for number, count in seen.items() if count > 1]


@pytest.mark.kafka
@pytest.mark.timeout(900)
def test_a_second_place_takes_over(sites: tuple[Site, Second], repository: Path) -> None:
    a, b = sites
    prepare, mirror, verify = blocks(repository, a, b)
    sent_log = a.folder / "sent.jsonl"
    tokens = TokenFile(a.folder / "tokens.json")
    token = tokens.create("drill", fleet="demo", role=TokenRole.INGEST)
    (b.folder / "tokens.json").write_bytes((a.folder / "tokens.json").read_bytes())
    with a.place.entered():
        done = roles.run("topics", values=a.values)
        assert done.returncode == 0, done.stderr
        epoch = done.stderr.partition("epoch ")[2].split()[0]
    b.type("prepare", prepare)
    mirroring = b.start(b.shell("mirror", mirror))
    a.roles("gateway")
    producer = a.start(load(a, token, sent_log))
    await_(lambda: all(b.ends().values()), mirroring.tail, SECONDS)
    mirroring.kill()
    assert mirroring.wait(10) == -signal.SIGKILL
    b.start(mirroring)
    killed = b.ends()
    await_(lambda: all(b.ends()[key] > end + 1 for key, end in killed.items()), mirroring.tail, SECONDS)

    a.place.line("down")
    before = a.ends()
    await_(lambda: all(a.ends()[key] > end + 1 for key, end in before.items()), producer.tail, SECONDS)
    assert producer.stop(60) == 0, producer.tail()
    b.roles("worker", "sink", "gateway")
    send_again(b, token, sent_log)
    await_(b.stored, mirroring.tail, SECONDS)
    b.type("verify", verify)
    known = read(sent_log, epoch)
    seen, changed = compare(b, known)
    assert not changed, changed[:3]
    assert seen and not doubled(seen)
    missing = {number for number, event in known.items() if event.acked_at and not seen[number]}
    assert missing  # what A alone has

    a.place.line("up")
    acknowledged = {number for number, event in known.items() if event.acked_at}
    # Ends tell nothing of it: MirrorMaker's transactions leave markers at B.
    await_(lambda: acknowledged <= compare(b, known)[0].keys(), mirroring.tail, SECONDS)
    await_(b.stored, mirroring.tail, SECONDS)
    b.type("verify-again", verify)
    seen, changed = compare(b, known)
    assert not changed, changed[:3]
    assert acknowledged <= seen.keys() <= {*known}
    assert not doubled(seen)
