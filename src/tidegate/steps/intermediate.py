"""Texts of intermediate events that come with codes alone, from the catalogue."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pyarrow as pa

from tidegate.lookups.intermediate import PLACEHOLDER, IntermediateCatalogue
from tidegate.steps.distinct_values import Column

TEXTS = ("category", "event_description", "sub_event_description")
_CODES = ("category_code", "type_code", "sub_type_code")
_CAPITALS = re.compile(r"(?<=[a-z])(?=[A-Z0-9])")
_IRREGULAR = {
    "macAddress": "mac",
    "associatedAPName": "ap_name",
    "detailedGoogleOU": "detailed_google_ou",
    "locationId": "location_id",
}


def texts(columns: Mapping[str, Column], catalogue: IntermediateCatalogue) -> dict[str, Column]:
    """The text columns with their gaps filled; empty where there is nothing to fill.

    A placeholder such as ``[$rssi]`` takes the event's value of that name, ``unknown`` where it has none.
    """
    category_code = columns["category_code"]
    coded = len(category_code) - category_code.null_count
    if not coded or all(len(category_code) - columns[name].null_count >= coded for name in TEXTS):
        return {}
    codes = [columns[name].to_pylist() for name in _CODES]
    filled = [columns[name].to_pylist() for name in TEXTS]
    changed = [False, False, False]
    for row, (category, type_, sub_type) in enumerate(zip(*codes, strict=True)):
        if category is None or (filled[0][row] and filled[1][row] and filled[2][row]):
            continue
        for place, text in enumerate(catalogue.texts(category, type_, sub_type)):
            if text is not None and filled[place][row] is None:
                filled[place][row] = _fill(text, columns, row)
                changed[place] = True
    return {
        name: pa.array(values, pa.string())
        for name, values, new in zip(TEXTS, filled, changed, strict=True)
        if new
    }


def column_of(placeholder: str) -> str:
    """The column for a name in the document's spelling: thresholdRssi -> threshold_rssi."""
    if placeholder in _IRREGULAR:
        return _IRREGULAR[placeholder]
    return _CAPITALS.sub("_", placeholder).lower()


def _fill(text: str, columns: Mapping[str, Column], row: int) -> str:
    def value(match: re.Match[str]) -> str:
        column = columns.get(column_of(match[1]))
        found = None if column is None else column[row].as_py()
        return "unknown" if found is None else str(found)

    return PLACEHOLDER.sub(value, text) if "[$" in text else text
