"""The map of geo buckets: where sites are and devices report from, and how many of their attempts fail."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from tidegate.api.answer_cache import AnswerCache
from tidegate.api.dashboard import text, world
from tidegate.api.dashboard.web import Page, Viewer, render
from tidegate.api.dashboard.windows import window
from tidegate.api.reading import Reading
from tidegate.store import dashboard

router = APIRouter(route_class=Page, include_in_schema=False)


@router.get("/map")
async def map_page(
    request: Request,
    person: Viewer,
    of: str = "sites",
    length: Annotated[str, Query(alias="window")] = "2h",
) -> Response:
    """Buckets of the rollups by hour: of the sites of client events, or of devices' connection logs."""
    of = "logs" if of == "logs" else "sites"
    chosen = window(length, "", of=of if of == "logs" else "")
    reading: Reading = request.app.state.reading
    cache: AnswerCache = request.app.state.answer_cache
    since = (int(time.time()) // 60 * 60 - chosen.seconds) * 1_000_000
    asked = (dashboard.places_of_logs if of == "logs" else dashboard.places_of_sites)(person.fleet, since)
    answer = await cache.ask(("map", person.fleet, of, chosen.name), lambda: reading.rows(asked), fresh=10.0)
    buckets = [
        world.Bucket(
            geohash,
            attempts,
            failures,
            clients,
            f"{name}{f' and {names - 1} more' if names > 1 else ''} ({geohash}): "
            f"{text.percent(failures / attempts if attempts else None)} of {attempts:,} attempts fail,"
            f" {clients:,} {'devices' if of == 'logs' else 'clients'}",
        )
        for geohash, name, names, attempts, failures, clients in answer.value
    ]
    worst = sorted(zip(buckets, answer.value, strict=True), key=lambda each: -(each[0].share or 0))
    return render(
        request,
        person,
        "map.html",
        answer=answer,
        of=of,
        window=chosen,
        picture=world.draw(buckets, label=f"Map of {len(buckets)} places; the list below has the same"),
        rows=[(bucket, row[1]) for bucket, row in worst[:50]],
        count=len(buckets),
        sql=asked,
    )
