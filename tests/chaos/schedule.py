"""Which faults, and when: drawn from a seed, the same for the same seed.

Faults are dealt from a shuffled deck, so that a run of a deck's length has seen every kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from stopping import SINK_MOMENTS, WORKER_MOMENTS

from chaos.proxy import Trouble

LONGEST_GAP = 4.0  # in means


class Fault(NamedTuple):
    number: int
    at: float  # seconds from the start
    kind: str
    target: str
    how: str = ""
    seconds: float = 0.0  # how long it lasts
    draw: int = 0  # which of several processes, or which time at a moment

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return " ".join(part for part in (self.kind, self.target, self.how) if part) + lasting


Card = tuple[str, str, str]  # kind, target, how

KILLS: dict[str, int] = {"gateway": 2, "worker": 4, "sink": 4, "clickhouse": 3}
FREEZES: dict[str, int] = {"gateway": 1, "worker": 2, "sink": 3, "clickhouse": 2}
TERMS: dict[str, int] = {"gateway": 1, "worker": 2, "sink": 2, "clickhouse": 1}
NOTIFY: dict[str, int] = {"kill": 6, "freeze": 2, "term": 2}  # with incidents
BROKER: dict[str, int] = {"kill": 2, "freeze": 1, "term": 1}
LINKS = ("producer-gateway", "sink-clickhouse", "sink-clickhouse")
KAFKA_LINKS = ("producer-kafka", "gateway-kafka", "worker-kafka", "sink-kafka")


def deck(on_kafka: bool, incidents: bool = False) -> list[Card]:
    """All kinds of faults, the frequent ones several times."""
    cards: list[Card] = []
    for kind, counts in (("kill", KILLS), ("freeze", FREEZES), ("term", TERMS)):
        cards += [(kind, target, "") for target, count in counts.items() for _ in range(count)]
    for target, moments in (("sink", SINK_MOMENTS), ("worker", WORKER_MOMENTS)):
        for moment in moments:
            cards += [("moment", target, f"{moment}, kill"), ("moment", target, f"{moment}, freeze")]
    troubles = [trouble.value for trouble in Trouble if trouble is not Trouble.NONE]
    # In front of the embedded broker there is no link: a producer without idempotence must not lose answers.
    for link in (*LINKS, *KAFKA_LINKS) if on_kafka else LINKS:
        cards += [("link", link, trouble) for trouble in troubles]
    cards += [("disk", "clickhouse", "full")] * 2
    cards += [("scale", "worker and sink", "1, 3, 2"), ("second", "sink", "of another group")]
    cards += [("roll", "worker", "a new transform_version")]
    if incidents:
        cards += [(kind, "notify", "") for kind, count in NOTIFY.items() for _ in range(count)]
    if on_kafka:
        cards += [(kind, "kafka", "") for kind, count in BROKER.items() for _ in range(count)]
    return cards


def draw(
    seed: int,
    *,
    on_kafka: bool,
    every: float,
    session: float,
    only: tuple[Card, ...] = (),
    incidents: bool = False,
) -> Iterator[Fault]:
    """Faults without end, one `every` so many seconds on average; from `only` these cards if any."""
    random = Random(seed)
    at, number = 0.0, 0
    while True:
        cards = list(only) or deck(on_kafka, incidents)
        random.shuffle(cards)
        for kind, target, how in cards:
            number += 1
            at += min(random.expovariate(1 / every), every * LONGEST_GAP)
            yield Fault(
                number, at, kind, target, how, _lasting(kind, how, session, random), random.randrange(1000)
            )


def _lasting(kind: str, how: str, session: float, random: Random) -> float:
    if kind == "freeze" or how.endswith("freeze"):
        return session + random.uniform(0.5, 3.0)
    if kind == "link":
        return random.uniform(0.5, 4.0)
    if kind == "disk":
        return random.uniform(1.0, 5.0)
    if kind == "scale":
        return random.uniform(2.0, 6.0)
    return 0.0
