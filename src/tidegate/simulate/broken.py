"""Events that must be refused: one way of breaking a good one for each reject code."""

from __future__ import annotations

import re
from collections.abc import Callable

from tidegate.contracts.rejects import Code
from tidegate.contracts.topics import Stream

TOO_LARGE_BYTES = 1_048_576 + 1024  # above the gateway's default for one event
RARE = 200  # a too large event is only every so manieth broken one: it weighs as much as thousands

KAFKA_ONLY: frozenset[Code] = frozenset(
    {Code.EMPTY_RECORD, Code.BAD_ENVELOPE, Code.MISSING_FLEET, Code.UNKNOWN_FLEET}
)
"""Faults of a record or an envelope: the gateway writes those itself, so they cannot come over HTTP."""
HTTP_ONLY: frozenset[Code] = frozenset({Code.TOO_LARGE})
"""Faults that only the gateway's limits make."""

Break = Callable[[bytes], bytes]


def _replace(pattern: bytes, by: bytes) -> Break:
    compiled = re.compile(pattern)

    def apply(body: bytes) -> bytes:
        return compiled.sub(by, body, count=1)

    return apply


def _of_network_form(break_: Break) -> Break:
    """Other forms have fields of the same name where nothing is prescribed."""

    def apply(body: bytes) -> bytes:
        return break_(body) if body.startswith(b'{"network_name"') else body

    return apply


def _same(body: bytes) -> bytes:
    return body


def _cut(body: bytes) -> bytes:
    return body[: len(body) * 2 // 3].rstrip(b"}") or b"{"


def _whole(text: bytes) -> Break:
    def apply(body: bytes) -> bytes:
        return text

    return apply


def _pad(body: bytes) -> bytes:
    return body[:-1] + b',"padding":"' + b"x" * TOO_LARGE_BYTES + b'"}'


_COMMON: dict[Code, Break] = {
    Code.NOT_JSON: _cut,
    Code.NOT_UTF8: _replace(rb'":"', b'":"\xc3\x28\xff'),
    Code.NOT_OBJECT: _whole(b'"offline"'),
    Code.EMPTY_RECORD: _whole(b""),
    Code.BAD_ENVELOPE: _same,
    Code.MISSING_FLEET: _same,
    Code.UNKNOWN_FLEET: _same,
    Code.TOO_LARGE: _pad,
}

BREAKS: dict[Stream, dict[Code, Break]] = {
    "connection_logs": {
        **_COMMON,
        Code.UNKNOWN_FORM: _whole(b'{"hello":"world","battery":97}'),
        Code.MISSING_FIELD: _replace(rb'"network_security":"[^"]*",|"timestamp":"[^"]*",', b""),
        Code.WRONG_TYPE: _replace(
            rb'"link_speed":[^,]*|"duration":[^,]*', b'"link_speed":"fast","duration":"long"'
        ),
        Code.NOT_IN_ENUM: _of_network_form(
            _replace(rb'"network_type":"[^"]*"', b'"network_type":"satellite"')
        ),
        Code.OUT_OF_RANGE: _of_network_form(_replace(rb'"latitude":"[^"]*"', b'"latitude":"95.1"')),
        Code.BAD_FORMAT: _of_network_form(_replace(rb'"bssid":(null|"[^"]*")', b'"bssid":"access point 7"')),
    },
    "client_events": {
        **_COMMON,
        Code.MISSING_FIELD: _replace(rb'"macAddress":"[^"]*",', b""),
        Code.WRONG_TYPE: _replace(rb'"channel":\d+', b'"channel":"eleven"'),
        Code.NOT_IN_ENUM: _replace(rb'"eventType":"[^"]*"', b'"eventType":"Perhaps"'),
        Code.OUT_OF_RANGE: _replace(rb'"channel":\d+', b'"channel":9000'),
        Code.BAD_FORMAT: _replace(rb'"macAddress":"[^"]*"', b'"macAddress":"not-a-mac"'),
    },
    "device_logs": {
        **_COMMON,
        Code.MISSING_FIELD: _replace(rb'"action":"[^"]*",', b""),
        Code.WRONG_TYPE: _replace(rb'"is_pending":\w+', b'"is_pending":{"maybe":true}'),
        Code.BAD_FORMAT: _replace(rb'"datetime":"[^"]*"', b'"datetime":"yesterday"'),
    },
}
"""How to break a good event of each stream. What does not change the body does not fit its form."""


class Breaker:
    """Breaks events with each code in turn, so that every kind comes."""

    def __init__(self, codes: frozenset[Code]) -> None:
        """`codes` are those to use: KAFKA_ONLY makes no sense over HTTP."""
        self._codes: dict[Stream, list[Code]] = {
            stream: [code for code in breaks if code in codes and code is not Code.TOO_LARGE]
            for stream, breaks in BREAKS.items()
        }
        self._large = Code.TOO_LARGE in codes
        self._turn: dict[Stream, int] = dict.fromkeys(BREAKS, 0)
        self._count = 0

    def apply(self, stream: Stream, body: bytes) -> tuple[bytes, Code]:
        """The broken event, and the code it must be refused with."""
        self._count += 1
        if self._large and self._count % RARE == 0:
            return _pad(body), Code.TOO_LARGE
        codes = self._codes[stream]
        for _ in codes:
            code = codes[self._turn[stream] % len(codes)]
            self._turn[stream] += 1
            if code in KAFKA_ONLY:
                return BREAKS[stream][code](body), code
            broken = BREAKS[stream][code](body)
            if broken != body:
                return broken, code
        return _cut(body), Code.NOT_JSON
