"""Generations of plans, and who is who in the group."""

from __future__ import annotations

import pytest
from enriched_frames import frame

from tidegate.contracts.ledger import BatchPlan
from tidegate.sink.group import _generation
from tidegate.sink.plan import differences, plan_of
from tidegate.sink.takeover import _term


def plan(generation: int) -> BatchPlan:
    return plan_of([frame(0)], [], generation=generation, member="m")


def test_plans_to_come_are_above_every_one_before() -> None:
    assert _term([], 0) == 1
    assert _term([plan(5)], 6) > 5
    assert _term([plan(57)], 1) > 57  # a group that Kafka has forgotten counts anew


def test_of_two_that_see_the_same_ledger_the_later_is_above() -> None:
    assert _term([plan(57)], 2) > _term([plan(57)], 1)


def test_the_generation_is_read_from_the_clients_metadata() -> None:
    assert _generation(b"CGMDv2:\x05\x00\x00\x00group\x00member\x00") == 5
    assert _generation(b"CGMDv2:\xff\xff\xff\xffgroup\x00") == -1
    with pytest.raises(ValueError, match="unknown form"):
        _generation(b"CGMDv3:")


def test_a_token_names_its_rows_and_when_it_was_planned_does_not_matter() -> None:
    first = plan_of([frame(3), frame(4)], [], generation=1, member="a")
    assert first.token.endswith(":client_events:0:3-4:1")
    assert differences(first, plan_of([frame(3), frame(4)], [], generation=2, member="b")) == []
    assert differences(first, plan_of([frame(3), frame(4, count=2)], [], generation=1, member="a"))
