"""Which addresses `tidegate up` gives its roles."""

from __future__ import annotations

import pytest

from tidegate.errors import UsageError
from tidegate.local import supervisor
from tidegate.local.child import free_port
from tidegate.settings import Settings, load

ONE = {"worker": Settings().worker_listen}


def test_each_role_has_a_port_of_its_own_for_metrics() -> None:
    assert supervisor._metrics_listens(Settings(), ONE) == {}
    assert supervisor._metrics_listens(Settings(metrics_listen="10.0.0.7:9100"), ONE) == {
        "gateway": "10.0.0.7:9100",
        "api": "10.0.0.7:9101",
        "worker": "10.0.0.7:9102",
        "sink": "10.0.0.7:9103",
        "notify": "10.0.0.7:9104",
    }
    assert supervisor._metrics_listens(Settings(metrics_listen="[::1]:9100"), ONE)["api"] == "[::1]:9101"


def test_each_worker_has_ports_of_its_own() -> None:
    settings = Settings(metrics_listen="127.0.0.1:9100")
    workers = supervisor._worker_listens(settings, 3)
    assert workers == {
        "worker": "127.0.0.1:8082",
        "worker-2": "127.0.0.1:8092",
        "worker-3": "127.0.0.1:8102",
    }
    assert supervisor._metrics_listens(settings, workers)["worker-3"] == "127.0.0.1:9106"
    with pytest.raises(UsageError, match=r"worker_listen of worker-2: 127.0.0.1:\d+ is the address of sink"):
        first = free_port()
        taken = load(
            {}, overrides={"worker_listen": f"127.0.0.1:{first}", "sink_listen": f"127.0.0.1:{first + 10}"}
        )
        supervisor._check_addresses(taken, supervisor._worker_listens(taken, 2))


def test_a_port_for_metrics_that_is_taken_already_is_told() -> None:
    first = free_port()
    listens = {name: f"127.0.0.1:{free_port()}" for name in supervisor.LISTENS.values()}
    listens |= {"sink_listen": f"127.0.0.1:{first + 1}", "metrics_listen": f"127.0.0.1:{first}"}
    clash = load({}, overrides=listens)
    with pytest.raises(
        UsageError, match=f"metrics_listen: 127.0.0.1:{first + 1} is the address of sink_listen"
    ):
        supervisor._check_addresses(clash, ONE)
