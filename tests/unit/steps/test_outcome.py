from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from enriched_events import enriched, row, shipped

import builders
from tidegate.lookups.failures import Seen
from tidegate.lookups.stages import ACTIONS, STAGES
from tidegate.steps.outcome import outcome_of


def failed(**fields: Any) -> dict[str, Any]:
    blank = {"failureCode": None, "failure": None, "subFailureCode": None, "subFailure": None}
    return row("client_events", builders.failure(**(blank | fields)))


def test_event_types_are_outcomes() -> None:
    events = [builders.intermediate(), builders.failure(), builders.success()]
    found = enriched("client_events", *events)
    assert [one["outcome"] for one in found] == ["intermediate", "failure", "success"]
    assert [one["stage"] for one in found] == ["", "authentication", ""]
    assert [bool(one["action"]) for one in found] == [False, True, False]


def test_a_code_without_texts_takes_them_from_the_catalogue() -> None:
    found = failed(failureCode=7, subFailureCode=14)
    assert (found["failure"], found["sub_failure"]) == ("Incorrect PSK", "Wrong passphrase.")
    assert found["stage"] == "authentication"


def test_the_senders_text_stays() -> None:
    found = failed(failureCode=7, subFailureCode=14, failure="Bad key")
    assert (found["failure"], found["sub_failure"]) == ("Bad key", "Wrong passphrase.")


def test_an_unknown_sub_code_falls_back_to_its_code() -> None:
    found = failed(failureCode=8, subFailureCode=99)
    assert (found["failure"], found["sub_failure"], found["stage"]) == (
        "EAPOL Handshake Failure",
        None,
        "authentication",
    )


def test_an_unknown_code_is_kept() -> None:
    found = failed(failureCode=12_345)
    assert (found["outcome"], found["stage"], found["failure_code"]) == ("failure", "unknown", 12_345)


def test_rows_of_other_kinds_keep_their_texts_when_gaps_are_filled() -> None:
    blank = builders.failure(failure=None, subFailure=None)
    first, second, third = enriched(
        "client_events", builders.failure(failure="Mine"), builders.success(), blank
    )
    assert [one["failure"] for one in (first, second, third)] == ["Mine", None, "Incorrect PSK"]


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("DHCP Failure: no offer", "dhcp"),
        ("RADIUS server timed out", "aaa"),
        ("802.1X authentication failed", "aaa"),
        ("EAP timeout", "aaa"),
        ("EAPOL Handshake Failure", "authentication"),
        ("Incorrect PSK", "authentication"),
        ("auth_failed", "authentication"),
        ("Association rejected", "association"),
        ("DNS lookup failed", "dns"),
        ("Gateway unreachable", "network"),
        ("Disassociated due to inactivity", "association"),
        ("Client went idle", "disconnect"),
        ("something else", "unknown"),
        ("reason code 4", "disconnect"),
        ("Deauthenticated (reason=15)", "authentication"),
        ("status code: 17", "association"),
        ("IEEE_802_1X_AUTH_FAILED", "authentication"),
        ("status code 0", "unknown"),
    ],
)
def test_a_stage_is_read_from_the_text(text: str, stage: str) -> None:
    found = failed(failure=text)
    assert found["stage"] == stage
    assert found["stage"] in STAGES


def test_a_very_long_text_is_kept_and_neither_read_whole_nor_remembered() -> None:
    long = "a" * 400_000
    found = failed(failureCode=12_345, failure=f"DHCP {long}", subFailure=f"{long}_x")
    assert (found["stage"], len(found["failure"])) == ("dhcp", 400_005)
    assert Seen(12_345, None, found["failure"], found["sub_failure"]) not in shipped().failures._memo
    assert row("connection_logs", builders.session_log(status=f"failed {long}"))["outcome"] == "failure"


def test_every_stage_but_unknown_says_what_to_do() -> None:
    assert set(ACTIONS) == set(STAGES)
    assert [stage for stage in STAGES if not ACTIONS[stage]] == ["unknown"]


def test_a_code_that_was_learned_gives_stage_and_text() -> None:
    catalogue = shipped().failures.with_learned(
        [Seen(55, 3, "DHCP Failure", "Pool empty"), Seen(7, 14, "DNS", "wrong")]
    )
    lookups = replace(shipped(), failures=catalogue)
    bare = builders.failure(failureCode=55, subFailureCode=3, failure=None, subFailure=None)
    found = row("client_events", bare, lookups=lookups)
    assert (found["stage"], found["failure"], found["sub_failure"]) == ("dhcp", "DHCP Failure", "Pool empty")
    other = row("client_events", bare | {"subFailureCode": 4}, lookups=lookups)
    assert (other["stage"], other["failure"], other["sub_failure"]) == ("dhcp", "DHCP Failure", None)
    known = row("client_events", builders.failure(failure=None), lookups=lookups)
    assert known["failure"] == "Incorrect PSK"  # the catalogue's own rows win


# --- connection logs


@pytest.mark.parametrize(
    ("status", "outcome", "stage"),
    [
        ("success", "success", ""),
        ("Successful", "success", ""),
        ("CONNECTED", "success", ""),
        ("established", "success", ""),
        ("ok", "success", ""),
        ("failed", "failure", "network"),
        ("failure", "failure", "network"),
        ("error", "failure", "network"),
        ("timeout", "failure", "network"),
        ("timed_out", "failure", "network"),
        ("refused", "failure", "network"),
        ("rejected", "failure", "network"),
        ("access denied", "failure", "authentication"),
        ("auth-failed", "failure", "authentication"),
        ("dns_error", "failure", "dns"),
        ("unsuccessful", "failure", "network"),
        ("not connected", "failure", "network"),
        ("disconnected", "unknown", ""),
        ("whatever", "unknown", ""),
    ],
)
def test_a_session_is_judged_by_the_words_of_its_status(status: str, outcome: str, stage: str) -> None:
    found = row("connection_logs", builders.session_log(status=status, connection_type="x"))
    assert (found["outcome"], found["stage"]) == (outcome, stage)
    assert bool(found["action"]) == (outcome == "failure")


def test_without_a_status_the_connection_type_speaks() -> None:
    assert outcome_of("session", None, "established") == ("success", "")
    assert outcome_of("session", None, "wifi") == ("unknown", "")
    assert outcome_of("session", None, None) == ("unknown", "")


def test_a_network_form_and_the_legacy_body_in_one_frame() -> None:
    network, legacy = enriched(
        "connection_logs", builders.network_log(), builders.legacy_log(connection_status="failed")
    )
    assert (network["outcome"], legacy["outcome"]) == ("success", "failure")


# --- device logs


@pytest.mark.parametrize(
    ("applied", "pending", "outcome"),
    [
        (True, False, "success"),
        (True, None, "success"),
        (True, True, "success"),
        (False, True, "intermediate"),
        (None, True, "intermediate"),
        (False, False, "failure"),
        (False, None, "failure"),
        (None, False, "unknown"),
        (None, None, "unknown"),
    ],
)
def test_a_device_log_is_judged_by_its_flags(
    applied: bool | None, pending: bool | None, outcome: str
) -> None:
    found = row("device_logs", builders.device_log(is_applied=applied, is_pending=pending))
    assert found["outcome"] == outcome
    assert found["stage"] == ("configuration" if outcome == "failure" else "")
