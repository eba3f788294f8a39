"""Sessions of people in browsers: a signed cookie that names a token, which is looked up at each request.

The cookie holds the token's hash and no token: who reads it has no bearer token for the API, and it ends with
the token. It reads; what a page writes needs a form's CSRF text and a request that the browser itself says
comes from this origin.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import msgspec
from starlette.requests import Request

from tidegate.api.signing import Signer
from tidegate.settings import Settings
from tidegate.tokens import EDITORS, READERS, Role, Token, TokenFile

COOKIE = "tidegate_session"
FLEET_COOKIE = "tidegate_fleet"
MOST_ENDED = 10_000  # sessions that were logged out, remembered until their cookie is too old


class _Payload(msgspec.Struct, frozen=True, array_like=True):
    id: str
    sha256: str
    began_at: int


@dataclass(frozen=True, slots=True)
class Person:
    """Who is logged in. `fleet` is the one fleet that is shown, `fleets` those to choose from."""

    name: str
    role: Role
    fleet: str
    fleets: tuple[str, ...]
    session: str
    sha256: str

    @property
    def may_act(self) -> bool:
        """Whether alerts are acknowledged and silenced by this one: everybody who reads but viewers."""
        return self.role is not Role.VIEWER

    @property
    def may_edit(self) -> bool:
        """Whether webhooks are made and tried by this one."""
        return self.role in EDITORS


class Sessions:
    """Makes and reads the cookies. A logout holds in this process; a token that is revoked ends its sessions
    everywhere."""

    def __init__(
        self,
        settings: Settings,
        tokens: TokenFile,
        signer: Signer,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.seconds = int(settings.api_session_hours * 3600)
        self._public_url = settings.public_url
        self._tokens = tokens
        self._signer = signer
        self._clock = clock
        self._ended: dict[str, float] = {}

    def begin(self, token: Token) -> str:
        """The value of a new session's cookie."""
        payload = _Payload(secrets.token_urlsafe(16), token.sha256.lower(), int(self._clock()))
        return self._signer.seal("session", msgspec.json.encode(payload))

    def person(self, request: Request) -> Person | None:
        """Who sent the request; None without a cookie that this place signed, of a token that still reads."""
        text = request.cookies.get(self.cookie(request), "")
        if not text:
            return None
        data = self._signer.open("session", text)
        if data is None:
            return None
        payload = msgspec.json.decode(data, type=_Payload)
        if payload.id in self._ended or self._clock() >= payload.began_at + self.seconds:
            return None
        token = self._tokens.by_hash(payload.sha256)
        if token is None or token.role not in READERS:
            return None
        fleets = tuple(sorted(self._tokens.fleets())) if token.all_fleets else (token.fleet,)
        chosen = unquote(request.cookies.get(FLEET_COOKIE, ""))
        if not token.all_fleets or chosen not in fleets:
            chosen = token.fleet or next(iter(fleets), "")
        if not chosen:
            return None
        return Person(token.name, token.role, chosen, fleets, payload.id, payload.sha256)

    def end(self, person: Person) -> None:
        """Log out: the cookie is good for nothing any more."""
        now = self._clock()
        if len(self._ended) >= MOST_ENDED:
            self._ended = {id: until for id, until in self._ended.items() if until > now}
        self._ended[person.session] = now + self.seconds

    def csrf(self, person: Person) -> str:
        """The text that a form of this session carries."""
        return self._signer.seal("csrf", b"", bound=person.session.encode())

    def is_csrf(self, person: Person, text: str) -> bool:
        return self._signer.open("csrf", text, bound=person.session.encode()) is not None

    def cookie(self, request: Request) -> str:
        """The cookie's name. Over https a browser takes it from nobody but this very host."""
        return f"__Host-{COOKIE}" if self.secure(request) else COOKIE

    def secure(self, request: Request) -> bool:
        return request.scope["scheme"] == "https" or self._public_url.startswith("https://")

    def from_here(self, request: Request) -> bool:
        """Whether the browser says that a page of this origin sent the request. One that says nothing of it
        is refused: every browser of these years sends `Origin` with a form."""
        site = request.headers.get("sec-fetch-site")
        if site is not None and site != "same-origin":
            return False
        origin = request.headers.get("origin")
        if origin is None:
            return site is not None
        allowed = {request.headers.get("host", "").lower()}
        if self._public_url:
            allowed.add(urlsplit(self._public_url).netloc.lower())
        parts = urlsplit(origin)
        if self.secure(request) and parts.scheme != "https":
            return False
        return parts.netloc.lower() in allowed


def reads_across_sites(request: Request) -> bool:
    """Whether another site's page made a browser send the request: no cookie opens anything then."""
    return request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
