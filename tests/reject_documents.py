"""The original bytes of a reject."""

from __future__ import annotations

import base64

from tidegate.contracts.rejects import Reject


def original_bytes(reject: Reject) -> bytes:
    """The inverse of `contracts.rejects.original_text`."""
    if reject.original_encoding == "base64":
        return base64.b64decode(reject.original)
    return reject.original.encode("utf-8")
