"""The sink's process on a real broker and the real engine: order, take-over, kills at named moments."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import enriched_frames
import handmade_batches
import pytest
from click.testing import CliRunner
from conftest import running_broker
from leave_group import give_up
from sink_rig import SinkRig
from stopping import stop_at
from waiting import PATIENCE, await_

from tidegate.contracts.topics import STREAMS, enriched
from tidegate.local.broker import Broker
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.sink.command import accept_gap
from tidegate.verify.command import verify

MakeRig = Callable[..., SinkRig]


@pytest.fixture
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own: the sink reads the topics of fixed names from their start."""
    with running_broker(getattr(request, "param", "embedded"), tmp_path) as broker:
        yield broker


on_both = pytest.mark.parametrize(
    "broker", ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True
)


@pytest.fixture
def make_rig(broker: Broker, clickhouse: ClickHouseServer, tmp_path: Path) -> Iterator[MakeRig]:
    made: list[SinkRig] = []

    def make(**changed: Any) -> SinkRig:
        made.append(SinkRig(broker.bootstrap, clickhouse, tmp_path, **changed))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def rig(make_rig: MakeRig) -> SinkRig:
    return make_rig()


@on_both
def test_frames_become_rows_rejects_and_rollups(rig: SinkRig) -> None:
    yesterday = enriched_frames.now() - enriched_frames.DAY
    for stream in STREAMS:
        rig.write(stream, 0, 5)
        rig.write(stream, 1, 2, count=0, duplicates=2)
        rig.write(stream, 1, 2, rejected=2)
        rig.write(stream, 1, received=[yesterday, enriched_frames.now(), yesterday], rejected=1)
        rig.write(stream, 1, version="2")
    sink = rig.sink()
    rig.await_all()
    await_(sink.ready)
    await_(lambda: sink.metric("tidegate_sink_lag_records") == 0)
    assert sink.metric("tidegate_sink_rows_total") == rig.expected.total()
    assert sink.metric("tidegate_sink_reject_rows_total") == rig.refused.total()
    sink.stop()
    # Each insert made one part, in one ClickHouse partition.
    parts = rig.client.query(
        "SELECT table, uniqExact(partition), max(rows) FROM system.parts"
        " WHERE database = currentDatabase() AND table IN ('client_events', 'rejects') AND level = 0"
        " GROUP BY table ORDER BY table"
    ).result_rows
    assert [row[1] for row in parts] == [2, 2]
    [(found,)] = rig.client.query("SELECT id FROM rejects WHERE stream = 'device_logs' LIMIT 1").result_rows
    assert found.startswith(f"{rig.epoch}-d1-")


def test_a_slow_flow_is_queryable_with_nothing_behind_it(rig: SinkRig) -> None:
    """A batch far below its rows and bytes is cut by its age."""
    sink = rig.sink()
    await_(sink.ready)
    for _ in range(3):
        rig.write("client_events", 0)
        rig.await_all()


def test_events_that_come_late_go_in_larger_blocks(rig: SinkRig) -> None:
    sink = rig.sink(sink_late_age_ms=60_000)
    await_(sink.ready)
    minute_ago = time.time_ns() // 1000 - 60_000_000
    rig.write("client_events", 0, received=[minute_ago])  # tells that they are late
    rig.await_all()
    rig.write("client_events", 0, received=[minute_ago])
    time.sleep(0.8)  # longer than a batch in time is let grow
    rig.write("client_events", 0, received=[minute_ago])
    rig.await_all()
    assert rig.client.query("SELECT first, last FROM verify_batches ORDER BY first").result_rows == [
        (0, 0),
        (1, 2),
    ]


@pytest.mark.parametrize("moment", ["cut", "planned", "fenced", "inserting", "inserted"])
def test_a_kill_at_a_named_moment_costs_nothing_and_doubles_nothing(rig: SinkRig, moment: str) -> None:
    now = enriched_frames.now()
    for stream in STREAMS:
        rig.write(stream, 0, 4, received=[now, now - enriched_frames.DAY], rejected=1)
        rig.write(stream, 1, 4)
    first = rig.sink(stop_at(moment))
    await_(first.paused)
    rig.write("client_events", 0, 3, received=[now, now - enriched_frames.DAY], rejected=1)
    first.kill()
    second = rig.sink(stop_at(moment, 3))
    await_(second.paused)
    rig.write("client_events", 1, 3)
    second.kill()
    rig.sink()
    rig.await_all()
    time.sleep(1.5)  # nothing comes behind it
    rig.check()


