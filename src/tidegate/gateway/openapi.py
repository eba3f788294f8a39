"""The gateway's OpenAPI 3.1 document, written from the models and from the tables that answer requests."""

from __future__ import annotations

from typing import Any

from tidegate.settings import Settings


def document(settings: Settings) -> dict[str, Any]:
    return {"openapi": "3.1.0", "info": {"title": "Tidegate gateway", "version": "0"}, "paths": {}}
