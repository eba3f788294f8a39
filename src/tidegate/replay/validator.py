"""Whether a line would pass now: the worker's own transform, on the frame as it would be sent."""

from __future__ import annotations

import time
from collections.abc import Container, Sequence
from typing import NamedTuple

import msgspec

from tidegate.contracts.forms import examine
from tidegate.contracts.frames import REPLAYED_UNDER
from tidegate.contracts.rejects import Code, Fault, Reject
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.lookups import Lookups
from tidegate.replay.choice import Refused
from tidegate.replay.line import line_of, original_of
from tidegate.settings import Settings
from tidegate.steps.frame import FrameSteps, Record
from tidegate.steps.version import stored_pseudonyms, transform_version
from tidegate.worker.transform import Transform

NO_EPOCH = "0" * 26  # of frames that are validated and never sent

_REJECT = msgspec.json.Decoder(Reject)


class ValidatedFrame(NamedTuple):
    """Lines of one partition, validated."""

    value: bytes  # NDJSON of those that pass; empty for none
    passing: list[Refused]
    failing: list[tuple[Refused, Fault]]


class Validator:
    """`version` is what the workers must have for its verdicts to be theirs."""

    def __init__(self, settings: Settings, lookups: Lookups, fleets: Container[str]) -> None:
        pseudonyms = stored_pseudonyms(settings)
        self.version = transform_version(settings, lookups, pseudonyms)
        self._fleets = fleets
        self._transforms = {
            stream: Transform(
                FrameSteps(
                    stream,
                    lookups,
                    epoch=NO_EPOCH,
                    transform_version=self.version,
                    geohash_precision=settings.worker_geohash_precision,
                    clock_skew_seconds=settings.worker_clock_skew_seconds,
                    max_record_bytes=settings.kafka_max_record_bytes,
                    pseudonyms=pseudonyms,
                )
            )
            for stream in STREAMS
        }

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """Of a raw record of replayed lines."""
        return [(REPLAYED_UNDER, self.version.encode("utf-8"))]

    def frame(self, stream: Stream, refused: Sequence[Refused]) -> ValidatedFrame:
        """The verdicts on rejects of one stream and partition, and the frame of those that pass."""
        lines = [(item, line_of(item)) for item in refused]
        failing = [(item, _unreadable(stream, item)) for item, line in lines if line is None]
        whole = [(item, line) for item, line in lines if line is not None]
        if not whole:
            return ValidatedFrame(b"", [], failing)
        value = b"\n".join(line for _, line in whole)
        record = Record(0, 0, -1, value, self.headers, time.time_ns() // 1000)
        outputs = self._transforms[stream](record, self._fleets)
        for _, document in outputs.rejects:
            reject = _REJECT.decode(document)
            fault = Fault(reject.code, reject.path, reject.found, reject.allowed, reject.detail)
            failing.append((whole[reject.index][0], fault))
        numbers: list[int] = sorted(outputs.batch.column("index").to_numpy().tolist())
        passing = [whole[number] for number in numbers]
        return ValidatedFrame(b"\n".join(line for _, line in passing), [item for item, _ in passing], failing)


def _unreadable(stream: Stream, refused: Refused) -> Fault:
    verdict = examine(stream, original_of(refused))
    return verdict if isinstance(verdict, Fault) else Fault(Code.NOT_OBJECT)
