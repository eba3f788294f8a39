"""What the HTTP protocol itself refuses, at every role alike."""

from __future__ import annotations

from typing import NamedTuple


class Refusal(NamedTuple):
    status: int
    title: str
    advice: str  # what the sender does next
    headers: tuple[tuple[bytes, bytes], ...] = ()


REFUSALS: dict[str, Refusal] = {
    "bad_request": Refusal(400, "Not an HTTP request", "`detail` names what is wrong with it."),
    "duplicate_header": Refusal(400, "A header twice", "Send the header that `path` names once."),
    "timeout": Refusal(408, "Request took too long", "Send the request again."),
    "expectation_failed": Refusal(417, "Expectation not met", "Expect 100-continue, or nothing."),
    "head_too_large": Refusal(431, "Head too large", "Send fewer or shorter headers, at most 64 KiB."),
    "internal": Refusal(500, "Internal error", "The log of the role says more."),
    "too_many_connections": Refusal(
        503, "Too many connections", "Connect again after `Retry-After` seconds.", ((b"retry-after", b"1"),)
    ),
}
