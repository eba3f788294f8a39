"""Write the generated parts of the reference pages anew from the code; `--check` says where they differ.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; what is around it is written by hand.
The contracts for machines are generated whole: the OpenAPI documents, the AsyncAPI document, JSON Schemas. So
are the chart's copies of the alert rules and dashboards.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncapi
import click

from tidegate import cli, settings, telemetry
from tidegate.api.app import build
from tidegate.contracts import alerts, counts, failures, frames, rejects
from tidegate.gateway import openapi, problems

DOCS = Path(__file__).resolve().parent
DEPLOY = DOCS.parent / "deploy"
CHART_FILES = DEPLOY / "helm" / "tidegate" / "files"
PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def sections(head: list[str], groups: dict[str, list[list[str]]]) -> str:
    return "\n".join(f"## {title}\n\n{table(head, rows)}" for title, rows in groups.items())


# --- settings


def settings_part() -> str:
    headings = dict(_headings(settings.Settings))
    groups: dict[str, list[list[str]]] = {}
    for row in settings.table():
        default = f"`{row.default}`" if row.default != "" else ""
        name = f"`{row.name}`<br>`{row.variable}`"
        note = (
            f" (a secret: masked by `tidegate check`, or in the file that `{row.file_variable}` names)"
            if row.secret
            else ""
        )
        groups.setdefault(headings[row.name], []).append([name, row.type.__name__, default, row.help + note])
    return sections(["setting, variable", "type", "default", "what it does"], groups)


def _headings(class_: type) -> Iterator[tuple[str, str]]:
    """Field and the comment that stands, after a blank line, over its group."""
    heading, before = "", ""
    for line in inspect.getsource(class_).splitlines():
        if not before.strip() and (comment := re.match(r" {4}# (.+)", line)):
            heading = comment[1]
        if field := re.match(r" {4}(\w+): ", line):
            yield field[1], heading
        before = line


# --- metrics


def metrics_part() -> str:
    lines = inspect.getsource(telemetry).splitlines()
    groups: dict[str, list[list[str]]] = {}
    for node in ast.parse("\n".join(lines)).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        kind = ast.unparse(node.value.func)
        if kind not in {"Counter", "Gauge", "Histogram"}:
            continue
        name, what, *rest = (ast.literal_eval(argument) for argument in node.value.args)
        labels = ", ".join(f"`{label}`" for label in (rest[0] if rest else ()))
        role = name.split("_")[1]
        title = {"api": "Query API", "http": "HTTP, at every role"}.get(role, role.capitalize())
        groups.setdefault(title, []).append(
            [f"`{name}`", kind.lower(), labels, what, _comment(lines, node.lineno)]
        )
    return sections(["metric", "type", "labels", "what it is", "when it moves"], groups)


def _comment(lines: list[str], number: int) -> str:
    """The comment over a line (counted from 1)."""
    found: list[str] = []
    while (line := lines[number - 2 - len(found)]).startswith("# "):
        found.insert(0, line[2:])
    return " ".join(found)


# --- records


def fields_part(module: ModuleType, class_: type) -> Callable[[], str]:
    """A table of a record's fields, with the comment behind each."""

    def part() -> str:
        rows = [[f"`{name}`", _json_type(type_), words] for name, type_, words in _fields(class_)]
        assert rows, (module, class_)
        return table(["field", "type", "what it is"], rows)

    return part


def _fields(class_: type) -> Iterator[tuple[str, str, str]]:
    """Name, annotation and comment of each field of a record."""
    for line in inspect.getsource(class_).splitlines():
        if field := re.match(r" {4}(\w+): ([^=#]+?)(?: = [^#]+?)?(?:  # (.+))?$", line):
            yield field[1], field[2].strip(), field[3] or PLAIN[field[1]]


def described(class_: type) -> dict[str, str]:
    """The fields of a record with what each means."""
    return {name: words for name, _, words in _fields(class_)}


