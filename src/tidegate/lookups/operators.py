"""Mobile networks: country and operator by MCC and MNC."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tidegate.lookups.table import Row

COLUMNS = ("mcc", "mnc", "country_iso2", "provider")


class Operator(NamedTuple):
    country: str  # ISO 3166 alpha-2, lower case
    name: str


UNKNOWN = Operator("", "")
_SEPARATORS = str.maketrans("", "", " -/_")


@dataclass(frozen=True, slots=True)
class Operators:
    """Mobile operators by MCC and MNC, from `mccmnc.csv`."""

    by_code: Mapping[str, Operator]  # "310026": digits of MCC and MNC as the file has them
    by_mcc: Mapping[str, str]  # country of an MCC that serves only one

    def find(self, mccmnc: str) -> Operator:
        """The operator of a code of five or six digits.

        A two-digit MNC is tried as it stands, then with a leading zero, then padded ("31026" is 310 026, else
        310 260); a three-digit one as it stands, then without its leading zero. An unknown MNC of a known
        MCC keeps its country.
        """
        digits = mccmnc.translate(_SEPARATORS)
        mcc, mnc = digits[:3], digits[3:]
        candidates = [digits]
        if len(mnc) == 2:
            candidates += [f"{mcc}0{mnc}", f"{digits}0"]
        elif len(mnc) == 3 and mnc[0] == "0":
            candidates.append(mcc + mnc[1:])
        for candidate in candidates:
            found = self.by_code.get(candidate)
            if found is not None:
                return found
        return Operator(self.by_mcc.get(mcc, ""), "")


def read_operators(rows: Iterable[Row]) -> Operators:
    """Where several share a code: the row marked `owner`, else the one with the most codes of that MCC."""
    sharing: dict[str, list[tuple[Operator, bool]]] = defaultdict(list)
    codes_of: dict[tuple[str, Operator], int] = defaultdict(int)
    countries: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        mcc, mnc = row.text("mcc", required=True), row.text("mnc", required=True)
        if not (mcc.isdecimal() and len(mcc) == 3):
            row.wrong("mcc", f"{mcc!r} is not three digits")
        if not (mnc.isdecimal() and len(mnc) in (2, 3)):
            row.wrong("mnc", f"{mnc!r} is not two or three digits")
        operator = Operator(row.text("country_iso2", required=True).lower(), row.text("provider"))
        owner = row.text("owner", allowed=("", "0", "1")) == "1"
        sharing[mcc + mnc].append((operator, owner))
        codes_of[mcc, operator] += 1
        countries[mcc].add(operator.country)
    by_code = {
        code: max(listed, key=lambda one: (one[1], codes_of[code[:3], one[0]]))[0]
        for code, listed in sharing.items()
    }
    return Operators(by_code, {mcc: one for mcc, (one, *more) in countries.items() if not more})
