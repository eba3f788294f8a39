"""The notebooks, cell by cell on the seeded store; what a cell shows is what its events say."""

from __future__ import annotations

import ast
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from seeded_store import DAY, FLEET, SINCE, UNTIL, Seeded, Seen, attempts, failures, received

FOLDER = Path(__file__).resolve().parents[2] / "docs/notebooks"
AT_SITE = attempts(one for one in received() if one.site == "Toronto")


def cells(name: str) -> Iterator[tuple[str, str, set[str]]]:
    """Of the cells of code: id, source, tags."""
    written = json.loads((FOLDER / name).read_text("utf-8"))
    assert (written["nbformat"], written["nbformat_minor"]) == (4, 5)
    for cell in written["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None, "commit it without outputs"
            yield cell["id"], "".join(cell["source"]), set(cell["metadata"].get("tags", ()))


def run(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; the value of its last line if that is an expression, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        exec(compile(tree, "cell", "exec"), names)
        return None
    exec(compile(ast.Module(tree.body[:-1], []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def share(events: list[Seen]) -> float:
    return len(failures(events)) / len(events)


def sites() -> list[dict[str, Any]]:
    rows = []
    for site in {one.site for one in received()}:
        own = attempts(one for one in received() if one.site == site)
        rows.append(
            {
                "site": site,
                "attempts": len(own),
                "failures": len(failures(own)),
                "share": round(share(own), 3),
            }
        )
    return sorted(rows, key=lambda row: -row["failures"])


def onset() -> datetime:
    steps: dict[datetime, list[Seen]] = defaultdict(list)
    for one in AT_SITE:
        steps[one.received - (one.received - DAY) % timedelta(minutes=5)].append(one)
    first = min(at for at, own in steps.items() if share(own) > 0.25)
    assert first == SINCE + timedelta(minutes=40)
    return first.replace(tzinfo=None)


def excess() -> list[tuple[float, str, str]]:
    rows = []
    for dimension in ("ssid", "ap", "band", "vendor"):
        for value in {getattr(one, dimension) for one in AT_SITE}:
            own = [one for one in AT_SITE if getattr(one, dimension) == value]
            others = [one for one in AT_SITE if getattr(one, dimension) != value]
            rows.append((round(len(failures(own)) - len(own) * share(others), 1), dimension, value))
    rows.sort(reverse=True)
    assert rows[0][1:] == ("ssid", "staff") and rows[0][0] > 2 * rows[1][0]
    return rows[:5]


def clients() -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for mac in {one.mac for one in failures(AT_SITE)}:
        first = min(one.received for one in failures(AT_SITE) if one.mac == mac)
        later = [one.received for one in AT_SITE if one.mac == mac and one.kind == "success"]
        back = [at for at in later if at > first]
        found[mac] = round((min(back) - first).total_seconds()) if back else None
    assert len(found) > 5
    return found


def test_the_incident(seeded: Seeded, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("CLICKHOUSE_DSN", f"http://analyst:{seeded.password}@{seeded.server.address}/tidegate")
    names: dict[str, Any] = {}
    shown = {}
    for id, source, tags in cells("incident.ipynb"):
        shown[id] = run(source, names)
        if "parameters" in tags:
            names.update(fleet=FLEET, since=SINCE, until=UNTIL)
    names["client"].close()
    assert list(shown) == ["connect", "parameters", "ask", "sites", "onset", "excess", "clients"]
    assert shown["sites"] == sites()
    assert shown["onset"] == onset()
    assert shown["excess"] == excess()
    assert shown["clients"] == clients()
    waits = [seconds for seconds in shown["clients"].values() if seconds is not None]
    assert waits == sorted(waits, reverse=True)
    drawn = capsys.readouterr().out.splitlines()
    steps = Counter(one.received - (one.received - DAY) % timedelta(minutes=5) for one in AT_SITE)
    assert [line.split()[-1] for line in drawn] == [str(steps[at]) for at in sorted(steps)]


def test_no_notebook_is_left_out() -> None:
    assert [path.name for path in FOLDER.iterdir()] == ["incident.ipynb"]