@on_both
@pytest.mark.parametrize("moment", ["planned", "fenced"])
def test_a_frozen_sink_that_wakes_up_is_refused(rig: SinkRig, moment: str) -> None:
    """Frozen for longer than its session, while another takes over and goes on."""
    for stream in STREAMS:
        rig.write(stream, 0, 3, rejected=1)
    zombie = rig.sink(stop_at(moment))
    await_(zombie.paused)
    heir = rig.sink()
    await_(lambda: heir.ready() and heir.metric("tidegate_sink_take_overs_total") >= 6)
    rig.await_all()
    for stream in STREAMS:
        rig.write(stream, 0, 3, rejected=1)
    rig.await_all()
    zombie.thaw()
    await_(zombie.ready)
    rig.write("client_events", 1, 3)
    rig.await_all()
    generations = rig.client.query(
        "SELECT count(), uniqExact(generation) FROM verify_batches GROUP BY stream, partition, first"
    ).result_rows
    assert all(row == (1, 1) for row in generations)
    assert "gave this member up" in zombie.child.tail(200) or "lost" in zombie.child.tail(200)


@pytest.mark.kafka
@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
def test_a_sink_that_does_not_know_of_its_end_is_refused(rig: SinkRig) -> None:
    """Given up by the group with a batch cut that nobody has planned, while it thinks that it is a member.

    (One that was frozen for longer than its session sees by its own clock that it is none.) The heir finds
    no plan to keep to, and cuts the same frames into another batch: two tokens, which ClickHouse would
    take both.
    """
    zombie = rig.sink(stop_at("cut", 2), kafka_session_timeout_ms=600_000)  # heartbeats every 150 s
    rig.write("client_events", 0, 3)
    rig.await_all()
    rig.write("client_events", 0, 3, rejected=1)
    await_(zombie.paused)
    rig.write("client_events", 0, 3, rejected=1)
    [(member,)] = rig.client.query("SELECT DISTINCT member FROM sink_batches").result_rows
    give_up(rig.settings.kafka_bootstrap, rig.settings.sink_group, member)
    heir = rig.sink()
    rig.await_all()
    await_(heir.ready)
    zombie.thaw()
    await_(
        lambda: (
            "gave this member up" in zombie.child.tail(200)
            or rig.count("client_events") > rig.expected.total()
        ),
        zombie.child.tail,
    )
    rig.check()


def test_two_sinks_share_and_take_over(rig: SinkRig) -> None:
    one = rig.sink()
    rig.write("client_events", 0, 3)
    rig.await_all()
    two = rig.sink()
    await_(lambda: two.metric("tidegate_sink_take_overs_total") > 0)
    for stream in STREAMS:
        for partition in (0, 1):
            rig.write(stream, partition, 5)
    rig.await_all()
    one.kill()
    for stream in STREAMS:
        for partition in (0, 1):
            rig.write(stream, partition, 5)
    rig.await_all()
    two.stop()


def test_a_sink_of_another_group_stops_itself(rig: SinkRig) -> None:
    """Started by mistake beside the first, it would read every partition too and store it all again."""
    sink = rig.sink()
    rig.write("client_events", 0, 3)
    rig.await_all()
    mistaken = rig.sink(sink_group="by-mistake")
    await_(lambda: not mistaken.child.running)
    assert mistaken.child.status == 1
    assert "would store everything twice" in mistaken.child.tail()
    rig.write("client_events", 0, 3)
    rig.await_all()
    sink.stop()


