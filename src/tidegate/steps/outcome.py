"""Outcome of each event: did the attempt succeed, and if not, at which stage and what to do.

- client_events: by event type; a failure's stage, action and missing texts from the failure catalogue.
- connection_logs: the network form reports a connection that stands: success. The session form and the
  legacy body by the words of their status (else of their connection type).
- device_logs: applied is success, pending intermediate, neither a failure at stage ``configuration``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tidegate.contracts.topics import Stream
from tidegate.lookups import Lookups
from tidegate.lookups.failures import TEXT_LENGTH, FailureCatalogue, Seen
from tidegate.lookups.stages import ACTIONS, stage_of_text
from tidegate.steps.distinct_values import Column, distinct, number, same, spread, take

SUCCESS, FAILURE, INTERMEDIATE, UNKNOWN = "success", "failure", "intermediate", "unknown"
Columns = Mapping[str, Column]

_OF_EVENT_TYPE = {"Success": SUCCESS, "Failure": FAILURE, "Intermediate": INTERMEDIATE}
_FAILED = re.compile(
    r"\b(fail|err|den(y|ied)|refus|time ?out|timed out|reject|unsuccess|invalid|unauth|abort|unreachable"
    r"|not (success|connect|establish|ok))"
)
_SUCCEEDED = re.compile(r"\b(success|succeed|connected|established|ok)\b|\bsuccessful|\bsucceeded")


def outcome(stream: Stream, columns: Columns, lookups: Lookups) -> dict[str, Column]:
    """The columns outcome, stage and action, and those whose gaps the catalogue fills."""
    if stream == "client_events":
        return _client_events(columns, lookups.failures)
    if stream == "connection_logs":
        return _connection_logs(columns)
    return _device_logs(columns)


def outcome_of(form: str, status: str | None, connection_type: str | None) -> tuple[str, str]:
    """Outcome and stage of one connection log."""
    if form == "network":
        return SUCCESS, ""
    text = (status or connection_type or "")[:TEXT_LENGTH].lower().replace("_", " ").replace("-", " ")
    if _FAILED.search(text):
        stage = stage_of_text(text)
        return FAILURE, "network" if stage == "unknown" else stage
    return (SUCCESS, "") if _SUCCEEDED.search(text) else (UNKNOWN, "")


def _client_events(columns: Columns, catalogue: FailureCatalogue) -> dict[str, Column]:
    event_type = columns["event_type"]
    length = len(event_type)
    codes, types = distinct(event_type)
    outcomes = [_OF_EVENT_TYPE.get(one, UNKNOWN) for one in types]
    result = {"outcome": spread(outcomes, codes)}
    failed = np.flatnonzero(np.array([one == FAILURE for one in outcomes])[codes])
    if not failed.size:
        return result | {"stage": same("", length), "action": same("", length)}
    names = ("failure_code", "sub_failure_code", "failure", "sub_failure")
    chosen = [columns[name] if failed.size == length else take(columns[name], failed) for name in names]
    lists: list[list[Any]] = [column.to_pylist() for column in chosen]
    numbers, seen = number(zip(*lists, strict=True))
    meanings = [catalogue.meaning(Seen(*one)) for one in seen]
    places = np.zeros(length, np.int32)
    places[failed] = np.array(numbers, np.int32) + 1
    result["stage"] = spread(["", *(one.stage for one in meanings)], places)
    result["action"] = spread(["", *(one.action for one in meanings)], places)
    for name, place in (("failure", 2), ("sub_failure", 3)):
        if any(
            one[place] is None and getattr(meaning, name) for one, meaning in zip(seen, meanings, strict=True)
        ):
            texts = columns[name].to_pylist()
            for row, which in zip(failed.tolist(), numbers, strict=True):
                if texts[row] is None:
                    texts[row] = getattr(meanings[which], name)
            result[name] = pa.array(texts, pa.string())
    return result


def _connection_logs(columns: Columns) -> dict[str, Column]:
    form, status, kind = columns["form"], columns["status"], columns["connection_type"]
    length = len(form)
    if status.null_count == kind.null_count == length:
        codes, values = distinct(form)
        found = [outcome_of(one, None, None) for one in values]
    else:
        lists: list[list[Any]] = [form.to_pylist(), status.to_pylist(), kind.to_pylist()]
        numbers, rows = number(zip(*lists, strict=True))
        codes = np.array(numbers, np.int32)
        found = [outcome_of(one, text, kind_text) for one, text, kind_text in rows]
    if not any(stage for _, stage in found):
        stage = action = same("", length)
    else:
        stage = spread([stage for _, stage in found], codes)
        action = spread([ACTIONS[stage] if stage else "" for _, stage in found], codes)
    return {"outcome": spread([one for one, _ in found], codes), "stage": stage, "action": action}


def _device_logs(columns: Columns) -> dict[str, Column]:
    pending, applied = columns["is_pending"].to_pylist(), columns["is_applied"].to_pylist()
    codes, pairs = number(zip(pending, applied, strict=True))
    outcomes = [
        SUCCESS if done else INTERMEDIATE if waits else UNKNOWN if done is None else FAILURE
        for waits, done in pairs
    ]
    places = np.array(codes, np.int32)
    stages = ["configuration" if one == FAILURE else "" for one in outcomes]
    return {
        "outcome": spread(outcomes, places),
        "stage": spread(stages, places),
        "action": spread([ACTIONS[stage] if stage else "" for stage in stages], places),
    }
