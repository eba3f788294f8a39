"""The worker on a real broker: what goes in comes out once, in order, whatever happens to it."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from conftest import running_broker
from reject_documents import original_bytes
from transactions import Transactional
from waiting import await_
from worker_rig import PARTITIONS, Enriched, Rig, in_sequence

from builders import body, device_log, envelope, failure, frame, network_log, session_log, success
from tidegate.contracts.counts import MinuteCounts
from tidegate.contracts.frames import read_rejects
from tidegate.contracts.rejects import Code, Reject
from tidegate.contracts.topics import FAILURES, HEALTH, REJECTS, STREAMS, Stream, raw
from tidegate.errors import Stop
from tidegate.local.broker import Broker

EVENTS = {"connection_logs": network_log(), "client_events": success(), "device_logs": device_log()}


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def own_broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One for the module: the worker's topics and group have fixed names."""
    with running_broker(request.param, tmp_path_factory.mktemp("worker-broker")) as broker:
        yield broker


@pytest.fixture(scope="module")
def rig(own_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A worker that runs through the module; tests that kill it start it again."""
    with Rig(own_broker.bootstrap, tmp_path_factory.mktemp("worker")) as rig:
        rig.start()
        yield rig
        rig.stop()


def now() -> int:
    return time.time_ns() // 1000


@pytest.mark.parametrize("stream", STREAMS)
def test_frames_come_out_enriched_on_their_partition_and_in_sequence(rig: Rig, stream: Stream) -> None:
    for partition in range(PARTITIONS):
        for number in range(3):
            rig.send(stream, frame(*[EVENTS[stream]] * (number + 1)), partition)
    frames = rig.await_end(stream)
    for partition in range(PARTITIONS):
        own = [one for one in frames if one.partition == partition]
        assert [one.head.source_offset for one in own] == list(range(len(own)))
        assert [one.head.previous_offset for one in own] == list(range(-1, len(own) - 1))
        assert all(one.head.source_partition == partition for one in own)
        assert [one.rows.num_rows for one in own][-3:] == [1, 2, 3]
    assert {one.head.epoch for one in frames} == {rig.epoch}


def test_one_bad_line_among_999_good_ones(rig: Rig) -> None:
    lines = [envelope(success()) for _ in range(1000)]
    lines[500] = b'{"fleet":"demo","event":{"macAddress":"00:1a'
    offset = rig.send("client_events", b"\n".join(lines), 1)
    found = rig.await_frame("client_events", 1, offset)
    assert (found.head.lines, found.head.accepted, found.head.rejected) == (1000, 999, 1)
    assert found.rows.num_rows == 999
    [reject] = read_rejects(found.headers.items())
    assert (reject.index, original_bytes(reject)) == (500, lines[500])


REFUSED: dict[Code, tuple[Stream, bytes | None]] = {
    Code.NOT_JSON: ("client_events", envelope(success())[:-9]),
    Code.NOT_UTF8: ("client_events", envelope(success()).replace(b"00:", b"\xff\xfe")),
    Code.NOT_OBJECT: ("client_events", envelope(b"17")),
    Code.EMPTY_RECORD: ("client_events", b""),
    Code.UNKNOWN_FORM: ("connection_logs", envelope(b'{"something": "else"}')),
    Code.MISSING_FIELD: ("device_logs", envelope(device_log(datetime=None))),
    Code.WRONG_TYPE: ("connection_logs", envelope(network_log(inbytes="many"))),
    Code.NOT_IN_ENUM: ("connection_logs", envelope(network_log(network_type="xx"))),
    Code.OUT_OF_RANGE: ("connection_logs", envelope(network_log(latitude="97.5"))),
    Code.BAD_FORMAT: ("client_events", envelope(success(macAddress="no mac"))),
    Code.BAD_ENVELOPE: (
        "client_events",
        b'{"fleet":"demo","received_at":"noon","event":%b}' % body(success()),
    ),
    Code.MISSING_FLEET: ("connection_logs", body(session_log())),
    Code.UNKNOWN_FLEET: ("client_events", envelope(success(), fleet="nobody")),
    Code.TOO_LARGE: ("client_events", envelope(success(ssid="x" * 5_000_000))),
}


def test_each_kind_of_bad_input_becomes_a_reject_and_stops_nothing(rig: Rig) -> None:
    assert set(REFUSED) == set(Code) - {Code.CRASH, Code.KEY_REUSED}  # a bug, and a record before it
    sent = {code: (stream, rig.send(stream, value, 2)) for code, (stream, value) in REFUSED.items()}
    for code, (stream, offset) in sent.items():
        found = rig.await_frame(stream, 2, offset)
        assert (found.head.lines, found.head.rejected, found.rows.num_rows) == (1, 1, 0), code
        [reject] = read_rejects(found.headers.items())
        assert reject.code == code
        assert original_bytes(reject) == REFUSED[code][1]
    records = {
        (reject.stream, reject.offset): (message, reject)
        for message in rig.read(REJECTS)
        for reject in [msgspec.json.decode(message.value() or b"", type=Reject)]
        if message.partition() == 2
    }
    for code, (stream, offset) in sent.items():
        message, reject = records[stream, offset]
        assert reject.code == code
        assert dict(message.headers() or [])["source_offset"] == str(offset).encode()
    rig.await_frame("client_events", 2, rig.send("client_events", frame(success()), 2))


def test_a_tombstone_is_an_empty_record(rig: Rig) -> None:
    found = rig.await_frame("client_events", 0, rig.send("client_events", None))
    assert [one.code for one in read_rejects(found.headers.items())] == [Code.EMPTY_RECORD]


def test_a_bare_line_with_its_fleet_in_a_header(rig: Rig) -> None:
    offset = rig.send("connection_logs", body(network_log()), 1, [("fleet", b"demo")])
    [row] = rig.await_frame("connection_logs", 1, offset).rows.to_pylist()
    assert row["fleet"] == "demo"
    assert abs(row["received_at"].timestamp() - time.time()) < 60


def test_failures_are_told_with_their_stage(rig: Rig) -> None:
    offset = rig.send("client_events", frame(success(), failure(), failure()), 1)
    rig.await_frame("client_events", 1, offset)
    ours = {
        document["id"]: (message.key(), document["stage"])
        for message in rig.read(FAILURES)
        for document in [msgspec.json.decode(message.value() or b"")]
        if f"-w1-{offset}-" in document["id"]
    }
    assert sorted(ours) == [f"{rig.epoch}-w1-{offset}-1", f"{rig.epoch}-w1-{offset}-2"]
    assert all((key or b"").startswith(b"demo/") and stage for key, stage in ours.values())


def test_a_fleet_that_is_made_while_the_worker_runs_is_known(rig: Rig) -> None:
    (rig.worker.log_path.parent / "tokens.json").write_bytes(
        msgspec.json.encode({"tokens": [], "fleets": ["demo", "late"]})
    )
    found = rig.await_frame("client_events", 0, rig.send("client_events", frame(success(), fleet="late")))
    assert found.head.accepted == 1


def test_a_clean_stop_commits_and_a_start_goes_on_from_there(rig: Rig) -> None:
    last = rig.send("device_logs", frame(device_log()), 1)
    rig.await_frame("device_logs", 1, last)
    rig.stop()
    rig.start()
    offset = rig.send("device_logs", frame(device_log()), 1)
    rig.await_frame("device_logs", 1, offset)
    own = [one for one in rig.frames("device_logs") if one.partition == 1]
    assert [one.head.source_offset for one in own] == list(range(offset + 1))  # none twice
    assert own[-1].head.previous_offset == last


def assert_one_sequence(rig: Rig, frames: list[Enriched], stream: Stream) -> None:
    """Every raw record is in the sequence that the sink takes, and each time it came it was the same."""
    for partition in range(PARTITIONS):
        taken = [one.head.source_offset for one in in_sequence(frames, partition)]
        assert taken == list(range(rig.sent[stream, partition]))
    contents: dict[tuple[int, int], bytes] = {}
    for one in frames:
        rows = one.rows.serialize().to_pybytes()
        assert contents.setdefault((one.partition, one.head.source_offset), rows) == rows


def at_site(number: int, events: int) -> bytes:
    """A frame of events of one site, so that a test finds its own in the minutes."""
    site = {"type": "locallocationid", "id": number}
    ssids = [f"n{number}" for number in range(events)]
    return frame(*(success(locationId=site, ssid=ssid) for ssid in ssids), received_at=now())


def counted(rig: Rig, site: int) -> int:
    """The events of a site by the latest document of each of its minutes."""
    minutes: dict[str, int] = {}
    for message in rig.read(HEALTH):
        if message.key() == f"demo/{site}".encode():
            document = msgspec.json.decode(message.value() or b"", type=MinuteCounts)
            minutes[document.minute] = sum(count.events for count in document.counts)
    return sum(minutes.values())


def assert_counted(rig: Rig, site: int, events: int) -> None:
    await_(lambda: counted(rig, site) >= events, lambda: f"{counted(rig, site)} of {events}")
    assert counted(rig, site) == events


def test_a_name_of_any_length_stops_nothing(rig: Rig) -> None:
    """One event with an SSID of a MiB ended the worker for good: no changelog took its minute."""
    site = {"type": "locallocationid", "id": 991}
    name = random.Random(5).randbytes(1_000_000).hex()
    rig.send("client_events", frame(success(locationId=site, ssid=name), received_at=now()))
    assert_counted(rig, 991, 1)


def test_killed_half_way_every_record_comes_out_in_one_sequence_and_counts_once(rig: Rig) -> None:
    for round_ in range(3):
        bursts = [[at_site(4711, 50) for _ in range(200)] for _ in range(PARTITIONS)]
        done = rig.done()
        for partition, burst in enumerate(bursts):
            rig.send_many("client_events", burst, partition)
        await_(partial(rig.has_done, done + 100))
        if round_ < 2:
            rig.kill()
            rig.start()
    frames = rig.await_end("client_events")
    assert len(frames) > sum(rig.sent["client_events", p] for p in range(PARTITIONS)), "none was sent twice"
    assert_one_sequence(rig, frames, "client_events")
    assert_counted(rig, 4711, 3 * PARTITIONS * 200 * 50)


def test_workers_come_freeze_wake_and_go(rig: Rig, tmp_path: Path) -> None:
    def send() -> None:
        for partition in range(PARTITIONS):
            rig.send_many("client_events", [at_site(4712, 20) for _ in range(100)], partition)

    other = Rig(rig.bootstrap, tmp_path / "other")
    send()
    other.start()  # takes over a part while the first is at work
    send()
    rig.worker.signal(signal.SIGSTOP)
    send()
    time.sleep(9)  # longer than a session: the other has it all, and the first does not know
    send()
    rig.worker.signal(signal.SIGCONT)
    send()
    assert rig.worker.wait(30) == 1  # what it knew of its tables was another's by then
    assert "stood still" in rig.worker.log_path.read_text()
    rig.start()
    other.stop()
    send()
    frames = rig.await_end("client_events")
    assert_one_sequence(rig, frames, "client_events")
    assert_counted(rig, 4712, 6 * PARTITIONS * 100 * 20)


def test_metrics_tell_the_lines_and_the_lag(rig: Rig) -> None:
    before = rig.metric('tidegate_worker_lines_total{outcome="accepted",stream="device_logs"}')
    rig.await_frame("device_logs", 0, rig.send("device_logs", frame(device_log(), device_log())))
    after = rig.metric('tidegate_worker_lines_total{outcome="accepted",stream="device_logs"}')
    assert after == before + 2
    await_(lambda: "tidegate_worker_lag_records{" in (rig.get("/metrics") or ""))


def test_records_that_retention_took_are_a_gap_and_not_a_silence(rig: Rig, own_broker: Broker) -> None:
    if not own_broker.durable:
        pytest.skip("the embedded broker deletes no records")
    last = rig.send("device_logs", frame(device_log()), 2)
    rig.await_frame("device_logs", 2, last)
    rig.stop()
    offsets = [rig.send("device_logs", frame(device_log()), 2) for _ in range(3)]
    admin = AdminClient({"bootstrap.servers": rig.bootstrap})
    for future in admin.delete_records([TopicPartition(raw("device_logs"), 2, offsets[2])]).values():
        future.result(30)
    rig.start()
    found = rig.await_frame("device_logs", 2, offsets[2])
    assert found.head.previous_offset == offsets[1]
    lost = 'tidegate_worker_lost_records_total{stream="device_logs"}'
    assert rig.metric(lost) == 2
    rig.stop()
    behind = rig.send("device_logs", frame(device_log()), 2) + 1
    for future in admin.delete_records([TopicPartition(raw("device_logs"), 2, behind)]).values():
        future.result(30)
    rig.start()
    assert rig.metric(lost) == 1
    rig.stop()
    rig.start()
    assert rig.metric(lost) == 0  # told once, though nothing came behind it


@pytest.mark.kafka
def test_a_broker_that_goes_and_comes_costs_time_only(tmp_path: Path) -> None:
    with running_broker("kafka", tmp_path) as broker, Rig(broker.bootstrap, tmp_path / "worker") as rig:
        rig.start()
        pid = rig.worker.pid
        rig.send_many("client_events", [frame(success()) for _ in range(100)])
        rig.await_end("client_events")
        broker.stop()
        time.sleep(15)
        assert rig.worker.running
        assert "no broker" in "".join(rig.worker.log_path.read_text())
        broker.start()
        rig.send_many("client_events", [frame(success()) for _ in range(100)])
        frames = rig.await_end("client_events")
        assert [one.head.source_offset for one in in_sequence(frames, 0)] == list(range(200))
        await_(rig.ready)
        assert rig.worker.pid == pid
        rig.stop()


QUICK = {"kafka_session_timeout_ms": 4000}  # the embedded broker forms a group in half of it

DROPS = """
from tidegate.worker.consume import RecordConsumer
right = RecordConsumer.process
async def process(self, stream, message):
    if 40 <= message.offset < 90 and message.offset not in dropped:
        dropped.add(message.offset)
    else:
        await right(self, stream, message)
dropped = set()
RecordConsumer.process = process
"""


@pytest.mark.parametrize("kind", ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_records_that_faust_drops_are_read_again(kind: str, tmp_path: Path) -> None:
    with (
        running_broker(kind, tmp_path) as broker,
        Rig(broker.bootstrap, tmp_path / "worker", bug=DROPS, **QUICK) as rig,
    ):
        rig.send_many("client_events", [frame(success()) for _ in range(200)])
        rig.start()
        frames = rig.await_end("client_events")
        assert [one.head.source_offset for one in in_sequence(frames, 0)] == list(range(200))
        assert "offset 90 came where" in rig.worker.log_path.read_text()
        rig.stop()


DROPS_ONE = """
from tidegate.worker.consume import RecordConsumer
right = RecordConsumer.process
async def process(self, stream, message):
    if message.offset == {offset} and not dropped:
        dropped.add(message.offset)
    else:
        await right(self, stream, message)
dropped = set()
RecordConsumer.process = process
"""


@pytest.mark.parametrize("kind", ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_a_dropped_record_that_none_follows_is_read_again(kind: str, tmp_path: Path) -> None:
    """On Kafka behind a transaction's marker, so that the next offset is not the record's."""
    last = 9 if kind == "embedded" else 11
    bug = DROPS_ONE.format(offset=last)
    with (
        running_broker(kind, tmp_path) as broker,
        Rig(broker.bootstrap, tmp_path / "worker", bug=bug, worker_watchdog_seconds=12, **QUICK) as rig,
    ):
        rig.send_many("client_events", [frame(success()) for _ in range(9)])
        if kind == "kafka":
            Transactional(broker.bootstrap, "one", raw("client_events")).committed([frame(success())])
        rig.send("client_events", frame(success()))
        rig.start()
        process = rig.worker.pid
        frames = rig.await_end("client_events")
        wanted = [*range(9), *([9] if kind == "kafka" else []), last]
        assert [one.head.source_offset for one in in_sequence(frames, 0)] == wanted
        text = rig.worker.log_path.read_text()
        assert f"the record at {last} did not come, the consumer stands at {last + 1}" in text
        assert rig.worker.pid == process
        rig.stop()


KILLER = """
import os
import tidegate.steps.frame as transform
right = transform.decode_frame
def decode_frame(stream, value, **options):
    if b"KILLER" in value:
        os.kill(os.getpid(), 9)
    return right(stream, value, **options)
transform.decode_frame = decode_frame
"""


def test_a_line_that_kills_the_process_is_set_aside_in_the_end(tmp_path: Path) -> None:
    with (
        running_broker("embedded", tmp_path) as broker,
        Rig(broker.bootstrap, tmp_path / "worker", bug=KILLER, **QUICK) as rig,
    ):
        rig.send("client_events", frame(success(), success(ssid="KILLER"), success()))
        lives = 0
        for _ in range(6):
            lives += 1
            rig.worker.start()
            await_(lambda: not rig.worker.running or rig.frames("client_events"), rig.worker.tail)
            if rig.worker.running:
                break
        assert lives == 5  # three deaths of the whole frame, one of the line
        [found] = rig.frames("client_events")
        assert set(found.rows.column("index").to_pylist()) == {0, 2}
        assert [(one.index, one.code) for one in read_rejects(found.headers.items())] == [(1, Code.CRASH)]
        rig.stop()


STUCK = """
import asyncio
from tidegate.worker.consume import RecordConsumer
async def process(self, stream, message):
    await asyncio.sleep(3600)
RecordConsumer.process = process
"""


def test_a_worker_that_stands_still_before_records_ends_itself(tmp_path: Path) -> None:
    with (
        running_broker("embedded", tmp_path) as broker,
        Rig(broker.bootstrap, tmp_path / "worker", bug=STUCK, worker_watchdog_seconds=3, **QUICK) as rig,
    ):
        rig.start()
        time.sleep(5)
        assert rig.worker.running  # nothing to do is no reason
        rig.send("client_events", frame(success()))
        await_(lambda: not rig.worker.running, rig.worker.tail)
        assert rig.worker.status == 1
        assert "tidegate.client_events.raw partition 0 stood at 0" in rig.worker.tail()


def test_a_worker_begins_anew_with_a_new_epoch(tmp_path: Path) -> None:
    with running_broker("embedded", tmp_path) as broker, Rig(broker.bootstrap, tmp_path / "worker") as rig:
        rig.start()
        epoch = ""
        while not epoch:
            broker.stop()
            broker.start()
            # Asked for a topic by the worker, the embedded broker makes it, with partitions as it likes.
            with suppress(Stop):
                epoch = Rig(broker.bootstrap, tmp_path / "another").epoch
        await_(lambda: not rig.worker.running, rig.worker.tail)
        assert rig.worker.status == 1
        assert f"epoch {rig.epoch} became {epoch}" in rig.worker.tail()


def test_a_worker_waits_for_what_it_needs(tmp_path: Path) -> None:
    """Started before broker, topics and tokens file, it says what it waits for and goes on by itself."""
    with running_broker("embedded", tmp_path) as broker, Rig(broker.bootstrap, tmp_path / "worker") as rig:
        tokens = tmp_path / "worker" / "tokens.json"
        content = tokens.read_bytes()
        tokens.unlink()
        broker.stop()
        rig.worker.start()
        await_(lambda: "Kafka does not answer" in rig.worker.tail(), rig.worker.tail)
        broker.start()
        await_(lambda: "run `tidegate topics`" in rig.worker.tail(), rig.worker.tail)
        Rig(broker.bootstrap, tmp_path / "another")  # makes the topics
        await_(lambda: "tokens.json is not there" in rig.worker.tail(), rig.worker.tail)
        tokens.write_bytes(content)
        await_(rig.ready, rig.worker.tail)
        rig.stop()