def test_repeats_and_reordered_frames_are_taken_once(rig: SinkRig) -> None:
    rig.write("client_events", 0, 3)
    rig.put("client_events", 0, 1)
    rig.put("client_events", 0, 2)
    rig.put("client_events", 0, 4)  # its forerunner comes late
    rig.put("client_events", 0, 3)
    rig.put("client_events", 0, 5)
    for offset in (3, 4, 5):
        rig.expect("client_events", 0, offset)
    sink = rig.sink()
    rig.await_all()
    assert sink.metric("tidegate_sink_repeats_total") >= 2


def test_a_gap_stops_its_partition_until_an_operator_accepts_it(
    rig: SinkRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.write("client_events", 0, 2)
    sink = rig.sink()
    rig.await_all()
    rig.put("client_events", 0, 5)
    rig.put("client_events", 0, 6)
    await_(lambda: "--from 2 --to 4" in sink.get("/readyz")[1])
    assert sink.metric("tidegate_sink_gaps") == 1
    rig.write("client_events", 1, 2)
    rig.await_all()  # the other partition goes on, this one has not passed
    await_(lambda: rig.count("sink_gaps") == 1)

    monkeypatch.setenv("TIDEGATE_CLICKHOUSE_URL", rig.settings.clickhouse_url)
    monkeypatch.setenv("TIDEGATE_CLICKHOUSE_DATABASE", rig.settings.clickhouse_database)

    def accept(*arguments: str) -> Any:
        return CliRunner().invoke(accept_gap, ["client_events", "0", "--reason", "disk died", *arguments])

    wrong = accept("--from", "2", "--to", "9")
    assert wrong.exit_code != 0 and "--from 2 --to 4" in str(wrong.exception)
    assert accept("--from", "2", "--to", "4").exit_code == 0
    rig.expect("client_events", 0, 5)
    rig.expect("client_events", 0, 6)
    rig.await_all()
    await_(sink.ready)
    again = accept("--from", "2", "--to", "4")
    assert again.exit_code == 0 and "before" in again.output

    # A later take-over finds its way over the gap too.
    sink.kill()
    rig.put("client_events", 0, 7)
    rig.expect("client_events", 0, 7)
    rig.sink()
    rig.await_all()
    [row] = rig.client.query(
        "SELECT after, next, max(accepted), max(accepted_by) != '', max(reason) FROM sink_gaps"
        " WHERE accepted GROUP BY after, next"
    ).result_rows
    assert row == (1, 5, 1, True, "disk died")


def test_a_gap_that_fills_lets_the_partition_go_on(rig: SinkRig) -> None:
    rig.write("client_events", 0, 1)
    rig.put("client_events", 0, 2)
    sink = rig.sink()
    await_(lambda: "--from 1 --to 1" in sink.get("/readyz")[1])
    rig.put("client_events", 0, 1)
    rig.put("client_events", 0, 3)  # shows that 2 was left behind, and can follow now
    for offset in (1, 2, 3):
        rig.expect("client_events", 0, offset)
    rig.await_all()
    await_(sink.ready)


def test_records_that_no_worker_wrote_are_passed_over(rig: SinkRig) -> None:
    rig.write("client_events", 0, 2)
    rig.put_raw("client_events", 0, b"hello")
    rig.put_raw("client_events", 0, b"", [("epoch", b"x")])
    named = handmade_batches.record(b"", headers=[(b"\xff", b"x")])  # it ended every sink
    written = handmade_batches.produce(
        rig.settings.kafka_bootstrap, enriched("client_events"), 0, handmade_batches.batch(named)
    )
    assert written[0] == 0
    rig.write("client_events", 0, 2)
    sink = rig.sink()
    rig.await_all()
    assert sink.metric("tidegate_sink_foreign_records_total") == 3


def test_counts_that_no_ledger_can_hold_stop_no_partition(rig: SinkRig) -> None:
    """Three such records in one partition, and no sink wrote a plan any more, of any partition."""
    rig.write("client_events", 1)
    other = "01ZZZZZZZZZZZZZZZZZZZZZZZZ"
    for offset in range(3):
        rig.put("client_events", 0, offset, epoch=other, count=0, duplicates=(1 << 63) - 1)
    rig.write("client_events", 0)
    sink = rig.sink()
    rig.await_all()
    assert sink.metric("tidegate_sink_foreign_records_total") == 3
    rig.write("client_events", 1)
    rig.await_all()


def test_clickhouse_away_is_waited_out_with_bounded_memory(broker: Broker, tmp_path: Path) -> None:
    server = ClickHouseServer(f"127.0.0.1:{free_port()}", tmp_path / "store", tmp_path / "clickhouse.log")
    server.start()
    rig = SinkRig(broker.bootstrap, server, tmp_path)
    try:
        sink = rig.sink(sink_buffer_bytes=2_000_000)
        rig.write("client_events", 0, 2)
        rig.await_all()
        server.child.kill()
        server.child.wait(10)
        for _ in range(40):
            rig.write("client_events", 0, 1, count=400)
        await_(lambda: sink.metric("tidegate_sink_buffer_bytes") >= 2_000_000)
        await_(lambda: "ClickHouse is away" in sink.get("/readyz")[1])
        assert sink.metric("tidegate_sink_buffer_bytes") < 3_000_000
        server.start()
        rig.await_all()
        await_(sink.ready)
        sink.stop()
    finally:
        rig.close()
        server.stop()


def test_a_table_that_does_not_fit_is_said_and_tried_again(rig: SinkRig) -> None:
    rig.client.command("ALTER TABLE device_logs RENAME COLUMN notes TO remarks")
    rig.write("device_logs", 0, 2)
    rig.write("client_events", 0, 2)
    sink = rig.sink()
    await_(lambda: "notes" in sink.get("/readyz")[1], lambda: sink.get("/readyz")[1])
    await_(lambda: rig.count("client_events") == 6)
    rig.client.command("ALTER TABLE device_logs RENAME COLUMN remarks TO notes")
    rig.await_all()
    await_(sink.ready)


def test_what_is_behind_its_fleets_retention_goes(rig: SinkRig) -> None:
    old = enriched_frames.now() - 2 * enriched_frames.DAY
    rig.write("client_events", 0, received=[old, enriched_frames.now()], rejected=1)
    first = rig.sink()
    rig.await_all()
    first.stop()
    rig.sink(fleet_retention_days="other=1, demo=1")
    await_(lambda: rig.count("client_events") == rig.count("site_minutes FINAL") == 1)
    report = verify(rig.client, rig.settings, kafka=False)
    assert report.findings == [] and report.partitions[0].expired == 1
    [left] = rig.stored()
    assert left == (rig.epoch, "client_events", 0, 0, 1)


def test_a_clean_stop_stores_what_is_in_hand(rig: SinkRig) -> None:
    rig.write("client_events", 0, 4)  # all there before it reads: they come at once
    sink = rig.sink(sink_batch_age_ms=60_000, sink_busy_age_ms=60_000)
    await_(lambda: sink.metric("tidegate_sink_buffer_bytes") > 0)
    sink.stop()
    rig.check()


def test_a_shortened_log_is_refused(make_rig: MakeRig, broker: Broker) -> None:
    rig = make_rig()
    rig.write("client_events", 0, 4)
    first = rig.sink()
    rig.await_all()
    first.stop()
    # The same epoch, and a plan that was read from further on than the log goes.
    rig.client.command(
        "INSERT INTO sink_batches SELECT * REPLACE (first + 100 AS first, last + 100 AS last,"
        " enriched_first + 100 AS enriched_first, enriched_last + 100 AS enriched_last,"
        " generation + 1 AS generation) FROM sink_batches"
    )
    second = rig.sink()
    assert second.child.wait(PATIENCE) == 1
    assert "bring the log back" in second.child.tail()


def test_a_new_epoch_starts_anew(rig: SinkRig) -> None:
    rig.write("client_events", 0, 3)
    sink = rig.sink()
    rig.await_all()
    older = rig.epoch
    rig.epoch = "01ZZZZZZZZZZZZZZZZZZZZZZZZ"
    rig.next.clear()
    rig.write("client_events", 0, 3)
    rig.await_all()
    rig.put("client_events", 0, 2, epoch=older)  # a repeat of the older epoch
    rig.write("client_events", 0, 1)
    rig.await_all()
    assert sink.metric("tidegate_sink_repeats_total") == 1
