"""Statistics out of the rollups: outcomes by stage, latency, failure classes, blast radius, top, distinct.

Each stream has its own calls, because each has its own dimensions: their signatures are made for the stream.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, BeforeValidator, Field
from starlette.requests import Request

from tidegate.api.access import AnyReader, Reader
from tidegate.api.lookup_files import LookupFiles
from tidegate.api.parameters import MAX_ROWS, Flag, integer
from tidegate.api.reading import Reading
from tidegate.api.statistics import answers
from tidegate.api.statistics.parameters import (
    grouping,
    one_of,
    parameter,
    parameters,
    selection,
    several,
    text_of,
)
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.lookups import Lookups
from tidegate.lookups.failures import Seen
from tidegate.lookups.stages import ACTIONS, STAGES
from tidegate.store import statistics
from tidegate.store.queries import Query
from tidegate.store.statistics import (
    DIMENSIONS,
    FAILURE_CLASS,
    LATENCIES,
    METRICS,
    TOUCHED,
    Selection,
    countable,
)

router = APIRouter(tags=["statistics"])
_encode = msgspec.json.Encoder().encode

ORDERED = ("association", "authentication", "aaa", "dhcp", "dns", "network")
"""The stages of a connection attempt, in its order; the other stages have no place in it."""

NO_CODE = -1
RECENT_SECONDS = 2 * 86_400
Texts = Mapping[tuple[int | None, int | None], tuple[str, str]]

Row = Mapping[str, Any]
Count = Annotated[int, Field(ge=1, le=MAX_ROWS), BeforeValidator(integer)]


class Asked(NamedTuple):
    """A question. `own` has the parameters of one call alone."""

    request: Request
    selection: Selection
    own: Mapping[str, Any]

    async def rows(self, query: Query) -> list[Sequence[Any]]:
        reading: Reading = self.request.app.state.reading
        return await reading.rows(query)

    async def texts(self) -> Texts:
        """The texts that events had with their code and sub-code; none in streams without codes."""
        if "failure_code" not in FAILURE_CLASS[self.selection.stream]:
            return {}
        query = statistics.texts(self.selection, int(time.time()) - RECENT_SECONDS)
        return {
            (None if code == NO_CODE else code, None if sub_code == NO_CODE else sub_code): (failure, detail)
            for code, sub_code, failure, detail in await self.rows(query)
        }

    async def lookups(self) -> Lookups:
        files: LookupFiles = self.request.app.state.lookups
        return await files.read()

    def answer(
        self,
        found: Sequence[Sequence[Any]],
        row: Callable[..., Row],
        *,
        keys: Sequence[str] = (),
        **more: Any,
    ) -> Response:
        """The answer of rows (time, groups, keys, values). `row` makes one of its groups and keys by name,
        and the values."""
        wanted = self.selection
        names = (*wanted.by, *keys)
        rows = []
        for start, *values in found[: wanted.limit]:
            named = dict(zip(names, values, strict=False))
            head = {
                "time": None if wanted.step is None else text_of(start),
                "group": {name: named[name] for name in wanted.by},
            }
            rows.append({**head, **row(named, *values[len(names) :])})
        answer = {
            "stream": wanted.stream,
            "rollup": wanted.table,
            "from": text_of(wanted.since),
            "to": text_of(wanted.until),
            "step": wanted.step,
            "by": wanted.by,
            "truncated": len(found) > wanted.limit,
            **more,
            "rows": rows,
        }
        return Response(_encode(answer), media_type="application/json")


# Calls


async def outcomes(asked: Asked) -> Response:
    """Events by outcome, and for each stage how many attempts came to it and failed in it. An attempt that
    failed in a stage has passed the ones before."""

    def row(_: Row, events: int, *counts: Any) -> Row:
        success, failure, intermediate, unknown, clients, by_stage = counts
        return {
            "events": events,
            "success": success,
            "failure": failure,
            "intermediate": intermediate,
            "unknown": unknown,
            "success_rate": rate(success, failure),
            "clients": clients,
            "stages": stages(success, dict(zip(*by_stage, strict=True))),
        }

    return asked.answer(await asked.rows(statistics.outcomes(asked.selection)), row)


def stages(successes: int, failed: Mapping[str, int]) -> list[Row]:
    """What became of the attempts at each stage, of those that succeeded and those that failed by stage.

    A success has passed every stage, a failure the ones before its own. A stage that has no place in that
    order was reached by the successes and its own failures; it is named where it has some.
    """
    passed = {
        stage: successes + sum(failed.get(later, 0) for later in ORDERED[place + 1 :])
        for place, stage in enumerate(ORDERED)
    }
    others = [stage for stage in STAGES if stage in failed and stage not in passed]
    passed |= dict.fromkeys([*others, *sorted(failed.keys() - {*STAGES})], successes)
    return [
        {
            "stage": stage,
            "reached": through + failed.get(stage, 0),
            "failed": failed.get(stage, 0),
            "success_rate": rate(through, failed.get(stage, 0)),
        }
        for stage, through in passed.items()
    ]


async def latency(asked: Asked) -> Response:
    """Quantiles of the latencies of each group, in milliseconds (`duration` in seconds)."""
    names = tuple(dict.fromkeys(asked.own["metric"] or LATENCIES[asked.selection.stream]))
    quantiles = tuple(answers.Quantiles.model_fields)

    def row(_: Row, events: int, *measured: Sequence[float]) -> Row:
        values = [dict(zip(quantiles, map(number, each), strict=True)) for each in measured]
        return {"events": events, "latency": dict(zip(names, values, strict=True))}

    return asked.answer(await asked.rows(statistics.latency(asked.selection, names)), row)


async def failures(asked: Asked) -> Response:
    """Failures by class, the most frequent first. A class is a failure code and sub-code with their stage
    where the stream has codes, else a stage. Texts are those of the events, else the catalogue's."""
    lookups, texts = await asked.lookups(), await asked.texts()

    def row(named: Row, events: int, share: float, clients: int) -> Row:
        return {
            "events": events,
            **meaning(lookups, texts, named),
            "clients": clients,
            "share": share,
        }

    found = await asked.rows(statistics.failures(asked.selection))
    return asked.answer(found, row, keys=statistics.class_keys(asked.selection))


