"""The columns of each stream: the Arrow schema of an enriched frame, in the order of its table.

The position columns `epoch`, `partition` and `offset` stand in the frame's headers; the sink adds them.
Timestamps are UTC microseconds; latencies milliseconds (the references say seconds, their samples are
milliseconds); rssi dBm; bytes bytes; link_speed Mbit/s; frequency GHz.
"""

from __future__ import annotations

import pyarrow as pa

from tidegate.contracts.topics import Stream

_TIME = pa.timestamp("us", tz="UTC")
_TEXT = pa.string()
_INT = pa.int64()
_REAL = pa.float64()
_FLAG = pa.bool_()


def _field(name: str, type: pa.DataType, *, null: bool = True) -> pa.Field[pa.DataType]:
    return pa.field(name, type, nullable=null)


_HEAD = [
    _field("fleet", _TEXT, null=False),
    _field("received_at", _TIME, null=False),
    _field("event_time", _TIME, null=False),
    _field("clock_skew", _FLAG, null=False),
    _field("outcome", _TEXT, null=False),  # success, failure, intermediate, unknown
    _field("stage", _TEXT, null=False),  # of a failure; empty otherwise
    _field("action", _TEXT, null=False),  # what to do about a failure; empty otherwise
]
_TAIL = [
    _field("index", pa.uint32(), null=False),
    _field("origin", _TEXT, null=False),  # the id under which a replayed line was refused first; '' else
    _field("extra", _TEXT, null=False),  # JSON object of the fields the model does not know; '' for none
]

CONNECTION_LOGS = pa.schema(
    [
        *_HEAD,
        _field("form", _TEXT, null=False),  # network, session, legacy
        _field("device_id", _TEXT),
        _field("application_id", _TEXT),
        _field("network_name", _TEXT),
        _field("network_type", _TEXT),
        _field("network_security", _TEXT),
        _field("network_mccmnc", _TEXT),
        _field("frequency", _REAL),
        _field("authentication", _TEXT),
        _field("bssid", _TEXT),
        _field("cellid", _TEXT),
        _field("roaming", _FLAG),
        _field("latitude", _REAL),
        _field("longitude", _REAL),
        _field("inbytes", _INT),
        _field("outbytes", _INT),
        _field("link_speed", _REAL),
        _field("quality_metric", _TEXT),
        _field("quality_value", _REAL),
        _field("connection_type", _TEXT),
        _field("status", _TEXT),
        _field("ip_address", _TEXT),
        _field("user_agent", _TEXT),
        _field("duration", _REAL),
        _field("metadata", _TEXT),
        _field("signal_strength", _REAL),
        _field("data_transferred", _INT),
        # enrichment
        _field("geohash", _TEXT, null=False),  # '' without coordinates
        _field("vendor", _TEXT, null=False),  # of the bssid
        _field("randomised", _FLAG, null=False),  # bssid locally administered
        _field("country", _TEXT, null=False),  # ISO 3166 alpha-2, lower case, from MCC
        _field("operator", _TEXT, null=False),
        _field("insecure", _FLAG, null=False),
        _field("unapproved", _FLAG, null=False),
        *_TAIL,
    ]
)

CLIENT_EVENTS = pa.schema(
    [
        *_HEAD,
        _field("mac", _TEXT, null=False),
        _field("event_type", _TEXT, null=False),
        _field("protocol", _TEXT),
        _field("location_type", _TEXT),
        _field("location_id", _INT),
        _field("bssid", _TEXT),
        _field("channel", _INT),
        _field("ssid", _TEXT),
        _field("ap_name", _TEXT),
        _field("association_time", _TIME),
        _field("authentication_time", _TIME),
        _field("network_time", _TIME),
        _field("autotest_session_id", _INT),
        _field("autotest_status_code", _INT),
        _field("autotest_status", _TEXT),
        _field("dhcp_latency", _INT),
        _field("aaa_latency", _INT),
        _field("dns_latency", _INT),
        _field("failure_code", _INT),
        _field("failure", _TEXT),
        _field("sub_failure_code", _INT),
        _field("sub_failure", _TEXT),
        _field("file_id", _TEXT),
        _field("category_code", _INT),
        _field("type_code", _INT),
        _field("sub_type_code", _INT),
        _field("category", _TEXT),
        _field("event_description", _TEXT),
        _field("sub_event_description", _TEXT),
        _field("vlan", _INT),
        _field("ip", _TEXT),
        _field("bw_upload", _INT),
        _field("bw_download", _INT),
        _field("rssi", _INT),
        _field("bw_priority", _INT),
        _field("radius_primary_ip", _TEXT),
        _field("radius_secondary_ip", _TEXT),
        _field("assoc_count", _INT),
        _field("detailed_role", _TEXT),
        _field("detailed_google_ou", _TEXT),
        _field("threshold_rssi", _INT),
        _field("bw_source", _TEXT),
        _field("cl_count_2ghz", _INT),
        _field("cl_count_5ghz", _INT),
        _field("bst_nbr_rssi", _INT),
        _field("bst_nbr_mac", _TEXT),
        _field("bst_nbr_cl_cnt", _INT),
        _field("dis_time", _INT),
        _field("nbr_cnt", _INT),
        # enrichment
        _field("site", _TEXT, null=False),  # name from the sites table, else the location id as text, else ''
        _field("latitude", _REAL),  # of the site
        _field("longitude", _REAL),
        _field("geohash", _TEXT, null=False),
        _field("vendor", _TEXT, null=False),  # of the client's MAC
        _field("randomised", _FLAG, null=False),
        _field("band", _TEXT, null=False),  # 2.4, 5, 6 GHz from the channel; '' unknown
        *_TAIL,
    ]
)

DEVICE_LOGS = pa.schema(
    [
        *_HEAD,
        _field("source_id", _TEXT),  # the sender's own id
        _field("device_id", _TEXT, null=False),
        _field("device_name", _TEXT),
        _field("device_model", _TEXT),
        _field("device_location", _TEXT),
        _field("log_action", _TEXT, null=False),  # the document's `action`
        _field("variable_name", _TEXT),
        _field("old_value", _TEXT),  # JSON scalars other than strings as their JSON text
        _field("new_value", _TEXT),
        _field("is_pending", _FLAG),
        _field("is_applied", _FLAG),
        _field("applied_at", _TIME),
        _field("user", _TEXT),
        _field("change_request_id", _TEXT),
        _field("rollback_available", _FLAG),
        _field("notes", _TEXT),
        *_TAIL,
    ]
)

SCHEMAS: dict[Stream, pa.Schema] = {
    "connection_logs": CONNECTION_LOGS,
    "client_events": CLIENT_EVENTS,
    "device_logs": DEVICE_LOGS,
}
