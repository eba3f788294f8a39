"""The one shape of a refusal over HTTP: RFC 9457 `application/problem+json`.

Beside the standard members it has `code`, from a closed list of each role, and `path`, `found` and `allowed`.
`type` is the path of a page that explains the code.
"""

from __future__ import annotations

from typing import Any

import msgspec

PROBLEM_JSON = "application/problem+json"


def document(
    code: str, title: str, status: int, detail: str, *, path: str = "", found: str = "", allowed: str = ""
) -> dict[str, Any]:
    """The body of a refusal, not yet JSON."""
    return {
        "type": f"/problems/{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "path": path,
        "found": found,
        "allowed": allowed,
    }


def encoded(
    code: str, title: str, status: int, detail: str, *, path: str = "", found: str = "", allowed: str = ""
) -> bytes:
    """`document` as JSON."""
    return msgspec.json.encode(document(code, title, status, detail, path=path, found=found, allowed=allowed))
