"""Texts that this API gives out and takes back, cursors and file names, signed: nobody else makes one.

What a text is for, and what it is bound to (fleet, question), is part of the signature and not of the text.
Every api process of a place needs the same `link_key_file`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import secrets
from pathlib import Path

from tidegate.errors import UsageError
from tidegate.keyfile import KeyFile, Keys

log = logging.getLogger(__name__)

MAC_BYTES = 16


class Signer:
    """Without a place for the key file the key is this process's own, and a text ends with the process."""

    def __init__(self, path: Path) -> None:
        self._file = KeyFile(path)
        self._own: Keys | None = None

    def seal(self, purpose: str, payload: bytes, *, bound: bytes = b"") -> str:
        """The payload as a text of letters, digits, `-` and `_`."""
        keys = self._keys()
        id = keys.current.encode()
        return _text(bytes([len(id)]) + id + self._mac(keys, keys.current, purpose, payload, bound) + payload)

    def open(self, purpose: str, text: str, *, bound: bytes = b"") -> bytes | None:
        """The payload of a text that `seal` made for the same purpose and bound alike; None for any other."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            id = raw[1 : 1 + raw[0]].decode("ascii")
        except (binascii.Error, ValueError, IndexError):
            return None
        keys = self._keys()
        if id not in keys.keys or _text(raw) != text:  # one text for each: no second spelling
            return None
        mac, payload = raw[1 + raw[0] :][:MAC_BYTES], raw[1 + raw[0] + MAC_BYTES :]
        return payload if hmac.compare_digest(mac, self._mac(keys, id, purpose, payload, bound)) else None

    def _mac(self, keys: Keys, id: str, purpose: str, payload: bytes, bound: bytes) -> bytes:
        parts = (purpose.encode(), bound, payload)
        message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return keys.mac(message, id=id)[:MAC_BYTES]

    def _keys(self) -> Keys:
        if self._own is None:
            try:
                return self._file.keys()
            except UsageError as error:
                log.warning(
                    "%s; cursors and file names are good in this process alone, see link_key_file", error
                )
                self._own = Keys("own", {"own": secrets.token_bytes(32)})
        return self._own


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
