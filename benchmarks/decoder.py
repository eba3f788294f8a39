"""The native decoder beside Python's: `python -m benchmarks.decoder [events]`.

CPU µs an event, the two in turn on the same frames of 500 simulated events, medians of all rounds. The
ratio is the median of each round's: other work on the machine leaves it as it is.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator

from benchmarks import workload
from benchmarks.stack import FLEET
from tidegate import lookups
from tidegate.contracts import native
from tidegate.contracts.forms import Event
from tidegate.contracts.native import Decoder
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.gateway import examine, partitioner
from tidegate.steps.decode import decode_frame
from tidegate.steps.frame import FrameSteps, Record
from tidegate.worker.transform import Transform

EVENTS = 50_000
ROUNDS = 9
PARTITIONS = 4
LONGEST = 1_048_576
MOST = 10_000

Work = Callable[[Decoder | None], None]


def main(events: int) -> int:
    found = native.load()
    if isinstance(found, str):
        print(f"nothing to compare: {found}", file=sys.stderr)
        return 1
    print(f"{'stream':16} {'what':18} {'Python':>8} {'native':>8} {'ratio':>6}   CPU µs an event")
    for stream in STREAMS:
        own = workload.frames(events, 1, streams=(stream,))
        frames = [frame.value for frame in own if frame.events == workload.FRAME_EVENTS]
        for what, work in _works(stream, frames):
            python, with_native, ratio = _compare(work, found[stream], len(frames) * workload.FRAME_EVENTS)
            print(f"{stream:16} {what:18} {python:8.2f} {with_native:8.2f} {ratio:6.2f}")
    return 0


def _works(stream: Stream, frames: list[bytes]) -> Iterator[tuple[str, Work]]:
    def decode(decoder: Decoder | None) -> None:
        for value in frames:
            decode_frame(
                stream, value, fleet=None, device=None, received_at=1, fleets={FLEET}, native=decoder
            )

    yield "decode", decode
    transforms = {False: _transform(stream, None)}
    records = [Record(0, number, number - 1, value, (), 1) for number, value in enumerate(frames)]

    def transform(decoder: Decoder | None) -> None:
        if (decoder is not None) not in transforms:
            transforms[True] = _transform(stream, decoder)
        for record in records:
            transforms[decoder is not None](record, {FLEET})

    yield "transform", transform
    bodies = [_body(value) for value in frames]

    def gateway(decoder: Decoder | None) -> None:
        seed = partitioner.seed(FLEET)
        for body in bodies:
            if decoder is not None:
                batch = examine.route(
                    decoder,
                    body,
                    "ndjson",
                    seed=seed,
                    header=None,
                    partitions=PARTITIONS,
                    longest=LONGEST,
                    most=MOST,
                )
                assert batch is not None and batch.routes is not None and not batch.routes.left
                continue
            split = examine.split(stream, body, "ndjson", MOST)
            assert isinstance(split, examine.Batch)
            values = examine.all_good(stream, split.lines, LONGEST)
            if values is None:  # more than one form
                verdicts = examine.examine_all(stream, split.lines, LONGEST)
                values = [verdict.value for verdict in verdicts if isinstance(verdict, Event)]
            partitioner.group(stream, values, None, seed, PARTITIONS)

    yield "gateway: examine", gateway


def _transform(stream: Stream, decoder: Decoder | None) -> Transform:
    return Transform(
        FrameSteps(
            stream,
            lookups.load(),
            epoch="01K9ZQ4T3M8W5X0R2B7C6D1E9F",
            transform_version="1",
            geohash_precision=6,
            clock_skew_seconds=86_400,
            max_record_bytes=16_777_216,
            decoder=decoder,
        )
    )


def _body(frame: bytes) -> bytes:
    """The events of a frame without their envelopes."""
    mark = b'"event":'
    return b"\n".join(line[line.index(mark) + len(mark) : -1] for line in frame.split(b"\n"))


def _compare(work: Work, decoder: Decoder, events: int) -> tuple[float, float, float]:
    """Medians of Python and native, and of their ratio."""
    spent: list[tuple[float, float]] = []
    for one in (None, decoder):
        work(one)
    for _ in range(ROUNDS):
        pair = []
        for one in (None, decoder):
            begun = time.process_time_ns()
            work(one)
            pair.append((time.process_time_ns() - begun) / 1000 / events)
        spent.append((pair[0], pair[1]))
    python, with_native = (statistics.median(side) for side in zip(*spent, strict=True))
    return python, with_native, statistics.median(two / one for one, two in spent)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS))
