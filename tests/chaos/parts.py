"""The processes of the world: a role with its settings, the brokers with a door for each link."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import roles

from tidegate.local.child import Child, free_port
from tidegate.local.kafka import KafkaBroker


class Part:
    """A process that is started again whenever it has ended, while it is `wanted`.

    Faults signal it; only the world's keeper starts it, since a child lives as long as the thread that
    started it.
    """

    def __init__(self, name: str, child: Child) -> None:
        self.name = name
        self.child = child
        self.wanted = True
        self.expected = 0  # an exit status above 0 that is right
        self.starts = int(child.running)
        self.ends: list[int] = []  # exit statuses, negative for signals
        self._looking = threading.Lock()

    def keep(self) -> None:
        """One look by the keeper."""
        with self._looking:
            if self.child.running:
                return
            if self.child.status is not None and len(self.ends) < self.starts:
                self.ends.append(self.child.status)
            if not self.wanted:
                return
            self.prepare()
            self.child.start()
            self.starts += 1

    def let_go(self) -> None:
        """It is not started any more: what runs now is the last that runs."""
        with self._looking:  # the keeper may be starting it
            self.wanted = False

    def prepare(self) -> None:
        """What changes from start to start."""

    def signal(self, number: signal.Signals) -> None:
        self.child.signal(number)

    @property
    def stopped(self) -> bool:
        """Whether it stands still by SIGSTOP."""
        try:
            return (
                self.child.pid is not None
                and psutil.Process(self.child.pid).status() == psutil.STATUS_STOPPED
            )
        except psutil.NoSuchProcess:
            return False

    def end(self) -> None:
        self.let_go()
        self.child.signal(signal.SIGCONT)
        self.child.kill()
        self.child.wait(10)


class Role(Part):
    """`tidegate <role>`. `prelude` is Python that runs in its process before it does; `once` holds for the
    next start only, `settings` for all."""

    def __init__(
        self, name: str, role: str, folder: Path, settings: Mapping[str, Any], prelude: str = ""
    ) -> None:
        self.role = role
        self.listen = f"127.0.0.1:{free_port()}"
        self.settings = {**settings, f"{role}_listen": self.listen}
        self.prelude = prelude
        self.once: dict[str, Any] = {}
        self.once_prelude = ""
        super().__init__(name, Child(name, [], folder / f"{name}.log", environment={}))

    def prepare(self) -> None:
        values, self.once = {**self.settings, **self.once}, {}
        prelude, self.once_prelude = f"{self.prelude}\n{self.once_prelude}".strip(), ""
        self.child.environment = roles.environment(values)
        self.child.argv = roles.command(self.role, prelude=prelude)

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page; status 0 without an answer."""
        return roles.get(self.listen, path)


class KafkaWithDoors(KafkaBroker):
    """Apache Kafka with a listener for each link, which tells clients to come back through that link."""

    def __init__(self, folder: Path, jars: str, doors: list[str]) -> None:
        self.doors = {name: f"127.0.0.1:{free_port()}" for name in doors}
        self.advertised = dict(self.doors)  # by door; a proxy's address
        own = f"127.0.0.1:{free_port()}"
        super().__init__(own, folder / "kafka", folder / "kafka.log", jars=jars)

    def _write_configuration(self, controller_port: int) -> Path:
        path = super()._write_configuration(controller_port)
        lines = dict(line.split("=", 1) for line in path.read_text().splitlines())
        names = {name: name.upper().replace("-", "") for name in self.doors}
        lines["listeners"] += "".join(f",{names[name]}://{at}" for name, at in self.doors.items())
        lines["advertised.listeners"] += "".join(
            f",{names[name]}://{at}" for name, at in self.advertised.items()
        )
        every = ["PLAINTEXT", "CONTROLLER", *names.values()]
        lines["listener.security.protocol.map"] = ",".join(f"{name}:PLAINTEXT" for name in every)
        path.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        return path


def run_tidegate(command: list[str], settings: Mapping[str, Any], prelude: str = "") -> str:
    """Run `tidegate <command>` to its end; what it printed. Raises RuntimeError where it fails."""
    done = roles.run(*command, values=settings, prelude=prelude, seconds=180)
    if done.returncode:
        raise RuntimeError(
            f"tidegate {' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}"
        )
    return done.stdout
