from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tidegate.steps.geo import geohash


def one(latitude: float | None, longitude: float | None, precision: int) -> str:
    places = pa.array([latitude], pa.float64()), pa.array([longitude], pa.float64())
    found: list[Any] = geohash(*places, precision).to_pylist()
    assert len(found) == 1
    return str(found[0])


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [
        # The example of the geohash article, and values that ClickHouse's geohashEncode gives.
        (57.64911, 10.40744, "u4pruydqqvj8"),
        (42.605, -5.603, "ezs42s000esk"),
        (40.7128, -74.0060, "dr5regw3ppyz"),
        (-25.382708, -49.265506, "6gkzwgjzn820"),
        (-33.8688, 151.2093, "r3gx2f77bn44"),
        (51.4779, -0.0000001, "gcpuzgrbxbpf"),
        (0.0, 0.0, "s00000000000"),
        (-90.0, -180.0, "000000000000"),
        (90.0, 180.0, "zzzzzzzzzzzz"),
    ],
)
@pytest.mark.parametrize("precision", range(1, 13))
def test_known_places(latitude: float, longitude: float, expected: str, precision: int) -> None:
    assert one(latitude, longitude, precision) == expected[:precision]


@pytest.mark.parametrize(
    ("latitude", "longitude"), [(None, 1.0), (1.0, None), (None, None), (float("nan"), 1.0)]
)
def test_half_a_place_is_none(latitude: float | None, longitude: float | None) -> None:
    assert one(latitude, longitude, 6) == ""


def test_gaps_do_not_move_the_others() -> None:
    latitude = pa.array([None, 57.64911, None, 0.0, None], pa.float64())
    longitude = pa.array([1.0, 10.40744, None, 0.0, None], pa.float64())
    found = geohash(latitude, longitude, 4)
    found.validate(full=True)
    assert found.to_pylist() == ["", "u4pr", "", "s000", ""]


@pytest.mark.parametrize("precision", [0, 13])
def test_precision_has_its_limits(precision: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 12"):
        one(1.0, 1.0, precision)
