"""Secrets in what is shown: URLs without their passwords."""

from __future__ import annotations

import re

MASK = "***"
_USERINFO = re.compile(r"(?<=://)(.*)@", re.DOTALL)
_NAMES = "password|passwd|secret|token|key|credential"
_PARAMETER = re.compile(rf"([?&;][^=&;#]*(?:{_NAMES})[^=&;#]*=)[^&;#]*", re.IGNORECASE)


def masked_url(text: str) -> str:
    """A URL, or several, without password: everything between the user and the last `@` is hidden, since a
    password may hold `@`, `:` and `/`. So are parameters of the query that are named after a secret."""
    return _PARAMETER.sub(rf"\1{MASK}", _USERINFO.sub(_user_alone, text))


def _user_alone(match: re.Match[str]) -> str:
    user, colon, _ = match[1].partition(":")
    if colon and not set(user) & set("@/?#"):
        return f"{user}:{MASK}@"
    # No password, or something that is no user: a token in front of the host.
    return match[0] if not set(match[1]) & set("@:/?#") else f"{MASK}@"