def _json_type(annotation: str) -> str:
    base, _, null = annotation.partition(" | ")
    if base.startswith("Literal["):
        return " or ".join(f"`{value}`" for value in ast.literal_eval(base.removeprefix("Literal")))
    name = {"int": "number", "float": "number", "bool": "true or false"}.get(base, "text")
    if base in ("Scope", "Impact", "Cause"):
        name = "object"
    if base.startswith(("list", "dict")):
        name = {"list": "array", "dict": "object"}[base.partition("[")[0]]
    return f"{name} or null" if null else name


# What the source does not comment on, because its name says it to whoever reads the source.
PLAIN = {
    "accepted": "lines that are rows of this frame",
    "action": "what to do about it",
    "allowed": "what may stand there",
    "ap": "access point",
    "ap_name": "name of the access point",
    "aps_seen": "access points at all",
    "attempts": "attempts",
    "bssid": "MAC address of the access point's radio",
    "cause": "what the failures have in common, below",
    "clients_seen": "distinct clients at all",
    "clock_skew": "whether the device's clock is far off",
    "code": "why, fine",
    "aps": 'rows of ap, stage, events, clients: attempts by access point; stage "" the successes',
    "counts": "rows of ssid, stage, outcome, events, code, sub_code, clients",
    "created_at": "when the topics were created",
    "detail": "the same for people",
    "duplicates": "lines that repeat an earlier event",
    "epoch": "life of the topics",
    "event_time": "when it happened by the device's clock",
    "failures": "failures among them",
    "fleet": "fleet",
    "found": "what stood there, at most 80 characters",
    "id": "public id: the position written down",
    "impact": "how many it hits, below",
    "incident": "the same for alerts that belong together: stages of a site, sites of a fleet",
    "index": "line in the raw frame, counted from 0",
    "kind": "why, coarse",
    "latencies": "histograms of successes by name (aaa, dhcp, dns): an object of bucket and number",
    "lines": "lines of the raw frame, blank ones not counted",
    "offset": "offset of the raw record",
    "original_encoding": "how `original` is written",
    "partition": "partition of the raw topic",
    "path": "field in the sender's spelling, empty for the whole line",
    "received_at": "when it came in",
    "rejected": "lines that were refused",
    "rule": "rule that raised it",
    "scope": "what it is about, below",
    "severity": "`info`, `warning` or `critical`",
    "signal": "what the rule watches",
    "signals": "rows of name, ssid, events, clients: disassociations, clock_skew, insecure, unapproved",
    "since": "when it was paused, ISO 8601, UTC",
    "site": "site, null for none",
    "source_offset": "offset of the raw record",
    "source_partition": "partition of the raw topic, and of this record",
    "ssid": "name of the network",
    "stage": "step that refused it",
    "state": "`open`, `acked`, `flapping`, `silenced` or `resolved`",
    "stream": "`connection_logs`, `client_events` or `device_logs`",
    "sub_code": "failure within its class",
    "transform_version": "setting `transform_version` of the worker",
    "value": "that value",
}


def rejects_part() -> str:
    why = _members(rejects.Kind)
    rows = []
    for kind in rejects.Kind:
        codes = [f"`{code}`" for code in rejects.Code if rejects.KIND_OF[code] is kind]
        rows.append([f"`{kind}`", why[kind.name], ", ".join(codes), str(rejects.STATUS_OF[kind])])
    return table(["kind", "why", "codes", "gateway's answer"], rows)


def _members(class_: type) -> dict[str, str]:
    found = re.findall(r"^ {4}([A-Z_0-9]+) = .*?  # (.+)$", inspect.getsource(class_), re.MULTILINE)
    return dict(found)


# --- commands


def commands_part() -> str:
    root = cli.main
    return "\n".join(_command(root, ["tidegate"]))


def _command(command: click.Command, path: list[str]) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(path))
    if len(path) > 1:
        yield f"## `{' '.join(path)}`\n\n{inspect.cleandoc(command.help or '')}\n"
        rows = [_option(parameter, context) for parameter in command.params]
        if rows:
            yield table(["option", "default", "what it does"], rows)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            assert member is not None
            yield from _command(member, [*path, name])


