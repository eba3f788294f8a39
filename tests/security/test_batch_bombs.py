"""Batches straight in a raw topic that unpack to far more than they are: who reads them bounds its memory.

Verify, replay, the end of `tidegate up` and the API, asked for an id, read with librdkafka before. To it a
zstd bomb was a broker that does not answer; behind gzip and lz4, `verify` had not ended after 45 s.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import handmade_batches
import httpx
import psutil
import pytest
import roles
from conftest import running_broker
from up_rig import Up
from waiting import await_
from worker_rig import Enriched, Rig, in_sequence

from builders import envelope, frame, success
from tidegate.contracts.frames import read_rejects
from tidegate.contracts.position import STREAM_LETTERS
from tidegate.contracts.rejects import Code, Reject
from tidegate.contracts.topics import Stream, raw
from tidegate.local.broker import Broker

MEBIBYTE = 1 << 20
BOMB = 768 * MEBIBYTE
ROOM = 400 * MEBIBYTE  # for what fits: a batch may unpack to 64 MiB


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def bombed_broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    with running_broker(request.param, tmp_path_factory.mktemp("bombed-broker")) as broker:
        yield broker


@pytest.fixture(scope="module")
def rig(bombed_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(bombed_broker.bootstrap, tmp_path_factory.mktemp("worker")) as rig:
        rig.start()
        rig.await_frame("client_events", 0, rig.send("client_events", frame(success())))
        yield rig
        rig.stop()


def peak(rig: Rig) -> int:
    assert rig.worker.pid is not None
    return peak_of(rig.worker.pid)


def peak_of(pid: int) -> int:
    """The most memory that a process ever had, bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError


def write(rig: Rig, data: bytes, records: int = 1) -> int:
    """Send a batch into partition 0; the offset of its last record."""
    code, offset = handmade_batches.produce(rig.bootstrap, raw("client_events"), 0, data)
    assert code == 0, f"the broker refuses it with {code}"
    rig.sent["client_events", 0] = offset + records
    return offset + records - 1


def behind(rig: Rig, last: int) -> tuple[Enriched, Reject]:
    """The frame of the offset `last`, and its one reject; a good record behind it is taken, in order."""
    good = rig.send("client_events", frame(success()))
    after = rig.await_frame("client_events", 0, good)
    assert (after.head.accepted, after.head.previous_offset) == (1, last)
    [found] = [one for one in in_sequence(rig.frames("client_events"), 0) if one.head.source_offset == last]
    [reject] = read_rejects(found.headers.items())
    assert (found.head.lines, found.head.accepted, found.head.rejected) == (1, 0, 1)
    return found, reject


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_a_bomb_becomes_one_reject(rig: Rig, codec: str) -> None:
    """768 MiB of zeros were unpacked whole, twice and three times over."""
    process, before = rig.worker.pid, peak(rig)
    # Snappy packs to a twentieth at best, so less of it fits a record.
    size = BOMB if codec != "snappy" else 200 * MEBIBYTE
    last = write(
        rig, handmade_batches.batch(handmade_batches.packed(codec, handmade_batches.bomb(size)), codec=codec)
    )
    _, reject = behind(rig, last)
    assert (reject.code, reject.index) == (Code.TOO_LARGE, 0)
    assert "batch" in reject.detail and reject.allowed == "at most 67108864 bytes"
    assert rig.worker.pid == process
    assert peak(rig) - before < ROOM


def test_a_bomb_of_many_records_stands_for_all_its_offsets(rig: Rig) -> None:
    """Each small; together they are too much."""
    each, many = 16_384, 8192  # 128 MiB
    body = (handmade_batches.record(bytes(each), number=number) for number in range(many))
    before = peak(rig)
    data = handmade_batches.batch(handmade_batches.packed("gzip", body), codec="gzip", records=many)
    last = write(rig, data, many)
    found, reject = behind(rig, last)
    assert found.head.previous_offset == last - many
    assert reject.code is Code.TOO_LARGE and f"batch of {many} records" in reject.detail
    assert peak(rig) - before < ROOM


def test_a_record_that_unpacks_to_more_than_a_record_is_refused_alone(rig: Rig) -> None:
    good = envelope(success())
    body = b"".join(
        [
            handmade_batches.record(good),
            handmade_batches.record(bytes(17 * MEBIBYTE), number=1),
            handmade_batches.record(good, number=2),
        ]
    )
    last = write(
        rig, handmade_batches.batch(handmade_batches.packed("zstd", [body]), codec="zstd", records=3), 3
    )
    rig.await_frame("client_events", 0, last)
    outcome = [one.head[5:8] for one in in_sequence(rig.frames("client_events"), 0)[-3:]]
    assert outcome == [(1, 1, 0), (1, 0, 1), (1, 1, 0)]


