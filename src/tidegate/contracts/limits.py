"""How long an event may be: a quarter of a Kafka record, for every role and whichever way it comes.

The gateway may be set to take less (`gateway_max_event_bytes`) and refuses to start where it would take
more. So the worker never refuses for its length what a gateway has acknowledged. The other three quarters
are for what is made of the event: its envelope, its row or, where it is refused, its text escaped as JSON.
"""

from __future__ import annotations

SHARE = 4


def largest_event(record_bytes: int) -> int:
    """The longest event, without its envelope, where `record_bytes` is the setting kafka_max_record_bytes."""
    return record_bytes // SHARE