def _option(parameter: click.Parameter, context: click.Context) -> list[str]:
    if isinstance(parameter, click.Argument):
        required = "" if parameter.required else " (may be left out)"
        return [f"`{parameter.human_readable_name}`{required}", "", ""]
    assert isinstance(parameter, click.Option)
    name = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
    metavar = "" if parameter.is_flag else f" `{parameter.make_metavar(context)}`"
    default: Any = parameter.get_default(context)
    shown = parameter.show_default and default is not None and isinstance(default, str | int | float)
    return [name + metavar, f"`{default}`" if shown and not parameter.is_flag else "", parameter.help or ""]


def problems_part() -> str:
    rows = [[f"`{code}`", meaning.title, meaning.advice] for code, meaning in problems.MEANINGS.items()]
    return table(["code", "what it is", "what to do"], rows)


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings_part,
    "metrics": metrics_part,
    "commands": commands_part,
    "problems": problems_part,
    "rejects": rejects_part,
    "reject-fields": fields_part(rejects, rejects.Reject),
    "failure-fields": fields_part(failures, failures.Failure),
    "alert-fields": fields_part(alerts, alerts.Alert),
    "alert-scope": fields_part(alerts, alerts.Scope),
    "alert-impact": fields_part(alerts, alerts.Impact),
    "alert-cause": fields_part(alerts, alerts.Cause),
    "health-fields": fields_part(counts, counts.MinuteCounts),
    "enriched-headers": fields_part(frames, frames.EnrichedHeaders),
}


def rewritten(text: str) -> str:
    """The page with its generated parts as they should be."""
    return PART.sub(lambda match: f"{match[1]}\n{PARTS[match[2]]()}\n{match[3]}", text)


def contracts() -> dict[Path, str]:
    """The contracts for machines, by file."""
    defaults = settings.Settings()
    schemas = asyncapi.components(described)
    documents: dict[str, Any] = {
        "openapi-gateway.json": openapi.document(defaults),
        "openapi-api.json": build(defaults).openapi(),
        "asyncapi.json": asyncapi.document(schemas, defaults),
    }
    for name in schemas:
        documents[f"schemas/{name}.json"] = asyncapi.standing_alone(name, schemas)
    return {
        DOCS / name: json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        for name, document in documents.items()
    }


def chart_files() -> dict[Path, str]:
    """What the chart carries a copy of, since Helm reads nothing outside of it."""
    found = {CHART_FILES / path.name: path for path in DEPLOY.glob("prometheus/*-rules.yml")}
    dashboards = CHART_FILES / "dashboards"
    found |= {dashboards / path.name: path for path in DEPLOY.glob("grafana/dashboards/*.json")}
    return {copy: path.read_text(encoding="utf-8") for copy, path in found.items()}


def wanted_files() -> Iterator[tuple[Path, str]]:
    """Every file that is generated, wholly or in part, and its text as it should be; empty: no file."""
    for path in sorted(DOCS.rglob("*.md")):
        yield path, rewritten(path.read_text(encoding="utf-8"))
    written = contracts()
    yield from written.items()
    copies = chart_files()
    yield from copies.items()
    there = [*(DOCS / "schemas").glob("*.json"), *CHART_FILES.rglob("*.*")]
    for path in sorted(path for path in there if path.is_file()):
        if path not in written and path not in copies:
            yield path, ""


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    if arguments and not check:
        print("usage: python docs/generate.py [--check]", file=sys.stderr)
        return 2
    stale = 0
    for path, wanted in wanted_files():
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if wanted == text:
            continue
        stale += 1
        if check:
            names = (str(path.relative_to(DOCS.parent)), "as the code says")
            sys.stdout.writelines(
                difflib.unified_diff(text.splitlines(True), wanted.splitlines(True), *names)
            )
        elif not wanted:
            path.unlink()
            print(f"removed {path.relative_to(DOCS.parent)}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted, encoding="utf-8")
            print(f"wrote {path.relative_to(DOCS.parent)}")
    if check and stale:
        print(f"{stale} page(s) are not as the code says: run `make docs`")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
