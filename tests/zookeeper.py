"""Apache ZooKeeper from its jars: what Replicated tables of ClickHouse are kept in."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import toolchains
from waiting import await_

from tidegate.local.child import Child, free_port

VERSION = "3.9.5"
DEPENDENCIES = (
    ("org.apache.zookeeper", "zookeeper", VERSION),
    # It starts with these alone, and does not name them.
    ("io.dropwizard.metrics", "metrics-core", "4.1.12.1"),
    ("org.xerial.snappy", "snappy-java", "1.1.10.5"),
)
POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tidegate</groupId><artifactId>zookeeper-jars</artifactId><version>1</version>
  <dependencies>{}</dependencies>
</project>
"""
DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
CONFIGURATION = """\
clientPort={port}
clientPortAddress=127.0.0.1
dataDir={folder}
admin.enableServer=false
"""


@contextmanager
def running_zookeeper(folder: Path) -> Iterator[int]:
    """Its port on loopback."""
    toolchains.need("java", "mvn")
    port = free_port()
    configuration = folder / "zoo.cfg"
    configuration.write_text(CONFIGURATION.format(port=port, folder=folder / "data"))
    main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
    command = ["java", "-Xmx128m", "-cp", f"{_jars()}/*", main, str(configuration)]
    child = Child("zookeeper", command, folder / "zookeeper.log")
    child.start()
    try:
        await_(lambda: _answers(port), child.tail)
        yield port
    finally:
        child.stop(10)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(b"srvr")
            return connection.recv(64).startswith(b"Zookeeper version")
    except OSError:
        return False


def _jars() -> Path:
    """Fetched once, through Maven."""
    cache = Path.home() / ".cache" / "tidegate" / f"zookeeper-{VERSION}"
    if not cache.is_dir():
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
            dependencies = "".join(DEPENDENCY.format(*one) for one in DEPENDENCIES)
            (Path(scratch) / "pom.xml").write_text(POM.format(dependencies))
            command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars"]
            done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            (Path(scratch) / "jars").rename(cache)
    return cache
