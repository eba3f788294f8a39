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
    incidents: bool = False  # it shows with incidents among the load

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
SEQUENCE = """
from tidegate.sink.offset_sequence import OffsetSequence, Order
def check(self, link, *, raw_low=0):
    self.watermark = link.source
    return Order.NEXT
OffsetSequence.check = check
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
DEVICES = """
import pyarrow as pa
from tidegate.steps import frame
enrich = frame.enrich
def swapped(stream, columns, *rest, **options):
    if stream == 'connection_logs':
        devices = columns['device_id'].to_pylist()
        devices[0], devices[-1] = devices[-1], devices[0]
        columns = columns | {'device_id': pa.array(devices, pa.string())}
    return enrich(stream, columns, *rest, **options)
frame.enrich = swapped
"""
EXTRA = """
from tidegate.steps import frame
enrich = frame.enrich
def swapped(stream, columns, *rest, **options):
    extras = columns['extra'].to_pylist()
    return enrich(stream, columns | {'extra': frame.pa.array(extras[1:] + extras[:1])}, *rest, **options)
frame.enrich = swapped
"""
WEBHOOK_IDS = """
import os
from tidegate.notify import dispatcher, outbox
made = outbox.webhook_id
def anew(alert, sequence, endpoint):
    return made(f'{alert} {os.getpid()}', sequence, endpoint)
dispatcher.webhook_id = outbox.webhook_id = anew
"""
CHANGES = """
import tidegate.sink.alerts as alerts
read = alerts._alert
def without_ends(message):
    alert = read(message)
    return None if alert is None or alert.state == 'resolved' else alert
alerts._alert = without_ends
"""

SABOTAGES: Mapping[str, Sabotage] = {
    "resend": Sabotage("a take-over does not send the planned batch again", {"sink": RESEND}),
    "fence": Sabotage(
        "no fence before the insert",
        {"sink": FENCE},
        (("given up", "sink", ""),),
    ),
    "sequence": Sabotage("frames are taken as they come, whatever their order", {"sink": SEQUENCE}),
    "device-time": Sabotage(
        "tables are partitioned by the device's day, and a batch is one insert all the same",
        {"migrate": DEVICE_DAYS, "sink": DEVICE_DAYS + ONE_BLOCK},  # it starts on tables that it knows
        (("within", "sink", "kill ClickHouse"),),
        clock_days=3650,
    ),
    "devices": Sabotage("two rows of a frame have each other's devices", {"worker": DEVICES}),
    "extra": Sabotage("rows of a frame have each other's unknown fields", {"worker": EXTRA}),
    "webhook-ids": Sabotage(
        "each process of notify has ids of its own for the same notice",
        {"notify": WEBHOOK_IDS},
        incidents=True,
    ),
    "changes": Sabotage("the end of an alert is not stored", {"sink": CHANGES}, incidents=True),
}
