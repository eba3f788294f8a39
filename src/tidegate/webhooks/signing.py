"""Identity and signature of a notice, as Standard Webhooks has them."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Iterable

from tidegate.webhooks.endpoints import key_of


def webhook_id(alert: str, sequence: int, endpoint: str) -> str:
    """The id of the notice of a change: the same each time it is sent, after a crash too."""
    text = "\0".join((alert, str(sequence), endpoint))
    return "msg_" + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def headers(id: str, timestamp: int, body: bytes, secrets: Iterable[str]) -> dict[str, str]:
    """The three headers; a signature for each secret, so that either verifies while one is rotated."""
    message = b"%b.%d.%b" % (id.encode(), timestamp, body)
    signatures = [
        "v1," + b64encode(hmac.digest(key_of(secret), message, hashlib.sha256)).decode() for secret in secrets
    ]
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
