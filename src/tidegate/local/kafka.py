"""Apache Kafka from its jars: one JVM that is broker and controller, on loopback, data in a folder."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from tidegate.errors import RetryLater, UsageError
from tidegate.local.broker import await_metadata
from tidegate.local.child import Child, claim_address, free_port, reachable

VERSION = "4.1.0"
HEAP = "-Xmx768m"
MAX_RECORD_BYTES = 16_777_216  # as settings.kafka_max_record_bytes; topics may set their own

POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tidegate</groupId><artifactId>kafka-jars</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


class KafkaBroker:
    """Apache Kafka in KRaft mode. What was acked is there again after `stop` or a kill and `start`."""

    durable = True

    def __init__(
        self,
        listen: str,
        data_dir: Path,
        log_path: Path,
        *,
        jars: str = "",
        setting: str = "kafka_listen",
    ) -> None:
        self.bootstrap = reachable(listen)
        self._listen = listen
        self._setting = setting
        self._jars = jars
        self._folder = data_dir.resolve()
        # Kafka needs longer than a role to close its log; killed, it checks it at the next start.
        self.child = Child("kafka", [], log_path, orphaned=signal.SIGTERM)

    def start(self) -> None:
        """Fetch the jars if need be, format the folder on the first start, run, wait for an answer."""
        claim_address(self._listen, self._setting)
        java = _program("java", "a Java runtime, version 17 or later")
        classpath = f"{find_jars(self._jars)}/*"
        properties = self._write_configuration(free_port())
        if not (self._folder / "log" / "meta.properties").exists():
            self._format(java, classpath, properties)
        self.child.argv = [
            java,
            HEAP,
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-cp",
            classpath,
            "kafka.Kafka",
            str(properties),
        ]
        self.child.start()
        await_metadata(self.child, self.bootstrap, 90.0)

    def stop(self) -> None:
        self.child.stop(30.0)

    def _write_configuration(self, controller_port: int) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "server.properties"
        lines = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "listeners": f"PLAINTEXT://{self._listen},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self._folder / "log"),
            # A topic is made by `tidegate topics` with the right number of partitions, or not at all.
            "auto.create.topics.enable": "false",
            "message.max.bytes": str(MAX_RECORD_BYTES),
            "replica.fetch.max.bytes": str(MAX_RECORD_BYTES),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # After a kill the broker may register again when its former life has timed out.
            "broker.session.timeout.ms": "4000",
            "broker.heartbeat.interval.ms": "1000",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
        }
        path.write_text("".join(f"{key}={value}\n" for key, value in lines.items()), encoding="utf-8")
        return path

    def _format(self, java: str, classpath: str, properties: Path) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode("ascii")
        command = [java, HEAP, "-cp", classpath, "kafka.tools.StorageTool"]
        # one argument: an id may begin with a dash
        command += ["format", f"--cluster-id={cluster}", "-c", str(properties)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RetryLater(f"Kafka could not format {self._folder}:\n{done.stdout}{done.stderr}")


def find_jars(folder: str = "") -> Path:
    """The folder of Kafka's jars: `folder` as it is, or the cache, filled through Maven once.

    Raises UsageError naming what is missing.
    """
    if folder:
        given = Path(folder).expanduser()
        if not any(given.glob("kafka_2.13-*.jar")):
            raise UsageError(f"kafka_jars: no kafka_2.13-*.jar in {given}")
        return given.resolve()
    cache = cached_jars()
    if not cache.is_dir():
        _fetch(cache)
    return cache


def cached_jars() -> Path:
    """Where Maven's download is kept, for all data folders of this user."""
    return Path.home() / ".cache" / "tidegate" / f"kafka-{VERSION}"


def why_not_here(folder: str = "") -> str | None:
    """What Apache Kafka would need to run on this machine; None if it can."""
    if shutil.which("java") is None:
        return "Java (a runtime, version 17 or later) is not installed"
    if folder or cached_jars().is_dir() or shutil.which("mvn"):
        return None
    return "Maven (mvn), which fetches Kafka's jars, is not installed"


def _fetch(cache: Path) -> None:
    maven = _program("mvn", "Maven, or kafka_jars set to a folder that has the jars")
    cache.parent.mkdir(parents=True, exist_ok=True)
    # Filled beside its place and moved there whole: a broken download leaves nothing, two at once agree.
    with tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
        (Path(scratch) / "pom.xml").write_text(POM, encoding="utf-8")
        command = [maven, "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
        if done.returncode:
            raise RetryLater(f"Maven could not fetch Apache Kafka:\n{done.stdout}{done.stderr}")
        try:
            (Path(scratch) / "jars").rename(cache)
        except OSError:
            if not cache.is_dir():
                raise


def _program(name: str, needed: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise UsageError(f"`--broker kafka` needs {needed}: no `{name}` on the PATH")
    return path
