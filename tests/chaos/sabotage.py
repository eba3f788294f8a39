"""Safeguards taken out, one at a time, inside the process that has them: the suite must notice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from chaos.schedule import Card


class Sabotage(NamedTuple):
    what: str
    code: Mapping[str, str]  # by role: Python that runs before it
    cards: tuple[Card, ...] = ()  # faults that meet its moment; empty: all kinds
    clock_days: int = 0  # device clocks that it shows with are up to so far behind

    def prelude(self, role: str) -> str:
        return self.code.get(role, "")


NOTHING = Sabotage("", {})

RESEND = """
import tidegate.sink.takeover as takeover
takeover._needs_no_resend = lambda ledger, plan, committed: True
"""
FENCE = """
from tidegate.sink.consumer import Sink
Sink._fence = lambda self, offsets: True
"""
CHAIN = """
from tidegate.sink.chain import Chain, Verdict
def judge(self, link, *, raw_low=0):
    self.watermark = link.source
    return Verdict.NEXT
Chain.judge = judge
"""
DEVICE_DAYS = """
from tidegate.store.templates import Migration
statements = Migration.statements
def by_device_time(self, settings):
    right, wrong = 'PARTITION BY toDate(received_at)', 'PARTITION BY toDate(event_time)'
    made = statements(self, settings)
    return [one.replace(right, wrong) if 'event_time' in one else one for one in made]
Migration.statements = by_device_time
"""
ONE_BLOCK = """
import tidegate.sink.blocks as blocks
by_day = blocks._by_day
blocks._by_day = lambda rows: [(by_day(rows)[0][0], rows)]
"""

SABOTAGES: Mapping[str, Sabotage] = {
    "resend": Sabotage("a take-over does not send the planned batch again", {"sink": RESEND}),
    "fence": Sabotage(
        "no fence before the insert",
        {"sink": FENCE},
        (("given up", "sink", ""),),
    ),
    "chain": Sabotage("frames are taken as they come, whatever their order", {"sink": CHAIN}),
    "device-time": Sabotage(
        "tables are partitioned by the device's day, and a batch is one insert all the same",
        {"migrate": DEVICE_DAYS, "sink": ONE_BLOCK},
        (("within", "sink", "kill ClickHouse"),),
        clock_days=3650,
    ),
}
