"""Connectors beside `tidegate up`: what senders say is in ClickHouse, each event once, also where the gateway
is killed meanwhile. Senders are FreeRADIUS's radclient, hostapd and wpa_supplicant over a pair of virtual
interfaces, and util-linux's logger; the clouds of Mist and Meraki are played by us.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import connector_payloads as made
import pytest
import radius_client
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from connector_process import SECRET, Connector, connecting
from roles import assert_verified
from toolchains import need, refuse
from up_rig import Up, await_
from up_rig import running as running_up

from tidegate.connectors import openwifi
from tidegate.local.child import free_port

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("up"), "--simulate", "0") as one:
        yield one


@contextmanager
def connector(name: str, up: Up, folder: Path) -> Iterator[Connector]:
    gateway = f"http://{up.listens['gateway']}"
    with connecting(name, folder, gateway, up.tokens()["ingest"]) as one:
        yield one


def rows(up: Up, table: str, columns: str, mark: str) -> list[dict[str, Any]]:
    """The rows of a table in whose unknown fields `mark` stands, in the order of their times."""
    found = up.sql(
        f"SELECT {columns} FROM tidegate.{table} WHERE position(extra, '{mark}') > 0 ORDER BY event_time"
        " FORMAT JSONEachRow"
    )
    return [json.loads(line) for line in found.splitlines()]


def await_rows(up: Up, table: str, columns: str, mark: str, count: int) -> list[dict[str, Any]]:
    await_(lambda: len(rows(up, table, columns, mark)) >= count, up.said)
    found = rows(up, table, columns, mark)
    assert len(found) == count, found
    return found


def settled(up: Up) -> None:
    """All that was sent is stored, and the ledger balances."""
    kafka, clickhouse = up.listens["kafka"], up.clickhouse_url
    assert_verified({"kafka_bootstrap": kafka, "clickhouse_url": clickhouse, "data_dir": up.data})


def test_mist(up: Up, tmp_path: Path) -> None:
    now, mark = time.time(), uuid.uuid4().hex
    with connector("mist", up, tmp_path) as mist:

        def deliver(topic: str, *events: dict[str, Any]) -> Any:
            body = made.mist(topic, *events)
            return mist.post(body, made.signature(SECRET, body))

        joins = [made.client_join(now, wlan_id=mark, connect_float=now - 60 + number) for number in range(3)]
        sessions = [made.client_session(now, wlan_id=mark)]
        for _ in range(2):  # a cloud that did not hear the answer sends again
            for topic, events in (("client-join", joins), ("client-sessions", sessions)):
                answer = deliver(topic, *events)
                assert (answer.status_code, answer.json()) == (200, {"count": len(events)})
        assert deliver("client-join", joins[1]).json() == {"count": 1}  # alone, by another webhook
        assert deliver("ping", {"id": mark}).json() == {"count": 0}
        found = await_rows(up, "client_events", "event_type, mac, bssid, ssid, ap_name, outcome", mark, 4)
        known = {
            "mac": "a4:83:e7:11:22:33",
            "bssid": "d4:20:b0:f0:1a:2c",
            "ssid": "Harbour",
            "ap_name": "Lobby-AP-3",
        }
        joined = {**known, "event_type": "Success", "outcome": "success"}
        left = {**known, "event_type": "Intermediate", "outcome": "intermediate"}
        assert found == [joined, joined, joined, left]

        device = made.device_event(now, audit_id=mark)
        assert deliver("device-events", device).status_code == 200
        assert await_rows(up, "device_logs", "device_id, log_action", mark, 1) == [
            {"device_id": "d420b0001a2b", "log_action": "AP_RRM_ACTION"}
        ]

        answer = deliver("client-join", joins[0], made.client_join(now, mac="x", wlan_id=mark))
        assert answer.status_code == 207
        [error] = answer.json()["errors"]
        assert (answer.json()["count"], error["index"], error["path"]) == (1, 1, "events[1].mac")
        answer = deliver("client-join", made.client_join(now, mac=None, wlan_id=mark))
        assert (answer.status_code, answer.json()["path"]) == (422, "events[0].mac")
        answer = deliver("client-join", made.client_join(now, timestamp=now - 90_000, wlan_id=mark))
        assert (answer.status_code, answer.json()["path"]) == (422, "events[0].timestamp"), "a recording"
        answer = deliver("zone", {})
        assert (answer.status_code, answer.json()["path"]) == (422, "topic")
        assert mist.count("events_total", outcome="refused") == 3
        settled(up)
        assert len(rows(up, "client_events", "mac", mark)) == 4


def test_meraki(up: Up, tmp_path: Path) -> None:
    now, mark = time.time(), uuid.uuid4().hex
    alerts = [
        made.meraki_client(now, SECRET, connected=True, alertId=f"{mark}-1"),
        made.meraki_client(now, SECRET, connected=False, alertId=f"{mark}-2", occurredAt=made.iso(now)),
        made.meraki_settings(now, SECRET, alertId=f"{mark}-3"),
        made.meraki_device_down(now, SECRET, alertId=f"{mark}-4"),
    ]
    with connector("meraki", up, tmp_path) as meraki:
        for _ in range(2):
            assert [meraki.post(alert).status_code for alert in alerts] == [200] * 4
        clients = await_rows(up, "client_events", "event_type, mac", mark, 2)
        assert [one["event_type"] for one in clients] == ["Success", "Intermediate"]
        entries = await_rows(up, "device_logs", "source_id, device_id, log_action", mark, 2)
        assert sorted(entries, key=lambda one: str(one["source_id"])) == [
            {"source_id": f"{mark}-3", "device_id": "N_98765", "log_action": "settings_changed"},
            {"source_id": f"{mark}-4", "device_id": "Q2AB-CDEF-GH12", "log_action": "stopped_reporting"},
        ]
        for table in ("client_events", "device_logs"):
            stored = rows(up, table, "extra", mark)
            assert SECRET not in json.dumps(stored) and "sharedSecret" not in json.dumps(stored)
        answer = meraki.post({**alerts[0], "occurredAt": None})
        assert (answer.status_code, answer.json()["path"]) == (422, "occurredAt")
        answer = meraki.post(made.meraki_settings(now - 90_000, SECRET))
        assert (answer.status_code, answer.json()["path"]) == (422, "sentAt"), "a recording"
        settled(up)


def test_a_delivery_while_the_gateway_is_away_is_refused_and_lands_once_when_it_comes_again(
    up: Up, tmp_path: Path
) -> None:
    mark = uuid.uuid4().hex
    body = made.mist("client-join", made.client_join(time.time(), wlan_id=mark))
    with connector("mist", up, tmp_path) as mist:
        up.kill("gateway")
        answer = mist.post(body, made.signature(SECRET, body))
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["content-type"] == "application/problem+json"
        statuses: list[int] = []

        def is_in() -> bool:
            statuses.append(mist.post(body, made.signature(SECRET, body)).status_code)
            return statuses[-1] == 200

        await_(is_in, up.said)
        assert set(statuses) <= {200, 503}
        assert mist.post(body, made.signature(SECRET, body)).status_code == 200
        await_rows(up, "client_events", "mac", mark, 1)
        settled(up)
        assert len(rows(up, "client_events", "mac", mark)) == 1


@contextmanager
def killed(connector: Connector) -> Iterator[Connector]:
    """A connector that is killed at the end."""
    try:
        yield connector
    finally:
        connector.client.close()
        connector.child.kill()
        connector.child.wait(10)


def test_openwifi(up: Up, tmp_path: Path) -> None:
    """What was read and is not acknowledged when the connector is killed is read again, and lands once."""
    mark = uuid.uuid4().hex
    admin = AdminClient({"bootstrap.servers": up.listens["kafka"]})
    for made_topic in admin.create_topics([NewTopic(topic, 1, 1) for topic in openwifi.TOPICS]).values():
        made_topic.result(30)
    producer = Producer({"bootstrap.servers": up.listens["kafka"]})
    now = int(time.time())
    producer.produce("state", b"{", key="f0a1b2c3d4e5")
    for number in range(300):
        state = made.openwifi_state(now - number, mark)
        producer.produce("state", json.dumps(state).encode(), key="f0a1b2c3d4e5")
    gone = {"payload": {"disconnection": {"serialNumber": mark, "timestamp": now}}}
    producer.produce("connection", json.dumps(gone).encode(), key=mark)
    assert producer.flush(30) == 0
    gateway, token = f"http://{up.listens['gateway']}", up.tokens()["ingest"]
    values = {"kafka_bootstrap": up.listens["kafka"]}
    nowhere = f"http://127.0.0.1:{free_port()}"
    with killed(Connector("openwifi", tmp_path, nowhere, token, **values).start("/healthz")) as first:
        await_(lambda: first.count("dropped_total", reason="malformed") == 1, first.child.tail)  # it has read
    with killed(Connector("openwifi", tmp_path, gateway, token, **values).start()) as again:
        await_(lambda: rows(up, "client_events", "mac", mark), again.child.tail)
    up.kill("gateway")
    with connecting("openwifi", tmp_path, gateway, token, **values) as second:
        await_(lambda: len(rows(up, "client_events", "mac", mark)) >= 300, second.child.tail)
        await_(lambda: rows(up, "device_logs", "log_action", mark), second.child.tail)
        settled(up)
        found = rows(up, "client_events", "toUnixTimestamp(event_time) AS at", mark)
        assert [int(one["at"]) for one in found] == list(range(now - 299, now + 1))
        assert rows(up, "device_logs", "device_id, log_action", mark) == [
            {"device_id": mark, "log_action": "disconnection"}
        ]


def radclient(to: tuple[str, int], attributes: str, secret: str = SECRET, tries: int = 30) -> str:
    """Send one request and wait for its answer; what radclient says."""
    command = ["radclient", "-x", "-t", "1", "-r", str(tries), f"{to[0]}:{to[1]}", "acct", secret]
    done = subprocess.run(command, input=attributes, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


def test_radius_accounting_of_radclient(up: Up, tmp_path: Path) -> None:
    need("radclient")
    mark, now = uuid.uuid4().hex, int(time.time())
    session = "\n".join(
        [
            f'Acct-Session-Id = "{mark}"',
            'User-Name = "till-4"',
            'NAS-Identifier = "lobby"',
            'Calling-Station-Id = "A4-83-E7-77-88-99"',
            'Called-Station-Id = "D4-20-B0-F0-1A-2C:Harbour"',
        ]
    )
    start = f"{session}\nAcct-Status-Type = Start\nEvent-Timestamp = {now - 20}\n"
    stop = (
        f"{session}\nAcct-Status-Type = Stop\nEvent-Timestamp = {now}\nAcct-Session-Time = 20\n"
        "Acct-Terminate-Cause = Lost-Carrier\nAcct-Input-Octets = 4096\n"
    )
    with connector("radius", up, tmp_path) as radius:
        assert "Received Accounting-Response" in radclient(radius.radius, start)
        again = f"{start}Acct-Delay-Time = 7\n"  # the same session's start, sent again
        assert "Received Accounting-Response" in radclient(radius.radius, again)
        up.kill("gateway")
        assert "Received Accounting-Response" in radclient(radius.radius, stop), "it was sent until it was in"
        columns = "event_type, mac, bssid, ssid, event_description, sub_event_description"
        found = await_rows(up, "client_events", columns, mark, 2)
        known = {"mac": "a4:83:e7:77:88:99", "bssid": "d4:20:b0:f0:1a:2c", "ssid": "Harbour"}
        assert found == [
            {**known, "event_type": "Success", "event_description": None, "sub_event_description": None},
            {
                **known,
                "event_type": "Intermediate",
                "event_description": "Disassociation",
                "sub_event_description": "Lost-Carrier",
            },
        ]
        kept = json.loads(rows(up, "client_events", "extra", mark)[1]["extra"])["radius"]
        assert (kept["Acct-Session-Time"], kept["Acct-Input-Octets"]) == (20, 4096)
        said = radclient(radius.radius, start, secret="another", tries=1)
        assert "Received" not in said
        assert radius.count("dropped_total", reason="secret") >= 1
        no_session = f"User-Name = till\nAcct-Status-Type = Start\nEvent-Timestamp = {now}\n"
        assert "Received" not in radclient(radius.radius, no_session, tries=1)
        assert "refused at Acct-Session-Id" in radius.child.tail()
        settled(up)
        assert len(rows(up, "client_events", "mac", mark)) == 2


def test_radius_accounting_without_a_time_that_comes_again_lands_once(up: Up, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    secret = SECRET.encode()
    attributes = {
        name: value for name, value in radius_client.start(0).items() if name != "Event-Timestamp"
    } | {"Acct-Session-Id": mark}
    first = radius_client.request(secret, {**attributes, "Acct-Delay-Time": 0}, identifier=1)
    second = radius_client.request(secret, {**attributes, "Acct-Delay-Time": 5}, identifier=2)
    with connector("radius", up, tmp_path) as radius:
        for sent in (first, first, second):
            answer = radius_client.exchange(radius.radius, sent)
            assert answer is not None and radius_client.is_answer(answer, sent, secret)
        settled(up)
    with connector("radius", up, tmp_path) as radius:  # another process, which remembers nothing
        assert radius_client.exchange(radius.radius, second) is not None
        await_rows(up, "client_events", "mac", mark, 1)
        settled(up)
        assert len(rows(up, "client_events", "mac", mark)) == 1


@contextmanager
def a_wire(folder: Path) -> Iterator[tuple[str, str]]:
    """Two interfaces that are the ends of one wire."""
    if os.geteuid() != 0:
        refuse("needs root for a pair of virtual interfaces")
    names = (f"tga{os.getpid() % 100_000}", f"tgs{os.getpid() % 100_000}")
    made = subprocess.run(
        ["ip", "link", "add", names[0], "type", "veth", "peer", "name", names[1]], capture_output=True
    )
    if made.returncode:
        refuse(f"no virtual interfaces here: {made.stderr.decode().strip()}")
    try:
        for name in names:
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield names
    finally:
        subprocess.run(["ip", "link", "del", names[0]], check=True)


HOSTAPD = """
interface={interface}
driver=wired
ieee8021x=1
use_pae_group_addr=1
eap_server=1
eap_user_file={users}
logger_stdout=-1
logger_stdout_level=2
own_ip_addr=127.0.0.1
nas_identifier={nas}
acct_server_addr=127.0.0.1
acct_server_port={port}
acct_server_shared_secret={secret}
"""
SUPPLICANT = """
ap_scan=0
network={{
  key_mgmt=IEEE8021X
  eap=MD5
  identity="till"
  password="{password}"
  eapol_flags=0
}}
"""


def supplicant(interface: str, folder: Path, password: str, until: Any) -> None:
    """Let a station log in until `until` is true."""
    file = folder / "supplicant.conf"
    file.write_text(SUPPLICANT.format(password=password))
    command = ["wpa_supplicant", "-Dwired", f"-i{interface}", f"-c{file}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        try:
            await_(until)
        finally:
            process.terminate()


def log_lines(to: tuple[str, int], path: Path, *options: str) -> None:
    """Send the lines of a file as util-linux's logger does."""
    command = ["logger", "-n", to[0], "-P", str(to[1]), "-t", "hostapd", "-p", "daemon.info", "-f", str(path)]
    subprocess.run([*command, *options], check=True, timeout=60)


