"""The programs of tests/clients, each built once into the user's cache, and what they need.

Where a toolchain is missing, their tests skip and say what is; with `CI` set they fail.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from toolchains import need, refuse

SOURCES = Path(__file__).parent
BUILD_SECONDS = 900.0
RUN_SECONDS = 240.0


class Client(NamedTuple):
    """A client library, as a row of the table in docs/topics.md names it."""

    library: str
    version: str
    build: str  # go, java, node, python or kcat
    program: str
    actions: tuple[str, ...]  # besides produce and consume


CLIENTS = (
    Client("kafka-clients (Java)", "4.1.0", "java", "KafkaClients", ("transactions",)),
    Client("franz-go (Go)", "1.22.3", "go", "franz", ("transactions",)),
    Client("sarama (Go)", "1.61.1", "go", "sarama", ("idempotent", "old")),
    Client("kafkajs (Node)", "2.2.4", "node", "kafka.js", ("idempotent", "transactions")),
    Client("kcat (librdkafka 2.0.2, Debian 12's)", "1.7.1", "kcat", "kcat", ("idempotent", "transactions")),
    Client("confluent-kafka (Python)", version("confluent-kafka"), "python", "confluent", ("transactions",)),
    Client("aiokafka (Python)", version("aiokafka"), "python", "aiokafka", ("idempotent", "transactions")),
    Client("kafka-python", version("kafka-python"), "python", "kafka_python", ("transactions",)),
)
WORDS = {
    "produce": "producer",
    "consume": "group",
    "idempotent": "idempotent producer",
    "old": "idempotent producer, set to Kafka 0.11",
    "transactions": "transactional producer",
}
BROKERS = ("embedded", "Apache Kafka 4.1.0")


def works(action: str, broker: str) -> bool:
    """What the table says, and what the tests hold: the embedded broker refuses transactions alone."""
    return action != "transactions" or broker != "embedded"


def table() -> str:
    """The table in docs/topics.md."""
    lines = ["| client | used as | " + " | ".join(BROKERS) + " |", "| --- | --- |" + " --- |" * len(BROKERS)]
    for client in CLIENTS:
        for action in ("produce", "consume", *client.actions):
            results = ["works" if works(action, broker) else "UNSUPPORTED_VERSION" for broker in BROKERS]
            cells = [f"{client.library} {client.version}", WORDS[action], *results]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


class Answered(NamedTuple):
    """What a client read of an answer."""

    body: Any
    status: int
    location: str


class HttpClient(NamedTuple):
    """An HTTP client; `version` where the lock pins it and not the toolchain."""

    name: str
    build: str  # go, java, node, python or curl
    program: str
    version: str = ""
    connections: int = 1  # for four requests, at most


HTTP_CLIENTS = (
    HttpClient("Java's HttpClient", "java", "HttpPosts"),
    HttpClient("Go's net/http", "go", "http"),
    HttpClient("Node's fetch", "node", "fetch.js", connections=3),  # one is not free at once behind an answer
    HttpClient("httpx", "python", "httpx", version("httpx")),
    HttpClient("requests", "python", "requests", version("requests")),
    HttpClient("urllib3", "python", "urllib3", version("urllib3")),
    HttpClient("curl --http2", "curl", "curl"),
)


def http_clients() -> str:
    """The clients, as a sentence of docs/gateway.md names them."""
    return ", ".join(f"{client.name} {client.version}".strip() for client in HTTP_CLIENTS)


def command(build: str, program: str, python: str = "kafka_python_clients.py") -> list[str]:
    """What runs a client's program; builds it where it is not there yet. `python` has those in Python."""
    if build == "python":
        return [sys.executable, str(SOURCES / python), program]
    folder = _built(build)
    if build == "go":
        return [str(folder / program)]
    if build == "node":
        return ["node", str(folder / program)]
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return ["java", quiet, "-cp", f"{folder / 'jars'}/*:{folder / 'classes'}", program]


NEEDS = {"go": ("go",), "java": ("mvn", "javac"), "node": ("node", "npm")}


def _built(build: str) -> Path:
    """The folder of a build's outputs."""
    need(*NEEDS[build])
    sources = SOURCES / build
    found = {path.relative_to(sources).as_posix(): path for path in sources.rglob("*") if path.is_file()}
    return built(f"clients-{build}", found, _BUILDS[build])


