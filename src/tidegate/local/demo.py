"""The demo fleet's tokens: one for each role, in a file that only its owner reads."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tidegate.tokens import Role, TokenFile

FLEET = "demo"
ROLES = (Role.INGEST, Role.VIEWER, Role.OPERATOR, Role.ADMINISTRATOR, Role.SUPERUSER)


def ensure_demo_tokens(path: Path, tokens: TokenFile) -> dict[str, str]:
    """The tokens by role. Those in `path` that still work are kept, the others made anew."""
    try:
        kept = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        kept = {}
    found: dict[str, str] = {}
    for role in ROLES:
        token = kept.get(role.value) if isinstance(kept, dict) else None
        row = tokens.lookup(token) if isinstance(token, str) else None
        if row is None or row.role is not role:
            tokens.revoke(f"demo-{role.value}")
            token = tokens.create(f"demo-{role.value}", fleet=FLEET, role=role)
        found[role.value] = str(token)
    if found != kept:
        _write(path, found)
    return found


def _write(path: Path, tokens: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(json.dumps(tokens, indent=2) + "\n")
    os.replace(temporary, path)
