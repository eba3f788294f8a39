"""The gateway's pass in the native decoder: what it takes, Python takes, for the same partitions."""

from __future__ import annotations

from random import Random
from typing import Any

import native_decoder
import pytest
from test_native_decoder import BODIES, mutated

from builders import body
from tidegate.contracts.forms import Event
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.gateway import examine, partitioner

PARTITIONS = 7
LONGEST = 4096
MOST = 100  # events of a body
BODIES_TRIED = 2000


def routed(
    stream: Stream, text: bytes, media: examine.Media, header: str | None = None
) -> examine.Batch | None:
    return examine.route(
        native_decoder.decoders()[stream],
        text,
        media,
        seed=partitioner.seed("demo"),
        header=header,
        partitions=PARTITIONS,
        longest=LONGEST,
        most=MOST,
    )


def groups(stream: Stream, lines: Any, header: str | None) -> dict[int | None, list[int]]:
    verdicts = examine.examine_all(stream, lines, LONGEST)
    values = [verdict.value for verdict in verdicts if isinstance(verdict, Event)]
    assert len(values) == len(lines)
    return partitioner.group(stream, values, header, partitioner.seed("demo"), PARTITIONS)


@pytest.mark.parametrize("header", [None, "phone-7"])
@pytest.mark.parametrize("media", ["json", "ndjson"])
@pytest.mark.parametrize("stream", STREAMS)
def test_good_events(stream: Stream, media: examine.Media, header: str | None) -> None:
    events = [body(one) for one in BODIES[stream] if stream != "connection_logs" or "data" not in one] * 3
    text = b"\r\n".join(events) if media == "ndjson" else b" [" + b" ,\n".join(events) + b"]\n"
    batch, split = routed(stream, text, media, header), examine.split(stream, text, media, MOST)
    assert batch is not None and batch.routes is not None
    assert isinstance(split, examine.Batch)
    assert list(batch.lines) == [bytes(line) for line in split.lines]
    assert batch.routes.groups == groups(stream, split.lines, header)
    assert batch.routes.left == []
    assert list(batch.routes.groups) == list(groups(stream, split.lines, header))


@pytest.mark.parametrize("media", ["json", "ndjson"])
@pytest.mark.parametrize("stream", STREAMS)
def test_mutated_bodies(stream: Stream, media: examine.Media) -> None:
    events = [body(one) for one in BODIES[stream]]
    taken = left = 0
    for seed in range(BODIES_TRIED):
        random = Random(f"{stream} {media} {seed}")
        few = [mutated(random, random.choice(events)) for _ in range(random.randrange(1, 6))]
        text = b"\n".join(few) if media == "ndjson" else b"[" + b",".join(few) + b"]"
        batch = routed(stream, text, media)
        if batch is None:
            continue
        assert batch.routes is not None
        split = examine.split(stream, text, media, MOST)
        assert isinstance(split, examine.Batch)
        assert list(batch.lines) == [bytes(line) for line in split.lines]
        good = sorted(index for indexes in batch.routes.groups.values() for index in indexes)
        assert sorted([*good, *batch.routes.left]) == list(range(len(batch.lines)))
        taken, left = taken + len(good), left + len(batch.routes.left)
        for place, indexes in batch.routes.groups.items():
            assert indexes == sorted(indexes)
            for index in indexes:
                verdict = examine.examine_one(stream, bytes(batch.lines[index]), LONGEST)
                assert isinstance(verdict, Event), verdict
                value = verdict.value
                assert (
                    partitioner.partition_of(stream, value, None, partitioner.seed("demo"), PARTITIONS)
                    == place
                )
    assert taken > BODIES_TRIED // 20
    assert left > BODIES_TRIED // 10 or media == "json"


def test_too_long_and_too_many() -> None:
    long = body({**BODIES["client_events"][0], "ssid": "x" * LONGEST})
    batch = routed("client_events", long + b"\n", "ndjson")
    assert batch is not None and batch.routes is not None and batch.routes.left == [0]
    assert routed("client_events", b"[" + long + b"]", "json") is None
    assert routed("client_events", b"\n".join([body(BODIES["client_events"][0])] * 101), "ndjson") is None
    for nothing in (b"", b"\n \r\n", b"[]", b"[", b"{}"):
        assert routed("client_events", nothing, "json") is None
        assert routed("client_events", b"\n \n", "ndjson") is None
