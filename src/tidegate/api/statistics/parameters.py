"""The parameters of the statistics calls of a stream, and the selection of rows that they mean."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import GenericAlias
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BeforeValidator, WithJsonSchema

from tidegate.api.parameters import Flag, Instant, Integer, Rows, choice
from tidegate.api.problems import Problem
from tidegate.contracts.topics import Stream
from tidegate.settings import Settings
from tidegate.store.statistics import DIMENSIONS, SECONDS, Level, Selection, coarsest

DAY_SECONDS = 86_400
LAST_MINUTE = 4_294_967_280  # a bucket is an unsigned 32-bit number of seconds
GROUPS = 1000
"""Rows of an answer whose limit is not asked for."""

Step = Annotated[Literal["1m", "1h", "1d"], BeforeValidator(choice("1m", "1h", "1d"))]
_TYPES: Mapping[str, Any] = {"failure_code": Integer, "sub_failure_code": Integer, "clock_skew": Flag}


def one_of(values: Sequence[str]) -> Any:
    """The type of a parameter that takes one of them."""
    schema = {"type": "string", "enum": list(values)}
    return Annotated[str, BeforeValidator(choice(*values)), WithJsonSchema(schema)]


def several(kind: Any) -> Any:
    """The type of a parameter that may be repeated."""
    return GenericAlias(list, (kind,))


def parameter(
    name: str, kind: Any, description: str, default: Any = inspect.Parameter.empty, *, alias: str = ""
) -> inspect.Parameter:
    """A parameter of the query string. Without a default it is required."""
    annotation = Annotated[kind, Query(alias=alias or name, description=description)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def grouping(stream: Stream) -> inspect.Parameter:
    kind = several(one_of(DIMENSIONS[stream])) | None
    return parameter("by", kind, "Dimension to group by; repeat it for several", None)


def parameters(stream: Stream, by: inspect.Parameter) -> list[inspect.Parameter]:
    """Those that all calls of a stream share: window, step, groups, limit, and a filter a dimension."""
    filters = [
        parameter(
            name,
            several(_TYPES.get(name, str)) | None,
            f"Events of this {name} alone; repeat it for several",
            None,
        )
        for name in DIMENSIONS[stream]
    ]
    start = "Start, to the minute; a day before `to` unless given"
    return [
        parameter("since", Instant | None, start, None, alias="from"),
        parameter(
            "until", Instant | None, "End, not included, to the minute; now unless given", None, alias="to"
        ),
        parameter("step", Step | None, "A row for each minute, hour or day; else the whole window", None),
        by,
        *filters,
        parameter("limit", Rows, "Rows of the answer", GROUPS),
    ]


def selection(
    settings: Settings, stream: Stream, fleet: str | None, given: Mapping[str, Any], now: float
) -> Selection:
    """What `parameters` were given for. Raises Problem for a window that cannot be answered for."""
    since, until = window(given["since"], given["until"], now)
    return Selection(
        stream=stream,
        level=level(settings, fleet, since, until, given["step"], now),
        fleet=fleet,
        since=since,
        until=until,
        step=given["step"],
        by=tuple(dict.fromkeys(given["by"] or ())),
        filters={name: given[name] for name in DIMENSIONS[stream] if given[name] is not None},
        limit=given["limit"],
    )


def window(since: int | None, until: int | None, now: float) -> tuple[int, int]:
    """The whole minutes (s) that hold the window between two moments (µs)."""
    end = math.ceil(now) if until is None else -(-until // 1_000_000)
    end = min(-(-end // 60) * 60, LAST_MINUTE)
    begin = max(0, end - DAY_SECONDS if since is None else since // 60_000_000 * 60)
    if begin >= end:
        raise Problem("out_of_range", "the window is empty", path="to", allowed="a time after `from`")
    return begin, end


def level(
    settings: Settings, fleet: str | None, since: int, until: int, step: Level | None, now: float
) -> Level:
    """The rollup to read of a fleet, or of all. Raises Problem for a window of which only a part is kept."""
    days: Mapping[Level, int] = {
        "1m": settings.ttl_rollups_1m_days,
        "1h": settings.ttl_rollups_1h_days,
        "1d": settings.ttl_rollups_1d_days,
    }
    # Rows are deleted by their received day; their events happened so much earlier or later.
    slack = settings.worker_clock_skew_seconds + DAY_SECONDS
    whole_since: dict[Level, int] = {
        name: int(now) - kept * DAY_SECONDS + slack if kept else 0
        for name, of_table in days.items()
        for kept in [settings.kept_days(fleet or "", of_table)]
    }
    found = coarsest(since, until, step, whole_since)
    if found is not None:
        return found
    possible = [name for name in SECONDS if step is None or SECONDS[name] <= SECONDS[step]]
    raise Problem(
        "out_of_range",
        "no rollup that could answer exactly is kept that long",
        path="from",
        found=text_of(since),
        allowed=", ".join(f"whole {_UNITS[name]} since {text_of(whole_since[name])}" for name in possible),
    )


def text_of(seconds: int) -> str:
    """A moment as the answers show it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_UNITS: Mapping[Level, str] = {"1m": "minutes", "1h": "hours", "1d": "days"}
