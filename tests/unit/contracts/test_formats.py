import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.contracts.formats import (
    EPOCH,
    LATITUDE,
    LONGITUDE,
    MAC,
    MCCMNC,
    MICROS_LIMIT,
    MILLIS_LIMIT,
    SECONDS_LIMIT,
    TIME,
    Format,
    OutOfRange,
    micros_by_magnitude,
    parse_mac,
    parse_mccmnc,
    parse_time,
)


@pytest.mark.parametrize(
    "text",
    ["00:1A:2B:3C:4D:5E", "00:1a:2b:3c:4d:5e", "00-1A-2B-3c-4d-5e", "001a.2b3c.4d5e", "001A2B3C4D5E"],
)
def test_a_mac_in_any_usual_spelling(text: str) -> None:
    assert parse_mac(text) == "00:1a:2b:3c:4d:5e"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00:1a:2b:3c:4d",
        "00:1a:2b:ff:fe:3c:4d:5e",
        "00-1a-2b-ff-fe-3c-4d-5e",
        "001a:2b3c.4d5e",
        "00:1a:2b:3c:4d:5e:Corp",
        "00-1a-2b-3c-4d-5e:",
        "00:1a:2b:3c:4d:5g",
        " 00:1a:2b:3c:4d:5e",
        "00:1a:2b:3c:4d:5e\n",
    ],
)
def test_no_mac(text: str) -> None:
    with pytest.raises(ValueError):
        parse_mac(text)


@given(st.datetimes(datetime(1900, 1, 2), datetime(2299, 12, 30)), st.integers(-14 * 60, 14 * 60))
def test_a_time_is_read_in_its_zone(moment: datetime, minutes: int) -> None:
    offset = timedelta(minutes=minutes)
    sign = "-" if minutes < 0 else "+"
    zone = f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    micros = parse_time(moment.isoformat() + zone)
    assert EPOCH + timedelta(microseconds=micros) == moment.replace(tzinfo=UTC) - offset


def test_fraction_with_digits_of_a_leap_second() -> None:
    """Such a time was refused: one in 1,700 of those with microseconds."""
    for date, time in (("2026-11-25", "14:08:19.153960"), ("20261125", "140819.395960")):
        for zone in ("", "Z", "+00:00"):
            assert parse_time(f"{date}T{time}{zone}") % 1000 == 960
    assert parse_time("2016-12-31T23:59:60.395960Z") == 1_483_228_800_395_960
    assert parse_time("2017-01-01T05:29:60+05:30") == parse_time("20161231T235960") == 1_483_228_800_000_000


def test_a_time_without_zone_is_utc_and_a_date_its_first_moment() -> None:
    assert parse_time("2024-01-14") == parse_time("2024-01-14T00:00:00Z") == 1_705_190_400_000_000


@pytest.mark.parametrize("text", ["", "yesterday", "2024-13-01", "1705190400", "2024-01-14T25:00:00Z"])
def test_no_time(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_time(text)
    assert not isinstance(caught.value, OutOfRange)


@pytest.mark.parametrize("text", ["1899-12-31", "2300-01-01", "0001-01-01T00:00:00+14:00"])
def test_a_time_that_clickhouse_cannot_hold(text: str) -> None:
    with pytest.raises(OutOfRange):
        parse_time(text)


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        (1495010943, 1_495_010_943_000_000),
        (1495010618000, 1_495_010_618_000_000),
        (1505109958843842, 1_505_109_958_843_842),
        (1495010943.5, 1_495_010_943_500_000),
        (0, 0),
        (SECONDS_LIMIT, MICROS_LIMIT - 999_999),
        (SECONDS_LIMIT + 1, (SECONDS_LIMIT + 1) * 1000),
        (MILLIS_LIMIT, MICROS_LIMIT - 999),
        (MILLIS_LIMIT + 1, MILLIS_LIMIT + 1),
        (MICROS_LIMIT, MICROS_LIMIT),
    ],
)
def test_the_unit_of_an_epoch_time_is_told_by_its_magnitude(value: float, micros: int) -> None:
    assert micros_by_magnitude(value) == micros


