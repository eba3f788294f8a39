"""`tidegate up`: every part on one machine, started in order, watched, drained and stopped in order.

The parts are processes of their own, in sessions of their own: Ctrl-C reaches only this one, which then
stops the flow at its beginning and waits until what was acknowledged is in ClickHouse. Should this process
be killed, the kernel ends its children.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from tidegate.errors import RetryLater, Stop, TidegateError, UsageError
from tidegate.kafka import topics
from tidegate.kafka.connection import connection, in_the_clear
from tidegate.local.broker import Broker, EmbeddedBroker
from tidegate.local.child import Child, claim_address, reachable
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.local.clickhouse.credentials import User
from tidegate.local.console import Console
from tidegate.local.demo import ensure_demo_tokens
from tidegate.local.drain import Ledger, raw_ends
from tidegate.local.kafka import KafkaBroker
from tidegate.local.owner_only import OTHERS, keep_private
from tidegate.local.progress import Progress, get
from tidegate.login_links import login_link
from tidegate.settings import Settings, address, child_environment
from tidegate.tokens import TokenFile, hash_token

TICK = 0.1
READY_SECONDS = 120.0  # for a role to become ready at the start
HEALTHY_SECONDS = 60.0  # of running after which a death counts as the first again
LONGEST_BACKOFF = 30.0
STUCK_SECONDS = 30.0  # without progress while draining
TOOL_SECONDS = 120.0  # for topics and migrate
LISTENS = {
    "broker": "kafka_listen",
    "clickhouse": "clickhouse_listen",
    "gateway": "gateway_listen",
    "api": "api_listen",
    "worker": "worker_listen",
    "sink": "sink_listen",
    "notify": "notify_listen",
}
WORKERS_APART = 10  # ports between the addresses of two workers


class Interrupted(Exception):
    """A signal came while something was being waited for."""


def run(settings: Settings, *, broker: str, rate: float, workers: int = 1) -> int:
    """Run until SIGINT or SIGTERM. Returns the exit status; raises UsageError for what cannot start."""
    folder = Path(settings.data_dir).resolve()
    os.umask(OTHERS)
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder):
        listens = _worker_listens(settings, workers)
        _check_addresses(settings, listens)
        closed = keep_private(folder)
        return Supervisor(settings, folder, broker, rate, listens, closed).run()


class Role:
    """A supervised process: its restarts, and when the next one is due."""

    def __init__(self, name: str, child: Child, listen: str | None) -> None:
        self.name = name
        self.child = child
        self.listen = listen  # of its /readyz
        self.wanted = False
        self.started_at = 0.0
        self.due_at = 0.0
        self.deaths = 0

    def start(self) -> None:
        self.wanted = True
        self.started_at = time.monotonic()
        self.child.start()

    def died(self) -> float:
        """Note a death; returns the seconds until the next start."""
        if time.monotonic() - self.started_at > HEALTHY_SECONDS:
            self.deaths = 0
        backoff = min(LONGEST_BACKOFF, 2.0**self.deaths - 0.5)
        self.deaths += 1
        self.due_at = time.monotonic() + backoff
        return backoff

    def not_ready(self) -> str:
        """Why it is not ready; "" if it is."""
        if not self.child.running:
            return f"ended with status {self.child.status}"
        if self.listen is None:
            return ""
        status, body = get(self.listen, "/readyz")
        return "" if status == 200 else body.strip() or f"/readyz answers {status}"


class Supervisor:
    """Starts broker, ClickHouse and roles in order, restarts what dies, drains and stops them at the end."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        broker: str,
        rate: float,
        workers: Mapping[str, str],
        closed: int,
    ) -> None:
        """`workers`: address by name; `closed`: how many files of the folder were open to others."""
        self._folder = folder
        self._workers = workers
        self._flow = ("gateway", *workers, "sink")
        self._closed = closed
        self._rate = rate
        self._logs = folder / "logs"
        self._logs.mkdir(exist_ok=True)
        for path in self._logs.glob("*.log"):
            path.replace(path.with_suffix(".log.old"))
        self._broker: Broker
        if broker == "kafka":
            self._broker = KafkaBroker(
                settings.kafka_listen, folder / "kafka", self._log("broker"), jars=settings.kafka_jars
            )
        else:
            self._broker = EmbeddedBroker(settings.kafka_listen, self._log("broker"))
        self._clickhouse = ClickHouseServer(
            settings.clickhouse_listen,
            folder / "clickhouse",
            self._log("clickhouse"),
            database=settings.clickhouse_database,
        )
        self._settings = replace(
            in_the_clear(settings, self._broker.bootstrap),
            data_dir=str(folder),
            # Each partition of each stream has inserts of its own, and ClickHouse pays by the insert.
            kafka_partitions=max(settings.up_partitions, len(workers)),
            clickhouse_url=self._clickhouse.url,
            clickhouse_password="",
            tokens_file=str(settings.tokens_path.resolve()),
            lookups_dir=settings.lookups_dir or (str(folder / "lookups") if rate else ""),
        )
        self._roles = {
            name: Role(name, self._child(name, "worker", worker_listen=listen), listen)
            for name, listen in workers.items()
        }
        for name in ("sink", "notify", "api", "gateway"):
            self._roles[name] = Role(name, self._child(name, name), getattr(settings, LISTENS[name]))
        self._parts = {
            "broker": Role("broker", self._broker.child, None),
            "clickhouse": Role("clickhouse", self._clickhouse.child, None),
        }
        if rate:
            arguments = ("--http", f"http://{reachable(settings.gateway_listen)}", "--rate", f"{rate:g}")
            token_file = ("--token-file", str(folder / "demo-tokens.json"))
            child = self._child("simulate", "simulate", *arguments, *token_file)
            self._roles["simulate"] = Role("simulate", child, None)
        self._console = Console()
        self._progress = Progress(
            [
                ("gateway", settings.gateway_listen),
                *(("worker", listen) for listen in workers.values()),
                ("sink", settings.sink_listen),
            ]
        )
        self._epoch = ""
        self._topics_due = False  # a new broker stands there, and has none yet
        self._signals = 0
        self._interruptible = False
        self._draining = False

    # The life of it all

    def run(self) -> int:
        """Until SIGINT, SIGTERM or SIGHUP; returns the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        status = 0
        try:
            with self._interrupts():
                self._start()
            self._announce()
            self._progress.start()
            self._watch()
        except Interrupted:
            pass
        except TidegateError as error:
            self._console.say(f"cannot go on: {error}")
            status = 2 if isinstance(error, UsageError) else 1
        finally:
            if status == 0 and self._epoch:
                status = self._drain()
            self._stop()
        return status

    def _start(self) -> None:
        say = self._console.say
        say(f"starting in {self._folder}")
        if self._closed:
            say(f"{self._closed} files and folders there were open to others; they are private now")
        ensure_demo_tokens(self._folder / "demo-tokens.json", TokenFile(self._settings.tokens_path))
        lookups = None
        if self._rate and self._settings.lookups_dir == str(self._folder / "lookups"):
            lookups = self._child("lookups", "simulate", "--write-lookups", self._settings.lookups_dir)
            lookups.start()
        self._start_part("broker")
        self._start_part("clickhouse")
        self._run_tools("migrate", "topics")
        self._epoch = topics.read_epoch(connection(self._settings))
        if lookups is not None:
            self._await_tool(lookups)
        if len(self._workers) > 1:
            say(f"{len(self._workers)} workers, of whom each takes its share of the partitions")
        roles = [name for name in self._roles if name != "simulate"]
        for name in roles:
            self._roles[name].start()
        self._await_ready(roles)
        if "simulate" in self._roles:
            self._roles["simulate"].start()

    def _announce(self) -> None:
        settings, say = self._settings, self._console.say
        post = f"http://{reachable(settings.gateway_listen)}/api/v1/device_app_connection_log/"
        tokens = self._folder / "demo-tokens.json"
        read_token = f"""$(sed -n 's/.*"ingest": "\\(.*\\)".*/\\1/p' '{tokens}')"""
        body = '{"network_type": "wi", "network_security": "wp2", "network_name": "Office"}'
        clickhouse = f"http://{self._clickhouse.address}"
        say(f"""ready.

