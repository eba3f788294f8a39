"""The gateway process: builds the parts, serves, and on SIGTERM finishes what it has accepted."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Iterator
from functools import partial

import uvicorn
import uvloop

from tidegate import telemetry
from tidegate.errors import UsageError
from tidegate.gateway.app import Gateway, pages
from tidegate.gateway.broker import Broker, State
from tidegate.gateway.frame_writer import FrameWriter
from tidegate.gateway.ingest import Ingest
from tidegate.gateway.limits import HeldBytes, RateLimits
from tidegate.gateway.protocol import CorkedHttp
from tidegate.pauses import Pauses
from tidegate.settings import Settings, address
from tidegate.tokens import TokenFile
from tidegate.topics import expected_partitions

logger = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; then drain, at most `gateway_drain_seconds`, and return 0.

    Raises UsageError if the address cannot be listened on.
    """
    # The watch over the broker says what is wrong once; the client would say it at every attempt.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    listener = _listen(settings.gateway_listen)
    uvloop.run(_serve(settings, listener))
    return 0


def _listen(listen: str) -> socket.socket:
    host, port = address(listen, "gateway_listen")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(
            f"gateway_listen: cannot listen on {listen}: {os.strerror(error.errno or 0)}"
        ) from error


async def _serve(settings: Settings, listener: socket.socket) -> None:
    held = HeldBytes(settings.gateway_queue_bytes)
    broker = Broker(
        settings.kafka_bootstrap,
        ack_timeout_ms=settings.gateway_ack_timeout_ms,
        max_record_bytes=settings.kafka_max_record_bytes,
        least_partitions=partial(expected_partitions, settings),
    )
    writer = FrameWriter(
        broker,
        held,
        linger_ms=settings.gateway_linger_ms,
        frame_events=settings.gateway_frame_events,
        frame_bytes=settings.gateway_frame_bytes,
        ack_timeout_ms=settings.gateway_ack_timeout_ms,
    )
    limits = RateLimits(
        events_per_second=settings.gateway_rate_events_per_second,
        bytes_per_second=settings.gateway_rate_bytes_per_second,
        burst_seconds=settings.gateway_rate_burst_seconds,
    )
    pauses = Pauses(settings.kafka_bootstrap)
    ingest = Ingest(
        settings,
        tokens=TokenFile(settings.tokens_path),
        limits=limits,
        held=held,
        broker=broker,
        writer=writer,
        paused=pauses,
    )

    def not_ready() -> list[str]:
        return [] if broker.state is State.READY else [f"broker: {broker.reason}"]

    def publish() -> None:
        telemetry.GATEWAY_HELD_BYTES.set(held.now)
        ingest.tally.publish()

    app = Gateway(ingest, pages(settings, not_ready, publish))
    config = uvicorn.Config(
        app,
        http=CorkedHttp,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.gateway_drain_seconds,  # type: ignore[arg-type]
    )
    broker.start()
    writer.start()
    # What is built once lives for ever: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    host, port = listener.getsockname()[:2]
    logger.info("gateway listens on http://%s:%d", f"[{host}]" if ":" in host else host, port)
    with pauses:
        await _Server(config).serve(sockets=[listener])
    await writer.close(settings.gateway_drain_seconds)
    await broker.close()
    logger.info("gateway stopped")


class _Server(uvicorn.Server):
    """uvicorn raises the signal again after its drain; a drained gateway ends with status 0 instead."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
