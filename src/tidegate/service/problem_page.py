"""The page behind a problem's type."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Protocol

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response


class Meaning(Protocol):
    @property
    def title(self) -> str: ...

    @property
    def advice(self) -> str: ...


def problem_page(code: str, meanings: Mapping[str, Meaning]) -> Response:
    """What the problem `code` means and what to do about it, for people. Raises HTTPException (404)."""
    meaning = meanings.get(code)
    if meaning is None:
        raise HTTPException(404)
    title, advice = escape(meaning.title), escape(meaning.advice)
    return HTMLResponse(f"<!doctype html><title>{escape(code)}</title><h1>{title}</h1><p>{advice}</p>")
