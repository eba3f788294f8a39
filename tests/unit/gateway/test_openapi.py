import json
from collections.abc import Iterator
from typing import Any

import pytest

from tidegate.contracts.forms import Event, examine
from tidegate.gateway.examine import Batch, Single, all_good, split
from tidegate.gateway.ingest import PATHS
from tidegate.gateway.openapi import document
from tidegate.gateway.problems import MEANINGS
from tidegate.service import swagger
from tidegate.settings import Settings

DOCUMENT = document(Settings(gateway_max_batch_events=1234))


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def test_every_reference_leads_somewhere() -> None:
    for reference in set(references(DOCUMENT)):
        node = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


@pytest.mark.parametrize("path", list(PATHS))
def test_every_example_of_a_body_is_good(path: str) -> None:
    stream = PATHS[path]
    content = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]
    for example in content["application/json"]["examples"].values():
        found = split(stream, json.dumps(example["value"]).encode(), "json", 1000)
        if isinstance(found, Single):
            assert isinstance(examine(stream, found.line), Event)
        else:
            assert isinstance(found, Batch)
            assert all(isinstance(examine(stream, bytes(line)), Event) for line in found.lines)
    ndjson = "\n".join(json.dumps(event) for event in content["application/x-ndjson"]["example"])
    lines = split(stream, ndjson.encode(), "ndjson", 1000)
    assert isinstance(lines, Batch) and len(lines.lines) >= 1
    assert stream == "connection_logs" or all_good(stream, lines.lines, 1 << 20)


@pytest.mark.parametrize("path", list(PATHS))
def test_every_answer_is_there_with_an_example(path: str) -> None:
    responses = DOCUMENT["paths"][path]["post"]["responses"]
    assert {int(status) for status in responses} >= {
        *(201, 207, 400, 401, 403, 405, 408, 413, 415, 422, 429, 500, 503)
    }
    for answer in responses.values():
        if "$ref" in answer:
            answer = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        (media,) = answer["content"].values()
        assert media.get("example") or media.get("examples")


def test_limits_and_codes_come_from_settings_and_tables() -> None:
    assert '"maxItems": 1234' in json.dumps(DOCUMENT)
    assert "1,234 events" in DOCUMENT["info"]["description"]
    codes = DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    assert set(codes) == {str(code) for code in MEANINGS}


def test_the_page_needs_nothing_from_outside() -> None:
    page = swagger.page("Tidegate <gateway>")
    assert "http://" not in page and "https://" not in page and "&lt;gateway&gt;" in page
    assert "<script>" not in page and "validatorUrl: null" in swagger.START
