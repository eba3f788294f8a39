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
    """What is stored in place of clients, None for themselves. A file that the setting names must be there;
    the data folder's is drawn. Raises RetryLater where it is missing or wrong."""
    if not settings.pseudonymise:
        return None
    read = keyfile.load if settings.pseudonym_key_file else keyfile.load_or_create
    try:
        return Stored(read(settings.pseudonym_key_path))
    except UsageError as error:
        raise RetryLater(f"pseudonym_key_file: {error}") from error
