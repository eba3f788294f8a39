"""The version of the transforms: rows of two versions may differ, and no batch has both."""

from __future__ import annotations

from tidegate import keyfile
from tidegate.errors import RetryLater, UsageError
from tidegate.lookups import Lookups
from tidegate.pseudonyms import Stored
from tidegate.settings import Settings


def transform_version(settings: Settings, lookups: Lookups, pseudonyms: Stored | None) -> str:
    parts = [settings.transform_version, lookups.digest[:8]]
    return ".".join(parts if pseudonyms is None else [*parts, pseudonyms.version])


def stored_pseudonyms(settings: Settings) -> Stored | None:
    """What is stored in place of clients, None for themselves.

    Raises RetryLater where the key file is missing or wrong. Nothing draws it here: workers that each drew
    their own, or one at each start, would store a client under as many names.
    """
    if not settings.pseudonymise:
        return None
    try:
        return Stored(keyfile.load(settings.pseudonym_key_path))
    except UsageError as error:
        raise RetryLater(
            f"pseudonym_key_file: {error}. `tidegate key rotate pseudonym` draws the first key"
        ) from error
