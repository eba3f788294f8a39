"""The headers of a record that librdkafka read.

Where the name of a header is not UTF-8, `Message.headers` leaves an exception behind and returns a list with
a hole in it, which ends the process as soon as somebody looks into it. A plain call of the method goes past
the check for that once the interpreter has specialised it; one from C does not.
"""

from __future__ import annotations

from operator import methodcaller
from typing import Any

from confluent_kafka import Message

from tidegate.contracts.frames import Headers

_headers = methodcaller("headers")


def headers_of(message: Message) -> Headers:
    """Those with a value. None where a name is not UTF-8: no role writes such a record."""
    try:
        found: Any = _headers(message)
    except (SystemError, UnicodeDecodeError):
        message.set_headers([])  # whoever asks next gets no hole
        return []
    return [(name, value) for name, value in found or () if value is not None]
