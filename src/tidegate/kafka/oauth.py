"""Access tokens for aiokafka and Faust by OAuth 2.0 client credentials; librdkafka fetches its own."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import quote_plus

import aiohttp
from aiokafka.abc import AbstractTokenProvider

from tidegate.errors import RetryLater

FETCH_SECONDS = 10
LARGEST = 65_536  # bytes of an answer
EARLY = 0.8  # share of a token's life after which the next one is fetched


class Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """One token at a time, fetched anew before it ends. aiokafka asks at each connection."""

    def __init__(self, *, token_url: str, client_id: str, client_secret: str, scope: str) -> None:
        self._url = token_url
        # form-encoded first: RFC 6749, 2.3.1
        who = aiohttp.encode_basic_auth(quote_plus(client_id), quote_plus(client_secret))
        self._headers = {"Authorization": who}
        self._form = {"grant_type": "client_credentials"}
        if scope:
            self._form["scope"] = scope
        self._token = ""
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """A token that holds a while. Raises RetryLater where the server gives none."""
        async with self._lock:
            if time.monotonic() >= self._until:
                self._token, seconds = await self._fetch()
                self._until = time.monotonic() + seconds * EARLY
            return self._token

    async def _fetch(self) -> tuple[str, float]:
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session,
                session.post(self._url, data=self._form, allow_redirects=False) as answer,
            ):
                if answer.status != 200 or (answer.content_length or 0) > LARGEST:
                    raise RetryLater(f"kafka_oauth_token_url answers {answer.status}")
                found = await answer.json(content_type=None)
                return str(found["access_token"]), float(found.get("expires_in", 60))
        except (aiohttp.ClientError, TimeoutError, KeyError, TypeError, ValueError) as error:
            raise RetryLater(f"kafka_oauth_token_url gives no token: {type(error).__name__}") from error
