"""From the bytes of a request to a verdict on each event. Pure: no clock, no client, no HTTP."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import msgspec

from tidegate.contracts import forms, json_text
from tidegate.contracts.forms import REFUSALS, Event, examine
from tidegate.contracts.frames import BOM
from tidegate.contracts.native import Decoder
from tidegate.contracts.rejects import Code, Fault, Kind
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.gateway.elements import BLANKS, TooMany, of_array, of_lines

log = logging.getLogger(__name__)

Media = Literal["json", "ndjson"]

MEDIA_TYPES: dict[bytes, Media] = {
    b"": "json",  # a sender that names no type sends JSON
    b"application/json": "json",
    b"text/json": "json",
    b"application/x-ndjson": "ndjson",
    b"application/ndjson": "ndjson",
    b"application/jsonl": "ndjson",
    b"application/x-jsonl": "ndjson",
    b"application/jsonlines": "ndjson",
    b"application/x-jsonlines": "ndjson",
    b"application/json-lines": "ndjson",
    b"application/x-json-lines": "ndjson",
    b"text/x-ndjson": "ndjson",
    b"text/ndjson": "ndjson",
    b"text/jsonl": "ndjson",
    b"text/jsonlines": "ndjson",
}
CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})


class Single(NamedTuple):
    """The body is one event."""

    line: bytes


Text = bytes | msgspec.Raw


class Routes(NamedTuple):
    """Indexes of a batch's events: of the good ones by partition (None: any will do), and of those of which
    the native decoder says nothing."""

    groups: dict[int | None, list[int]]
    left: list[int]


class Batch(NamedTuple):
    """The body is a list of events.

    `places` says where each stands in a document's envelope, e.g. ``failureLogs[2]``; None for a plain
    array or NDJSON. `breaks`: an event may hold line breaks, between its tokens. `routes`: what the native
    decoder found of them.
    """

    lines: Sequence[Text]
    places: list[str] | None = None
    breaks: bool = False
    routes: Routes | None = None


ENVELOPES: dict[Stream, tuple[str, ...]] = {
    "connection_logs": (),
    "client_events": ("clientEvents", "successLogs", "failureLogs"),
    "device_logs": ("results",),
}
"""The lists inside the documents' own answers, in the order in which their events count."""

_MARKS: dict[Stream, tuple[bytes, ...]] = {
    stream: tuple(f'"{name}"'.encode() for name in names) for stream, names in ENVELOPES.items()
}
_ENVELOPE: dict[Stream, msgspec.json.Decoder[msgspec.Struct]] = {
    stream: msgspec.json.Decoder(msgspec.defstruct("Envelope", [(name, msgspec.Raw, None) for name in names]))
    for stream, names in ENVELOPES.items()
}
"""Of the object around a document's lists only the lists: it may have any number of other members."""


def media_type(content_type: bytes) -> Media | None:
    """How a Content-Type reads a body; None if it is none that we take.

    Of the parameters only `charset` counts: JSON is UTF-8. Any type that ends in ``+json`` is JSON.
    """
    if content_type in MEDIA_TYPES:
        return MEDIA_TYPES[content_type]
    name, *parameters = content_type.lower().split(b";")
    for parameter in parameters:
        key, _, value = parameter.partition(b"=")
        if key.strip() == b"charset" and value.strip().strip(b"\"'") not in CHARSETS:
            return None
    name = name.strip()
    return "json" if name.startswith(b"application/") and name.endswith(b"+json") else MEDIA_TYPES.get(name)


def split(stream: Stream, body: bytes, media: Media, most: int) -> Single | Batch | Fault:
    """The events of a body, unexamined. A Fault concerns the body as a whole and stores nothing.

    Raises TooMany where there are more than `most`; a small body may be split into more all the same.
    """
    body = body.removeprefix(BOM)
    if media == "ndjson":
        return Batch(of_lines(body, most), breaks=b"\r" in body)
    text = body.strip(BLANKS)
    if text[:1] == b"[":
        return _array(text, most)
    for mark in _MARKS[stream]:
        if mark in text:
            return _envelope(stream, text, most) or Single(text)
    return Single(text)


def _array(text: bytes, most: int) -> Batch | Fault:
    try:
        return Batch(_elements(text, most), breaks=_breaks(text))
    except REFUSALS as error:
        return Fault(Code.NOT_JSON, allowed="a JSON array of objects", detail=_reason(error))


def _elements(text: Text, most: int) -> Sequence[Text]:
    """The elements of an array, as they stand there: what is wrong with one of them is its own matter.

    Raises TooMany, and one of REFUSALS where it is no array, or cut short.
    """
    try:
        return of_array(text, most)
    except (msgspec.DecodeError, ValueError):
        whole = bytes(text)
        if whole[:1] != b"[":
            raise
        found = json_text.parts(whole)
        if len(found) > most:
            raise TooMany(most) from None
        return found


def _envelope(stream: Stream, body: bytes, most: int) -> Batch | Fault | None:
    """The events of a document's envelope; None if the text is not one."""
    try:
        fields = _lists(stream, body)
    except REFUSALS:
        return None  # examined as a single event, which says what is wrong
    if not fields:
        return None
    lines: list[Text] = []
    places: list[str] = []
    for name, value in fields.items():
        if bytes(value) == b"null":
            continue
        try:
            events = _elements(value, most)
        except REFUSALS as error:
            return Fault(Code.BAD_ENVELOPE, name, allowed="an array of events", detail=_reason(error))
        lines.extend(events)
        places.extend(f"{name}[{index}]" for index in range(len(events)))
    return Batch(lines, places, _breaks(body))


