"""The catalogue of intermediate events: texts for (category, type, sub-type) codes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tidegate.lookups.table import Row

COLUMNS = ("categoryCode", "category", "typeCode", "eventDescription", "subTypeCode", "subEventDescription")
PLACEHOLDER = re.compile(r"\[\$(\w+)\]")


class Texts(NamedTuple):
    """Texts of one event; a text may hold placeholders such as ``[$rssi]``."""

    category: str | None
    event: str | None
    sub_event: str | None


@dataclass(frozen=True, slots=True)
class IntermediateCatalogue:
    """Texts by (category, type, sub-type) code; None stands for any."""

    by_codes: Mapping[tuple[int | None, int | None, int | None], Texts]

    def texts(self, category: int | None, type_: int | None, sub_type: int | None) -> Texts:
        """What is known of these codes: the sub-type's row, else the type's, else the category's."""
        for key in ((category, type_, sub_type), (category, type_, None), (category, None, None)):
            found = self.by_codes.get(key)
            if found is not None:
                return found
        return Texts(None, None, None)


def read_intermediate(rows: Iterable[Row]) -> IntermediateCatalogue:
    """A row also gives the texts of its type and its category, where none of their own came before. Raises
    BadLookup."""
    by_codes: dict[tuple[int | None, int | None, int | None], Texts] = {}
    for row in rows:
        category = row.whole("categoryCode")
        texts = Texts(
            row.text("category") or None,
            row.text("eventDescription") or None,
            row.text("subEventDescription") or None,
        )
        type_, sub_type = row.whole_or_none("typeCode"), row.whole_or_none("subTypeCode")
        by_codes[category, type_, sub_type] = texts
        by_codes.setdefault((category, type_, None), texts._replace(sub_event=None))
        by_codes.setdefault((category, None, None), Texts(texts.category, None, None))
    return IntermediateCatalogue(by_codes)
