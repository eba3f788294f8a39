"""Named queries of the dashboard alone, which no call of the API makes. Times are microseconds, UTC."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.store.insight import ALERT_FIELDS
from tidegate.store.queries import Names, Query, Where

CLIENT_COLUMNS = (
    "id",
    "toUnixTimestamp64Micro(event_time) AS at",
    "outcome",
    "event_type",
    "stage",
    "action",
    "site",
    "ifNull(ap_name, '') AS ap_name",
    "ifNull(bssid, '') AS bssid",
    "ifNull(ssid, '') AS ssid",
    "channel",
    "band",
    "rssi",
    "ifNull(protocol, '') AS protocol",
    "failure_code",
    "ifNull(failure, '') AS failure",
    "sub_failure_code",
    "ifNull(sub_failure, '') AS sub_failure",
    "toUnixTimestamp64Micro(association_time) AS association_at",
    "toUnixTimestamp64Micro(authentication_time) AS authentication_at",
    "toUnixTimestamp64Micro(network_time) AS network_at",
    "dhcp_latency",
    "aaa_latency",
    "dns_latency",
    "category_code",
    "type_code",
    "sub_type_code",
    "ifNull(category, '') AS category",
    "ifNull(event_description, '') AS event_description",
    "ifNull(sub_event_description, '') AS sub_event_description",
    "ifNull(file_id, '') AS file_id",
    *("threshold_rssi", "bst_nbr_rssi", "ifNull(bst_nbr_mac, '') AS bst_nbr_mac", "bst_nbr_cl_cnt"),
    *("cl_count_2ghz", "cl_count_5ghz", "vlan", "ifNull(ip, '') AS ip", "nbr_cnt", "dis_time"),
    "vendor",
    "randomised",
    "clock_skew",
)
CLIENT_NAMES = tuple(column.rpartition(" AS ")[2] for column in CLIENT_COLUMNS)


def client_timeline(fleet: str, macs: Names, since: int, until: int, *, limit: int) -> Query:
    """A client's events of [since, until), the newest `limit`, newest first: `CLIENT_COLUMNS`."""
    where = _client(fleet, macs)
    sql = (
        f"SELECT {', '.join(CLIENT_COLUMNS)} FROM client_events {where}"
        " AND event_time >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')"
        " AND event_time < fromUnixTimestamp64Micro({until:Int64}, 'UTC')"
        " ORDER BY event_time DESC, `offset` DESC, `index` DESC LIMIT {limit:UInt64}"
    )
    parameters = {**where.parameters, "since": since, "until": until, "limit": limit}
    return Query("client_timeline", sql, parameters)


def client_life(fleet: str, macs: Names) -> Query:
    """One row: events, first and last event (0 for none), vendor, randomised, sites by their last event."""
    where = _client(fleet, macs)
    sql = (
        "SELECT count(), toUnixTimestamp64Micro(min(event_time)), toUnixTimestamp64Micro(max(event_time)),"
        " any(vendor), any(randomised), argMax(site, event_time)"
        f" FROM client_events {where}"
    )
    return Query("client_life", sql, where.parameters)


def _client(fleet: str, macs: Names) -> Where:
    where = Where()
    where.add("fleet = {fleet:String}", fleet=fleet)
    where.named("mac", macs)
    return where


def clients_beginning(fleet: str, prefix: str, *, limit: int) -> Query:
    """Clients whose MAC begins so: mac, events, last event, site, vendor; in the order of the MACs."""
    sql = (
        "SELECT mac, count(), toUnixTimestamp64Micro(max(event_time)), argMax(site, event_time), any(vendor)"
        " FROM client_events WHERE fleet = {fleet:String} AND startsWith(mac, {prefix:String})"
        " GROUP BY mac ORDER BY mac LIMIT {limit:UInt64}"
    )
    return Query("clients_beginning", sql, {"fleet": fleet, "prefix": prefix, "limit": limit})


