"""What a sender reads: the bodies of the answers, as the reference documents show them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from tidegate.contracts import forms
from tidegate.contracts.forms import Event
from tidegate.contracts.rejects import Fault
from tidegate.gateway.problems import PROBLEM_JSON, Header, Problem, join_path

JSON = b"application/json"
_encode = msgspec.json.Encoder().encode


class Reply(NamedTuple):
    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[Header, ...] = ()


def of_problem(problem: Problem) -> Reply:
    return Reply(problem.status, problem.body(), PROBLEM_JSON, problem.headers)


def created(event: Event, id: str, received_at: int) -> Reply:
    """201 for a single event. `received_at` in µs; answered in whole seconds, as the samples show."""
    location = (b"location", b"/api/v1/events/" + id.encode("ascii"))
    return Reply(201, single(event, id, received_at), headers=(location,))


def single(event: Event, id: str, received_at: int) -> bytes:
    """The answer's body for a single event of any form: every field of the form, and its id."""
    form = event.form
    if form.stream == "client_events":
        # A struct writes all its fields, so its JSON is the echo; the id goes in front.
        return b'{"id":"%s",' % id.encode("ascii") + _encode(event.value)[1:]
    if form is forms.NETWORK:
        value: Any = event.value
        if type(value.latitude) is float or type(value.longitude) is float:
            return _encode(forms.echo(event))
        return _encode(value)  # exactly the document's sixteen keys
    if form is forms.LEGACY:
        return _encode({"id": id, "status": "created", "timestamp": _seconds(received_at)})
    answer = forms.echo(event)
    if form is forms.SESSION:
        metadata = answer.pop("metadata")
        return _encode({"id": id, **answer, "created_at": _seconds(received_at), "metadata": metadata})
    source_id = answer.pop("id")
    return _encode({"id": id, **answer, "source_id": source_id})


class Failed(msgspec.Struct, frozen=True):
    """An event of a batch that is not in, or not known to be."""

    index: int
    status: int
    code: str
    path: str = ""
    found: str = ""
    allowed: str = ""
    detail: str = ""


def refused(index: int, fault: Fault, places: Sequence[str] | None) -> Failed:
    path = join_path(places[index], fault.path) if places else fault.path
    return Failed(index, fault.status, fault.code, path, fault.found, fault.allowed, fault.detail)


def batch_created(ids: list[str]) -> Reply:
    return Reply(201, _encode({"count": len(ids), "ids": ids}))


def batch_mixed(ids: list[str | None], failed: Sequence[Failed]) -> Reply:
    """207: `ids` has null where an event is not in; `errors` says why, in order."""
    count = sum(id is not None for id in ids)
    return Reply(207, _encode({"count": count, "ids": ids, "errors": failed}))


def batch_refused(failed: Sequence[Failed]) -> Reply:
    problem = Problem(422, "invalid_events", f"none of {len(failed)} events is valid", errors=failed)
    return of_problem(problem)


def _seconds(micros: int) -> str:
    return datetime.fromtimestamp(micros // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
