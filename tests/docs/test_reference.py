"""The pages under docs/ name everything that users script against, and their tables are as the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from prometheus_client import REGISTRY

from tidegate import cli, settings, telemetry
from tidegate.contracts.rejects import Code, Kind
from tidegate.contracts.topics import CONTROL, PARTITIONED
from tidegate.gateway import ingest, problems


@pytest.fixture(scope="session")
def docs(repository: Path) -> Path:
    return repository / "docs"


def page(docs: Path, name: str) -> str:
    return (docs / name).read_text(encoding="utf-8")


def missing(names: list[str], text: str) -> list[str]:
    assert names
    return [name for name in names if f"`{name}`" not in text]


def test_the_generated_tables_are_as_the_code_says(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=repository, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_setting_is_documented(docs: Path) -> None:
    names = [name for row in settings.table() for name in (row.name, row.variable)]
    assert missing(names, page(docs, "settings.md")) == []


def test_every_metric_is_documented(docs: Path) -> None:
    assert telemetry.GATEWAY_EVENTS
    names = [
        metric.name + ("_total" if metric.type == "counter" else "")
        for metric in REGISTRY.collect()
        if metric.name.startswith("tidegate_")
    ]
    assert missing(names, page(docs, "metrics.md")) == []


def test_every_topic_is_documented(docs: Path) -> None:
    assert missing([*PARTITIONED, CONTROL], page(docs, "topics.md")) == []


def test_every_reject_is_documented(docs: Path) -> None:
    assert missing([*Kind, *Code], page(docs, "rejects.md")) == []


def test_every_kind_of_reject_says_what_to_do(docs: Path) -> None:
    advice = page(docs, "rejects.md").partition("## What to do")[2].partition("\n## ")[0]
    assert missing(list(Kind), advice) == []


def test_every_answer_of_the_gateway_is_documented(docs: Path) -> None:
    text = page(docs, "gateway.md")
    assert missing([str(code) for code in problems.MEANINGS], text) == []
    assert all(path in text for path in ingest.PATHS)


def commands(command: click.Command, path: list[str]) -> list[str]:
    found = [" ".join(path)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            assert member is not None
            found += commands(member, [*path, name])
    return found


def test_every_command_and_option_is_documented(docs: Path) -> None:
    assert missing(commands(cli.main, ["tidegate"])[1:], page(docs, "commands.md")) == []


def test_every_make_target_is_documented(repository: Path, docs: Path) -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (repository / "Makefile").read_text(), re.MULTILINE)
    names = [f"make {target}" for target in targets if target != "help"]
    assert missing(names, page(docs, "development.md")) == []


def pages(repository: Path) -> list[Path]:
    return [repository / "README.md", repository / "CHANGELOG.md", *(repository / "docs").rglob("*.md")]


def test_links_between_pages_lead_somewhere(repository: Path) -> None:
    broken = []
    for path in pages(repository):
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", prose(path)):
            page = path.parent / target if target else path
            if "://" not in target and not (
                page.exists() and (not anchor or page.suffix != ".md" or anchor in anchors(page))
            ):
                broken.append(f"{path.relative_to(repository)}: {target}#{anchor}")
    assert broken == []


def prose(path: Path) -> str:
    return re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page: Path) -> list[str]:
    """Those that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_every_source_file_that_the_pages_name_is_there(repository: Path) -> None:
    folders = ("src", "tests", "docs", "benchmarks", "deploy", "clients")
    files = [
        f"/{path.relative_to(repository)}" for name in folders for path in (repository / name).rglob("*.*")
    ]
    named = r"`([\w./-]+\.(?:py|rs|sql|sh|html|js))`"
    absent = [
        f"{path.relative_to(repository)}: {name}"
        for path in pages(repository)
        if path.name != "CHANGELOG.md"  # tells of files that are gone
        for name in re.findall(named, prose(path))
        if not any(file.endswith(f"/{name}") for file in files)
    ]
    assert absent == []


def test_decisions_are_numbered_once_and_say_what_was_given_up(docs: Path) -> None:
    found = sorted((docs / "decisions").glob("*.md"))
    numbers = [path.name[:4] for path in found]
    assert numbers == [f"{number:04d}" for number in range(1, len(found) + 1)]
    for path in found:
        text = path.read_text(encoding="utf-8")
        for part in (
            "**Context.**",
            "**Decision.**",
            "**What we gave up.**",
            "**What would change our mind.**",
        ):
            assert part in text, f"{path.name} lacks {part}"