def clients_failing(fleet: str, since: int, *, site: str | None = None, limit: int) -> Query:
    """Clients with the most failures received since: mac, attempts, failures, last failure, site, stage of
    most failures, its text."""
    of_site = "" if site is None else " AND site = {site:String}"
    sql = (
        "SELECT mac, countIf(outcome IN ('success', 'failure')) AS attempts,"
        " countIf(outcome = 'failure') AS failures,"
        " toUnixTimestamp64Micro(maxIf(event_time, outcome = 'failure')), argMax(site, event_time),"
        " anyHeavyIf(stage, outcome = 'failure'), anyHeavyIf(ifNull(failure, ''), outcome = 'failure'),"
        " any(vendor)"
        " FROM client_events WHERE fleet = {fleet:String}"
        " AND received_at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')"
        f" AND toDate(received_at) >= toDate(fromUnixTimestamp64Micro({{since:Int64}}, 'UTC')){of_site}"
        " GROUP BY mac HAVING failures > 0 ORDER BY failures DESC, mac LIMIT {limit:UInt64}"
    )
    parameters = {"fleet": fleet, "since": since, "limit": limit}
    return Query("clients_failing", sql, parameters | ({} if site is None else {"site": site}))


def sites_like(fleet: str, text: str, since: int, *, limit: int) -> Query:
    """Names of sites that hold a text in any case, with events by day since: site, events."""
    sql = (
        "SELECT site, sum(events) FROM client_events_1d WHERE fleet = {fleet:String}"
        " AND bucket >= toStartOfDay(fromUnixTimestamp64Micro({since:Int64}, 'UTC'))"
        " AND positionCaseInsensitiveUTF8(site, {text:String}) > 0 AND site != ''"
        " GROUP BY site ORDER BY site LIMIT {limit:UInt64}"
    )
    return Query("sites_like", sql, {"fleet": fleet, "text": text, "since": since, "limit": limit})


def places_of_sites(fleet: str, since: int) -> Query:
    """What the map shows: geohash, a site there, sites, attempts, failures, clients; by hours since."""
    sql = (
        "SELECT geohash, anyHeavy(site), uniqExact(site), sumIf(events, outcome IN ('success', 'failure')),"
        " sumIf(events, outcome = 'failure') AS failures, uniqMerge(clients)"
        " FROM client_events_1h WHERE fleet = {fleet:String} AND geohash != ''"
        " AND bucket >= toStartOfHour(fromUnixTimestamp64Micro({since:Int64}, 'UTC'))"
        " GROUP BY geohash ORDER BY failures, geohash LIMIT 5000"
    )
    return Query("places_of_sites", sql, {"fleet": fleet, "since": since})


def places_of_logs(fleet: str, since: int) -> Query:
    """As `places_of_sites` of connection logs, by five characters of their geohash; the text is a network."""
    sql = (
        "SELECT geohash, anyHeavy(ssid), uniqExact(ssid), sumIf(events, outcome IN ('success', 'failure')),"
        " sumIf(events, outcome = 'failure') AS failures, uniqMerge(clients)"
        " FROM connection_logs_1h WHERE fleet = {fleet:String} AND geohash != ''"
        " AND bucket >= toStartOfHour(fromUnixTimestamp64Micro({since:Int64}, 'UTC'))"
        " GROUP BY geohash ORDER BY failures, geohash LIMIT 5000"
    )
    return Query("places_of_logs", sql, {"fleet": fleet, "since": since})


ALERT_COLUMNS = ", ".join(
    f"toUnixTimestamp64Micro(`{name}`) AS `{name}_micros`"
    if name in ("started_at", "updated_at", "until")
    else f"`{name}`"
    for name in ALERT_FIELDS
)


def alerts_listed(fleet: str, since: int, *, limit: int) -> Query:
    """The newest state of each alert that is not resolved, or was under way since: as `insight.alerts`."""
    sql = (
        f"SELECT {ALERT_COLUMNS} FROM alerts_now WHERE fleet = {{fleet:String}}"
        " AND (state != 'resolved' OR updated_at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC'))"
        " ORDER BY state = 'resolved', started_at DESC, id LIMIT {limit:UInt64}"
    )
    return Query("alerts_listed", sql, {"fleet": fleet, "since": since, "limit": limit})


def alert(fleet: str, id: str) -> Query:
    """The newest state of one alert: as `insight.alerts`."""
    sql = f"SELECT {ALERT_COLUMNS} FROM alerts_now WHERE fleet = {{fleet:String}} AND id = {{id:String}}"
    return Query("alert", sql, {"fleet": fleet, "id": id})


