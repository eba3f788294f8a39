"""Networks that a device should not be on: insecure ones, and ones its fleet has not approved."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tidegate.lookups.networks import ApprovedNetworks
from tidegate.steps.distinct_values import Column, distinct, same, spread

INSECURE = frozenset({"opn", "wep"})
_FLAG = pa.bool_()


def insecure(security: Column) -> Column:
    """Open and WEP networks; a form that names no security is not judged."""
    if security.null_count == len(security):
        return same(False, len(security), _FLAG)
    codes, values = distinct(security)
    return spread([value in INSECURE for value in values], codes, _FLAG)


def unapproved(
    fleet: Column,
    network_type: Column,
    name: Column,
    bssid: Column,
    approved: ApprovedNetworks,
) -> Column:
    """Wi-Fi networks that are not on their fleet's list; without one, and of other types, none is judged."""
    if not approved.fleets:
        return same(False, len(fleet), _FLAG)
    columns: list[list[Any]] = [column.to_pylist() for column in (fleet, network_type, name, bssid)]
    return pa.array(
        [
            kind == "wi" and not approved.approves(owner, network, station)
            for owner, kind, network, station in zip(*columns, strict=True)
        ],
        _FLAG,
    )
