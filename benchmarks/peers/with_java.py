"""The hand-written Java consumer, one event a record: how it is compiled, and its command line.

It needs a JDK and Apache Kafka's jars, which hold its two libraries (kafka-clients, jackson-core).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.peers.models import DATABASE, TABLES, Table, columns, fields_of, topic
from tidegate import settings
from tidegate.local import kafka

THREADS = 2
SOURCE = Path(__file__).with_name("JavaConsumer.java")
_TYPES = {
    "String": 0,
    "LowCardinality(Nullable(String))": 1,
    "Nullable(Int64)": 2,
    "Int64": 3,
    "Nullable(Float64)": 4,
    "Nullable(Bool)": 5,
    "Tuple(type Nullable(String), id Nullable(Int64))": 6,
    "LowCardinality(String)": 7,
}


def why_not_here() -> str | None:
    """What is missing to run it; None where it runs."""
    if shutil.which("javac") is None:
        return "there is no javac (a JDK 17 or newer)"
    return kafka.why_not_here(settings.load().kafka_jars)


def command(folder: Path, bootstrap: str, url: str, first: Path) -> list[str]:
    """Compile it into `folder`; the command line that consumes into ClickHouse at `url`."""
    classpath = f"{kafka.find_jars(settings.load().kafka_jars)}/*"
    subprocess.run(["javac", "-d", str(folder), "-cp", classpath, str(SOURCE)], check=True)
    java = ["java", "-Xmx1g", "-cp", f"{folder}:{classpath}", "JavaConsumer"]
    return [*java, bootstrap, url, str(first), str(THREADS), *map(_described, TABLES)]


def _described(table: Table) -> str:
    wire = fields_of(table)
    described = ",".join(
        f"{name}:{wire.get(name, '-')}:{_TYPES[type]}" for name, type in columns(table).items()
    )
    return f"{topic(table)}|{DATABASE}.{table}|{described}"
