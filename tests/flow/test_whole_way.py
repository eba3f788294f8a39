"""From a device's POST to a ClickHouse query, on the embedded broker and on Apache Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import require_apache_kafka
from up_rig import running
from whole_way import CHECKS, Tidegate


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def tidegate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tidegate]:
    """`tidegate up` in an empty folder."""
    if request.param == "kafka":
        require_apache_kafka()
    folder: Path = tmp_path_factory.mktemp(f"whole-way-{request.param}")
    with running(folder, "--simulate", "0", "--broker", request.param) as up:
        yield Tidegate(
            gateway=f"http://{up.listens['gateway']}",
            token=up.tokens()["ingest"],
            clickhouse=up.clickhouse_url,
            bootstrap=up.listens["kafka"],
        )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_it_holds(tidegate: Tidegate, check: Callable[[Tidegate], None]) -> None:
    check(tidegate)