def built(name: str, sources: Mapping[str, Path], build: Callable[[Path], None]) -> Path:
    """The folder in which `build` was run on copies of `sources` (place: file), named after their content."""
    digest = hashlib.sha256()
    for place, path in sorted(sources.items()):
        digest.update(place.encode() + b"\0" + path.read_bytes())
    target = Path.home() / ".cache" / "tidegate" / f"{name}-{digest.hexdigest()[:16]}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f"{target.name}-{os.getpid()}")
        for place, path in sources.items():
            (scratch / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, scratch / place)
        build(scratch)
        try:
            scratch.rename(target)
        except OSError:  # another one was faster
            shutil.rmtree(scratch)
    return target


def run_in(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        arguments,
        cwd=folder,
        # A Go that is too old for the module fetches the one that go.mod names.
        env={**os.environ, "GOTOOLCHAIN": "auto"},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def _go(folder: Path) -> None:
    run_in(folder, "go", "build", "-mod=readonly", "-o", f"{folder}/bin/", "./...")
    for program in (folder / "bin").iterdir():
        shutil.rmtree(folder / program.name)
        program.rename(folder / program.name)


def _java(folder: Path) -> None:
    run_in(folder, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars")
    run_in(folder, "javac", "-cp", "jars/*", "-d", "classes", *(path.name for path in folder.glob("*.java")))


def _node(folder: Path) -> None:
    run_in(folder, "npm", "ci", "--silent", "--no-audit", "--no-fund")


_BUILDS = {"go": _go, "java": _java, "node": _node}


def run(client: Client, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a client's program to its end."""
    if client.build == "kcat":
        return _kcat(client, *arguments)
    return subprocess.run(
        [*command(client.build, client.program), *arguments],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )


def _kcat(
    client: Client, action: str, bootstrap: str, topic: str, group: str, *values: str
) -> subprocess.CompletedProcess[str]:
    """A tool, not a program of ours: lines in, lines out. A transaction is committed at the input's end."""
    need("kcat")
    said = subprocess.run(["kcat", "-V"], capture_output=True, text=True).stdout
    if f"Version {client.version} " not in said or "librdkafka 2.0.2 " not in said:
        refuse(f"the table names {client.library} {client.version}; this is {said}")
    if action == "consume":
        wanted = ["-X", "auto.offset.reset=earliest", "-q", "-c", str(len(values)), "-G", group, topic]
    else:
        own = {
            "idempotent": ["-X", "enable.idempotence=true"],
            "transactions": ["-X", f"transactional.id={group}"],
        }
        wanted = ["-P", "-t", topic, "-H", "fleet=demo", *own.get(action, [])]
        values = values[: len(values) // 2] if action == "transactions" else values
    return subprocess.run(
        ["kcat", "-b", bootstrap, *wanted],
        input="".join(f"{value}\n" for value in values) if action != "consume" else "",
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )


def post(client: HttpClient, url: str, token: str, bodies: Sequence[bytes], folder: Path) -> list[Answered]:
    """Let a client post bodies of one line each, in turn and with one process. `folder` is for its files."""
    if client.build == "curl":
        need("curl")
        line, sent = _curl(url, token, bodies, folder), b""
    else:
        line = [*command(client.build, client.program, "http_python_clients.py"), url, token]
        sent = b"".join(body + b"\n" for body in bodies)
    done = subprocess.run(line, input=sent, capture_output=True, timeout=RUN_SECONDS)
    assert done.returncode == 0, done.stderr.decode()
    answers = [line.split("\t") for line in done.stdout.decode().splitlines()]
    return [Answered(json.loads(body), int(status), location) for body, status, location in answers]


def _curl(url: str, token: str, bodies: Sequence[bytes], folder: Path) -> list[str]:
    line = ["curl"]
    for number, body in enumerate(bodies):
        path = folder / f"{number}.json"
        path.write_bytes(body)
        line += ["--next"] if number else []
        line += [
            "-sS",
            "--http2",
            "-H",
            f"Authorization: Bearer {token}",
            "-H",
            "Content-Type: application/json",
        ]
        line += ["--data-binary", f"@{path}", "-w", "\t%{http_code}\t%header{location}\n", url]
    return line
