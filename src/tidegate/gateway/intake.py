"""From the bytes of a request to a verdict on each event. Pure: no clock, no client, no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import msgspec

from tidegate.contracts import forms
from tidegate.contracts.forms import Event, examine
from tidegate.contracts.rejects import Code, Fault
from tidegate.contracts.topics import STREAMS, Stream

Media = Literal["json", "ndjson"]

MEDIA_TYPES: dict[bytes, Media] = {
    b"": "json",  # a sender that names no type sends JSON
    b"application/json": "json",
    b"application/x-ndjson": "ndjson",
    b"application/ndjson": "ndjson",
    b"application/jsonl": "ndjson",
    b"application/x-jsonlines": "ndjson",
}

BLANKS = b" \t\r\n"


class Single(NamedTuple):
    """The body is one event."""

    line: bytes


Text = bytes | msgspec.Raw


class Batch(NamedTuple):
    """The body is a list of events.

    `places` says where each stands in a document's envelope, e.g. ``failureLogs[2]``; None for a plain
    array or NDJSON. `breaks`: an event may hold line breaks, between its tokens.
    """

    lines: Sequence[Text]
    places: list[str] | None = None
    breaks: bool = False


ENVELOPES: dict[Stream, tuple[str, ...]] = {
    "connection_logs": (),
    "client_events": ("clientEvents", "successLogs", "failureLogs"),
    "device_logs": ("results",),
}
"""The lists inside the documents' own answers, in the order in which their events count."""

_MARKS: dict[Stream, tuple[bytes, ...]] = {
    stream: tuple(f'"{name}"'.encode() for name in names) for stream, names in ENVELOPES.items()
}
_ARRAY: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])


def media_type(content_type: bytes) -> Media | None:
    """How a Content-Type reads a body; None if it is none that we take. Parameters are ignored."""
    return MEDIA_TYPES.get(content_type.partition(b";")[0].strip().lower())


def split(stream: Stream, body: bytes, media: Media) -> Single | Batch | Fault:
    """The events of a body, unexamined. A Fault concerns the body as a whole and stores nothing."""
    if media == "ndjson":
        return Batch([line for raw in body.split(b"\n") if (line := raw.strip(BLANKS))], breaks=b"\r" in body)
    text = body.strip(BLANKS)
    if text[:1] == b"[":
        return _array(text)
    for mark in _MARKS[stream]:
        if mark in text:
            return _envelope(stream, text) or Single(text)
    return Single(text)


def _array(text: bytes) -> Batch | Fault:
    try:
        return Batch(_ARRAY.decode(text), breaks=_breaks(text))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return Fault(Code.NOT_JSON, allowed="a JSON array of objects", detail=_reason(error))


def _envelope(stream: Stream, body: bytes) -> Batch | Fault | None:
    """The events of a document's envelope; None if the text is not one."""
    try:
        fields = _OBJECT.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None  # examined as a single event, which says what is wrong
    names = [name for name in ENVELOPES[stream] if name in fields]
    if not names:
        return None
    lines: list[Text] = []
    places: list[str] = []
    for name in names:
        value = fields[name]
        if bytes(value) == b"null":
            continue
        try:
            events = _ARRAY.decode(value)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return Fault(Code.BAD_ENVELOPE, name, allowed="an array of events", detail=_reason(error))
        lines.extend(events)
        places.extend(f"{name}[{index}]" for index in range(len(events)))
    return Batch(lines, places, _breaks(body))


def _breaks(text: bytes) -> bool:
    return b"\n" in text or b"\r" in text


def judge_one(stream: Stream, line: bytes, max_bytes: int) -> Event | Fault:
    """The verdict on a single event."""
    return _too_long(line, max_bytes) or examine(stream, line)


def judge_all(stream: Stream, lines: Sequence[Text], max_bytes: int) -> list[Event | Fault]:
    """The verdicts on a batch, in order."""
    return [judge_one(stream, bytes(line), max_bytes) for line in lines]


def all_good(stream: Stream, lines: Sequence[Text], max_bytes: int) -> list[Any] | None:
    """The values of a batch in which every event is good, the fast way; None where that way cannot tell,
    for `judge_all` to say. It never takes what `judge_all` would refuse."""
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

    Session logs with unknown fields are left to the judge: `app_id` there would make another form.
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