@pytest.mark.parametrize("value", [-1, MICROS_LIMIT + 1, float("inf"), float("nan")])
def test_no_epoch_time(value: float) -> None:
    with pytest.raises(OutOfRange):
        micros_by_magnitude(value)


@pytest.mark.parametrize("value", ["40.7128", "-90", "+90.0", 0, -74.006])
def test_degrees_as_text_or_number(value: str | float) -> None:
    assert LATITUDE.parse(value) == float(value)


@pytest.mark.parametrize("value", ["", "nan", "inf", "1e1", "40,7", " 40", "٤٠", "1_0"])
def test_no_degrees(value: str) -> None:
    with pytest.raises(ValueError) as caught:
        LONGITUDE.parse(value)
    assert not isinstance(caught.value, OutOfRange)


@pytest.mark.parametrize("value", ["90.1", -91, "181"])
def test_degrees_beyond_the_pole(value: str | float) -> None:
    with pytest.raises(OutOfRange):
        LATITUDE.parse(value)


@pytest.mark.parametrize("text", ["31026", "310260", "00101"])
def test_mcc_and_mnc_stay_as_they_stand(text: str) -> None:
    assert parse_mccmnc(text) == text


@pytest.mark.parametrize("text", ["3102", "3102600", "31026 ", "310-26", "٣١٠٢٦"])
def test_no_mcc_and_mnc(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_mccmnc(text)
    assert not isinstance(caught.value, OutOfRange)


def test_a_country_code_that_nobody_has() -> None:
    with pytest.raises(OutOfRange):
        parse_mccmnc("10026")


FORMATS = [MAC, TIME, LATITUDE, LONGITUDE, MCCMNC]


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
@given(data=st.data())
def test_what_the_pattern_of_a_format_takes_is_taken(format: Format, data: st.DataObject) -> None:
    format.parse(data.draw(st.from_regex(format.pattern, fullmatch=True)).removesuffix("\n"))


def takes(format: Format, text: str) -> bool:
    try:
        format.parse(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("format", "texts"),
    [
        (
            MAC,
            [
                "00:1a:2b:3c:4d:5e",
                "001a.2b3c.4d5e",
                "00:1a-2b:3c:4d:5e",
                "00:1a:2b:3c:4d",
                "٠٠:1a:2b:3c:4d:5e",
            ],
        ),
        (
            TIME,
            [
                *("1899-12-31", "1900-01-01", "2299-12-31", "2300-01-01", "2023-02-29", "2024-02-29"),
                *(
                    "1900-02-29",
                    "2000-02-29",
                    "2024-04-31",
                    "2024-13-01",
                    "2024-01-15T24:00",
                    "2024-01-15 14:30",
                ),
                *("2024-01-15T14:30:25.123456789Z", "2024-01-15T14:30+05:30", "2024-01-15T14:30+0530", ""),
                *("1900-01-01T00:00+00:01", "1901-01-01T00:00+23:59", "2298-12-31T23:59:59-23:59"),
            ],
        ),
        (LATITUDE, ["-90", "90.0", "90.1", "+089.5", "91", "1_0", "", "1e1", ".5", "0" * 4]),
        (LONGITUDE, ["-180", "180.00", "180.01", "181", "179.9", "099", "nan"]),
        (MCCMNC, ["00101", "31026", "310260", "10026", "3102600", "3102"]),
    ],
    ids=lambda value: value.name if isinstance(value, Format) else "",
)
def test_the_pattern_of_a_format_takes_what_the_parser_takes(format: Format, texts: list[str]) -> None:
    assert [bool(re.search(format.pattern, text)) for text in texts] == [
        takes(format, text) for text in texts
    ]


@pytest.mark.parametrize("first", [0.0, -0.0, 0, "0", "-0", "0.0"])
@pytest.mark.parametrize("degrees", [LATITUDE, LONGITUDE])
def test_zero_keeps_its_sign_whatever_came_before(degrees: Format, first: str | float) -> None:
    """To a cache 0.0 and -0.0 are one key: the first to come decided for both."""
    degrees.parse(first)
    for value in (0.0, -0.0, "0.0", "-0.0", "-0", 0):
        assert str(degrees.parse(value)) == str(float(value))
