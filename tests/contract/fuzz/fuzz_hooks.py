"""What schemathesis has to be told about bodies: NDJSON, compression, and the JSON inside a wrapper."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable
from typing import Any

import schemathesis
import zstandard
from hypothesis import strategies
from schemathesis import SerializationContext

from tidegate.contracts import examples

PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.compress}

# JSON Schema has no words for what stands inside a string of JSON.
schemathesis.openapi.format(
    "connection-log",
    strategies.sampled_from(
        [json.dumps(event) for event in (examples.NETWORK, examples.SESSION, examples.LEGACY_INNER)]
    ),
)


_numbers = itertools.count()


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """JSON Schema cannot say that a new request takes a new key."""
    key = (case.headers or {}).get("Idempotency-Key")
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