def _lists(stream: Stream, body: bytes) -> dict[str, Text]:
    """The lists of a document, by name; of its other members nothing is kept."""
    try:
        found = _ENVELOPE[stream].decode(body)
    except (msgspec.DecodeError, ValueError):
        members = json_text.members(body)
        return {name: members[name] for name in ENVELOPES[stream] if name in members}
    values = {name: getattr(found, name) for name in ENVELOPES[stream]}
    return {name: value for name, value in values.items() if isinstance(value, msgspec.Raw)}


def _breaks(text: bytes) -> bool:
    return b"\n" in text or b"\r" in text


def route(
    decoder: Decoder,
    body: bytes,
    media: Media,
    *,
    seed: int,
    header: str | None,
    partitions: int,
    longest: int,
    most: int,
) -> Batch | None:
    """A body of many events, split and examined by the native decoder; None where it is for `split` to say.

    `seed`, `header` and `partitions` as `partition.partition_of` has them; `longest` is the most bytes of an
    event, `most` the most events.
    """
    array = media == "json"
    if array and body[:64].lstrip(BLANKS)[:1] != b"[":
        return None
    device = None if header is None else header.encode("utf-8")
    try:
        found = decoder.route(
            body, array=array, seed=seed, header=device, partitions=partitions, longest=longest, most=most
        )
    except RuntimeError:
        log.exception("the native decoder failed at a body of %d bytes; Python examines it", len(body))
        return None
    if found is None:
        return None
    lines, groups, left = found
    return Batch(lines, breaks=b"\r" in body, routes=Routes(groups, left))


def examine_one(stream: Stream, line: bytes, max_bytes: int) -> Event | Fault:
    """The verdict on a single event."""
    return _too_long(line, max_bytes) or examine(stream, line)


def examine_body(stream: Stream, body: bytes, max_bytes: int) -> Event | Fault:
    """The verdict on a body that is one event: NDJSON that was sent as JSON is told so."""
    verdict = examine_one(stream, body, max_bytes)
    if isinstance(verdict, Fault) and verdict.kind in (Kind.SYNTAX, Kind.SIZE) and _is_ndjson(body):
        return Fault(
            Code.NOT_JSON,
            "",
            verdict.found,
            "one JSON object or array; a line for each event as application/x-ndjson",
            "several lines of JSON: NDJSON needs Content-Type application/x-ndjson",
        )
    return verdict


def _is_ndjson(body: bytes) -> bool:
    first, _, rest = body.partition(b"\n")
    try:
        return bool(rest.strip()) and isinstance(_ANYTHING.decode(first), dict)
    except REFUSALS:
        return False


def examine_all(stream: Stream, lines: Sequence[Text], max_bytes: int) -> list[Event | Fault]:
    """The verdicts on a batch, in order."""
    return [examine_one(stream, bytes(line), max_bytes) for line in lines]


def all_good(stream: Stream, lines: Sequence[Text], max_bytes: int) -> list[Any] | None:
    """The values of a batch in which every event is good, the fast way; None where that way cannot tell,
    for `examine_all` to say. It never takes what `examine_all` would refuse."""
    if max(map(len, lines)) > max_bytes:
        return None
    for decoder, skips in _FAST[stream]:
        try:
            # A decoder of whole NDJSON would not do: it takes an event over two lines, and two on one.
            values = list(map(decoder.decode, lines))
            if skips:  # what it skips it has hardly looked at
                for line in lines:
                    _ANYTHING.decode(line)
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue
        return values if _formats_hold(values) else None
    return None


def _decoders(stream: Stream) -> list[tuple[msgspec.json.Decoder[Any], bool]]:
    """A decoder for each type that tells a stream's good events, and whether it skips unknown fields.

    Session logs with unknown fields are left to `examine_all`: `app_id` there would make another form.
    """
    if stream == "connection_logs":
        strict: list[Any] = [forms.NETWORK.derived.strict, forms.SESSION.derived.strict]
        lenient: Any = forms.NETWORK.derived.lenient
    else:
        strict = forms.unions(stream)
        first, *others = (form.derived.lenient for form in forms.FORMS[stream])
        lenient = first
        for other in others:
            lenient = lenient | other
    return [(msgspec.json.Decoder(kind), False) for kind in strict] + [(msgspec.json.Decoder(lenient), True)]


_FAST = {stream: _decoders(stream) for stream in STREAMS}
_ANYTHING = msgspec.json.Decoder()


def _formats_hold(values: Sequence[Any]) -> bool:
    """Whether the text formats hold: each text once, however often it comes."""
    kinds = set(map(type, values))
    try:
        for kind in kinds:
            mine = values if len(kinds) == 1 else [value for value in values if type(value) is kind]
            for name, parse in forms.FORM_OF[kind].derived.checks.items():
                for text in set(map(attrgetter(name), mine)):
                    if text is not None:
                        parse(text)
    except ValueError:
        return False
    return True


def _too_long(line: bytes, max_bytes: int) -> Fault | None:
    if len(line) <= max_bytes:
        return None
    return Fault(
        Code.TOO_LARGE, "", f"{len(line)} bytes", f"at most {max_bytes} bytes", "the event is too long"
    )


def _reason(error: Any) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
