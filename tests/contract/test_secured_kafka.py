"""A broker with TLS, SCRAM and ACLs: `tidegate check` names each fault, and what to run."""

from __future__ import annotations

import dataclasses
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import control_key
import pytest
import trustme
from secured_kafka import SecuredKafka
from waiting import await_

from tidegate.alerts import control
from tidegate.errors import RetryLater
from tidegate.kafka import topics
from tidegate.kafka.acls import ROLES, table
from tidegate.kafka.connection import connection
from tidegate.local.child import free_port
from tidegate.preflight.condition import Condition, State
from tidegate.preflight.kafka_acls import inspect_acls
from tidegate.preflight.kafka_login import inspect_login
from tidegate.settings import Settings

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory, kafka_is_here: None) -> Iterator[SecuredKafka]:
    broker = SecuredKafka(tmp_path_factory.mktemp("secured"))
    try:
        broker.start()
        broker.allow()
        await_(lambda: topics.ensure_topics(settings(broker, "operator")).epoch != "")
        yield broker
    finally:
        broker.stop()


def settings(kafka: SecuredKafka, user: str, **changed: Any) -> Settings:
    values = {**kafka.settings(user), "control_key_file": os.environ[control_key.VARIABLE], **changed}
    return Settings(**values)


def login(found: Settings) -> Condition:
    [condition] = inspect_login(connection(found))
    return condition


def test_every_role_gets_in_and_has_its_rights(kafka: SecuredKafka) -> None:
    for role in ROLES:
        assert login(settings(kafka, role)).state is State.OK
        [rights] = inspect_acls(connection(settings(kafka, role)), role)
        assert rights.state is State.OK, rights
        assert topics.read_epoch(connection(settings(kafka, role)))


def test_the_api_may_acknowledge_and_silence_and_the_other_readers_may_not(kafka: SecuredKafka) -> None:
    """What the dashboard writes by the api's own user; it had no right to."""
    until = datetime.now(UTC) + timedelta(hours=1)
    for role in ("api", "worker", "operator"):
        control.acknowledge(connection(settings(kafka, role)), "demo", f"by-{role}", role)
        control.silence(connection(settings(kafka, role)), "demo", "rule", role, until, role)
    sites = {one.site for one in control.silences(connection(settings(kafka, "api")), "demo")}
    assert sites == {"api", "worker", "operator"}
    for role in ("gateway", "sink", "notify"):
        with pytest.raises(RetryLater, match="could not be written: .*authorization failed"):
            control.acknowledge(connection(settings(kafka, role)), "demo", f"by-{role}", role)


def test_each_fault_of_a_login_is_named(kafka: SecuredKafka, tmp_path: Path) -> None:
    """Five of the ten: each said `Broker transport failure` before, whatever it was."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    good = settings(kafka, "worker")
    faults: list[tuple[dict[str, Any], str, str]] = [
        ({"kafka_ca_file": str(tmp_path / "other.pem")}, "signed by another CA", "kafka_ca_file"),
        ({"kafka_sasl_password": "falsch"}, "refuses user worker", "kafka_sasl_password"),
        (
            {"kafka_sasl_mechanism": "SCRAM-SHA-256"},
            "no SASL mechanism SCRAM-SHA-256",
            "kafka_sasl_mechanism",
        ),
        ({"kafka_bootstrap": kafka.plain}, "takes a connection and no TLS", "the TLS listener"),
        (
            {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ca_file": ""},
            "asks for TLS, and kafka_security_protocol is SASL_PLAINTEXT",
            "SASL_SSL",
        ),
        ({"kafka_bootstrap": f"127.0.0.1:{free_port()}"}, "does not answer: Connection refused", "bootstrap"),
    ]
    for changed, said, do in faults:
        found = login(dataclasses.replace(good, **changed))
        assert found.state is State.WRONG
        assert said in found.what and do in found.do, found
        assert "falsch" not in str(found)


def test_an_expired_certificate_is_named(tmp_path: Path) -> None:
    """A TLS listener of the test's own: what it speaks behind the handshake does not come to it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    old = authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) - timedelta(days=1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            try:
                with server.accept()[0] as plain, context.wrap_socket(plain, server_side=True):
                    pass
            except OSError:
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        found = login(
            Settings(
                kafka_bootstrap=f"127.0.0.1:{server.getsockname()[1]}",
                kafka_security_protocol="SSL",
                kafka_ca_file=str(tmp_path / "ca.pem"),
            )
        )
        thread.join(30)
    assert found.state is State.WRONG and "has expired" in found.what


@pytest.mark.parametrize(
    ("role", "operation", "resource", "pattern", "name"),
    [
        ("gateway", "Write", "topic", "literal", "tidegate.client_events.raw"),
        ("worker", "Read", "topic", "literal", "tidegate.device_logs.raw"),
        ("worker", "Create", "topic", "prefixed", "tidegate-worker"),
        ("sink", "Describe", "topic", "prefixed", "tidegate"),
        ("api", "DescribeConfigs", "topic", "prefixed", "tidegate"),
        ("sink", "Read", "group", "prefixed", "tidegate-sink"),
    ],
)
def test_each_kind_of_missing_right_is_named(
    kafka: SecuredKafka, role: str, operation: str, resource: str, pattern: str, name: str
) -> None:
    row = {
        "role": role,
        "operation": operation,
        "resource": resource,
        "pattern": pattern,
        "name": name,
    }
    kafka.deny(**row)
    try:
        log = connection(settings(kafka, role))
        await_(lambda: any(one.state is State.WRONG for one in inspect_acls(log, role)), seconds=30)
        found = [
            one for one in inspect_acls(log, role) if f"lacks {operation} on {resource} {name}" in one.what
        ]
        assert found, list(inspect_acls(log, role))
        assert f"--allow-principal User:{role} --operation {operation} --{resource} {name}" in found[0].do
    finally:
        kafka.allow([role])
        await_(lambda: all(one.state is State.OK for one in inspect_acls(log, role)))


def test_the_file_of_acls_is_the_table(repository: Path) -> None:
    assert (repository / "deploy" / "kafka" / "acls.csv").read_text() == table()
