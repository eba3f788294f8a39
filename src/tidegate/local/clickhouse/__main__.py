"""The server process: ``python -m tidegate.local.clickhouse`` with a store, its passwords and an address."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from tidegate.errors import UsageError
from tidegate.local.clickhouse import credentials
from tidegate.local.clickhouse.confinement import confine
from tidegate.local.clickhouse.scratch import Scratch
from tidegate.settings import address
from tidegate.telemetry import configure_logging

log = logging.getLogger("tidegate.local.clickhouse")

GRACE_SECONDS = 20.0
TICK = 0.1


def main() -> int:
    """Serve until SIGTERM or SIGINT; end behind the requests under way. Returns the exit status."""
    parser = argparse.ArgumentParser(description="The embedded ClickHouse, over HTTP")
    parser.add_argument("--path", type=Path, required=True, help="folder of the store")
    parser.add_argument("--credentials", type=Path, required=True, help="file of users and passwords")
    parser.add_argument("--database", default="tidegate", help="what analysts read")
    parser.add_argument("--listen", required=True, help="host:port")
    parser.add_argument("--log-level", default="info")
    arguments = parser.parse_args()
    configure_logging("clickhouse", arguments.log_level)
    os.umask(0o077)
    try:
        host, port = address(arguments.listen, "--listen")
        known = credentials.load(arguments.credentials)
        arguments.path.mkdir(parents=True, exist_ok=True)
        scratch = Scratch()
        # `native` reads from a buffer that says where it stands, which the one in C does not.
        os.environ["CLICKHOUSE_CONNECT_USE_C"] = "false"
        # chDB and `tempfile` take it from here.
        os.environ["TMPDIR"] = tempfile.tempdir = scratch.path
        left_out = confine([arguments.path, Path(scratch.path)], port=port)
        # Not before: a thread that the engine has begun would be outside.
        from tidegate.local.clickhouse.engine import Engine
        from tidegate.local.clickhouse.handler import Server

        engine = Engine(arguments.path, scratch, database=arguments.database)
        server = Server(host, port, engine, known)
    except (UsageError, OSError, RuntimeError) as error:
        log.error("cannot serve %s on %s: %s", arguments.path, arguments.listen, error)
        return 2
    # The engine is open by now: handlers that it may have set are ours again.
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: told.append(number))
    threading.Thread(target=server.serve_forever, name="accept", daemon=True).start()
    if left_out:
        log.warning("not confined by the kernel (%s); statements are checked all the same", left_out)
    log.info("ClickHouse %s ready on %s, store %s", engine.version, arguments.listen, arguments.path)
    # Not in one long wait: a signal that hits another thread, as it begins or ends, does not wake this one,
    # and only this one runs the handlers.
    while not told:
        time.sleep(TICK)
    server.shutdown()
    if not server.wait_until_idle(GRACE_SECONDS):
        log.warning("requests still under way after %.0f s", GRACE_SECONDS)
    engine.close()
    log.info("closed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