@pytest.mark.parametrize("count", [1001, 30_000, 4_000_000])
def test_a_record_with_thousands_of_headers_is_refused_alone(rig: Rig, count: int) -> None:
    """Four million headers in 8 MB were half a gigabyte of objects."""
    before = peak(rig)
    many = handmade_batches.record(envelope(success()), headers=[(b"", b"")] * count)
    body = many + handmade_batches.record(envelope(success()), number=1)
    last = write(rig, handmade_batches.batch(body, records=2), 2)
    rig.await_frame("client_events", 0, last)
    [refused, taken] = in_sequence(rig.frames("client_events"), 0)[-2:]
    [reject] = read_rejects(refused.headers.items())
    assert reject.code is Code.TOO_LARGE and f"{count} headers" in reject.detail
    assert taken.head.accepted == 1
    assert peak(rig) - before < ROOM


def test_many_large_records_wait_in_bounded_memory(rig: Rig) -> None:
    """A hundred of 15 MiB, a few KiB each when packed, were all in memory at once."""
    before = peak(rig)
    data = handmade_batches.batch(
        handmade_batches.packed("zstd", handmade_batches.bomb(15 * MEBIBYTE)), codec="zstd"
    )
    for _ in range(100):
        last = write(rig, data)
    rig.await_frame("client_events", 0, last)
    assert peak(rig) - before < 2 * ROOM


