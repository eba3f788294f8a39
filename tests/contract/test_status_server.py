"""The status server of worker and sink."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from tidegate.errors import UsageError
from tidegate.service.status_server import StatusServer
from tidegate.settings import Settings

ANYWHERE = Settings(worker_listen="127.0.0.1:0", sink_listen="127.0.0.1:0")


def get(server: StatusServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_pages() -> None:
    reasons: list[str] = ["no partitions yet", "no broker"]
    registry = CollectorRegistry()
    Counter("things_total", "Things", registry=registry).inc(3)
    with StatusServer("worker", ANYWHERE, not_ready=lambda: reasons, registry=registry) as server:
        assert get(server, "/healthz") == (200, "ok\n")
        assert get(server, "/readyz") == (503, "no partitions yet\nno broker\n")
        reasons.clear()
        assert get(server, "/readyz?x=1") == (200, "ok\n")
        assert "things_total 3.0" in get(server, "/metrics")[1]
        assert get(server, "/")[0] == 404


def test_a_question_that_fails_is_a_no() -> None:
    def broken() -> list[str]:
        raise LookupError("lost")

    with StatusServer("worker", ANYWHERE, not_ready=list, not_alive=broken) as server:
        assert get(server, "/healthz") == (503, "LookupError: lost\n")


def test_a_taken_port_names_the_setting() -> None:
    with StatusServer("sink", ANYWHERE, not_ready=list) as server:
        with pytest.raises(UsageError, match="sink_listen: cannot listen on"):
            StatusServer("sink", Settings(sink_listen=f"127.0.0.1:{server.port}"), not_ready=list)
