"""What the migrations make: tables and views by name, read from their statements.

So `migrate` can tell a table of its own from somebody else's of the same name before it touches either,
and the preflight can say which are not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from tidegate.settings import Settings
from tidegate.store.templates import Migration

_CREATE = re.compile(
    r"\s*CREATE\s+(?:OR\s+REPLACE\s+)?(TABLE|MATERIALIZED\s+VIEW|VIEW)\s+(?:IF\s+NOT\s+EXISTS\s+)?\w+\.(\w+)"
)
_DROP = re.compile(r"\s*DROP\s+(?:TABLE|VIEW)\s+(?:IF\s+EXISTS\s+)?\w+\.(\w+)")
_COMMENT = re.compile(r"\nCOMMENT '((?:[^']|'')*)'\s*$")


class Object(NamedTuple):
    """One table or view, as a migration creates it."""

    kind: str  # TABLE, VIEW or MATERIALIZED VIEW
    name: str
    comment: str  # "" for a view
    deduplicates: bool  # it must remember the tokens of inserts

    def is_engine(self, engine: str) -> bool:
        """Whether an engine, as system.tables names it, is one of this kind."""
        if self.kind == "TABLE":
            return engine.endswith("MergeTree")
        return engine == {"VIEW": "View", "MATERIALIZED VIEW": "MaterializedView"}[self.kind]


def objects(migrations: Iterable[Migration], settings: Settings) -> dict[str, Object]:
    """What is there, by name, when these migrations were applied in their order."""
    found: dict[str, Object] = {}
    for migration in migrations:
        for statement in migration.statements(settings):
            if dropped := _DROP.match(statement):
                found.pop(dropped[1], None)
            elif created := _CREATE.match(statement):
                kind, name = " ".join(created[1].split()), created[2]
                comment = _COMMENT.search(statement)
                found[name] = Object(
                    kind,
                    name,
                    comment[1].replace("''", "'") if comment else "",
                    "deduplication_window" in statement,
                )
    return found
