"""When a fleet's stream is refused too much."""

from __future__ import annotations

from tidegate.worker.quarantine import OverLimit, RejectRate


def reject_rate(share: float = 0.5) -> RejectRate:
    return RejectRate(share=share, least=100, seconds=60.0)


def test_the_limit_is_a_share_of_the_fleets_own_lines() -> None:
    counted = reject_rate()
    assert counted.count("client_events", {"a": 1, "b": 1000}, ["a"] * 99, 0.0) == []
    assert counted.count("client_events", {}, ["a"], 1.0) == [OverLimit("client_events", "a", 101, 100)]
    assert counted.count("client_events", {}, ["b"] * 900, 1.0) == []
    assert counted.count("device_logs", {}, ["b"] * 99, 1.0) == []


def test_what_a_window_counted_is_forgotten_with_it() -> None:
    counted = reject_rate()
    assert counted.count("client_events", {}, ["a"] * 99, 0.0) == []
    assert counted.count("client_events", {}, ["a"] * 99, 60.0) == []
    assert counted.count("client_events", {}, ["a"], 61.0) != []


def test_behind_a_pause_it_is_counted_from_nothing() -> None:
    counted = reject_rate()
    assert counted.count("client_events", {}, [""] * 100, 0.0) != []
    assert counted.count("client_events", {}, [""], 1.0) == []


def test_no_share_is_no_limit() -> None:
    assert reject_rate(share=0.0).count("client_events", {}, ["a"] * 1000, 0.0) == []
