"""The documents: each function writes one event's JSON, every key of its form there, as devices send it.

Written with bytes templates: encoding dicts would cost the simulator, which shares its machine with
what it loads, several times as much.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from tidegate.simulate.clients import AppDevice, Client
from tidegate.simulate.fleet import AccessPoint, Radio, Site


class Stamps:
    """Times in ISO 8601, whole seconds; the last one is kept."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def __call__(self, time: int) -> bytes:
        """The stamp of `time`, µs since 1970."""
        second = time // 1_000_000
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
        return self._text


class FailureText(NamedTuple):
    """Code and text of a failure. Only 7/14 and 8/41 are the vendor's published codes; the others
    stand in for the unpublished ones, from 900, and are understood by their texts."""

    code: int
    failure: bytes
    sub_code: int
    sub_failure: bytes


WRONG_PSK = FailureText(7, b"Incorrect PSK", 14, b"Wrong passphrase.")
EAPOL = FailureText(8, b"EAPOL Handshake Failure", 41, b"Maximum retries for 3/4 msg reached.")
ASSOCIATION_FULL = FailureText(901, b"Association Failure", 17, b"Access point is full: too many stations.")
RADIUS_TIMEOUT = FailureText(902, b"RADIUS Failure", 1, b"RADIUS server did not respond.")
RADIUS_REJECT = FailureText(902, b"RADIUS Failure", 2, b"RADIUS server rejected the credentials.")
DHCP_DRY = FailureText(903, b"DHCP Failure", 1, b"DHCP address pool exhausted: no offer received.")
DHCP_TIMEOUT = FailureText(903, b"DHCP Failure", 2, b"DHCP server did not respond.")
DNS_TIMEOUT = FailureText(904, b"DNS Failure", 1, b"DNS server did not respond.")
PORTAL = FailureText(905, b"Captive Portal Failure", 1, b"Captive portal login was not completed.")


class Step(NamedTuple):
    """Code and text of an intermediate event; Steering and Prevention are the vendor's published codes."""

    category_code: int
    type_code: int
    sub_code: int
    category: bytes
    description: bytes
    detail: bytes


ASSOCIATED = Step(1, 1, 0, b"Association", b"Association", b"The client associated with the access point.")
DISASSOCIATED = Step(1, 2, 8, b"Association", b"Disassociation", b"The client left the access point.")
AUTHENTICATED = Step(2, 10, 0, b"Authentication", b"Authentication", b"The client was authenticated.")
ADDRESSED = Step(3, 15, 0, b"Network", b"DHCP", b"The client received an IP address.")
BANDWIDTH = Step(3, 16, 0, b"Network", b"Bandwidth", b"Bandwidth limits were applied to the client.")
STEERING = Step(
    4,
    20,
    30,
    b"Client Steering",
    b"Steering",
    b"The access point skipped client steering because a voice or video call was in progress."
    b" Client RSSI [$rssi] dBm. Threshold RSSI [$thresholdRssi] dBm. Best neighboring access point"
    b" [$bstNbrMac] has RSSI [$bstNbrRssi] dBm and [$bstNbrClCnt] associated clients.",
)
PREVENTION = Step(
    5,
    103,
    1,
    b"Quarantine",
    b"Prevention",
    b"The access point blocked the client because intrusion prevention was turned on.",
)