def alert_history(fleet: str, id: str) -> Query:
    """The changes of one alert: sequence, state, severity, when (µs), by, until (µs), attempts, failures,
    clients, APs."""
    sql = (
        "SELECT sequence, state, severity, toUnixTimestamp64Micro(updated_at), `by`,"
        " toUnixTimestamp64Micro(until), attempts, failures, clients, aps"
        " FROM alerts FINAL WHERE fleet = {fleet:String} AND id = {id:String} ORDER BY sequence LIMIT 1000"
    )
    return Query("alert_history", sql, {"fleet": fleet, "id": id})


def deliveries(fleet: str, ids: Sequence[str]) -> Query:
    """How each notice of these alerts stands: alert, webhook_id, endpoint, change, outcome, attempts, status,
    error, when (µs), next attempt (µs)."""
    sql = (
        "SELECT alert_id, webhook_id, endpoint, sequence, outcome, attempt, status, error,"
        " toUnixTimestamp64Micro(at), toUnixTimestamp64Micro(next_attempt_at)"
        " FROM webhook_deliveries FINAL WHERE fleet = {fleet:String} AND alert_id IN {ids:Array(String)}"
        " ORDER BY webhook_id, entry DESC LIMIT 1 BY webhook_id LIMIT 2000"
    )
    return Query("deliveries", sql, {"fleet": fleet, "ids": list(ids)})


def alert_changes(fleet: str, after: tuple[int, str, int], limit: int) -> Query:
    """Changes of alerts behind a time (µs), id and sequence, the oldest first: the columns of
    `insight.alerts`, and when (µs)."""
    since, id, sequence = after
    sql = (
        f"SELECT {ALERT_COLUMNS}, toUnixTimestamp64Micro(updated_at) AS at FROM alerts"
        " WHERE fleet = {fleet:String} AND updated_at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')"
        " AND (toUnixTimestamp64Micro(updated_at), id, sequence)"
        " > ({since:Int64}, {id:String}, {sequence:Int64})"
        " ORDER BY updated_at, id, sequence LIMIT 1 BY id, sequence LIMIT {limit:UInt64}"
    )
    values = {"fleet": fleet, "since": since, "id": id, "sequence": sequence, "limit": limit}
    return Query("alert_changes", sql, values)


def ledger() -> Query:
    """The ledger against itself, by stream: lines, accepted, rejected, duplicates, newest plan; of
    all fleets, since a batch holds events of several."""
    sql = (
        "SELECT stream, sum(lines), sum(accepted), sum(rejected), sum(duplicates),"
        " toUnixTimestamp64Micro(max(planned_at)) FROM verify_batches GROUP BY stream ORDER BY stream"
    )
    return Query("ledger", sql, {})


def gaps() -> Query:
    """Where an offset sequence breaks: stream, partition, after, next, accepted."""
    sql = "SELECT stream, partition, after, next, is_accepted FROM verify_gaps LIMIT 100"
    return Query("gaps", sql, {})


def rejects_by_code(fleet: str, since: int) -> Query:
    """Refused lines since: stream, code, lines, newest."""
    sql = (
        "SELECT stream, code, count() AS lines, toUnixTimestamp64Micro(max(received_at)) FROM rejects"
        " WHERE fleet = {fleet:String}"
        " AND received_at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')"
        " AND toDate(received_at) >= toDate(fromUnixTimestamp64Micro({since:Int64}, 'UTC'))"
        " GROUP BY stream, code ORDER BY lines DESC LIMIT 50"
    )
    return Query("rejects_by_code", sql, {"fleet": fleet, "since": since})


def stored_by_minute(fleet: str, since: int) -> Query:
    """Events by minute since: stream, minute, events."""
    parts = " UNION ALL ".join(
        f"SELECT '{stream}' AS stream, toUnixTimestamp(bucket) AS minute, sum(events) FROM {stream}_1m"
        " WHERE fleet = {fleet:String}"
        " AND bucket >= toStartOfMinute(fromUnixTimestamp64Micro({since:Int64}, 'UTC'))"
        " AND bucket <= now() GROUP BY bucket"
        for stream in ("connection_logs", "client_events", "device_logs")
    )
    return Query(
        "stored_by_minute",
        f"SELECT * FROM ({parts}) ORDER BY stream, minute",
        {"fleet": fleet, "since": since},
    )
