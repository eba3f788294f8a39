"""An OpenAPI document as one HTML page that needs nothing from outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b2733}
h2{border-top:1px solid #d5dde5;padding-top:1rem}code,pre{font:14px/1.4 ui-monospace,monospace}
pre{background:#f4f7fa;padding:.75rem;overflow-x:auto}table{border-collapse:collapse;width:100%}
td,th{border-bottom:1px solid #e3e9ef;padding:.25rem .75rem .25rem 0;text-align:left;vertical-align:top}
summary{cursor:pointer}.method{color:#fff;background:#1f6f8b;border-radius:3px;padding:0 .4rem}
@media(prefers-color-scheme:dark){body{background:#12181e;color:#dbe4ec}pre{background:#1b242d}
td,th,h2{border-color:#2b3743}}
"""


def render(document: dict[str, Any]) -> str:
    """The page: operations with their parameters, bodies and answers, then the schemas."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info.get('description', ''))}</p>",
        "<p>For machines: <a href=openapi.json>openapi.json</a></p>",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.extend(_operation(method, path, operation))
    parts.append("<h2>Schemas</h2>")
    for name, schema in document["components"]["schemas"].items():
        parts.append(f"<h3 id='{escape(name)}'>{escape(name)}</h3>{_schema(schema)}")
    return "".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<h2><code><span class=method>{method.upper()}</span> {escape(path)}</code></h2>"
    yield f"<p><b>{escape(operation.get('summary', ''))}</b></p>"
    yield f"<p>{escape(operation.get('description', ''))}</p>"
    if parameters := operation.get("parameters"):
        rows = (
            f"<tr><td><code>{escape(p['name'])}</code><td>{escape(p['in'])}"
            f"<td>{'required' if p.get('required') else ''}<td>{escape(p.get('description', ''))}"
            for p in parameters
        )
        yield f"<table><tr><th>Parameter<th>In<th><th>{''.join(rows)}</table>"
    for kind, media in operation.get("requestBody", {}).get("content", {}).items():
        yield from _media(f"Body, {kind}", media)
    yield "<table><tr><th>Status<th>Meaning"
    for status, answer in operation["responses"].items():
        yield f"<tr><td>{escape(status)}<td>{escape(answer['description'])}"
        for kind, media in answer.get("content", {}).items():
            yield from _media(kind, media)
    yield "</table>"


def _media(words: str, media: dict[str, Any]) -> Iterator[str]:
    examples = {name: item["value"] for name, item in media.get("examples", {}).items()}
    if "example" in media:
        examples["example"] = media["example"]
    for name, value in examples.items():
        text = value if isinstance(value, str) else json.dumps(value, indent=2)
        summary = f"<summary>{escape(words)}: {escape(name)}</summary>"
        yield f"<details>{summary}<pre>{escape(text)}</pre></details>"


def _schema(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{_type(item)}"
        f"<td>{'required' if name in required else ''}<td>{escape(item.get('description', ''))}"
        for name, item in schema.get("properties", {}).items()
    )
    return f"<p>{escape(schema.get('description', ''))}</p><table><tr><th>Field<th>Type<th><th>{rows}</table>"


def _type(schema: dict[str, Any]) -> str:
    """The type in a few words: names, choices and ranges."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    if choices := schema.get("anyOf"):
        return " or ".join(_type(choice) for choice in choices)
    if "enum" in schema:
        return escape(", ".join(map(str, schema["enum"])))
    if "const" in schema:
        return escape(str(schema["const"]))
    kind = schema.get("type", "anything")
    words = " or ".join(kind) if isinstance(kind, list) else str(kind)
    low, high = schema.get("minimum"), schema.get("maximum")
    return escape(words + (f" {low} to {high}" if low is not None and high is not None else ""))