async def blast_radius(asked: Asked) -> Response:
    """How many clients, access points, sites and SSIDs each class of failures touches, the widest first;
    `of` says how many there are in the window."""
    lookups, texts = await asked.lookups(), await asked.texts()
    stream = asked.selection.stream

    def touched(counts: Sequence[int]) -> dict[str, int | None]:
        known = dict(zip(TOUCHED[stream], counts, strict=True))
        return {name: known.get(name) for name in answers.Touched.model_fields}

    def row(named: Row, events: int, first: int, last: int, *counts: int) -> Row:
        reach = touched(counts)
        return {
            "events": events,
            **meaning(lookups, texts, named),
            "clients": reach["clients"],
            "first": text_of(first),
            "last": text_of(last),
            "touched": reach,
        }

    found = await asked.rows(statistics.blast_radius(asked.selection))
    [whole] = await asked.rows(statistics.everything(asked.selection))
    return asked.answer(found, row, keys=statistics.class_keys(asked.selection), of=touched(whole))


async def top(asked: Asked) -> Response:
    """The values of a dimension, or the combinations of several, that rank highest by a metric; those
    without a value come last."""
    metric = asked.own["metric"]

    def row(_: Row, value: float | None, events: int, clients: int) -> Row:
        return {"value": number(value), "events": events, "clients": clients}

    query = statistics.top(
        asked.selection, metric, asked.own["count"], ascending=bool(asked.own["ascending"])
    )
    return asked.answer(await asked.rows(query), row, metric=metric)


async def distinct(asked: Asked) -> Response:
    """How many different values there are. What was not sent does not count. Clients are exact up to some
    ten thousand, beyond that within about a per cent."""
    names = tuple(dict.fromkeys(asked.own["of"] or ("clients",)))

    def row(_: Row, events: int, *counts: int) -> Row:
        return {"events": events, "distinct": dict(zip(names, counts, strict=True))}

    return asked.answer(await asked.rows(statistics.distinct(asked.selection, names)), row)


