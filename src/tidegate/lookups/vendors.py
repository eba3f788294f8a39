"""Vendors of network hardware by MAC prefix: 24-bit blocks, and the 28- and 36-bit blocks inside them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tidegate.lookups.table import Row

COLUMNS = ("prefix", "vendor")
_HEX = re.compile(r"[0-9a-f]{6,9}")
_SPLIT = "IEEE Registration Authority"  # owner on paper of a 24-bit block that is given out in smaller ones

Prefixes = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Vendors:
    """Sorted prefixes of each width with the number of their vendor in `names`; number 0 is ''."""

    names: pa.StringArray
    prefixes: tuple[Prefixes, Prefixes, Prefixes]  # 24, 28, 36 bits
    numbers: tuple[Numbers, Numbers, Numbers]
    split: int  # vendor number that means: look at the longer prefixes

    def find(self, leading: Prefixes) -> Numbers:
        """Vendor numbers for the leading 36 bits of MAC addresses, shape (n,)."""
        found = self._search(0, leading >> 12)
        longer = np.flatnonzero(found == self.split)
        if longer.size:
            fine = self._search(2, leading[longer])
            middle = self._search(1, leading[longer] >> 8)
            found[longer] = np.where(fine > 0, fine, middle)
        return found

    def _search(self, width: int, wanted: Prefixes) -> Numbers:
        prefixes, numbers = self.prefixes[width], self.numbers[width]
        if not prefixes.size:
            return np.zeros(wanted.size, np.int32)
        place = np.searchsorted(prefixes, wanted)
        place[place == prefixes.size] = 0
        return np.where(prefixes[place] == wanted, numbers[place], 0).astype(np.int32, copy=False)


def read_vendors(rows: Iterable[Row]) -> Vendors:
    """The vendors of rows of `oui.csv`: prefixes of 6, 7 or 9 hexadecimal digits. Raises BadLookup."""
    names: dict[str, int] = {"": 0, _SPLIT: 1}
    found: tuple[dict[int, int], dict[int, int], dict[int, int]] = ({}, {}, {})
    for row in rows:
        prefix = row.text("prefix", required=True).lower().replace(":", "").replace("-", "")
        if not _HEX.fullmatch(prefix) or len(prefix) == 8:
            row.wrong("prefix", f"{prefix!r} is not 6, 7 or 9 hexadecimal digits")
        number = names.setdefault(row.text("vendor", required=True), len(names))
        width = {6: 0, 7: 1, 9: 2}[len(prefix)]
        found[width][int(prefix, 16)] = number
        if width:  # a file that lists only the smaller blocks is enough to find them
            found[0].setdefault(int(prefix[:6], 16), 1)
    prefixes = [np.array(sorted(one), np.int64) for one in found]
    numbers = [np.array([one[key] for key in sorted(one)], np.int32) for one in found]
    texts = ["" if name == _SPLIT else name for name in names]
    return Vendors(
        pa.array(texts, pa.string()),
        (prefixes[0], prefixes[1], prefixes[2]),
        (numbers[0], numbers[1], numbers[2]),
        1,
    )
