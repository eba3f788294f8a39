"""The two users of the embedded ClickHouse, and the file that has their passwords.

`tidegate` is for the roles, `analyst` for people: it reads Tidegate's database and the system tables.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from tidegate.errors import UsageError

PASSWORD_BYTES = 20


class User(StrEnum):
    TIDEGATE = "tidegate"
    ANALYST = "analyst"


class Credentials:
    """Passwords by user."""

    def __init__(self, passwords: Mapping[User, str]) -> None:
        self._passwords = dict(passwords)

    def __getitem__(self, user: User) -> str:
        return self._passwords[user]

    def user(self, name: str, password: str) -> User | None:
        """Who gave this name and password; None if nobody is called so or the password is another one."""
        found = None
        for user, expected in self._passwords.items():
            # Every pair is compared whole, so that the time of an answer says nothing.
            same = hmac.compare_digest(_bytes(name), _bytes(user)) & hmac.compare_digest(
                _bytes(password), _bytes(expected)
            )
            found = user if same else found
        return found


def ensure(path: Path) -> Credentials:
    """The credentials in `path`; a password that is missing there is drawn, and the file made (0600)."""
    kept = _read(path) if path.exists() else {}
    found = {user: kept.get(user) or secrets.token_hex(PASSWORD_BYTES) for user in User}
    if found != kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(found, indent=2) + "\n")
        os.replace(temporary, path)
    path.chmod(0o600)
    return Credentials(found)


def load(path: Path) -> Credentials:
    """The credentials in `path`. Raises UsageError where one is missing."""
    found = _read(path)
    missing = [user.value for user in User if user not in found]
    if missing:
        raise UsageError(f"{path}: no password for {', '.join(missing)}")
    return Credentials(found)


def _read(path: Path) -> dict[User, str]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f'{path}: not an object of user and password, {{"tidegate": "…", "analyst": "…"}}')
    return {user: value for user in User if isinstance(value := document.get(user.value), str) and value}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