PACKED = handmade_batches.packed("zstd", [handmade_batches.record(b"x" * 999)])
UNREADABLE = {
    "no gzip": handmade_batches.batch(b"no gzip at all", codec="gzip"),
    "cut zstd": handmade_batches.batch(PACKED[:-9], codec="zstd"),
    "cut records": handmade_batches.batch(handmade_batches.record(b"x" * 999)[:-9]),
    "snappy that lies": handmade_batches.batch(b"\xff\xff\xff\xff\x07abc", codec="snappy"),
    "packed marker": handmade_batches.batch(b"no gzip at all", codec="gzip", more=0x30),
    "cut marker": handmade_batches.batch(b"\x7f", more=0x30),
    "unknown codec": handmade_batches.batch(b"abc", codec="unknown"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_batch_that_cannot_be_read_ends_no_worker(rig: Rig, name: str) -> None:
    """aiokafka raised, and again in the next process."""
    code, offset = handmade_batches.produce(rig.bootstrap, raw("client_events"), 0, UNREADABLE[name])
    process = rig.worker.pid
    good = rig.send("client_events", frame(success()))
    assert rig.await_frame("client_events", 0, good).head.accepted == 1
    assert rig.worker.pid == process and psutil.pid_exists(process or 0)
    if code == 0:  # Apache Kafka refuses it
        [found] = [one for one in rig.frames("client_events") if one.head.source_offset == offset]
        [reject] = read_rejects(found.headers.items())
        assert "cannot be" in reject.detail or "unpacks to more" in reject.detail


def test_a_header_name_that_is_not_utf8(rig: Rig) -> None:
    """aiokafka raised, and again in the next process."""
    value = handmade_batches.record(envelope(success()), headers=[(b"\xff\xfe", b"x")])
    last = write(rig, handmade_batches.batch(value))
    assert rig.await_frame("client_events", 0, last).head.accepted == 1


def test_a_bomb_that_waits_for_the_next_worker(rig: Rig) -> None:
    """The same again in each process: the first record that it reads stands for 8192 offsets."""
    rig.stop()
    many = 8192
    body = (handmade_batches.record(bytes(16_384), number=number) for number in range(many))
    data = handmade_batches.batch(handmade_batches.packed("lz4", body), codec="lz4", records=many)
    write(rig, data, many)
    last = write(rig, data, many)
    rig.start()
    found, _ = behind(rig, last)
    assert found.head.previous_offset == last - many
    assert peak(rig) < 2 * ROOM


def test_the_ledger_balances_behind_bombs(tmp_path: Path) -> None:
    up = Up(tmp_path, "--simulate", "0")
    up.start()
    try:
        topic, bootstrap = raw("client_events"), up.listens["kafka"]
        good = handmade_batches.batch(handmade_batches.record(envelope(success())))
        bomb = handmade_batches.batch(
            handmade_batches.packed("gzip", handmade_batches.bomb(256 * MEBIBYTE)), codec="gzip"
        )
        heads = handmade_batches.batch(
            handmade_batches.record(envelope(success()), headers=[(b"h", b"")] * 9000)
        )
        for data in (good, bomb, heads, good):
            assert handmade_batches.produce(bootstrap, topic, 0, data)[0] == 0
        counted = (
            "SELECT (SELECT count() FROM tidegate.client_events), groupArray(code) FROM tidegate.rejects"
        )
        await_(lambda: sql(up, counted) == "2\t['too_large','too_large']", up.said)
        verify = roles.run(
            "verify", values={"clickhouse_url": up.clickhouse_url, "kafka_bootstrap": bootstrap}
        )
        assert verify.returncode == 0, verify.stdout + verify.stderr
        assert up.stop() == 0, up.said()
    finally:
        up.end()


@pytest.fixture(scope="module")
def bombed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """All of Tidegate, with bombs as the last batches of the raw topics, each of them rejected."""
    up = Up(tmp_path_factory.mktemp("bombed"), "--simulate", "0")
    up.start()
    try:
        for codec, (stream, offset, size) in LAST.items():
            data = handmade_batches.batch(
                handmade_batches.packed(codec, handmade_batches.bomb(size)), codec=codec
            )
            assert handmade_batches.produce(up.listens["kafka"], raw(stream), 0, data) == (0, offset)
        await_(lambda: up.sql("SELECT count() FROM tidegate.rejects") == str(len(LAST)), up.said)
        yield up
    finally:
        up.end()


LAST: dict[str, tuple[Stream, int, int]] = {  # codec: stream, offset, bytes
    "snappy": ("client_events", 0, 200 * MEBIBYTE),
    "zstd": ("client_events", 1, BOMB),
    "gzip": ("connection_logs", 0, BOMB),
    "lz4": ("device_logs", 0, BOMB),
}


def test_verify_reads_a_bomb_at_the_end_within_bounds(bombed: Up) -> None:
    """The frames in flight were "unknown, Kafka does not answer" for zstd, and it did not end for others."""
    status, said, most = ran(bombed, "verify")
    assert status == 0, said
    assert most < ROOM


def test_replay_reads_a_bomb_at_the_end_within_bounds(bombed: Up) -> None:
    """Before it began, it asked for the last record of each partition."""
    status, said, most = ran(bombed, "replay", "--code", "too_large")
    assert status == 1 and "sent 0: 0 stored, 0 refused again" in said, said
    assert f"0 pass, {len(LAST)} still refused" in said, said
    assert most < ROOM


@pytest.mark.parametrize("codec", LAST)
def test_the_look_for_an_id_reads_a_bomb_within_bounds(bombed: Up, codec: str) -> None:
    """Any viewer's id of the bomb's record let librdkafka have it."""
    epoch = bombed.sql("SELECT any(epoch) FROM tidegate.rejects")
    stream, offset, _ = LAST[codec]
    id = f"{epoch}-{STREAM_LETTERS[stream]}0-{offset}-1"
    answer = httpx.get(
        f"http://{bombed.listens['api']}/api/v1/events/{id}",
        headers={"authorization": f"Bearer {bombed.tokens()['viewer']}"},
        timeout=60.0,
    )
    assert answer.status_code == 404, answer.text
    assert peak_of(bombed.pid("api")) < ROOM


def test_the_drain_reads_bombs_at_the_end_within_bounds(bombed: Up) -> None:
    """Run last: it ends them all."""
    assert bombed.process is not None
    pid, most = bombed.process.pid, [0]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            try:
                most[0] = max(most[0], peak_of(pid))
            except (OSError, AssertionError):  # it has gone
                return

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        assert bombed.stop() == 0, bombed.said()
    finally:
        ended.set()
        watching.join()
    assert "drained: everything acknowledged is in ClickHouse" in bombed.said()
    assert 0 < most[0] < ROOM


# A child counts what its parent had at the fork, and that of a whole run of tests is much: so a small parent.
PEAK = """
import os, sys
_, status, usage = os.wait4(os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ), 0)
open(sys.argv[1], "w").write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def ran(up: Up, *arguments: str) -> tuple[int, str, int]:
    """`tidegate <arguments>` beside it: status, what it said, and the most memory that it had."""
    values: Mapping[str, object] = {
        "clickhouse_url": up.clickhouse_url,
        "kafka_bootstrap": up.listens["kafka"],
        "data_dir": up.data,
    }
    log = up.folder / f"{arguments[0]}.log"
    with log.open("wb") as output:
        peak = up.folder / f"{arguments[0]}.peak"
        command = [sys.executable, "-c", PEAK, str(peak), *roles.command(*arguments)]
        done = subprocess.run(command, env=roles.environment(values), stdout=output, stderr=output)
    return done.returncode, log.read_text(), int(peak.read_text()) * 1024


def sql(up: Up, query: str) -> str:
    answer = httpx.post(up.clickhouse_url, content=query.encode(), timeout=30.0)
    assert answer.status_code == 200, answer.text
    return answer.text.strip()
