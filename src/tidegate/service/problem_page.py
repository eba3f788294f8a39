"""The page behind a problem's type."""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse, Response


def problem_page(code: str, title: str, advice: str) -> Response:
    """What the problem `code` means and what to do about it, for people."""
    return HTMLResponse(
        f"<!doctype html><title>{escape(code)}</title><h1>{escape(title)}</h1><p>{escape(advice)}</p>"
    )
