"""distinct: columns of one value, columns that come encoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tidegate.steps.distinct_values import REAL, TEXT, distinct, same, spread


@pytest.mark.parametrize("values", [(0.0, -0.0), (-0.0, 0.0), (1.0, 1.5)])
def test_a_column_of_one_number_has_its_sign(values: tuple[float, ...]) -> None:
    """To a cache 0.0 and -0.0 are one key: the first to come decided for both."""
    for value in values:
        assert str(same(value, 3, REAL).to_pylist()) == str([value] * 3)


@pytest.mark.parametrize(("value", "type_"), [("", TEXT), ("x" * 65, TEXT), (None, REAL)])
@pytest.mark.parametrize("length", [0, 1, 1024, 1025])
def test_a_column_of_one_value_is_as_long_as_asked(value: Any, type_: Any, length: int) -> None:
    assert same(value, length, type_).to_pylist() == [value] * length


def test_one_value_is_spread_over_all_codes() -> None:
    assert spread([-0.0], np.zeros(2, np.int32), REAL).to_pylist() == [-0.0, -0.0]


@pytest.mark.parametrize("numbers", [pa.int8(), pa.int32(), pa.uint16()])
def test_a_column_that_comes_encoded_is_read_as_it_is(numbers: Any) -> None:
    """As ClickHouse sends LowCardinality: with values that no row has, and a cut out of a longer column."""
    codes_: Any = pa.array([2, 1, None, 1, 0, None], numbers)
    column: Any = pa.DictionaryArray.from_arrays(codes_, pa.array(["", "a", "b", "c"]))
    for cut in (column, column.slice(1), column.slice(3, 2), column.slice(0, 2)):
        codes, values = distinct(cut)
        assert [values[code] for code in codes.tolist()] == cut.to_pylist()
