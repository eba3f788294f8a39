"""The names that a client or device is stored under: its own, and where pseudonyms are stored those of it."""

from __future__ import annotations

import asyncio
import logging

from starlette.requests import Request

from tidegate import pseudonyms
from tidegate.api.problems import Problem
from tidegate.errors import UsageError
from tidegate.keyfile import KeyFile, Keys
from tidegate.settings import Settings
from tidegate.store.queries import Names
from tidegate.tokens import TokenFile

log = logging.getLogger(__name__)


async def names(request: Request, fleet: str | None, device: str) -> Names:
    """As asked for, and its pseudonyms under every key of the file, newest first; of a fleet, or of each.

    Who has a pseudonym asks for it as it stands. Raises Problem `internal` where the key file is wrong.
    """
    settings: Settings = request.app.state.settings
    if not settings.pseudonymise:
        return (device,)
    tokens: TokenFile = request.app.state.tokens
    fleets = sorted(tokens.fleets()) if fleet is None else [fleet]
    keys = await pseudonym_keys(request)
    return (device, *(name for each in fleets for name in pseudonyms.all_stored(keys, each, device)))


async def pseudonym_keys(request: Request) -> Keys:
    """Raises Problem `internal` where the key file is wrong: never a MAC in place of a pseudonym."""
    file: KeyFile = request.app.state.pseudonym_keys
    try:
        return await asyncio.to_thread(file.keys)
    except UsageError as error:
        log.error("%s", error)
        raise Problem("internal", "the key file of pseudonyms is wrong; the log says more") from error
