"""docs/api-conformance.md: every row names tests that there are, and all that the documents, the models
and the samples name has its row."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import builders

ROLES = ("superuser", "administrator", "operator", "viewer", "ingest")
WRITE_CONNECTION_LOGS = "`POST /api/v1/device_app_connection_log/`"
CONNECTION_LOGS = "`GET /V5/devices/clients/connectionlogs`"
CLIENT_EVENTS = "`GET /V5/devices/clientevents/{macaddress}/{offset}/{limit}`"
ASSOCIATIONS = "`GET /V2/analytics/associationdata/{startdate}/{enddate}`"
ACCESS_POINTS = "`GET /V5/devices/aps`"
DEVICE_LOGS = "`GET /api/v1/inventory_device_log/` and `GET /api/v1/inventory_device_log/{id}/`"
WRITE_OTHERS = "`POST /api/v1/client_events/` and `POST /api/v1/inventory_device_log/`"

DOCUMENTS: dict[str, str] = {
    # What each section must have a row for beside the keys of the samples: statuses and parameters of the
    # documents, and the attributes of their tables that no sample shows.
    WRITE_CONNECTION_LOGS: "data 201 400 401 422 500",
    CONNECTION_LOGS: "200 clientmacaddress fromtime totime logtype failuretype limit",
    CLIENT_EVENTS: "200 macaddress offset limit locationid nodeid totalcountrequired fromtime totime"
    " clienteventtype failureoreventtypecode eventcategory protocol ssid",
    ASSOCIATIONS: "startdate enddate format tohashmac location",
    ACCESS_POINTS: "200 macaddress locationid capability sortcolumn sortascending",
    DEVICE_LOGS: "200 401 403 404 id datetime__gte datetime__lte parent__id action is_pending is_applied"
    " variable_name cursor limit",
    WRITE_OTHERS: "",
}
SAMPLES: dict[str, tuple[str, ...]] = {
    WRITE_CONNECTION_LOGS: (
        "app_connection_log.request",
        "app_connection_log.response",
        "app_connection_event.request",
        "app_connection_event.response",
        "app_connection_event.legacy_response",
    ),
    CONNECTION_LOGS: ("client_connection_logs.response",),
    CLIENT_EVENTS: ("client_events.response",),
    DEVICE_LOGS: ("inventory_device_log.list", "inventory_device_log.detail"),
}
ROW_BY_ROW = re.compile(
    r"::test_a_(field|reply_key|key_of_\w+|parameter|path_parameter|parameter_of_\w+|path_parameter_of_\w+"
    r"|filter_of_\w+|column|status|role_and_a_call)\["
)
"""Tests of which each case is a row."""


class Row(NamedTuple):
    section: str
    what: str
    says: str
    does: str
    tests: tuple[str, ...]  # ids under tests/, braces written out

    @property
    def names(self) -> set[str]:
        quoted = re.findall(r"`([^`]+)`", self.what)
        return {*quoted, *re.split(r",? ", self.what)}


def expanded(text: str) -> Iterator[str]:
    """As the shell does it."""
    before, brace, rest = text.partition("{")
    if not brace:
        yield text
        return
    inner, _, after = rest.partition("}")
    for one in inner.split(","):
        yield from expanded(before + one + after)


@pytest.fixture(scope="module")
def rows(repository: Path) -> list[Row]:
    found: list[Row] = []
    section = ""
    for line in (repository / "docs" / "api-conformance.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith("| ---") and "| the document says |" not in line:
            what, says, does, cell = line.removeprefix("| ").removesuffix(" |").split(" | ")
            tests = tuple(one for id in re.findall(r"`([^`]+)`", cell) for one in expanded(id))
            found.append(Row(section, what, says, does, tests))
    assert len(found) > 250
    return found


@cache
def collected(repository: Path, files: tuple[str, ...]) -> frozenset[str]:
    """The ids of all tests of some files under tests/."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=repository / "tests",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return frozenset(
        line.removeprefix("tests/") for line in done.stdout.splitlines() if re.match(r"\S+\.py::", line)
    )


@pytest.fixture(scope="module")
def there(repository: Path, rows: list[Row]) -> frozenset[str]:
    files = {test.partition("::")[0] for row in rows for test in row.tests}
    missing = {file for file in files if not (repository / "tests" / file).is_file()}
    assert not missing
    return collected(repository, tuple(sorted(files)))


def test_every_row_says_all_and_names_tests_that_are_there(rows: list[Row], there: frozenset[str]) -> None:
    functions = {id.partition("[")[0] for id in there}
    for row in rows:
        assert row.what and row.says and row.does and row.tests, row
        missing = [test for test in row.tests if test not in there and test not in functions]
        assert not missing, (row.what, missing)


def test_every_case_that_is_a_row_has_its_row(rows: list[Row], there: frozenset[str]) -> None:
    """The cases are the models' fields, the replies' keys, the parameters, statuses and roles."""
    named = {test for row in rows for test in row.tests}
    cases = {id for id in there if ROW_BY_ROW.search(id)}
    assert len(cases) > 400
    assert cases - named == set()


def paths(document: Any, prefix: str = "") -> Iterator[str]:
    """The keys of a sample: those of objects in lists stand for themselves, those of objects behind a dot."""
    for key, value in document.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from paths(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            for item in value:
                yield from paths(item)


@pytest.mark.parametrize("section", DOCUMENTS)
def test_everything_that_a_document_names_has_its_row(rows: list[Row], section: str) -> None:
    names = {name for row in rows if row.section == section for name in row.names}
    wanted = {*DOCUMENTS[section].split(), *(f"role {role}" for role in ROLES)}
    for sample in SAMPLES.get(section, ()):
        wanted |= set(paths(builders.sample(sample)))
    if section == WRITE_CONNECTION_LOGS:
        wanted |= set(builders.legacy_log())
    assert wanted - names - {row.what for row in rows if row.section == section} == set()
