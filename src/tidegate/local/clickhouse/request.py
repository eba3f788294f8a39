"""A request to ClickHouse's HTTP interface, taken apart: which part is query, setting, parameter, data."""

from __future__ import annotations

import email.parser
import email.policy
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from tidegate.local.clickhouse.blocks import unpacked
from tidegate.local.clickhouse.errors import refusal

HEAD_BYTES = 1 << 20  # of a body in which an INSERT must have shown where its data begin
MAX_QUERY_BYTES = 256 << 20  # of a statement that is no INSERT with data

# URL parameters of the interface itself; all others are settings.
INTERFACE = frozenset(
    """query database default_format session_id session_timeout session_check query_id user password
    quota_key role stacktrace buffer_size wait_end_of_query compress decompress enable_http_compression
    http_zlib_compression_level client_protocol_version close_session http_response_headers
    send_progress_in_http_headers http_headers_progress_interval_ms""".split()
)


@dataclass(frozen=True, slots=True)
class External:
    """A temporary table that comes with the request."""

    name: str
    structure: str
    format: str
    data: bytes


@dataclass(slots=True)
class Request:
    """What was asked. `body` yields the rest of the decoded body; it can be read once."""

    query: str  # from the URL or the form, "" if it is the body's beginning
    params: Mapping[str, str]  # query parameters {name:Type}
    settings: Mapping[str, str]
    interface: Mapping[str, str]
    body: Iterator[bytes]
    query_id: str
    externals: list[External] = field(default_factory=list)

    @property
    def database(self) -> str | None:
        return self.interface.get("database")

    @property
    def format(self) -> str:
        return self.interface.get("default_format") or "TabSeparated"

    def flag(self, name: str) -> bool:
        return self.interface.get(name, "").lower() in ("1", "true")


def take_apart(query_string: str, headers: Mapping[str, str], body: Iterator[bytes]) -> Request:
    """Split URL parameters, headers and form fields. Raises ClickHouseError for what is not served."""
    values = dict(parse_qsl(query_string, keep_blank_values=True))
    for header, name in (
        ("X-ClickHouse-Database", "database"),
        ("X-ClickHouse-Format", "default_format"),
        ("X-ClickHouse-Query-Id", "query_id"),
    ):
        if headers.get(header):
            values.setdefault(name, headers[header])
    files: dict[str, bytes] = {}
    if headers.get("Content-Type", "").lower().startswith("multipart/form-data"):
        fields, files = _form(headers["Content-Type"], body)
        values = {**values, **fields}
        body = iter(())
    if values.get("decompress", "0").lower() not in ("0", "false", ""):
        body = unpacked(body)
    externals = [_external(values, name, data) for name, data in files.items()]
    return Request(
        query=values.pop("query", ""),
        params={name[6:]: value for name, value in values.items() if name.startswith("param_")},
        settings={
            name: value
            for name, value in values.items()
            if name not in INTERFACE and not name.startswith("param_")
        },
        interface={name: value for name, value in values.items() if name in INTERFACE},
        body=body,
        query_id=values.get("query_id") or str(uuid.uuid4()),
        externals=externals,
    )


def gather(body: Iterator[bytes], beginning: bytes, limit: int) -> bytes:
    """`beginning` and the body behind it until there are `limit` bytes or more, or no more."""
    pieces, size = [beginning], len(beginning)
    while size < limit:
        piece = next(body, None)
        if piece is None:
            break
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def gather_query(body: Iterator[bytes], beginning: bytes) -> bytes:
    """The whole body as a statement."""
    text = gather(body, beginning, MAX_QUERY_BYTES)
    if next(body, None) is not None:
        raise refusal("QUERY_IS_TOO_LARGE", f"The query is larger than {MAX_QUERY_BYTES} bytes")
    return text


def _form(content_type: str, body: Iterator[bytes]) -> tuple[dict[str, str], dict[str, bytes]]:
    """The text fields and the files of multipart/form-data."""
    text = gather_query(body, b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n")
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(text)
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition") or "")
        data = part.get_payload(decode=True)
        content = data if isinstance(data, bytes) else b""
        if part.get_filename() is None:
            fields[name] = content.decode("utf-8", "surrogateescape")
        else:
            files[name] = content
    return fields, files


def _external(values: dict[str, str], name: str, data: bytes) -> External:
    structure = values.pop(f"{name}_structure", "")
    types = values.pop(f"{name}_types", "")
    if not structure:
        structure = ", ".join(f"_{number} {kind}" for number, kind in enumerate(types.split(","), 1))
    return External(name, structure, values.pop(f"{name}_format", "TabSeparated"), data)
