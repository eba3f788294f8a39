from __future__ import annotations

from typing import Any

import pytest
from enriched_events import enriched, row

import builders
from tidegate.contracts.columns import CLIENT_EVENTS
from tidegate.lookups.intermediate import PLACEHOLDER
from tidegate.steps.intermediate import column_of

NO_TEXTS: dict[str, Any] = {"category": None, "eventDescription": None, "subEventDescription": None}


def test_texts_that_did_not_come_are_taken_from_the_catalogue() -> None:
    found = row(
        "client_events", builders.intermediate(categoryCode=5, typeCode=103, subTypeCode=1, **NO_TEXTS)
    )
    assert (found["category"], found["event_description"]) == ("Quarantine", "Prevention")
    assert found["sub_event_description"].startswith("The access point blocked the client")


def test_placeholders_take_the_events_values() -> None:
    steering = builders.intermediate(
        categoryCode=4,
        typeCode=20,
        subTypeCode=30,
        rssi=-71,
        thresholdRssi=-70,
        bstNbrMac="00:11:74:00:00:01",
        bstNbrRssi=-60,
        bstNbrClCnt=None,
        **NO_TEXTS,
    )
    other = builders.intermediate(categoryCode=4, typeCode=20, subTypeCode=30, rssi=-1, **NO_TEXTS)
    first, second = enriched("client_events", steering, other)
    assert first["sub_event_description"] == (
        "The access point skipped client steering because a voice or video call was in progress."
        " Client RSSI -71 dBm. Threshold RSSI -70 dBm. Best neighboring access point 00:11:74:00:00:01"
        " has RSSI -60 dBm and unknown associated clients."
    )
    assert "Client RSSI -1 dBm." in second["sub_event_description"]


def test_what_the_sender_wrote_stays() -> None:
    found = row("client_events", builders.intermediate(categoryCode=1, typeCode=9, category="####"))
    assert (found["category"], found["event_description"]) == ("####", "####")
    found = row(
        "client_events",
        builders.intermediate(categoryCode=5, typeCode=103, category=None, eventDescription="x"),
    )
    assert (found["category"], found["event_description"]) == ("Quarantine", "x")


def test_unknown_codes_keep_their_gaps() -> None:
    found = row("client_events", builders.intermediate(categoryCode=0, typeCode=23, **NO_TEXTS))
    assert found["category"] is None


def test_an_unknown_type_keeps_its_category() -> None:
    found = row("client_events", builders.intermediate(categoryCode=2, typeCode=999, **NO_TEXTS))
    assert (found["category"], found["event_description"]) == ("Authentication", None)


def test_other_events_of_the_frame_get_no_texts() -> None:
    gap = builders.intermediate(categoryCode=1, typeCode=1, **NO_TEXTS)
    first, second = enriched("client_events", builders.success(), gap)
    assert (first["category"], second["category"]) == (None, "Association")


@pytest.mark.parametrize(
    ("placeholder", "column"),
    [
        ("rssi", "rssi"),
        ("thresholdRssi", "threshold_rssi"),
        ("bstNbrClCnt", "bst_nbr_cl_cnt"),
        ("clCount2Ghz", "cl_count_2ghz"),
        ("radiusPrimaryIP", "radius_primary_ip"),
        ("bwUpload", "bw_upload"),
        ("associatedAPName", "ap_name"),
        ("macAddress", "mac"),
        ("detailedGoogleOU", "detailed_google_ou"),
    ],
)
def test_placeholders_are_in_the_documents_spelling(placeholder: str, column: str) -> None:
    assert column_of(placeholder) == column
    assert column in CLIENT_EVENTS.names


def test_a_placeholder_is_a_name_in_brackets() -> None:
    assert PLACEHOLDER.findall("RSSI [$rssi] dBm [x] $y") == ["rssi"]
