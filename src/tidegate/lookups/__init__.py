"""Lookups: the tables that enrichment reads, from CSV files that a user can replace one by one.

They are read once into a frozen object; a role that wants newer files loads again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tidegate.errors import RetryLater
from tidegate.lookups import (
    access_points,
    aliases,
    failures,
    intermediate,
    networks,
    operators,
    sites,
    table,
    vendors,
)
from tidegate.lookups.access_points import Inventory
from tidegate.lookups.aliases import Aliases
from tidegate.lookups.failures import FailureCatalogue
from tidegate.lookups.intermediate import IntermediateCatalogue
from tidegate.lookups.networks import ApprovedNetworks
from tidegate.lookups.operators import Operators
from tidegate.lookups.sites import Sites
from tidegate.lookups.table import BadLookup, Row
from tidegate.lookups.vendors import Vendors

__all__ = ["FILES", "BadLookup", "Lookups", "load"]

FILES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "access_points.csv": (access_points.COLUMNS, ()),
    "approved_networks.csv": (networks.COLUMNS, ()),
    "ieee80211_codes.csv": (failures.IEEE80211_COLUMNS, ("action",)),
    "mccmnc.csv": (operators.COLUMNS, ("owner",)),
    "oui.csv": (vendors.COLUMNS, ()),
    "sites.csv": (sites.COLUMNS, ()),
    "value_aliases.csv": (aliases.COLUMNS, ()),
    "vendor_failure_codes.csv": (failures.VENDOR_COLUMNS, ()),
    "vendor_intermediate_events.csv": (intermediate.COLUMNS, ()),
}
"""Each file with its required and its optional columns. Each may be gzip, with `.gz` behind its name."""

NOT_ENRICHING = frozenset({"access_points.csv"})
"""Files that no event is enriched from: a change of theirs changes no row."""


@dataclass(frozen=True, slots=True, eq=False)
class Lookups:
    """Every table. `digest` names their content: equal digests enrich equally."""

    aliases: Aliases
    approved: ApprovedNetworks
    failures: FailureCatalogue
    intermediate: IntermediateCatalogue
    inventory: Inventory
    operators: Operators
    sites: Sites
    vendors: Vendors
    digest: str


def load(directory: str = "") -> Lookups:
    """Read every lookup file; '' takes the shipped ones alone.

    Raises RetryLater where the directory or a file cannot be read, BadLookup (a UsageError) naming file,
    line and column where one is wrong.
    """
    folder = Path(directory) if directory else None
    if folder is not None:
        _check(folder)
    rows: dict[str, list[Row]] = {}
    digest = hashlib.sha256()
    for name, (required, optional) in FILES.items():
        rows[name], content = table.read(table.find(name, folder), required, optional)
        if name not in NOT_ENRICHING:
            digest.update(content)
    return Lookups(
        aliases.read_aliases(rows["value_aliases.csv"]),
        networks.read_networks(rows["approved_networks.csv"]),
        failures.read_failures(rows["vendor_failure_codes.csv"], rows["ieee80211_codes.csv"]),
        intermediate.read_intermediate(rows["vendor_intermediate_events.csv"]),
        access_points.read_inventory(rows["access_points.csv"]),
        operators.read_operators(rows["mccmnc.csv"]),
        sites.read_sites(rows["sites.csv"]),
        vendors.read_vendors(rows["oui.csv"]),
        digest.hexdigest()[:16],
    )


def _check(folder: Path) -> None:
    """A misspelt file name would silently leave the shipped file in force."""
    if not folder.is_dir():
        raise RetryLater(f"lookups_dir: no folder at {folder}")
    known = {*FILES, *(f"{name}.gz" for name in FILES)}
    for path in sorted(folder.iterdir()):
        if path.name.endswith((".csv", ".csv.gz")) and path.name not in known:
            raise BadLookup(f"{path}: no lookup of this name (there are {', '.join(FILES)})")
