"""What schemathesis has to be told about bodies: NDJSON, compression, and the JSON inside a wrapper."""

from __future__ import annotations

import gzip
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import schemathesis
import zstandard
from hypothesis import strategies
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from schemathesis import SerializationContext

from tidegate.api import answers
from tidegate.api.associations import File, first_moment, last_moment
from tidegate.api.device_logs import Cursor
from tidegate.api.problems import Problem
from tidegate.api.statistics_questions import Instant, window
from tidegate.contracts import examples
from tidegate.contracts.formats import MICROS_LIMIT
from tidegate.store.queries import Mark

PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.compress}

# JSON Schema has no words for what stands inside a string of JSON.
schemathesis.openapi.format(
    "connection-log",
    strategies.sampled_from(
        [json.dumps(event) for event in (examples.NETWORK, examples.SESSION, examples.LEGACY_INNER)]
    ),
)


# Nor what a cursor of an answer is, or the name of a file.
schemathesis.openapi.format(
    "cursor",
    strategies.builds(
        lambda direction, time, id: Cursor(direction, Mark(time, id)).text(),
        strategies.sampled_from(["older", "newer"]),
        strategies.integers(0, MICROS_LIMIT),
        strategies.sampled_from([answers.ID, ""]),
    ),
)
schemathesis.openapi.format(
    "association-file",
    strategies.builds(
        lambda since, length, hash_macs, locations: (
            File("", since, since + length, time.time_ns() // 1000, hash_macs, locations)
            .name("CSV")
            .removesuffix(".csv")
        ),
        strategies.integers(0, MICROS_LIMIT // 2),
        strategies.integers(0, MICROS_LIMIT // 2),
        strategies.booleans(),
        strategies.none() | strategies.lists(strategies.integers(-1, 3), max_size=2),
    ),
)

_numbers = itertools.count()


@schemathesis.hook
def map_path_parameters(context: schemathesis.HookContext, values: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema cannot compare two dates: the earlier one is the start."""
    if not values:
        return values
    start, end = values.get("startdate"), values.get("enddate")
    try:
        if isinstance(start, str) and isinstance(end, str) and first_moment(start) > last_moment(end):
            return values | {"startdate": end, "enddate": start}
    except PydanticCustomError:  # no dates: they are to be refused
        pass
    return values


_INSTANT: TypeAdapter[int] = TypeAdapter(Instant)


@schemathesis.hook
def map_query(context: schemathesis.HookContext, values: dict[str, Any]) -> dict[str, Any]:
    """Nor two moments with each other and with now: a window of statistics is not empty."""
    if not values or not values.keys() & {"from", "to"}:
        return values
    rest = {name: value for name, value in values.items() if name not in ("from", "to")}
    start, end = values.get("from"), values.get("to")
    for since, until in ((start, end), (end, start), (None, end), (start, None), (None, None)):
        moments = {name: value for name, value in (("from", since), ("to", until)) if value is not None}
        try:
            given = {name: _INSTANT.validate_python(value) for name, value in moments.items()}
            window(given.get("from"), given.get("to"), time.time())
        except ValidationError:  # no moments: they are to be refused
            return values
        except Problem:
            continue
        return rest | moments
    return values


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    """JSON Schema cannot say that a new request takes a new key."""
    headers: dict[str, Any] = dict(case.headers or {})
    key = headers.get("Idempotency-Key")
    if isinstance(key, str) and 0 < len(key) < 240 and key.isascii() and key.isprintable():
        case.headers["Idempotency-Key"] = f"{key.strip() or 'key'}-{next(_numbers)}"


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
