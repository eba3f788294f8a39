"""Associations out of client events, as rows of the file that `associationdata` names.

An association is a Success event. It starts at its association time and ends with the same client's next
disassociation or next Success; while there is neither, its end is open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidegate.contracts import csv_cells
from tidegate.store.queries import Query, Where

COLUMNS = (
    "Client MAC",
    "SSID",
    "Association Start Time (GMT)",
    "Association Start Time (Local)",
    "Association End Time (Local)",
    "Session Duration",
    "Data Rate (kbps)",
    "Smart Device Type",
    "Domains Accessed",
)
EARLY_MICROS = 86_400_000_000  # an event may come this long after the association that it tells of
TIME = "'%m/%d/%Y %H:%i:%S'"

STREAMING = {
    "optimize_read_in_window_order": 1,  # the table's own order: nothing is sorted, nothing gathers
    # One stream behind the window keeps its order; to sort again would hold every row in memory first.
    "query_plan_enable_multithreading_after_window_functions": 0,
    "format_csv_null_representation": "",
    "output_format_json_array_of_rows": 1,
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_escape_forward_slashes": 0,
}
"""Settings with which the query streams whatever its size."""

_DISASSOCIATION = (
    "(event_type = 'Intermediate' AND (positionCaseInsensitive(ifNull(event_description, ''), 'disassoc') > 0"
    " OR positionCaseInsensitive(ifNull(sub_event_description, ''), 'disassoc') > 0))"
)
_DOWN = "coalesce(bw_download, JSONExtract(extra, 'bwDownload', 'Nullable(Int64)'))"
_UP = "coalesce(bw_upload, JSONExtract(extra, 'bwUpload', 'Nullable(Int64)'))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Associations:
    """Which associations; times in microseconds, inclusive. `made_at` keeps out what was received later, so
    that a file reads the same twice. None is no condition. `safe_text`: no text is a formula.

    With a `mark`, behind it SHA-256 of the fleet and the MAC stand for a client, and clients come in the
    order of a hash with `salt`: in that of their MACs, a pseudonym would tell what lies between two others.
    """

    fleet: str | None
    since: int
    until: int
    made_at: int
    locations: Sequence[int] | None = None
    mark: str = ""
    salt: str = ""
    safe_text: bool = False


def associations(wanted: Associations, zones: Mapping[tuple[str, int], str]) -> Query:
    """The rows, by client and start. `zones` has the time zone of each (fleet, location) that has one."""
    events = Where()
    events.add("fleet = {fleet:String}", fleet=wanted.fleet)
    events.add(
        "event_time >= fromUnixTimestamp64Micro({early:Int64}, 'UTC')", early=wanted.since - EARLY_MICROS
    )
    events.add("received_at <= fromUnixTimestamp64Micro({made_at:Int64}, 'UTC')", made_at=wanted.made_at)
    events.add(f"(event_type = 'Success' OR {_DISASSOCIATION})")
    chosen = Where()
    chosen.add("is_success")
    chosen.add("start >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')", since=wanted.since)
    chosen.add("start <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')", until=wanted.until)
    locations = None if wanted.locations is None else list(wanted.locations)
    chosen.add("location_id IN {locations:Array(Int64)}", locations=locations)
    names = sorted(set(zones.values()))
    numbers = {name: number for number, name in enumerate(names, 1)}
    parameters = {
        **events.parameters,
        **chosen.parameters,
        "places": [f"{fleet}\n{location}" for fleet, location in zones],
        "numbers": [numbers[name] for name in zones.values()],
        **{f"zone{number}": name for name, number in numbers.items()},
    }
    if names:
        zone = (
            "transform(concat(fleet, '\\n', toString(ifNull(location_id, 0))),"
            " {places:Array(String)}, {numbers:Array(UInt16)}, toUInt16(0))"
        )
    else:
        zone = "toUInt16(0)"
        del parameters["places"], parameters["numbers"]
    mac, order = "mac", ""
    if wanted.mark:
        mac = "concat({mark:String}, lower(hex(SHA256(fleet))), mac)"
        order = " ORDER BY sipHash64({salt:String}, fleet, mac), event_time, id"
        parameters |= {"mark": wanted.mark, "salt": wanted.salt}
    if wanted.safe_text:
        parameters |= csv_cells.PARAMETERS
    text = csv_cells.safe_expression if wanted.safe_text else str
    values = (
        mac,
        text("ifNull(ssid, '')"),
        f"formatDateTime(start, {TIME}, 'UTC')",
        _local("start", len(names)),
        _local("end", len(names)),
        "dateDiff('second', start, end)",
        "rate",
        text("device_type"),
        text("domains"),
    )
    sql = (
        f"SELECT {', '.join(f'{value} AS `{name}`' for value, name in zip(values, COLUMNS, strict=True))}"
        f" FROM (SELECT *, {zone} AS zone, if(next IS NULL, NULL, greatest(next, start)) AS end FROM ("
        "SELECT fleet, mac, event_time, id, ssid, location_id, rate, device_type, domains, is_success, start,"
        " leadInFrame(toNullable(start)) OVER (PARTITION BY fleet, mac ORDER BY event_time, id"
        " ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) AS next FROM ("
        "SELECT fleet, mac, event_time, id, ssid, location_id, event_type = 'Success' AS is_success,"
        " if(is_success, ifNull(association_time, event_time), event_time) AS start,"
        f" if(isNull({_DOWN}) AND isNull({_UP}), NULL, ifNull({_DOWN}, 0) + ifNull({_UP}, 0)) AS rate,"
        " JSONExtractString(extra, 'smartDeviceType') AS device_type,"
        " JSONExtractString(extra, 'domainsAccessed') AS domains"
        f" FROM client_events {events})) {chosen}){order}"
    )
    return Query("associations", sql, parameters)


def _local(time: str, zones: int) -> str:
    """`time` as text in the zone of the row. ClickHouse takes constant zones alone: a branch for each."""
    branches = [
        f"zone = {number}, formatDateTime({time}, {TIME}, {{zone{number}:String}})"
        for number in range(1, zones + 1)
    ]
    utc = f"formatDateTime({time}, {TIME}, 'UTC')"
    return f"multiIf({', '.join([*branches, utc])})" if branches else utc
