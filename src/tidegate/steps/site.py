"""Sites: name and place of a client event's location."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tidegate.lookups.sites import Sites
from tidegate.steps.distinct_values import REAL, Column, distinct, same, spread
from tidegate.steps.geo import geohash


class Places(NamedTuple):
    """The columns that a location gives."""

    site: Column
    latitude: Column
    longitude: Column
    geohash: Column


def places(fleet: Column, location_id: Column, sites: Sites, precision: int) -> Places:
    """Site by fleet and location id; geohash '' and no coordinates where the sites table has none."""
    fleet_codes, fleets = distinct(fleet)
    codes, locations = distinct(location_id)
    if len(fleets) == 1:
        found = [sites.find(fleets[0], location) for location in locations]
    else:
        pairs, codes = np.unique(fleet_codes.astype(np.int64) * len(locations) + codes, return_inverse=True)
        codes = codes.astype(np.int32)
        found = [
            sites.find(fleets[pair // len(locations)], locations[pair % len(locations)])
            for pair in pairs.tolist()
        ]
    names = spread([site.name for site in found], codes)
    if all(site.latitude is None for site in found):
        nothing = same(None, len(fleet), REAL)
        return Places(names, nothing, nothing, same("", len(fleet)))
    latitudes = [site.latitude for site in found]
    longitudes = [site.longitude for site in found]
    cells = geohash(pa.array(latitudes, REAL), pa.array(longitudes, REAL), precision).to_pylist()
    return Places(
        names, spread(latitudes, codes, REAL), spread(longitudes, codes, REAL), spread(cells, codes)
    )
