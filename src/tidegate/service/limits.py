"""What a client of any role may take: bytes, time and connections."""

from __future__ import annotations

import resource
from dataclasses import dataclass

from tidegate.settings import Settings

HEAD_BYTES = 65_536  # of request line and headers together, and of the trailers
HEADERS = 100  # lines of a head

OWN_FILES = 256  # descriptors that a role keeps for itself: Kafka, ClickHouse, logs


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for the head of a request, for its body, between requests, and for a reader that reads
    nothing; how many connections there may be."""

    head_seconds: float
    body_seconds: float
    idle_seconds: float
    stall_seconds: float
    connections: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The settings', and no more connections than the process may have files for."""
        return cls(
            head_seconds=settings.http_head_seconds,
            body_seconds=settings.http_body_seconds,
            idle_seconds=settings.http_idle_seconds,
            stall_seconds=settings.http_stall_seconds,
            connections=min(settings.http_connections, max(1, files() - OWN_FILES)),
        )


def files() -> int:
    """How many descriptors this process may have; its soft limit is raised to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = 1 << 20 if hard == resource.RLIM_INFINITY else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    except (ValueError, OSError):  # not ours to raise
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft
