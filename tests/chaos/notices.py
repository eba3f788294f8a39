"""With incidents among the load: what was told of them, to the topic, the table and two webhooks."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from webhook_receiver import Choose, Receiver, Reply, receiver

from chaos.parts import run_tidegate
from tidegate.webhooks.signing import webhook_id

RULES = """
[[rule]]
name = "floor"
signal = "stage_failures"
threshold = { share = 0.5, clients = 5, minutes = 1 }
keep_open_minutes = 1
"""
NAMES = ("a", "b")
REFUSED_EVERY = 5  # of the first requests of an endpoint, so many ask to be sent again
TOLD_SECONDS = 120.0  # for the last changes to be stored and delivered
DONE = ("delivered", "superseded")


class Notices:
    """Two webhooks at a receiver, which now and then answers 503, and the rules that raise alerts."""

    def __init__(self, folder: Path, choose: Choose | None = None) -> None:
        """`choose` answers in the receiver's stead."""
        self._ending = ExitStack()
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()
        self.at: Receiver = self._ending.enter_context(receiver(choose or self._choose, folder))
        rules = folder / "rules.toml"
        rules.write_text(RULES)
        self.settings: dict[str, Any] = {
            "alerts_rules_file": rules,
            "webhook_allow": "127.0.0.1",
            "webhook_ca_file": self.at.ca_file,
        }
        self._ids: dict[str, str] = {}  # of endpoints, by name

    def create(self, values: dict[str, Any]) -> None:
        for name in NAMES:
            url = f"{self.at.url}/{name}"
            run_tidegate(["webhook", "create", name, "--fleet", "demo", "--url", url], values)
        listed = json.loads(run_tidegate(["webhook", "list", "--json"], values))["webhooks"]
        self._ids = {row["name"]: row["id"] for row in listed}

    def stop(self) -> None:
        self._ending.close()

    def _choose(self, path: str, before: int) -> Reply:
        with self._lock:
            self._asked[path] += 1
            return Reply(503 if self._asked[path] % REFUSED_EVERY == 0 else 204)

    def damage(self, world: Any) -> tuple[int, list[str]]:
        """How many changes were told, and what is wrong. Waits until all of them are delivered."""
        deadline = time.monotonic() + TOLD_SECONDS
        while True:
            wanted = self._wanted(world)
            done = {row[0] for row in world.rows(f"SELECT DISTINCT webhook_id FROM {_DELIVERIES}")}
            if wanted.keys() <= done or time.monotonic() > deadline:
                break
            time.sleep(1.0)
        found = [f"{wanted[id]} was not delivered" for id in sorted(wanted.keys() - done)]
        by_change: dict[tuple[str, int, str], set[str]] = defaultdict(set)
        for one in list(self.at.received):
            data = json.loads(one.body)["data"]
            by_change[data["id"], data["sequence"], one.path.strip("/")].add(one.headers["webhook-id"])
        for (id, sequence, name), ids in by_change.items():
            if ids != {webhook_id(id, sequence, self._ids[name])}:
                found.append(f"change {sequence} of alert {id} came to {name} under {len(ids)} ids")
            elif not ids <= wanted.keys():
                found.append(f"change {sequence} of alert {id} came to {name} and is not stored")
        return len(wanted), found

    def _wanted(self, world: Any) -> dict[str, str]:
        """What must be delivered or superseded, by webhook-id."""
        return {
            webhook_id(id, sequence, endpoint): f"change {sequence} ({state}) of alert {id} to {name}"
            for id, sequence, state in world.rows("SELECT id, sequence, state FROM alerts FINAL")
            for name, endpoint in self._ids.items()
        }


_DELIVERIES = f"webhook_deliveries FINAL WHERE outcome IN {DONE}"
