"""The gateway process: builds the parts, serves, and on SIGTERM finishes what it has accepted."""

from __future__ import annotations

import gc
import logging
import socket
from functools import partial

import uvloop

from tidegate import telemetry
from tidegate.contracts import native
from tidegate.gateway.app import Gateway, pages
from tidegate.gateway.broker import Broker, State
from tidegate.gateway.frame_writer import FrameWriter
from tidegate.gateway.ingest import Ingest
from tidegate.gateway.limits import HeldBytes, RateLimits
from tidegate.kafka.connection import connection
from tidegate.kafka.topics import expected_partitions, require_record_size
from tidegate.pauses.control import Pauses
from tidegate.service.middleware import Middleware
from tidegate.service.server import Server, listener, url
from tidegate.service.status_pages import StatusPages
from tidegate.service.status_server import beside
from tidegate.settings import Settings
from tidegate.tokens import TokenFile
from tidegate.tracing import start

logger = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; then drain, at most `gateway_drain_seconds`, and return 0.

    Raises UsageError if the address cannot be listened on.
    """
    # The watch over the broker says what is wrong once; the client would say it at every attempt.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    uvloop.run(_serve(settings, listener(settings.gateway_listen, "gateway_listen")))
    return 0


async def _serve(settings: Settings, listening: socket.socket) -> None:
    tokens = TokenFile(settings.tokens_path)
    traces = start("gateway", settings)
    requests = None
    if traces is not None:
        from tidegate.gateway.traces import RequestTraces  # with OpenTelemetry

        requests = RequestTraces(traces)
    held = HeldBytes(settings.gateway_queue_bytes)
    broker = Broker(
        connection(settings),
        ack_timeout_ms=settings.gateway_ack_timeout_ms,
        answer_ms=settings.gateway_answer_ms,
        max_record_bytes=settings.kafka_max_record_bytes,
        least_partitions=partial(expected_partitions, settings),
        require=partial(require_record_size, settings),
    )
    writer = FrameWriter(
        broker,
        held,
        linger_ms=settings.gateway_linger_ms,
        frame_events=settings.gateway_frame_events,
        frame_bytes=settings.gateway_frame_bytes,
        ack_timeout_ms=settings.gateway_ack_timeout_ms,
        traces=requests,
    )
    limits = RateLimits(
        events_per_second=settings.gateway_rate_events_per_second,
        bytes_per_second=settings.gateway_rate_bytes_per_second,
        burst_seconds=settings.gateway_rate_burst_seconds,
    )
    decoder = native.choose(settings.decoder)
    logger.info("%s", decoder.line)
    pauses = Pauses(connection(settings))
    ingest = Ingest(
        settings,
        tokens=tokens,
        limits=limits,
        held=held,
        broker=broker,
        writer=writer,
        paused=pauses,
        decoders=decoder.decoders,
        traces=requests,
    )

    def not_ready() -> list[str]:
        reasons = ["stopping"] if server.ending else []
        return reasons if broker.state is State.READY else [*reasons, f"broker: {broker.reason}"]

    def publish() -> None:
        telemetry.GATEWAY_HELD_BYTES.set(held.now)
        ingest.counters.publish()

    status = StatusPages(
        "gateway",
        not_ready=not_ready,
        tokens=tokens,
        before_scrape=publish,
        behind=pages(settings),
    )
    server = Server(
        Gateway(ingest, Middleware(status)), settings, drain_seconds=settings.gateway_drain_seconds
    )
    broker.start()
    writer.start()
    # What is built once lives for ever: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    logger.info("gateway listens on %s", url(listening, settings))
    with pauses:
        async with beside("gateway", settings, not_ready=not_ready, before_scrape=publish):
            await server.serve(sockets=[listening])
    await writer.close(settings.gateway_drain_seconds)
    await broker.close()
    if traces is not None:
        traces.close()
    logger.info("gateway stopped")