def test_hostapd_over_syslog_and_its_accounting(up: Up, tmp_path: Path) -> None:
    """A station that has the right password, then a wrong one, on a hostapd of Debian."""
    need("hostapd", "wpa_supplicant", "logger")
    nas = f"wired-{uuid.uuid4().hex[:12]}"
    with (
        connector("radius", up, tmp_path) as radius,
        connector("hostapd", up, tmp_path) as syslog,
        a_wire(tmp_path) as (access_point, station),
    ):
        users, configured, said = tmp_path / "users", tmp_path / "hostapd.conf", tmp_path / "hostapd.log"
        users.write_text('"till" MD5 "right"\n')
        port = radius.radius[1]
        configured.write_text(
            HOSTAPD.format(interface=access_point, users=users, nas=nas, port=port, secret=SECRET)
        )
        with (
            said.open("wb") as log,
            subprocess.Popen(["hostapd", str(configured)], stdout=log, stderr=log) as hostapd,
        ):
            try:
                await_(lambda: "AP-ENABLED" in said.read_text(), said.read_text)
                supplicant(
                    station, tmp_path, "right", lambda: "starting accounting session" in said.read_text()
                )
                supplicant(station, tmp_path, "wrong", lambda: "authentication failed" in said.read_text())
                await_(lambda: rows(up, "client_events", "event_type", nas), said.read_text)
            finally:
                hostapd.terminate()
        lines = said.read_text().splitlines()
        mac = next(line.split()[2] for line in lines if "AP-STA-CONNECTED" in line)
        stations = [line for line in lines if mac in line]

        # By RADIUS: the access point is up, and a session began. A hostapd that ends waits for no answer.
        assert {"event_type": "Success", "mac": mac} in rows(up, "client_events", "event_type, mac", nas)
        assert {"log_action": "Accounting-On"} in rows(up, "device_logs", "log_action", nas)

        # By syslog: every line of a station is an event.
        log_lines(syslog.syslog, said, "-d", "--rfc3164")
        mark = f'{access_point}"'
        await_(lambda: len(rows(up, "client_events", "mac", mark)) >= len(stations), syslog.child.tail)
        up.kill("gateway")
        log_lines(syslog.syslog, said, "-T", "--rfc5424")
        log_lines(syslog.syslog, said, "-T", "--octet-count")
        wanted = 3 * len(stations)
        await_(lambda: len(rows(up, "client_events", "mac", mark)) >= wanted, syslog.child.tail)
        settled(up)
        found = rows(up, "client_events", "mac, event_type, extra", mark)
        kept = sorted(json.loads(one["extra"])["hostapd"]["line"] for one in found)
        assert kept == sorted(line.rstrip() for line in stations for _ in range(3))
        assert {one["mac"] for one in found} == {mac}
        kinds = [one["event_type"] for one in found]
        assert kinds.count("Success") == 3 * sum("AP-STA-CONNECTED" in line for line in lines) >= 3
        assert kinds.count("Failure") == 3 * sum("authentication failed" in line for line in lines) >= 3
