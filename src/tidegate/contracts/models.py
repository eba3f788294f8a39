"""The event models: the single source of truth for what a sender may write.

One model for each form of each stream, every field of the reference documents with its type, enum, unit
and range. Unknown fields are kept elsewhere (`forms.Event.extra`), never refused. The structs of the hot
path are derived from these models (`derive.py`); JSON Schemas and precise errors come from them directly.

Field names are the columns' names; aliases are the documents' spelling. Nested objects become columns
with the prefix that their annotation names.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MinLen
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tidegate.contracts.formats import LATITUDE, LONGITUDE, MAC, MCCMNC, MICROS_LIMIT, TIME, optional


@dataclass(frozen=True, slots=True)
class Prefix:
    """The fields of a nested object become columns of this prefix."""

    text: str


INT64 = 2**63 - 1

Int = Annotated[int, Ge(-(2**63)), Le(INT64)]
Count = Annotated[int, Ge(0), Le(INT64)]
Real = Annotated[float, Ge(-1.7976931348623157e308), Le(1.7976931348623157e308)]
NonNegative = Annotated[float, Ge(0.0), Le(1.7976931348623157e308)]
Name = Annotated[str, MinLen(1)]
Mac = Annotated[str, MAC]
OptionalMac = Annotated[str, optional(MAC)] | None  # as of all formats: an empty text is none
Time = Annotated[str, TIME]
OptionalTime = Annotated[str, optional(TIME)] | None
EpochTime = (  # s, ms or µs, told apart by magnitude; the limit itself is no float, and would be rounded up
    Annotated[int, Ge(0), Le(MICROS_LIMIT)] | Annotated[float, Ge(0), Le(MICROS_LIMIT - 1)]
)
Channel = Annotated[int, Ge(0), Le(233)]
Vlan = Annotated[int, Ge(0), Le(4095)]
Frequency = Annotated[float, Ge(0.0), Le(300.0)]
Scalar = str | int | Real | bool  # kept as text: a whole number of any size

Protocol = Literal["UNKNOWN", "A", "B", "BG", "G", "N", "AN", "GN", "BGN", "AC", "AX", "BE"]


class Model(BaseModel):
    """Strict: a string is no number and a number no boolean. null in an optional field is missing.
    4.0 is the whole number 4, as it is to JSON Schema."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, validate_by_name=False)

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, found: Any) -> Any:
        return whole(cls, found)


def whole(model: type[BaseModel], found: Any) -> Any:
    """A JSON object with 4.0 as 4 where a field of the model, or of a model inside it, takes whole numbers
    and no others; anything else as it is."""
    if not isinstance(found, dict):
        return found
    kinds = _kinds(model)
    return {key: _as(kinds[key], value) if key in kinds else value for key, value in found.items()}


