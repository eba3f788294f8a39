"""The API's OpenAPI 3.1 document: FastAPI's, completed by what FastAPI does not know of the answers."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from tidegate.api import examples, problems
from tidegate.api.client_events import ClientFailure, ClientIntermediate, ClientSuccess
from tidegate.service import openapi
from tidegate.service.openapi import Schema

METHODS = {"get", "post", "delete"}
REFS = "#/components/schemas/{model}"
DESCRIPTION = """\
What a client written against the reference documents reads: paths, parameters and bodies are theirs. A token
belongs to a fleet and sees that fleet only; a superuser's sees all.

Everything under `/V2` and `/V5` is there under `/new/webservice` too. Unknown parameters are ignored, an
invalid value is a 422 that names its parameter, a missing required parameter a 400. Lists run from newest to
oldest."""
TAGS = {
    "client events": "Connection logs and events of Wi-Fi clients",
    "association data": "The associations of a period, as a file",
    "access points": "Access points, as events show them and as the inventory file lists them",
    "device logs": "Operations and configuration changes of devices",
    "events": "A single event, by the id that its 201 gave",
    "catalogue": "What failure codes and intermediate events mean",
    "statistics": "Counts, rates and quantiles by dimension and window, out of the rollups",
    "webhooks": "Where a fleet's alerts are told, and what became of each notice",
    "insight": "Which site fails, at which stage, why, whom it hits, and what failures share",
}


def document(app: FastAPI, vendor_base: str) -> Schema:
    """The whole contract of the application's routes."""
    found = get_openapi(
        title=app.title,
        version=app.version,
        routes=app.routes,
        summary="What a client written against the reference documents reads.",
        description=DESCRIPTION,
        license_info=openapi.LICENSE,
        servers=[{"url": "/"}],
    )
    found["security"] = [{"bearer": []}]
    paths = found["paths"]
    for path, item in paths.items():
        for method in METHODS & item.keys():
            _complete(path, method, item[method])
        if path.startswith(("/V2/", "/V5/")):
            paths[path]["servers"] = [{"url": "/"}, {"url": vendor_base}]
    used = {tag for _, operation in operations(paths) for tag in operation["tags"]}
    found["tags"] = [{"name": tag, "description": TAGS.get(tag, tag)} for tag in sorted(used)] + [openapi.TAG]
    refusal = problems.responses()[404] | {"description": "No such code"}
    paths |= openapi.pages("ClickHouse answers and has the tables", problems.MEANINGS, refusal)
    components = found["components"]
    components["responses"] = _refusals()
    components["securitySchemes"] = openapi.SECURITY_SCHEMES
    components["headers"] = HEADERS
    components["schemas"] |= {"Problem": problems.SCHEMA} | _events()
    components["schemas"] = openapi.without_titles(components["schemas"])
    return found


def operations(paths: Schema) -> Iterator[tuple[str, Schema]]:
    """Path and operation of each call."""
    for path, item in paths.items():
        for method in METHODS & item.keys():
            yield path, item[method]


def _events() -> Schema:
    """The schemas of client events, again: FastAPI's pass through floats, which cannot tell 2**63 - 1."""
    models = [(model, "validation") for model in (ClientSuccess, ClientFailure, ClientIntermediate)]
    _, generated = models_json_schema(models, ref_template=REFS)  # type: ignore[arg-type]
    schemas: Schema = generated["$defs"]
    return schemas


HEADERS: Schema = {
    **openapi.HEADERS,
    "X-Total-Count": {
        "description": "How many match, whatever the page holds",
        "schema": {"type": "integer", "minimum": 0},
        "example": 130,
    },
    "Link": {
        "description": 'While there are more behind the page: the next one, with `rel="next"`',
        "schema": {"type": "string"},
        "example": '<http://127.0.0.1:8081/V5/devices/aps?offset=100&limit=100>; rel="next"',
    },
    "Content-Disposition": {
        "description": "Of a file: the name to keep it under",
        "schema": {"type": "string"},
        "example": 'attachment; filename="connectionlogs.csv"',
    },
}
REFUSAL_HEADERS = {"401": "WWW-Authenticate", "503": "Retry-After"}


def _complete(path: str, method: str, operation: Schema) -> None:
    name = path.strip("/").replace("{", "").replace("}", "")
    parts = [part for part in name.replace(".", "/").split("/") if part != "api"]
    operation["operationId"] = "_".join(parts if method == "get" else [*parts, method])
    operation["security"] = [{"bearer": []}]
    operation["description"] = " ".join(operation.get("description", "").split())
    for parameter in operation.get("parameters", ()):
        _settle(parameter)
    responses = operation["responses"]
    for status in responses:
        if status >= "4":
            responses[status] = {"$ref": f"#/components/responses/{status}"}
    if not operation.get("parameters") and "requestBody" not in operation:
        for status in ("400", "404", "422"):
            responses.pop(status, None)
    good = next(answer for status, answer in responses.items() if status < "3")
    if path.endswith("/aps"):
        good["headers"] = openapi.headers_of("X-Total-Count", "Link")
    if path.startswith("/V2/analytics/files/") or len(good.get("content", ())) > 1:
        good.setdefault("headers", {}).update(openapi.headers_of("Content-Disposition"))
    example = examples.EXAMPLES.get(path)
    if example is not None:
        media = next(iter(good["content"].values()))
        media["example"] = example


def _refusals() -> Schema:
    """The refusals, which all calls share, by status."""
    found: Schema = {str(status): answer for status, answer in problems.responses().items()}
    for status, header in REFUSAL_HEADERS.items():
        found[status]["headers"] = openapi.headers_of(header)
    return found


def _settle(parameter: Schema) -> None:
    """A parameter has no null: it is there, or it is not."""
    schema = parameter["schema"]
    choices = [choice for choice in schema.pop("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        schema |= choices[0]
    elif choices:
        schema["anyOf"] = choices
    schema.pop("description", None)
    if parameter["name"] == "id":
        schema["description"] = "An id that a 201 gave looks like `" + examples.ID + "`"
        parameter["example"] = examples.ID
    if parameter["name"] in PERIOD:
        parameter["example"] = PERIOD[parameter["name"]]
    parameter["schema"] = openapi.without_titles(schema)


PERIOD = {"startdate": "2024-01-14", "enddate": "2024-01-15", "from": "2024-01-14", "to": "2024-01-15"}
