"""`tidegate up` as a process, on free ports, for tests."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import roles
import waiting

from tidegate.local.child import free_port

PATIENCE = 150.0  # more than `up` itself has for a role to become ready
await_ = partial(waiting.await_, seconds=PATIENCE)
PARTS = ("gateway", "api", "worker", "sink", "notify", "kafka", "clickhouse")


class Up:
    """One data folder and one set of addresses; `start` and `stop` as often as a test likes."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.arguments = ["--data", str(self.data), *arguments]
        self.listens = {part: f"127.0.0.1:{free_port()}" for part in PARTS}
        self.output = folder / "up.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        listens = {f"{part}_listen": listen for part, listen in self.listens.items()}
        return roles.environment({**roles.PATIENT, **listens})

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run it to its end: for starts that must fail."""
        command = [sys.executable, "-m", "tidegate", "up", *self.arguments]
        return subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE
        )

    def start(self) -> None:
        """Start and wait until it says that it is ready."""
        self.spawn()
        self.wait_for("ready.\n")

    def spawn(self) -> None:
        command = [sys.executable, "-m", "tidegate", "up", *self.arguments]
        with self.output.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
            )

    def said(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text: str) -> None:
        assert self.process is not None
        process = self.process
        await_(lambda: text in self.said() or process.poll() is not None, self.said)
        assert text in self.said(), self.said()

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Signal it as the terminal does; returns its exit status. Nothing it started may be left."""
        assert self.process is not None
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        _, alive = psutil.wait_procs(family, timeout=20)
        assert not alive, alive
        return status

    def end(self) -> None:
        """For a test that failed half-way."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def pid(self, part: str) -> int:
        """The process of a role (`worker-2`: of the second one started), of `broker` or `clickhouse`."""
        assert self.process is not None
        marks = {"broker": ("tansu", "kafka.Kafka"), "clickhouse": ("tidegate.local.clickhouse",)}
        same: list[int] = []
        for child in psutil.Process(self.process.pid).children():
            line = child.cmdline()
            wanted = marks.get(part)
            if wanted and any(mark in " ".join(line) for mark in wanted):
                return child.pid
            role, _, number = part.partition("-")
            if wanted is None and line[-1:] == [role]:
                same.append(child.pid)
                if len(same) == int(number or 1):
                    return child.pid
        raise LookupError(part)

    def await_pid(self, part: str) -> int:
        """The process of a command that does not live for long, as soon as it is there."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(LookupError, psutil.Error):
                return self.pid(part)
            time.sleep(0.005)
        raise LookupError(part)

    def kill(self, part: str) -> None:
        """Kill a process of it, and wait for its end; a role is started again."""
        process = psutil.Process(self.pid(part))
        process.kill()
        process.wait(10)

    # What a user does with it

    def tokens(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.data / "demo-tokens.json").read_text())
        return found

    def post(
        self, event: dict[str, object], path: str = "device_app_connection_log/", device: str = ""
    ) -> int:
        """Send one event as the fleet `demo`; returns the status, 0 where there was no answer."""
        request = urllib.request.Request(
            f"http://{self.listens['gateway']}/api/v1/{path}",
            data=json.dumps(event).encode(),
            headers={
                "Authorization": f"Bearer {self.tokens()['ingest']}",
                "Content-Type": "application/json",
                **({"X-Device-Id": device} if device else {}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except (OSError, http.client.HTTPException):
            return 0

    @property
    def credentials(self) -> dict[str, str]:
        """Of its ClickHouse: password by user."""
        found: dict[str, str] = json.loads((self.data / "clickhouse-credentials.json").read_text())
        return found

    @property
    def clickhouse_url(self) -> str:
        return f"http://tidegate:{self.credentials['tidegate']}@{self.listens['clickhouse']}"

    def sql(self, query: str) -> str:
        """The answer to a query of an analyst."""
        request = urllib.request.Request(
            f"http://{self.listens['clickhouse']}/?{urllib.parse.urlencode({'query': query})}",
            headers={"X-ClickHouse-User": "analyst", "X-ClickHouse-Key": self.credentials["analyst"]},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(answer.read().decode().strip())

    def count(self, name: str) -> int:
        """Connection logs with this network name."""
        return int(self.sql(f"SELECT count() FROM tidegate.connection_logs WHERE network_name = '{name}'"))


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[Up]:
    """One that is started, and drains at the end unless the test failed."""
    one = Up(folder, *arguments)
    try:
        one.start()
        yield one
        assert one.stop() == 0, one.said()
    finally:
        one.end()


def event(name: str) -> dict[str, object]:
    return {"network_type": "wi", "network_security": "wp2", "network_name": name}


class Sender:
    """Posts events until it is told to stop, and counts those that were acknowledged."""

    def __init__(self, up: Up, name: str) -> None:
        self.acked = 0
        self._stop = threading.Event()
        self._up = up
        self._name = name
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._up.post(event(self._name)) == 201:
                self.acked += 1
            else:
                time.sleep(0.05)

    def stop(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.acked