_SUCCESS = (
    b'%bSuccess%b%d%b"associationTimestamp":%d,"authenticationTimestamp":%d,"networkTimestamp":%d,'
    b'"autoTestSessionId":null,"autoTestStatusCode":0,"autoTestStatus":null,'
    b'"dhcpLatency":%d,"aaaLatency":%d,"dnsLatency":%d}'
)
_FAILURE = (
    b'%bFailure%b%d%b"associationTimestamp":%d,"authenticationTimestamp":%d,"networkTimestamp":%d,'
    b'"autoTestSessionId":null,"autoTestStatusCode":0,"autoTestStatus":null,'
    b'"failureCode":%d,"failure":"%b","subFailureCode":%d,"subFailure":"%b","fileId":"%b"}'
)
_INTERMEDIATE = (
    b'%bIntermediate%b%d%b"categoryCode":%d,"typeCode":%d,"subTypeCode":%d,"category":"%b",'
    b'"eventDescription":"%b","subEventDescription":"%b","vlan":%d,"ip":"%b","bwUpload":%b,"bwDownload":%b,'
    b'"rssi":%d,"bwPriority":null,"radiusPrimaryIP":%b,"radiusSecondaryIP":%b,"assocCount":%d,'
    b'"detailedRole":%b,"detailedGoogleOU":null,"thresholdRssi":%b,"bwSource":%b,"clCount2Ghz":%b,'
    b'"clCount5Ghz":%b,"bstNbrRssi":%b,"bstNbrMac":%b,"bstNbrClCnt":%b,"disTime":%b,"nbrCnt":%b}'
)


def success(client: Client, radio: Radio, time: int, dhcp: int, aaa: int, dns: int) -> bytes:
    """A connection that came about at `time` (µs); the three latencies in ms."""
    network = time // 1000
    authenticated = network - dhcp - dns
    return _SUCCESS % (
        client.head[radio.band],
        radio.after_type,
        time,
        radio.after_time,
        authenticated - aaa - 2,
        authenticated,
        network,
        dhcp,
        aaa,
        dns,
    )