def _as(kind: type[BaseModel] | None, value: Any) -> Any:
    if kind is not None:
        return whole(kind, value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


@cache
def _kinds(model: type[BaseModel]) -> dict[str, type[BaseModel] | None]:
    """The fields of a model, as senders spell them, that hold a model, or a whole number (None)."""
    kinds: dict[str, type[BaseModel] | None] = {}
    for name, field in model.model_fields.items():
        types_ = _types(field.annotation)
        inner = [type_ for type_ in types_ if isinstance(type_, type) and issubclass(type_, BaseModel)]
        if inner or (int in types_ and float not in types_):
            kinds[field.alias or name] = inner[0] if inner else None
    return kinds


def _types(hint: Any) -> set[Any]:
    """The plain types in an annotation, at any depth of its unions."""
    if get_origin(hint) is Annotated:
        return _types(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return {type_ for item in get_args(hint) for type_ in _types(item)}
    return {hint}


class NetworkLog(Model):
    """Connection log, network form (rev 4 of the document): a device describes the network it is on."""

    network_name: str | None = Field(None, description="Name of the current network")
    network_type: Literal["wi", "mo", "bl", "et"] = Field(
        description="wi WiFi, mo Mobile, bl Bluetooth, et Ethernet"
    )
    network_security: Literal["opn", "wep", "wpa", "wp2", "3gp"] = Field(
        description="opn Open, wep WEP, wpa WPA, wp2 WPA2, 3gp 3GPP"
    )
    network_mccmnc: Annotated[str, optional(MCCMNC)] | None = Field(
        None, description="Mobile network MCC and MNC"
    )
    frequency: Frequency | None = Field(None, description="Frequency, GHz")
    authentication: Literal["non", "cpo", "wis", "psk", "rad", "eap", "3gp"] | None = Field(
        None, description="non None, cpo Captive portal, wis WISPr, psk PSK, rad RADIUS, eap EAP, 3gp 3GPP"
    )
    bssid: OptionalMac = Field(None, description="MAC address of the access point")
    cellid: str | None = Field(None, description="Cell ID of a mobile connection")
    roaming: bool | None = Field(None, description="Outside the home network")
    latitude: Annotated[str | float, optional(LATITUDE)] | None = Field(
        None, description="Decimal degrees, echoed as a string"
    )
    longitude: Annotated[str | float, optional(LONGITUDE)] | None = Field(
        None, description="Decimal degrees, echoed as a string"
    )
    inbytes: Count | None = Field(None, description="Bytes received during this connection session")
    outbytes: Count | None = Field(None, description="Bytes transmitted during this connection session")
    link_speed: NonNegative | None = Field(None, description="Connection speed, Mbit/s")
    quality_metric: Literal["rssi", "sinr"] | None = Field(None, description="What quality_value measures")
    quality_value: Real | None = Field(None, description="rssi dBm, sinr dB")


class SessionLog(Model):
    """Connection log, session form (rev 3 of the document): a device connects to an application."""

    device_id: Name = Field(description="Device")
    application_id: str | None = Field(None, description="Application")
    connection_type: str | None = Field(None, description="What happened, e.g. established")
    timestamp: Time = Field(description="Time of the connection, ISO 8601")
    ip_address: str | None = Field(None, description="IP address of the device")
    user_agent: str | None = Field(None, description="User agent of the application")
    status: str | None = Field(None, description="Outcome, e.g. success")
    duration: NonNegative | None = Field(None, description="Length of the connection, seconds")
    metadata: dict[str, Any] | None = Field(None, description="Anything else the sender knows")


class LegacyLog(Model):
    """Connection log, the older body that stands inside the ``{"data": "<json>"}`` wrapper."""

    device_id: str | None = Field(None, description="Device")
    application_id: str | None = Field(None, alias="app_id", description="Application")
    connection_type: str | None = Field(None, description="Kind of network, e.g. wifi")
    status: str | None = Field(None, alias="connection_status", description="Outcome, e.g. connected")
    timestamp: OptionalTime = Field(None, description="Time of the connection, ISO 8601")
    ip_address: str | None = Field(None, description="IP address of the device")
    signal_strength: Real | None = Field(None, description="Signal strength, dBm")
    data_transferred: Count | None = Field(None, description="Bytes transferred")


class LocationId(Model):
    """Where an access point stands, as the vendor's location tree numbers it."""

    type: str | None = Field(None, description="Kind of identifier, e.g. locallocationid")
    id: Int = Field(description="Location, -1 unknown")


class ClientEvent(Model):
    """What every client event carries."""

    mac: Mac = Field(alias="macAddress", description="MAC address of the client")
    protocol: Protocol | None = Field(None, description="802.11 protocol version")
    location: Annotated[LocationId, Prefix("location_")] | None = Field(None, alias="locationId")
    event_type: Literal["Success", "Failure", "Intermediate"] = Field(alias="eventType")
    bssid: OptionalMac = Field(None, description="BSSID of the associated access point")
    channel: Channel | None = Field(None, description="Channel number")
    timestamp: EpochTime = Field(
        description="Time of the event: seconds, milliseconds or microseconds since 1970"
    )
    ap_name: str | None = Field(
        None, alias="associatedAPName", description="Name of the associated access point"
    )
    ssid: str | None = Field(None, description="SSID")


class ConnectionEvent(ClientEvent):
    """What success and failure share."""

    association_timestamp: EpochTime | None = Field(
        None, alias="associationTimestamp", description="Association"
    )
    authentication_timestamp: EpochTime | None = Field(
        None, alias="authenticationTimestamp", description="Authentication"
    )
    network_timestamp: EpochTime | None = Field(None, alias="networkTimestamp", description="Connection")
    autotest_session_id: Int | None = Field(
        None, alias="autoTestSessionId", description="Connectivity test session"
    )
    autotest_status_code: Int | None = Field(
        None, alias="autoTestStatusCode", description="Connectivity test status"
    )
    autotest_status: str | None = Field(None, alias="autoTestStatus", description="Connectivity test status")


class SuccessEvent(ConnectionEvent):
    """A client connected. Latencies in milliseconds (the document says seconds, its sample shows ms)."""

    event_type: Literal["Success"] = Field(alias="eventType")
    dhcp_latency: Count | None = Field(None, alias="dhcpLatency", description="DHCP latency, ms")
    aaa_latency: Count | None = Field(None, alias="aaaLatency", description="AAA latency, ms")
    dns_latency: Count | None = Field(None, alias="dnsLatency", description="DNS latency, ms")


class FailureEvent(ConnectionEvent):
    """A client failed to connect."""

    event_type: Literal["Failure"] = Field(alias="eventType")
    failure_code: Int | None = Field(None, alias="failureCode", description="Category of the failure")
    failure: str | None = Field(None, description="Category of the failure, text")
    sub_failure_code: Int | None = Field(
        None, alias="subFailureCode", description="Failure within its category"
    )
    sub_failure: str | None = Field(None, alias="subFailure", description="Failure within its category, text")
    file_id: str | None = Field(None, alias="fileId", description="File of the client's connection logs")


class IntermediateEvent(ClientEvent):
    """Something on the way: association, authentication, network, client steering, quarantine."""

    event_type: Literal["Intermediate"] = Field(alias="eventType")
    category_code: Annotated[int, Ge(0), Le(5)] | None = Field(
        None, alias="categoryCode", description="1 to 5; 0 none"
    )
    type_code: Int | None = Field(None, alias="typeCode", description="Type of the event")
    sub_type_code: Int | None = Field(None, alias="subTypeCode", description="Type of the sub-event")
    category: str | None = Field(None, description="Category, text")
    event_description: str | None = Field(None, alias="eventDescription", description="Event, text")
    sub_event_description: str | None = Field(
        None, alias="subEventDescription", description="Sub-event, text"
    )
    vlan: Vlan | None = Field(None, description="VLAN of the client")
    ip: str | None = Field(None, description="IP address of the client")
    bw_upload: Count | None = Field(None, alias="bwUpload", description="Upload bandwidth, kbit/s")
    bw_download: Count | None = Field(None, alias="bwDownload", description="Download bandwidth, kbit/s")
    rssi: Int | None = Field(None, description="Signal strength, dBm")
    bw_priority: Int | None = Field(None, alias="bwPriority", description="Bandwidth priority")
    radius_primary_ip: str | None = Field(None, alias="radiusPrimaryIP", description="Primary RADIUS server")
    radius_secondary_ip: str | None = Field(
        None, alias="radiusSecondaryIP", description="Secondary RADIUS server"
    )
    assoc_count: Count | None = Field(None, alias="assocCount", description="Number of associations")
    detailed_role: str | None = Field(None, alias="detailedRole", description="Role of the client")
    detailed_google_ou: str | None = Field(
        None, alias="detailedGoogleOU", description="Google organisational unit"
    )
    threshold_rssi: Int | None = Field(
        None, alias="thresholdRssi", description="RSSI threshold of steering, dBm"
    )
    bw_source: str | None = Field(None, alias="bwSource", description="Source of the bandwidth limit")
    cl_count_2ghz: Count | None = Field(None, alias="clCount2Ghz", description="Clients in the 2.4 GHz band")
    cl_count_5ghz: Count | None = Field(None, alias="clCount5Ghz", description="Clients in the 5 GHz band")
    bst_nbr_rssi: Int | None = Field(None, alias="bstNbrRssi", description="RSSI of the best neighbour, dBm")
    bst_nbr_mac: OptionalMac = Field(None, alias="bstNbrMac", description="MAC address of the best neighbour")
    bst_nbr_cl_cnt: Count | None = Field(
        None, alias="bstNbrClCnt", description="Clients of the best neighbour"
    )
    dis_time: Int | None = Field(None, alias="disTime", description="Disassociation time")
    nbr_cnt: Count | None = Field(None, alias="nbrCnt", description="Number of neighbours")


class Parent(Model):
    """The device that a log entry is about."""

    id: Name = Field(description="Device")
    name: str | None = Field(None, description="Name of the device")
    model: str | None = Field(None, description="Model of the device")
    location: str | None = Field(None, description="Where the device stands")


class DeviceLog(Model):
    """A device operation or configuration change."""

    source_id: Int | str | None = Field(None, alias="id", description="The sender's own identifier")
    datetime: Time = Field(description="Time of the operation, ISO 8601")
    parent: Annotated[Parent, Prefix("device_")]
    log_action: Name = Field(alias="action", description="e.g. config_change, restart, firmware_update")
    variable_name: str | None = Field(None, description="Configuration variable")
    old_value: Scalar | None = Field(None, description="Value before")
    new_value: Scalar | None = Field(None, description="Value after")
    is_pending: bool | None = Field(None, description="Still to be done")
    is_applied: bool | None = Field(None, description="Done; false and not pending: failed")
    applied_at: OptionalTime = Field(None, description="Time of application, ISO 8601")
    user: str | None = Field(None, description="Who asked for it")
    change_request_id: str | None = Field(None, description="Change request")
    rollback_available: bool | None = Field(None, description="Whether it can be undone")
    notes: str | None = Field(None, description="Remarks")
