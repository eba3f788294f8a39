"""The embedded ClickHouse as a child process."""

from __future__ import annotations

import http.client
import os
import signal
import sys
import time
from pathlib import Path

from tidegate.errors import RetryLater
from tidegate.local.child import Child, claim_address, reachable
from tidegate.local.clickhouse import credentials
from tidegate.local.clickhouse.credentials import User
from tidegate.setting_sources import PREFIX
from tidegate.settings import CLICKHOUSE_CREDENTIALS


class ClickHouseServer:
    """The server over the store in `path`. What was answered is there again after `stop`, or a kill.

    Its users' passwords are in `credentials_path`, beside the store; they are drawn where there are none.
    """

    def __init__(
        self,
        listen: str,
        path: Path,
        log_path: Path,
        *,
        database: str = "tidegate",
        setting: str = "clickhouse_listen",
    ) -> None:
        self.address = reachable(listen)
        self.credentials_path = path.parent / CLICKHOUSE_CREDENTIALS
        self.credentials = credentials.ensure(self.credentials_path)
        self._listen = listen
        self._setting = setting
        argv = [sys.executable, "-m", "tidegate.local.clickhouse", "--path", str(path)]
        argv += ["--credentials", str(self.credentials_path), "--database", database, "--listen", listen]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        # Times without a zone mean UTC, as on a production server, wherever the laptop is.
        environment["TZ"] = "UTC"
        self.child = Child("clickhouse", argv, log_path, environment=environment, orphaned=signal.SIGTERM)

    @property
    def url(self) -> str:
        """For the roles, with their user and password."""
        return self.url_of(User.TIDEGATE)

    def url_of(self, user: User) -> str:
        return f"http://{user}:{self.credentials[user]}@{self.address}"

    def start(self) -> None:
        """Spawn it and wait for its ping. UsageError if the port is taken, RetryLater if it does not come."""
        claim_address(self._listen, self._setting)
        self.child.start()
        deadline = time.monotonic() + 60.0
        while self.child.running and time.monotonic() < deadline:
            if pings(self.address):
                return
            time.sleep(0.05)
        state = "does not answer" if self.child.running else f"ended with status {self.child.status}"
        self.child.stop(0.0)
        raise RetryLater(f"ClickHouse on {self._listen} {state}:\n{self.child.tail()}")

    def stop(self) -> None:
        self.child.stop(30.0)


def pings(address: str) -> bool:
    """Whether /ping is answered."""
    connection = http.client.HTTPConnection(address, timeout=2.0)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