def meaning(lookups: Lookups, texts: Texts, named: Row) -> Row:
    """What a class means: its texts as the events have them, else as the catalogue has."""
    code, sub_code = (
        None if value is None or value == NO_CODE else value
        for value in (named.get("failure_code"), named.get("sub_failure_code"))
    )
    failure, detail = texts.get((code, sub_code), ("", ""))
    stage = named["stage"]
    known = lookups.failures.meaning(Seen(code, sub_code, failure or None, detail or None))
    action = known.action if code is not None and known.known else ACTIONS.get(stage, "")
    return {
        "failure_code": named.get("failure_code"),
        "sub_failure_code": named.get("sub_failure_code"),
        "failure": known.failure,
        "sub_failure": known.sub_failure,
        "stage": stage,
        "action": action,
    }


def rate(good: int, bad: int) -> float | None:
    return good / (good + bad) if good + bad else None


def number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


# Routes


class Call(NamedTuple):
    answer: Callable[[Asked], Awaitable[Response]]
    model: type[BaseModel]
    summary: str
    own: Callable[[Stream], Sequence[inspect.Parameter]] = lambda _: ()
    by: Callable[[Stream], inspect.Parameter] = grouping


def _of_latency(stream: Stream) -> Sequence[inspect.Parameter]:
    kind = several(one_of(tuple(LATENCIES[stream]))) | None
    return [parameter("metric", kind, "Which latency; all of them unless asked otherwise", None)]


def _of_top(stream: Stream) -> Sequence[inspect.Parameter]:
    return [
        parameter("metric", one_of(tuple(METRICS[stream])), "What they are ranked by", "events"),
        parameter("count", Count, "How many, of each step", 10),
        parameter("ascending", Flag, "The lowest first", False),
    ]


def _by_of_top(stream: Stream) -> inspect.Parameter:
    return parameter(
        "by",
        several(one_of(DIMENSIONS[stream])),
        "Dimension whose values are ranked; repeat it for combinations",
    )


def _of_distinct(stream: Stream) -> Sequence[inspect.Parameter]:
    kind = several(one_of(countable(stream))) | None
    return [parameter("of", kind, "What is counted; clients unless asked otherwise", None)]


CALLS: Mapping[str, Call] = {
    "outcomes": Call(outcomes, answers.Outcomes, "success per stage"),
    "latency": Call(latency, answers.Latency, "latency quantiles", _of_latency),
    "failures": Call(failures, answers.FailureClasses, "failure classes"),
    "blast_radius": Call(blast_radius, answers.BlastRadius, "blast radius of failures"),
    "top": Call(top, answers.Top, "top values", _of_top, _by_of_top),
    "distinct": Call(distinct, answers.Distinct, "distinct values", _of_distinct),
}


def endpoint(stream: Stream, call: Call) -> Callable[..., Awaitable[Response]]:
    """The call for one stream, with the signature that FastAPI reads its parameters from."""
    own = call.own(stream)

    async def stats(request: Request, reader: Reader, **given: Any) -> Response:
        settings = request.app.state.settings
        wanted = selection(settings, stream, reader.fleet, given, time.time())
        return await call.answer(Asked(request, wanted, {each.name: given[each.name] for each in own}))

    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = [
        inspect.Parameter("request", keyword, annotation=Request),
        inspect.Parameter("reader", keyword, annotation=AnyReader),
        *own,
        *parameters(stream, call.by(stream)),
    ]
    stats.__signature__ = inspect.Signature(signature, return_annotation=Response)  # type: ignore[attr-defined]
    return stats


for _stream in STREAMS:
    for _name, _call in CALLS.items():
        if _name == "latency" and not LATENCIES[_stream]:
            continue  # device logs have none
        router.add_api_route(
            f"/api/v1/stats/{_stream}/{_name}",
            endpoint(_stream, _call),
            name=f"{_stream}_{_name}",
            summary=f"{_call.summary.capitalize()}: {_stream}",
            description=inspect.getdoc(_call.answer),
            responses={200: {"model": _call.model}},
        )
