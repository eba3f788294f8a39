from __future__ import annotations

import pyarrow as pa
from enriched_events import shipped

from tidegate.lookups.table import Row
from tidegate.lookups.vendors import Vendors, read_vendors
from tidegate.steps.mac import describe


def vendors(**prefixes: str) -> Vendors:
    rows = [Row("oui.csv", 1, {"prefix": key[1:], "vendor": name}) for key, name in prefixes.items()]
    return read_vendors(rows)


def named(lookup: Vendors, *macs: str | None) -> list[tuple[str | None, bool | None]]:
    names, randomised = describe(pa.array(macs, pa.string()), lookup)
    return list(zip(names.to_pylist(), randomised.to_pylist(), strict=True))


def test_the_longest_prefix_wins() -> None:
    lookup = vendors(
        _70b3d5="IEEE Registration Authority", _70b3d51="Medium", _70b3d5f2f="Small", _001174="Large"
    )
    assert named(
        lookup, "00:11:74:00:00:00", "70:b3:d5:f2:f0:01", "70:b3:d5:1f:ff:ff", "70:b3:d5:20:00:00", None
    ) == [("Large", False), ("Small", False), ("Medium", False), ("", False), ("", False)]


def test_small_blocks_are_found_without_a_row_for_the_large_one() -> None:
    assert named(vendors(_70b3d5f2f="Small"), "70:b3:d5:f2:f0:01") == [("Small", False)]


def test_a_locally_administered_address_has_no_vendor_though_its_prefix_has() -> None:
    assert named(vendors(_02608c="3COM"), "02:60:8c:00:00:01") == [("", True)]


def test_any_of_the_four_local_digits_counts() -> None:
    found = named(vendors(), *(f"0{digit:x}:00:00:00:00:00" for digit in range(16)))
    assert [flag for _, flag in found] == [bool(digit & 2) for digit in range(16)]


def test_no_vendors_and_no_macs() -> None:
    assert named(vendors(), "00:11:74:00:00:00") == [("", False)]
    assert named(vendors(_001174="Large"), None, None) == [("", False), ("", False)]


def test_the_shipped_list_knows_blocks_of_every_width() -> None:
    found = named(
        shipped().vendors, "00:11:74:00:00:00", "20:85:93:b0:00:00", "70:b3:d5:f2:f0:01", "ff:ff:fd:00:00:00"
    )
    assert [name for name, _ in found] == ["Mojo Networks, Inc.", "IOG Products LLC", "TELEPLATFORMS", ""]
