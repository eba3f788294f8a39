"""Start Apache Kafka from variables as the official image takes them: KAFKA_LOG_DIRS is log.dirs."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

CLUSTER = "dGlkZWdhdGUtY29tcG9zZQ"
PROPERTIES = Path("/tmp/server.properties")
NO_PROPERTIES = ("KAFKA_HEAP_OPTS", "KAFKA_OPTS")
JAVA = ["/opt/java/bin/java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", "/opt/kafka/jars/*"]


def main() -> None:
    properties = {
        # `___` is a dash, `__` an underscore, `_` a dot.
        name.removeprefix("KAFKA_")
        .lower()
        .replace("___", "-")
        .replace("__", "\0")
        .replace("_", ".")
        .replace("\0", "_"): value
        for name, value in os.environ.items()
        if name.startswith("KAFKA_") and name not in NO_PROPERTIES
    }
    PROPERTIES.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    heap = shlex.split(os.environ.get("KAFKA_HEAP_OPTS", ""))
    if not Path(properties["log.dirs"], "meta.properties").exists():
        tool = [*JAVA[:1], *heap, *JAVA[1:], "kafka.tools.StorageTool", "format"]
        subprocess.run([*tool, f"--cluster-id={CLUSTER}", "-c", str(PROPERTIES)], check=True)
    os.execv(JAVA[0], [*JAVA[:1], *heap, *JAVA[1:], "kafka.Kafka", str(PROPERTIES)])


main()
