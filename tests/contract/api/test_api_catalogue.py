"""`/api/v1/catalogue/…`: the lookup files in force, as lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from api_server import client_of

from tidegate.settings import Settings
from tidegate.tokens import READERS, Role

Call = Callable[..., httpx.Response]
PATHS = ("/api/v1/catalogue/failures", "/api/v1/catalogue/intermediate_events")


def test_failures_have_stage_and_action(api: Call) -> None:
    answer = api(PATHS[0]).json()
    assert {
        "failureCode": 8,
        "failure": "EAPOL Handshake Failure",
        "subFailureCode": 41,
        "subFailure": "Maximum retries for 3/4 msg reached.",
    }.items() <= answer["failures"][3].items()
    assert all(row["stage"] and row["action"] for row in answer["failures"] + answer["ieee80211"])
    [row] = [row for row in answer["ieee80211"] if (row["kind"], row["code"]) == ("reason", 2)]
    assert (row["name"], row["stage"]) == ("PREV_AUTH_NOT_VALID", "authentication")


def test_intermediate_events_are_in_the_order_of_their_codes(api: Call) -> None:
    rows = api(PATHS[1]).json()["intermediateEvents"]
    assert [row["categoryCode"] for row in rows if row["typeCode"] is None] == [1, 2, 3, 4, 5]
    [steering] = [row for row in rows if row["subTypeCode"] == 30]
    assert steering["eventDescription"] == "Steering"
    assert "[$rssi]" in steering["subEventDescription"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("role", list(Role))
def test_readers_read_them(api: Call, path: str, role: Role) -> None:
    assert api(path, role=role).status_code == (200 if role in READERS else 403)


def test_files_that_are_away_or_wrong(settings: Settings, tokens: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "lookups"
    with client_of(settings, tokens["viewer"], lookups_dir=str(folder)) as client:
        answer = client.get(PATHS[0])
        assert (answer.status_code, answer.json()["code"]) == (503, "lookups_away")
        assert int(answer.headers["retry-after"]) >= 1
        folder.mkdir()
        file = folder / "vendor_failure_codes.csv"
        file.write_text("failureCode\n")
        assert client.get(PATHS[0]).status_code == 500
        file.write_text("failureCode,failure,subFailureCode,subFailure,stage,action\n1,A,,,dns,Ask\n")
        assert [row["failure"] for row in client.get(PATHS[0]).json()["failures"]] == ["A"]
