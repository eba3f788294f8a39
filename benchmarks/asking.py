"""What readers ask, over HTTP, of the API and of ClickHouse in turn, and how long each answer takes.

The same question goes to both from one program and over the same kind of connection: to the API as the
reference documents have it, to ClickHouse as SQL written by hand, with the answer as JSON lines.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote

from tidegate.service.http_connection import Connection, Endpoint, Response, endpoint
from tidegate.store.client import plain
from tidegate.store.queries import CONNECTION_COLUMNS, DEVICE_LOG_COLUMNS, INTERMEDIATE_COLUMNS

PAGE = 100  # client events
ENTRIES = 20  # device logs


class Subjects(NamedTuple):
    """Whom to ask about."""

    fleet: str
    macs: Sequence[str]
    devices: Sequence[str]
    since: int  # µs: the beginning of the last day of the history


class Question(NamedTuple):
    name: str
    path: str  # of the API
    statements: tuple[str, ...]  # that answer the same, one after another


Ask = Callable[[Subjects, random.Random], Question]


def connection_logs_of_a_day(subjects: Subjects, rng: random.Random) -> Question:
    mac = rng.choice(subjects.macs)
    return Question(
        "connectionlogs of a client, a day",
        f"/V5/devices/clients/connectionlogs?clientmacaddress={mac}&fromtime={subjects.since // 1000}",
        (_connection_logs(subjects, mac, f"AND event_time >= fromUnixTimestamp64Micro({subjects.since})"),),
    )


def connection_logs(subjects: Subjects, rng: random.Random) -> Question:
    mac = rng.choice(subjects.macs)
    return Question(
        "connectionlogs of a client, the newest 1,000",
        f"/V5/devices/clients/connectionlogs?clientmacaddress={mac}",
        (_connection_logs(subjects, mac, ""),),
    )


def client_events(subjects: Subjects, rng: random.Random) -> Question:
    mac = rng.choice(subjects.macs)
    return Question(
        f"clientevents of a client, a page of {PAGE}",
        f"/V5/devices/clientevents/{mac}/0/{PAGE}",
        (
            f"SELECT {', '.join((*CONNECTION_COLUMNS, *INTERMEDIATE_COLUMNS))} FROM tidegate.client_events"
            f" WHERE fleet = '{subjects.fleet}' AND mac = '{mac}'"
            f" ORDER BY event_time DESC, id DESC LIMIT {PAGE}",
        ),
    )


def device_logs(subjects: Subjects, rng: random.Random) -> Question:
    return Question(
        f"device logs, a page of {ENTRIES} and the count",
        "/api/v1/inventory_device_log/",
        _device_logs(f"fleet = '{subjects.fleet}'"),
    )


def device_logs_of_a_device(subjects: Subjects, rng: random.Random) -> Question:
    device = rng.choice(subjects.devices)
    return Question(
        f"device logs of a device, a page of {ENTRIES} and the count",
        f"/api/v1/inventory_device_log/?parent__id={quote(device)}",
        _device_logs(f"fleet = '{subjects.fleet}' AND device_id = '{device}'"),
    )


QUESTIONS: tuple[Ask, ...] = (
    connection_logs_of_a_day,
    connection_logs,
    client_events,
    device_logs,
    device_logs_of_a_device,
)


def _connection_logs(subjects: Subjects, mac: str, period: str) -> str:
    return (
        f"SELECT {', '.join(CONNECTION_COLUMNS)} FROM tidegate.client_events"
        f" WHERE fleet = '{subjects.fleet}' AND mac = '{mac}' AND event_type IN ('Success', 'Failure')"
        f" {period} ORDER BY event_time DESC, id DESC LIMIT 1000"
    )


def _device_logs(where: str) -> tuple[str, str]:
    return (
        f"SELECT {', '.join(DEVICE_LOG_COLUMNS)} FROM tidegate.device_logs WHERE {where}"
        f" ORDER BY event_time DESC, id DESC LIMIT {ENTRIES}",
        f"SELECT count() FROM tidegate.device_logs WHERE {where}",
    )


@dataclass(slots=True)
class Answers:
    """Seconds that the answers to one question took, sorted."""

    name: str
    api: list[float] = field(default_factory=list)
    sql: list[float] = field(default_factory=list)
    size: int = 0  # bytes of the API's answers, all together

    @property
    def added(self) -> float:
        """Seconds that the API adds at the median."""
        return quantile(self.api, 0.5) - quantile(self.sql, 0.5)

    def describe(self) -> str:
        cells = [f"p50 {quantile(t, 0.5) * 1e3:.1f} p99 {quantile(t, 0.99) * 1e3:.1f}" for t in self._both]
        return (
            f"{self.name}: API {cells[0]} ms, SQL {cells[1]} ms, the API adds {self.added * 1e3:.1f} ms"
            f" ({len(self.api)} asked, {self.size // max(1, len(self.api)):,} bytes each)"
        )

    @property
    def _both(self) -> tuple[list[float], list[float]]:
        return self.api, self.sql


def quantile(times: Sequence[float], part: float) -> float:
    return times[min(len(times) - 1, int(part * len(times)))]


async def ask(
    api: str,
    token: str,
    clickhouse: str,
    subjects: Subjects,
    *,
    clients: int,
    seconds: float,
    questions: Sequence[Ask] = QUESTIONS,
) -> list[Answers]:
    """`clients` readers ask for `seconds`, each its next question when the last is answered."""
    found = {question: Answers("") for question in questions}
    begin = time.perf_counter()

    async def one(number: int) -> None:
        rng = random.Random(number)
        reader = _Reader(endpoint(api), f"Authorization: Bearer {token}\r\n".encode())
        url, names = plain(clickhouse)
        signed = "".join(f"{name}: {value}\r\n" for name, value in names.items())
        analyst = _Reader(endpoint(url), signed.encode())
        while time.perf_counter() - begin < seconds:
            question = rng.choice(questions)
            answers = found[question]
            for side in rng.sample(("api", "sql"), 2):
                asked = question(subjects, rng)
                answers.name = asked.name
                at = time.perf_counter()
                if side == "api":
                    answers.size += len((await reader.get(asked.path)).body)
                    answers.api.append(time.perf_counter() - at)
                else:
                    for statement in asked.statements:
                        await analyst.get(f"/?default_format=JSONEachRow&query={quote(statement)}")
                    answers.sql.append(time.perf_counter() - at)
        reader.close()
        analyst.close()

    await asyncio.gather(*(one(number) for number in range(clients)))
    for answers in found.values():
        answers.api.sort()
        answers.sql.sort()
    return list(found.values())


async def ask_at(
    api: str,
    token: str,
    subjects: Subjects,
    *,
    rate: float,
    seconds: float,
    questions: Sequence[Ask] = QUESTIONS,
) -> Answers:
    """The API is asked `rate` questions a second for `seconds`, evenly, whether or not those before are
    answered (an open loop): an answer's time counts from when its question was due."""
    answers = Answers(f"{rate:g} questions/s, whatever the answers take")
    rng = random.Random(0)
    idle: list[_Reader] = []
    begin = time.perf_counter()

    async def one(due: float, asked: Question) -> None:
        await asyncio.sleep(due - time.perf_counter())
        reader = idle.pop() if idle else _Reader(endpoint(api), f"Authorization: Bearer {token}\r\n".encode())
        answers.size += len((await reader.get(asked.path)).body)
        answers.api.append(time.perf_counter() - due)
        idle.append(reader)

    await asyncio.gather(
        *(
            one(begin + number / rate, rng.choice(questions)(subjects, rng))
            for number in range(int(rate * seconds))
        )
    )
    for reader in idle:
        reader.close()
    answers.api.sort()
    return answers


class _Reader:
    """A keep-alive connection that is opened again when it ended."""

    def __init__(self, target: Endpoint, headers: bytes) -> None:
        self._target = target
        self._headers = f"Host: {target.host}:{target.port}\r\n".encode() + headers
        self._connection: Connection | None = None

    async def get(self, path: str) -> Response:
        """Raises RuntimeError for anything but a 200."""
        if self._connection is None or not self._connection.usable:
            self._connection = await Connection.open(self._target)
        response = await self._connection.post(f"GET {path} HTTP/1.1\r\n".encode() + self._headers, b"")
        if response.status != 200:
            raise RuntimeError(f"{path[:300]} was answered {response.status}: {response.body[:500]!r}")
        return response

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
