"""Links that log in once: a random code in the link, its hash as the name of a file that says whose it is.

Whoever takes the file away first has used the link: one use holds over processes and restarts. The file
names a token by its hash, so neither file nor link holds a token.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from tidegate.errors import UsageError
from tidegate.settings import Settings, address

CODE_BYTES = 32
_CODE = re.compile(r"[A-Za-z0-9_-]{43}")
_OLD_SECONDS = 86_400.0  # after its end, or since it was written where it says none, a file is removed


class _Link(msgspec.Struct, frozen=True):
    sha256: str
    expires_at: float


class LoginLinks:
    """The links of a folder, which api and `up` share."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    def create(self, sha256: str, *, seconds: float) -> str:
        """A code that logs in with the token of that hash, once, within `seconds`. Raises UsageError."""
        code = secrets.token_urlsafe(CODE_BYTES)
        data = msgspec.json.encode(_Link(sha256, self._clock() + seconds))
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sweep()
            handle = os.open(self._path(code), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        except OSError as error:
            raise UsageError(f"login links in {self._folder}: {error.strerror}") from error
        return code

    def take(self, code: str) -> str | None:
        """The hash of the token that a code stands for; None for one that is unknown, used or too old."""
        if not _CODE.fullmatch(code):
            return None
        taken = self._folder / f"taken-{secrets.token_hex(8)}"
        try:
            os.rename(self._path(code), taken)  # one of several that try at once gets it
            data = taken.read_bytes()
        except OSError:
            return None
        finally:
            with suppress(OSError):
                taken.unlink()
        try:
            link = msgspec.json.decode(data, type=_Link)
        except msgspec.DecodeError:
            return None
        return link.sha256 if self._clock() < link.expires_at else None

    def _path(self, code: str) -> Path:
        return self._folder / hashlib.sha256(code.encode()).hexdigest()

    def _sweep(self) -> None:
        for path in self._folder.iterdir():
            with suppress(OSError):
                ends = path.stat().st_mtime
                with suppress(msgspec.DecodeError):
                    ends = msgspec.json.decode(path.read_bytes(), type=_Link).expires_at
                if self._clock() - ends > _OLD_SECONDS:
                    path.unlink()


def login_link(settings: Settings, sha256: str) -> str:
    """A link to the api of these settings that logs in with the token of that hash. Raises UsageError."""
    code = LoginLinks(settings.login_links_path).create(
        sha256.lower(), seconds=settings.api_login_link_minutes * 60
    )
    base = settings.public_url.rstrip("/")
    if not base:
        host, port = address(settings.api_listen, "api_listen")
        host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
        base = f"{'https' if settings.tls_cert_file else 'http'}://{host}:{port}"
    return f"{base}/login/link?code={code}"
