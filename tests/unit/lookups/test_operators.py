from __future__ import annotations

import csv
from collections import Counter

import pytest
from enriched_events import shipped

from tidegate.lookups.operators import Operator, read_operators
from tidegate.lookups.table import SHIPPED, Row


@pytest.mark.parametrize(
    ("code", "country", "operator"),
    [
        ("31026", "us", "T-Mobile"),  # 310 026
        ("310026", "us", "T-Mobile"),
        ("310260", "us", "T-Mobile"),  # shared with resellers: the owner
        ("31041", "us", "AT&T"),  # no 310 041: padded to 310 410
        ("26201", "de", "T-Mobile(Telekom)"),
        ("262001", "de", "T-Mobile(Telekom)"),  # three digits for a two-digit code
        ("20810", "fr", "SFR"),
        ("44051", "jp", "KDDI (au)"),
        ("23455", "gg", "Sure (Cable & Wireless)"),
        ("310999", "us", ""),  # unknown network of a known country
        ("99999", "", ""),
    ],
)
def test_codes_of_two_and_three_digits(code: str, country: str, operator: str) -> None:
    assert shipped().operators.find(code) == Operator(country, operator)


def test_every_shared_code_has_one_owner() -> None:
    with open(SHIPPED / "mccmnc.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    listed = Counter((row["mcc"], row["mnc"]) for row in rows)
    owners = Counter((row["mcc"], row["mnc"]) for row in rows if row["owner"] == "1")
    assert {code for code, count in listed.items() if count > 1} == set(owners)
    assert set(owners.values()) == {1}


def test_without_an_owner_the_one_with_more_codes_wins() -> None:
    names = ("mcc", "mnc", "country_iso2", "provider")
    listed = [("001", "01", "xx", "Brand"), ("001", "01", "xx", "Network"), ("001", "02", "xx", "Network")]
    operators = read_operators(
        Row("mccmnc.csv", n, dict(zip(names, one, strict=True))) for n, one in enumerate(listed)
    )
    assert operators.find("00101").name == "Network"


def test_an_mcc_of_several_countries_names_none_for_an_unknown_network() -> None:
    assert shipped().operators.find("23499") == Operator("", "")
