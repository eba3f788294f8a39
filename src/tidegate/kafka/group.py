"""What every consumer of a group is configured with, where librdkafka reads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError

from tidegate.kafka.connection import connection
from tidegate.settings import Settings


def group_options(
    settings: Settings, group: str, client_id: str, on_error: Callable[[KafkaError], None]
) -> dict[str, Any]:
    """It commits what it is told alone, and makes no topic; `on_error` hears of trouble with the broker."""
    return {
        **connection(settings).librdkafka(),
        "group.id": group,
        "client.id": client_id,
        "session.timeout.ms": settings.kafka_session_timeout_ms,
        "heartbeat.interval.ms": max(settings.kafka_session_timeout_ms // 4, 100),
        "max.poll.interval.ms": max(settings.kafka_session_timeout_ms, 300_000),  # at least the session
        "enable.auto.commit": False,
        "allow.auto.create.topics": False,
        "socket.timeout.ms": 10_000,
        "reconnect.backoff.max.ms": 2_000,
        "fetch.wait.max.ms": 200,
        "error_cb": on_error,
        "logger": logging.getLogger("tidegate.librdkafka"),
    }


def alerts_options(
    settings: Settings, group: str, client_id: str, on_error: Callable[[KafkaError], None]
) -> dict[str, Any]:
    """The same for a reader of `tidegate.alerts`: from its first record, and what is committed alone."""
    return {
        **group_options(settings, group, client_id, on_error),
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
    }
