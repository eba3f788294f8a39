"""An OpenAPI document as one HTML page that needs nothing from outside: no script, no font, no picture."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from html import escape
from typing import Any

Document = dict[str, Any]

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
STYLE = """
:root{--ink:#1b2733;--soft:#5a6b7b;--line:#dde4ea;--paper:#fff;--sunk:#f4f7fa;--link:#0b6285;--get:#1f6f8b;
--post:#2c7a4b;--good:#2c7a4b;--bad:#a4442f}
@media(prefers-color-scheme:dark){:root{--ink:#dbe4ec;--soft:#93a4b3;--line:#2b3743;--paper:#12181e;
--sunk:#1b242d;--link:#6cc0e0;--get:#2f7f9c;--post:#37915b;--good:#63c388;--bad:#e58a74}}
*{box-sizing:border-box}html{scroll-padding-top:1rem}
body{font:16px/1.5 system-ui,sans-serif;margin:0;color:var(--ink);background:var(--paper);display:grid;
grid-template-columns:18rem minmax(0,56rem);gap:2.5rem}
nav{position:sticky;top:0;height:100vh;overflow-y:auto;padding:1.5rem 1rem;border-right:1px solid var(--line);
font-size:.875rem;background:var(--sunk)}
nav h2{font-size:.75rem;text-transform:uppercase;letter-spacing:.06em;color:var(--soft);
margin:1.25rem 0 .25rem}
nav a{display:block;padding:.15rem 0;color:inherit;text-decoration:none;overflow-wrap:anywhere}
nav a:hover{color:var(--link)}main{padding:1.5rem 1rem 6rem}a{color:var(--link)}
h1{margin:0 0 .5rem;font-size:1.75rem}
section{border-top:1px solid var(--line);padding-top:1.25rem;margin-top:2rem}
section h2{margin:0;font-size:1.125rem;overflow-wrap:anywhere}h3{font-size:1rem;margin:1.25rem 0 .25rem}
h4{font-size:.8125rem;color:var(--soft);margin:1rem 0 .25rem;text-transform:uppercase;letter-spacing:.05em}
p{margin:.5rem 0}code,pre{font:.8125rem/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
.in{padding-left:1rem}td:first-child code{white-space:nowrap}.heads{white-space:nowrap}
code{overflow-wrap:anywhere}pre{background:var(--sunk);padding:.75rem;overflow-x:auto;margin:.25rem 0;
border-radius:4px;max-height:28rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.875rem}
td,th{border-bottom:1px solid var(--line);padding:.3rem .75rem .3rem 0;text-align:left;vertical-align:top}
th{color:var(--soft);font-weight:500}td p{margin:0}
summary{cursor:pointer;color:var(--soft);font-size:.875rem}
.method{color:#fff;background:var(--get);border-radius:3px;padding:.1rem .4rem;font-size:.75rem;
margin-right:.4rem}
.post{background:var(--post)}.s2{color:var(--good)}.s4,.s5{color:var(--bad)}.soft{color:var(--soft)}
.status{font-weight:600;white-space:nowrap}
@media(max-width:60rem){body{display:block}nav{position:static;height:auto;border:0}}
"""


def render(document: Document) -> str:
    """The page: operations with their parameters, bodies and answers, then the schemas."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style>",
        *_contents(document),
        f"<main><h1>{escape(info['title'])} <span class=soft>{escape(info['version'])}</span></h1>",
        _text(info.get("description", "")),
        "<p>For machines: <a href=openapi.json>openapi.json</a>.",
        *_security(document),
        "</p>",
    ]
    for path, method, operation in _operations(document):
        parts.extend(_operation(document, path, method, operation))
    parts.append("<section><h2 id=schemas>Schemas</h2>")
    for name, schema in document["components"]["schemas"].items():
        parts.extend(_schema(name, schema))
    parts.append("</section></main>")
    return "".join(parts)


def _operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Path, method and operation, its answers in full."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                answers = {
                    status: _resolved(document, answer)
                    for status, answer in item[method]["responses"].items()
                }
                yield path, method, item[method] | {"responses": answers}


def _contents(document: Document) -> Iterator[str]:
    yield f"<nav><b>{escape(document['info']['title'])}</b>"
    for tag in document.get("tags", ()):
        yield f"<h2 title='{escape(tag.get('description', ''))}'>{escape(tag['name'])}</h2>"
        for path, method, operation in _operations(document):
            if tag["name"] in operation["tags"]:
                yield f"<a href='#{escape(operation['operationId'])}'>{_badge(method)}{escape(path)}</a>"
    yield "<h2>Schemas</h2>"
    for name in document["components"]["schemas"]:
        yield f"<a href='#{escape(name)}'>{escape(name)}</a>"
    yield "</nav>"


def _badge(method: str) -> str:
    return f"<span class='method {method}'>{method.upper()}</span>"


def _security(document: Document) -> Iterator[str]:
    for scheme in document["components"].get("securitySchemes", {}).values():
        yield f" {_inline(scheme['description'])}, sent as <code>Authorization: Bearer …</code>."


def _operation(document: Document, path: str, method: str, operation: Document) -> Iterator[str]:
    yield f"<section id='{escape(operation['operationId'])}'>"
    yield f"<h2>{_badge(method)}<code>{escape(path)}</code></h2>"
    yield f"<p><b>{escape(operation.get('summary', ''))}</b></p>"
    yield _text(operation.get("description", ""))
    if operation.get("security") == []:
        yield "<p class=soft>Needs no token.</p>"
    if parameters := operation.get("parameters"):
        yield _table(["Parameter", "In", "Value", "", ""], (_parameter(each) for each in parameters))
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        yield "<h4>Body</h4>"
    for kind, media in content.items():
        yield f"<p><code>{escape(kind)}</code> {_type(media['schema'])}</p>"
        yield from _examples(kind, media)
    yield "<h4>Answers</h4>"
    yield _table(
        ["Status", "", "Body", "Headers"],
        (_answer(document, status, answer) for status, answer in operation["responses"].items()),
    )
    good = [item for item in operation["responses"].items() if item[0] < "4"]
    bad = [item for item in operation["responses"].items() if item[0] >= "4"]
    for status, answer in good:
        for media in answer.get("content", {}).values():
            yield from _examples(status, media)
    refusals = [
        example
        for status, answer in bad
        for media in answer.get("content", {}).values()
        for example in _examples(status, media)
    ]
    if refusals:
        yield f"<details><summary>Refusals</summary><div class=in>{''.join(refusals)}</div></details>"
    yield "</section>"


def _parameter(parameter: Document) -> list[str]:
    schema = parameter["schema"]
    needed = "required" if parameter.get("required") else ""
    if "default" in schema:
        needed = f"<code>{escape(json.dumps(schema['default']))}</code> unless given"
    examples = [parameter["example"]] if "example" in parameter else schema.get("examples", [])
    words = _inline(parameter.get("description", ""))
    if examples:
        words += f" <span class=soft>e.g. <code>{escape(str(examples[0]))}</code></span>"
    name = f"<code>{escape(parameter['name'])}</code>"
    return [name, escape(parameter["in"]), _type(schema), needed, words]


def _answer(document: Document, status: str, answer: Document) -> list[str]:
    bodies = "<br>".join(
        f"<code>{escape(kind)}</code> {_type(media['schema'])}"
        for kind, media in answer.get("content", {}).items()
    )
    headers = "<br>".join(
        f"<code title='{escape(_resolved(document, header).get('description', ''))}'>{escape(name)}</code>"
        for name, header in answer.get("headers", {}).items()
    )
    headers = f"<span class=heads>{headers}</span>"
    mark = f"<span class='status s{escape(status[0])}'>{escape(status)}</span>"
    return [mark, _inline(answer["description"]), bodies, headers]


def _resolved(document: Document, node: Document) -> Document:
    if "$ref" not in node:
        return node
    found: Any = document
    for step in node["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    resolved: Document = found
    return resolved


def _examples(words: str, media: Document) -> Iterator[str]:
    examples = {name: item["value"] for name, item in media.get("examples", {}).items()}
    if "example" in media:
        examples["example"] = media["example"]
    for name, value in examples.items():
        if isinstance(value, str):
            text = value
        elif "ndjson" in words:
            text = "\n".join(json.dumps(line) for line in value)
        else:
            text = json.dumps(value, indent=2, ensure_ascii=False)
        summary = f"<summary>{escape(words)}: {escape(name)}</summary>"
        yield f"<details>{summary}<pre>{escape(text)}</pre></details>"


def _schema(name: str, schema: Document) -> Iterator[str]:
    yield f"<h3 id='{escape(name)}'>{escape(name)}</h3>{_text(schema.get('description', ''))}"
    if rules := _rules(schema):
        yield f"<p class=soft>{rules}</p>"
    properties = schema.get("properties")
    if not properties:
        yield f"<p>{_type(schema)}</p>"
        return
    required = schema.get("required", [])
    yield _table(
        ["Field", "Value", "", ""],
        (
            [
                f"<code>{escape(field)}</code>",
                _type(item),
                "required" if field in required else "",
                _inline(item.get("description", "")),
            ]
            for field, item in properties.items()
        ),
    )


def _rules(schema: Document) -> str:
    """What a schema says of fields beside each other: one of these, none of those."""
    said = []
    if one := _fields(schema.get("anyOf", ())):
        said.append(f"Has at least one of {one}.")
    if none := _fields(schema.get("not", {}).get("anyOf", ())):
        said.append(f"Has none of {none}: that would be another form.")
    return " ".join(said)


def _fields(choices: Any) -> str:
    names = [name for choice in choices for name in choice.get("required", ())]
    return ", ".join(f"<code>{escape(name)}</code>" for name in names)


def _table(head: list[str], rows: Iterator[list[str]]) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{cell}' for cell in row)}" for row in rows)
    return f"<div class=scroll><table><tr>{''.join(f'<th>{name}' for name in head)}{lines}</table></div>"


def _type(schema: Document) -> str:
    """The type in a few words: names, choices and ranges."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    if schema.get("type") == "array":
        return f"array of {_type(schema.get('items', {}))}{_span(schema, 'minItems', 'maxItems')}"
    if schema.get("type") == "object" and (fields := schema.get("properties")):
        return "object of " + ", ".join(f"<code>{escape(name)}</code>" for name in fields)
    if choices := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(_type(choice) for choice in choices))
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    kind = schema.get("type", "anything")
    words = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return escape(words) + _span(schema, "minimum", "maximum") + _span(schema, "minLength", "maxLength")


def _span(schema: Document, least: str, most: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if low is None and high is None:
        return ""
    if (low, high) == (-(2**63), 2**63 - 1):
        return " <span class=soft>of 64 bits</span>"
    if high in (2**63 - 1, sys.float_info.max):
        high = None
    if low == -sys.float_info.max:
        return ""
    unit = {"minLength": " characters", "minItems": " of them"}.get(least, "")
    if high is None:
        return f" <span class=soft>from {low:,}{unit}</span>"
    if low is None:
        return f" <span class=soft>up to {high:,}{unit}</span>"
    return f" <span class=soft>{low:,} to {high:,}{unit}</span>"


def _text(text: str) -> str:
    """Paragraphs."""
    return "".join(f"<p>{_inline(part)}</p>" for part in text.split("\n\n") if part)


def _inline(text: str) -> str:
    """Text with what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
