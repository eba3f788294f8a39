"""What a request can be refused for: one closed table, and the value that carries a refusal to the reply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from tidegate.contracts.rejects import Code, Fault
from tidegate.service import problem
from tidegate.service.refusals import REFUSALS

PROBLEM_JSON = problem.PROBLEM_JSON.encode()
Header = tuple[bytes, bytes]


class Meaning(NamedTuple):
    title: str
    advice: str  # what the sender does next


MEANINGS: dict[str, Meaning] = {
    Code.NOT_JSON: Meaning("Not JSON", "Send one JSON object, a JSON array of objects, or NDJSON."),
    Code.NOT_UTF8: Meaning("Not UTF-8", "JSON is exchanged in UTF-8."),
    Code.NOT_OBJECT: Meaning("Not a JSON object", "An event is one JSON object."),
    Code.EMPTY_RECORD: Meaning("Empty body", "Send an event."),
    Code.UNKNOWN_FORM: Meaning("Unknown form", "The fields fit none of the documented forms."),
    Code.MISSING_FIELD: Meaning("Required field missing", "null counts as missing."),
    Code.WRONG_TYPE: Meaning("Wrong type", "Send the documented type; numbers are no strings."),
    Code.NOT_IN_ENUM: Meaning("Not an allowed value", "`allowed` lists the values."),
    Code.OUT_OF_RANGE: Meaning("Out of range", "`allowed` names the range."),
    Code.BAD_FORMAT: Meaning("Malformed value", "`allowed` names the format."),
    Code.BAD_ENVELOPE: Meaning("Broken envelope", "The lists inside a document's envelope are arrays."),
    Code.MISSING_FLEET: Meaning("No fleet", "The token names no fleet."),
    Code.UNKNOWN_FLEET: Meaning("Unknown fleet", "The fleet is not in the tokens file."),
    Code.TOO_LARGE: Meaning("Too large", "Send fewer events at once, or smaller ones."),
    Code.KEY_REUSED: Meaning(
        "Key used before",
        "A new request takes a new Idempotency-Key; a retry repeats the body byte for byte.",
    ),
    "invalid_events": Meaning("No valid event", "`errors` says what is wrong with each event."),
    "empty_batch": Meaning("Empty batch", "A batch holds at least one event."),
    "bad_encoding": Meaning("Broken compression", "The body is not what Content-Encoding says."),
    "unauthorized": Meaning("No valid token", "Send `Authorization: Bearer <token>`."),
    "forbidden": Meaning("Not allowed", "The token's role may not write events."),
    "not_found": Meaning("Not found", "`/openapi.json` lists what is here."),
    "method_not_allowed": Meaning("Method not allowed", "The `Allow` header lists the methods."),
    "unsupported_media_type": Meaning("Unsupported media type", "Send application/json or x-ndjson."),
    "unsupported_encoding": Meaning("Unsupported encoding", "Send identity, gzip or zstd; one, no chain."),
    "rate_limited": Meaning("Over the token's rate", "Send again after `Retry-After` seconds."),
    "broker_away": Meaning("Broker away", "Nothing was accepted. Send again after `Retry-After` seconds."),
    "queue_full": Meaning("Queue full", "Nothing was accepted. Send again after `Retry-After` seconds."),
    "stream_paused": Meaning(
        "Stream paused",
        "Too much of this fleet's stream was refused; an operator resumes it. Nothing was accepted.",
    ),
    "outcome_unknown": Meaning(
        "Outcome unknown",
        "The broker's ack did not come in time: the events may or may not be in. "
        "Sending again under the same Idempotency-Key stores them once; without a key perhaps twice.",
    ),
    **{code: Meaning(refusal.title, refusal.advice) for code, refusal in REFUSALS.items()},
}


class Problem(NamedTuple):
    """One refusal of a whole request."""

    status: int
    code: str
    detail: str
    path: str = ""
    found: str = ""
    allowed: str = ""
    headers: tuple[Header, ...] = ()
    errors: Sequence[object] | None = None  # per event, for a batch without a good one

    def body(self) -> bytes:
        meaning = MEANINGS[self.code]
        document = problem.document(
            self.code,
            meaning.title,
            self.status,
            self.detail or meaning.advice,
            path=self.path,
            found=self.found,
            allowed=self.allowed,
        )
        if self.errors is not None:
            document["errors"] = self.errors
        return msgspec.json.encode(document)


def of_fault(fault: Fault, place: str = "") -> Problem:
    """The refusal of a single event. `place` is where in the body it stands, if anywhere."""
    return Problem(
        fault.status, fault.code, fault.detail, join_path(place, fault.path), fault.found, fault.allowed
    )


def join_path(place: str, path: str) -> str:
    return f"{place}.{path}" if place and path else place or path


UNAUTHORIZED = Problem(
    401, "unauthorized", "no token, or none that is known", headers=((b"www-authenticate", b"Bearer"),)
)


def unavailable(code: str, detail: str = "", *, after_seconds: int = 1) -> Problem:
    """503: the same request may work later."""
    return Problem(503, code, detail, headers=((b"retry-after", b"%d" % after_seconds),))


def reused(name: str, key: str) -> Problem:
    return Problem(
        422,
        Code.KEY_REUSED,
        f"this {name} came with another content before",
        name,
        key[:80],
        "the same content, or a new key",
    )
