"""Failures: one JSON document for each failed attempt, for alerting consumers of `tidegate.failures`.

Keyed ``fleet/site``, so that one site's failures stay in order. At least once: a consumer that counts
drops repeats by `id`.
"""

from __future__ import annotations

import msgspec

from tidegate.contracts.topics import Stream


class Failure(msgspec.Struct, frozen=True, gc=False):
    """Times are ISO 8601 UTC with microseconds; null fields did not apply or did not come."""

    id: str
    stream: Stream
    fleet: str
    site: str | None  # site name, else the location id as text
    event_time: str
    received_at: str
    stage: str  # association, authentication, dhcp, dns, … (see the failure catalogue)
    code: int | None  # vendor failure code
    sub_code: int | None
    reason: str | None  # what went wrong, from the event or from the catalogue
    action: str | None  # what to do, from the catalogue
    client: str | None  # MAC or device id
    ssid: str | None
    bssid: str | None
    ap_name: str | None
    clock_skew: bool