def failure(client: Client, radio: Radio, time: int, waited: int, text: FailureText) -> bytes:
    """An attempt that failed at `time` (µs), `waited` ms after the association."""
    moment = time // 1000
    return _FAILURE % (
        client.head[radio.band],
        radio.after_type,
        time,
        radio.after_time,
        moment - waited,
        moment,
        moment,
        text.code,
        text.failure,
        text.sub_code,
        text.sub_failure,
        b""
        if text.code == 7
        else b"%b-%d" % (client.mac[9:].replace(b":", b"").upper(), moment // 1000 % 1000000),
    )


def intermediate(
    client: Client,
    radio: Radio,
    time: int,
    step: Step,
    *,
    site: Site,
    neighbour: Radio | None = None,
    load: int = 0,
) -> bytes:
    """A step on the way at `time` (µs). Steering names the `neighbour`; `load` is its number of clients."""
    ssid = radio.ssid
    radius = ssid.authentication in ("rad", "eap")
    null = b"null"
    bandwidth = step is BANDWIDTH
    return _INTERMEDIATE % (
        client.head[radio.band],
        radio.after_type,
        time,
        radio.after_time,
        step.category_code,
        step.type_code,
        step.sub_code,
        step.category,
        step.description,
        step.detail,
        ssid.vlan,
        client.ip,
        b"5000" if bandwidth else null,
        b"20000" if bandwidth else null,
        client.rssi,
        b'"%b"' % site.radius_primary.encode() if radius else null,
        b'"%b"' % site.radius_secondary.encode() if radius else null,
        client.associations,
        b'"Guest"' if ssid.authentication == "cpo" else b'"Employee"' if radius else null,
        b"-70" if neighbour else null,
        b'"SSID Profile"' if bandwidth else null,
        b"%d" % (load // 3) if neighbour else null,
        b"%d" % (load - load // 3) if neighbour else null,
        b"%d" % (client.rssi + 9) if neighbour else null,
        b'"%b"' % neighbour.bssid.encode() if neighbour else null,
        b"%d" % (load // 2) if neighbour else null,
        b"%d" % (time // 1000) if step is DISASSOCIATED else null,
        b"3" if neighbour else null,
    )


_NETWORK = (
    b'{"network_name":%b,"network_type":"%b","network_security":"%b","network_mccmnc":%b,"frequency":%b,'
    b'"authentication":%b,"bssid":%b,"cellid":%b,"roaming":%b,"latitude":"%.6f","longitude":"%.6f",'
    b'"inbytes":%d,"outbytes":%d,"link_speed":%.1f,"quality_metric":%b,"quality_value":%b}'
)


def network_log(
    *,
    name: bytes,
    type: bytes,
    security: bytes,
    mccmnc: bytes,
    frequency: bytes,
    authentication: bytes,
    bssid: bytes,
    cellid: bytes,
    roaming: bytes,
    latitude: float,
    longitude: float,
    inbytes: int,
    outbytes: int,
    link_speed: float,
    metric: bytes,
    quality: bytes,
) -> bytes:
    """The network form (revision 4). Arguments that may be missing are JSON: quoted text, number or null."""
    return _NETWORK % (
        name,
        type,
        security,
        mccmnc,
        frequency,
        authentication,
        bssid,
        cellid,
        roaming,
        latitude,
        longitude,
        inbytes,
        outbytes,
        link_speed,
        metric,
        quality,
    )


_SESSION = (
    b'{"device_id":"%b","application_id":"%b","connection_type":"%b","timestamp":"%b","ip_address":"%b",'
    b'"user_agent":"%b","status":"%b","duration":%b,"metadata":{"location":"%b","network_type":"%b",'
    b'"signal_strength":%d,"session_id":"sess_%08x","protocol":"HTTPS"}}'
)


def session_log(
    device: AppDevice,
    *,
    application: bytes,
    type: bytes,
    time: bytes,
    status: bytes,
    duration: bytes,
    place: bytes,
    network: bytes,
    signal: int,
    session: int,
) -> bytes:
    """The session form (revision 3); `time` ISO 8601, `duration` seconds or null, `signal` dBm."""
    return _SESSION % (
        device.id,
        application,
        type,
        time,
        device.ip,
        device.user_agent,
        status,
        duration,
        place,
        network,
        signal,
        session,
    )


_LEGACY = (
    b'{"device_id": "%b", "app_id": "%b", "connection_type": "%b", "connection_status": "%b", '
    b'"timestamp": "%b", "ip_address": "%b", "signal_strength": %d, "data_transferred": %d}'
)


def legacy_body(
    device: AppDevice,
    *,
    application: bytes,
    type: bytes,
    status: bytes,
    time: bytes,
    signal: int,
    transferred: int,
) -> bytes:
    """The body that old apps put into the wrapper."""
    return _LEGACY % (device.id, application, type, status, time, device.ip, signal, transferred)


def wrapped(body: bytes) -> bytes:
    """The legacy wrapper ``{"data": "<json>"}`` around a body."""
    return b'{"data": "%b"}' % body.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


_DEVICE_LOG = (
    b'{"id":%d,"datetime":"%b","parent":{"id":"%b","name":"%b","model":"%b","location":"%b"},"action":"%b",'
    b'"variable_name":%b,"old_value":%b,"new_value":%b,"is_pending":%b,"is_applied":%b,"applied_at":%b,'
    b'"user":"%b","change_request_id":%b,"rollback_available":%b,"notes":%b}'
)


def device_log(
    *,
    id: int,
    ap: AccessPoint,
    site: Site,
    time: bytes,
    action: str,
    variable: str | None,
    old: str | None,
    new: str | None,
    applied: bool,
    applied_at: bytes | None,
    user: str,
    change_request: str | None,
    notes: str | None,
) -> bytes:
    """An entry of an access point's log; `time` and `applied_at` ISO 8601. The texts hold no quotes."""
    return _DEVICE_LOG % (
        id,
        time,
        device_key(ap),
        ap.name.encode(),
        ap.model.encode(),
        site.name.encode(),
        action.encode(),
        _text(variable),
        _text(old),
        _text(new),
        b"false" if applied else b"true",
        b"true" if applied else b"false",
        b'"%b"' % applied_at if applied_at else b"null",
        user.encode(),
        _text(change_request),
        b"true" if action == "config_change" else b"false",
        _text(notes),
    )


def device_key(ap: AccessPoint) -> bytes:
    """The id of an access point as a device."""
    return b"ap-" + ap.mac.replace(":", "").encode()


def _text(value: str | None) -> bytes:
    return b"null" if value is None else b'"%b"' % value.encode()
