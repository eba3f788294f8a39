"""ClickHouse away for a while under load: every post is a 201, and all of it is stored afterwards."""

from __future__ import annotations

from benchmarks.outage import measure


def test_posts_are_answered_while_clickhouse_is_away_and_stored_once_it_is_back() -> None:
    found = measure(rate=2000.0, before=2.0, away=6.0, after=3.0)
    assert found.load is not None
    assert found.load.acked == found.load.sent > 10_000, found.describe()
    assert found.backlog > 0, "ClickHouse was not away"
    assert found.balanced, found.describe()
