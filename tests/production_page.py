"""docs/production.md as a list of commands, by section."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "production.md"


def sections() -> dict[str, str]:
    """The text of each section by its heading."""
    parts = re.split(r"^## (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def blocks(section: str) -> list[str]:
    """The shell blocks of a section; `section` is what its heading begins with."""
    [text] = [text for heading, text in sections().items() if heading.startswith(section)]
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


def block(section: str) -> str:
    """The one shell block of a section."""
    [found] = blocks(section)
    return found
