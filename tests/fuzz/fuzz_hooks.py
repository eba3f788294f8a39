"""What schemathesis has to be told about bodies: NDJSON, compression, and the JSON inside a wrapper."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import requests
import schemathesis
import zstandard
from hypothesis import strategies
from schemathesis import SerializationContext
from schemathesis.openapi.checks import RejectedPositiveData

from tidegate.api.associations import File
from tidegate.api.device_logs import Cursor
from tidegate.api.examples import ID
from tidegate.api.signing import Signer
from tidegate.contracts import examples
from tidegate.contracts.formats import MICROS_LIMIT
from tidegate.store.queries import DeviceLogs, Mark

PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.compress}

# JSON Schema has no words for what stands inside a string of JSON.
schemathesis.openapi.format(
    "connection-log",
    strategies.sampled_from(
        [json.dumps(event) for event in (examples.NETWORK, examples.SESSION, examples.LEGACY_INNER)]
    ),
)


@cache
def signer() -> Signer:
    """That of the API under test."""
    return Signer(Path(os.environ["FUZZ_LINK_KEY_FILE"]))


# Nor what a cursor of an answer is, or the name of a file.
schemathesis.openapi.format(
    "cursor",
    strategies.builds(
        lambda direction, time, id: Cursor(direction, Mark(time, id)).text(signer(), DeviceLogs(fleet=None)),
        strategies.sampled_from(["older", "newer"]),
        strategies.integers(0, MICROS_LIMIT),
        strategies.sampled_from([ID, ""]),
    ),
)
schemathesis.openapi.format(
    "association-file",
    strategies.builds(
        lambda since, length, hash_key, locations: (
            File("", since, since + length, time.time_ns() // 1000, hash_key, locations)
            .name("CSV", signer())
            .removesuffix(".csv")
        ),
        strategies.integers(0, MICROS_LIMIT // 2),
        strategies.integers(0, MICROS_LIMIT // 2),
        strategies.sampled_from(["", "k1"]),
        strategies.none() | strategies.lists(strategies.integers(-1, 3), max_size=2),
    ),
)

RELATIONS = {
    "a cursor of `next` or `previous`, with the same filters": "a cursor is good for its question alone",
    "startdate or later": "the start of a period does not lie after its end",
    "a time after `from`": "a window is not empty, and does not lie in the future",
    "31 days at most": "nor is it too long",
    "times since": "nor does it begin before what is kept",
    "`window` or `from`": "and it is told by its length or by its start",
}
"""Refusals, by how their `allowed` begins, of what JSON Schema cannot say: how values stand to each other."""


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Any, case: schemathesis.Case[Any], response: Any
) -> bool:
    """Whether a failure is one: a valid request may be refused for such a relation alone."""
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 422:
        return True
    problem = response.json()
    return not problem["allowed"].startswith(tuple(RELATIONS))


_numbers = itertools.count()
_send = requests.Session.send


def _send_anew(self: requests.Session, request: requests.PreparedRequest, **options: Any) -> Any:
    """Nor that a new request takes a new Idempotency-Key: a valid one gets a number, on the wire."""
    key = request.headers.get("Idempotency-Key")
    if isinstance(key, str) and len(key) < 240 and re.fullmatch("[!-~]([ -~]*[!-~])?", key):
        request.headers["Idempotency-Key"] = f"{key}-{next(_numbers)}"
    return _send(self, request, **options)


requests.Session.send = _send_anew  # type: ignore[method-assign]


@schemathesis.serializer("application/json")
def as_json(context: SerializationContext, value: Any) -> bytes:
    return _packed(context, _encoded(value))


@schemathesis.serializer("application/x-ndjson")
def as_ndjson(context: SerializationContext, value: Any) -> bytes:
    lines = value if isinstance(value, list) else [value]
    return _packed(context, b"\n".join(map(_encoded, lines)))


def _encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def _packed(context: SerializationContext, data: bytes) -> bytes:
    """The body as its Content-Encoding says."""
    headers = dict(context.case.headers or {})
    encoding = headers.get("Content-Encoding")
    pack = PACK.get(encoding) if isinstance(encoding, str) else None
    return pack(data) if pack else data