Open this, which logs a browser in, once, within {settings.api_login_link_minutes:g} minutes:

  {self._login_link()}

  Dashboard   http://{settings.api_listen}/
  Gateway     http://{settings.gateway_listen}
  Query API   http://{settings.api_listen}
  ClickHouse  {clickhouse}  (database {settings.clickhouse_database}, user analyst, who reads)
  Kafka       {settings.kafka_bootstrap}
  Tokens      {tokens}
  Passwords   {self._clickhouse.credentials_path}
  Logs        {self._logs}

Send an event, and count it a second later:

  curl -sS {post} \\
    -H "Authorization: Bearer {read_token}" \\
    -H 'Content-Type: application/json' -d '{body}'
  {self._analyst_lines()}
""")
        if not self._broker.durable:
            say(
                "The embedded broker keeps its log in memory. Ctrl-C drains it into ClickHouse first; if the"
                " broker's process is killed, what was not stored yet is lost, and its memory only grows."
                " `tidegate up --broker kafka` loses nothing (it needs Java)."
            )
        say("Ctrl-C drains and stops.")

    def _login_link(self) -> str:
        """To the dashboard, for the demo fleet's administrator."""
        tokens = json.loads((self._folder / "demo-tokens.json").read_bytes())
        return login_link(self._settings, hash_token(tokens["administrator"]))

    def _analyst_lines(self) -> str:
        """One question three ways: each line works as it stands, in a shell, in Python, in a JDBC tool."""
        host, _, port = self._clickhouse.address.rpartition(":")
        path, database = str(self._clickhouse.credentials_path), self._settings.clickhouse_database
        count = f"SELECT count() FROM {database}.connection_logs"
        password = f"""$(sed -n 's/.*"analyst": "\\(.*\\)".*/\\1/p' '{path}')"""
        python = (
            f"import clickhouse_connect, json; clickhouse_connect.get_client(host={host!r}, port={port},"
            f" username='analyst', password=json.load(open({path!r}))['analyst'])"
            f".query({count!r}).result_rows"
        )
        own = self._clickhouse.credentials[User.ANALYST]
        jdbc = f"jdbc:ch://{host}:{port}/{database}?user=analyst&password={own}"
        curl = f"""curl -sS --user "analyst:{password}" http://{host}:{port} -d '{count}'"""
        return "\n  ".join((curl, python, jdbc))

    def _watch(self) -> None:
        """Until a signal: restart what dies, tell how it goes."""
        while not self._signals:
            self._mend()
            self._show()
            time.sleep(TICK)

    def _show(self) -> None:
        down = [name for name, role in self._everything() if role.wanted and not role.child.running]
        suffix = f" · down: {', '.join(down)}" if down else ""
        self._console.progress(self._progress.line() + suffix)
        self._console.follow(self._log_paths())

    # Deaths

    def _mend(self) -> None:
        """Start again what died, each after its backoff."""
        if self._topics_due and self._broker.child.running:  # the broker came, and then something failed
            try:
                with self._interrupts():
                    self._make_topics()
            except TidegateError as error:
                self._console.say(str(error))
        for name, role in self._everything():
            if not role.wanted or role.child.running:
                continue
            if not role.due_at:
                self._lament(role)
            if time.monotonic() >= role.due_at:
                role.due_at = 0.0
                try:
                    with self._interrupts():
                        self._revive(name, role)
                except TidegateError as error:  # it counts as another death, with a longer wait behind it
                    self._console.say(str(error))

    def _lament(self, role: Role) -> None:
        backoff = role.died()
        say = self._console.say
        say(f"{role.name} died with status {role.child.status}; starting it again in {backoff:.1f} s")
        say(_indent(role.child.tail()))
        if role.name == "broker" and not self._broker.durable:
            if self._draining:
                role.wanted = False
                raise Stop("the embedded broker died")
            say(
                "THE EMBEDDED BROKER DIED: its log was in memory, events that were not stored yet are LOST."
                " A new epoch begins; gateway, worker, sink and notify start again with it."
            )

    def _revive(self, name: str, role: Role) -> None:
        if name == "broker":
            if self._broker.durable:
                self._start_part("broker")
            else:
                self._begin_new_epoch()
        elif name == "clickhouse":
            self._start_part("clickhouse")
        else:
            role.start()
        self._console.say(f"{name} started again")

    def _begin_new_epoch(self) -> None:
        """A new empty broker under a flow of which every part knew the old one.

        What the sink still held it cannot store: it could not fence the insert at the broker that is gone.
        """
        flow = [self._roles[name] for name in (*self._flow, "notify")]
        for role in flow:
            role.child.signal(signal.SIGTERM)
        for role in flow:
            role.child.wait(5.0)
        self._topics_due = True
        self._start_part("broker")
        self._make_topics()
        for role in flow:
            role.due_at = 0.0
            role.start()

    def _make_topics(self) -> None:
        self._run_tools("topics")
        self._epoch = topics.read_epoch(connection(self._settings))
        self._topics_due = False

    # The end

    def _drain(self) -> int:
        """Stop the flow at its beginning and wait until the rest has run through.

        Returns the exit status: 1 if events are lost by stopping now.
        """
        say = self._console.say
        self._draining = True
        say("draining: no new events; waiting until everything acknowledged is in ClickHouse")
        for name, grace in (("simulate", 10.0), ("gateway", self._settings.gateway_drain_seconds + 5.0)):
            if name in self._roles:
                self._roles[name].wanted = False
                self._roles[name].child.stop(grace)
        try:
            missing = self._await_stored()
        except (TidegateError, Interrupted) as error:
            say(f"not drained: {error or 'asked again to stop'}")
            missing = -1
        if missing == 0:
            say("drained: everything acknowledged is in ClickHouse")
            return 0
        if self._broker.durable:
            say("what is not stored yet waits in Kafka and goes on at the next start")
            return 0
        say(
            f"NOT DRAINED: {missing if missing > 0 else 'some'} frames are not stored,"
            " and the embedded broker loses them now"
        )
        return 1

    def _await_stored(self) -> int:
        """Wait while it goes forward. Returns the number of raw records that are not stored."""
        already = self._signals
        if self._topics_due:
            self._make_topics()
        ends = raw_ends(connection(self._settings))
        ledger = Ledger(self._settings.clickhouse_url, self._settings.clickhouse_database, self._epoch)
        least, moved_at = sys.maxsize, time.monotonic()
        while True:
            self._mend()
            self._console.follow(self._log_paths())
            try:
                missing = ledger.missing(ends)
            except RetryLater as error:
                missing = least
                self._console.progress(f"draining: {error}")
            else:
                self._console.progress(f"draining: {missing:,} frames to go")
            if missing == 0:
                return 0
            if missing < least:
                least, moved_at = missing, time.monotonic()
            if self._signals > already:
                self._console.say("asked again: not waiting any longer")
                return least
            if time.monotonic() - moved_at > STUCK_SECONDS:
                reasons = {name: self._roles[name].not_ready() for name in self._flow[1:]}
                told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason)
                self._console.say(f"nothing moved for {STUCK_SECONDS:.0f} s ({told or 'all are ready'})")
                return least
            time.sleep(TICK * 2)

    def _stop(self) -> None:
        """End every process that is left, in the order of the flow."""
        self._progress.stop()
        for _, role in self._everything():
            role.wanted = False
        for name in ("simulate", *self._flow, "notify", "api"):
            if name in self._roles:
                self._end(name, self._roles[name].child, 20.0)
        self._end("broker", self._broker.child, 30.0)
        self._end("clickhouse", self._clickhouse.child, 60.0)
        self._console.say("stopped")

    def _end(self, name: str, child: Child, grace: float) -> None:
        status = child.stop(grace)
        if status == -signal.SIGKILL:
            self._console.say(f"{name} did not stop in {grace:.0f} s and was killed")

    # Pieces

    def _start_part(self, name: str) -> None:
        begun = time.monotonic()
        part = self._broker if name == "broker" else self._clickhouse
        self._parts[name].wanted = True
        self._parts[name].started_at = begun
        part.start()
        self._console.say(f"{name} ready after {time.monotonic() - begun:.1f} s")

    def _await_ready(self, names: Sequence[str]) -> None:
        begun = time.monotonic()
        waiting = dict.fromkeys(names, "")
        while waiting:
            for name in list(waiting):
                role = self._roles[name]
                if role.child.status == 2:
                    raise UsageError(f"{name} cannot start:\n{_indent(role.child.tail())}")
                waiting[name] = role.not_ready()
                if not waiting[name]:
                    del waiting[name]
                    self._console.say(f"{name} ready after {time.monotonic() - begun:.1f} s")
            if time.monotonic() - begun > READY_SECONDS:
                told = "; ".join(f"{name}: {reason}" for name, reason in waiting.items())
                raise RetryLater(f"not ready after {READY_SECONDS:.0f} s: {told}")
            self._mend()
            self._console.follow(self._log_paths())
            time.sleep(TICK)

    def _run_tools(self, *names: str) -> None:
        """One-shot commands side by side."""
        tools = [self._child(name, name) for name in names]
        for tool in tools:
            tool.start()
        for tool in tools:
            self._await_tool(tool)

    def _await_tool(self, tool: Child) -> None:
        deadline = time.monotonic() + TOOL_SECONDS
        while tool.running and time.monotonic() < deadline:
            time.sleep(TICK / 4)
        if tool.running:
            tool.stop(0.0)
        if tool.status != 0:
            raise RetryLater(f"tidegate {tool.name} did not succeed:\n{_indent(tool.tail())}")

    def _child(self, name: str, *arguments: str, worker_listen: str = "") -> Child:
        argv = [sys.executable, "-m", "tidegate", *arguments]
        metrics = _metrics_listens(self._settings, self._workers).get(name, "")
        own = replace(
            self._settings,
            metrics_listen=metrics,
            worker_listen=worker_listen or self._settings.worker_listen,
            http_notice_seconds=0.0,  # there is nobody else to go to
        )
        return Child(name, argv, self._log(name), environment=child_environment(own))

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _log_paths(self) -> list[Path]:
        return [role.child.log_path for _, role in self._everything()]

    def _everything(self) -> list[tuple[str, Role]]:
        return [*self._parts.items(), *self._roles.items()]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._interruptible:
            raise Interrupted

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Let a signal end what is waited for inside."""
        before, self._interruptible = self._interruptible, True
        try:
            yield
        finally:
            self._interruptible = before


SCRAPED = ("gateway", "api", "worker", "sink", "notify")  # in the order of their ports for metrics


def _worker_listens(settings: Settings, count: int) -> dict[str, str]:
    """The addresses of `count` workers: the first has `worker_listen`, each next is ten ports above."""
    host, first = address(settings.worker_listen, "worker_listen")
    found = {"worker": settings.worker_listen}
    for number in range(2, count + 1):
        found[f"worker-{number}"] = _at(host, first + (number - 1) * WORKERS_APART)
    return found


def _metrics_listens(settings: Settings, workers: Mapping[str, str]) -> dict[str, str]:
    """The roles share a machine here, so `metrics_listen` is the first of as many ports."""
    if not settings.metrics_listen:
        return {}
    host, first = address(settings.metrics_listen, "metrics_listen")
    names = (*SCRAPED, *(name for name in workers if name not in SCRAPED))
    return {role: _at(host, port) for port, role in enumerate(names, first)}


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_addresses(settings: Settings, workers: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    listens = [(name, getattr(settings, name)) for name in LISTENS.values()]
    listens += [(f"worker_listen of {name}", one) for name, one in workers.items() if name != "worker"]
    listens += [("metrics_listen", one) for one in _metrics_listens(settings, workers).values()]
    for name, listen in listens:
        if listen in seen:
            raise UsageError(f"{name}: {listen} is the address of {seen[listen]} already")
        seen[listen] = name
        claim_address(listen, name)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the folder for this process. Raises UsageError if another one has it."""
    with (folder / "up.lock").open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise UsageError(
                f"data_dir: another `tidegate up` (process {file.read().strip() or '?'}) runs in {folder}"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
