"""A broker with TLS, SCRAM and ACLs: `tidegate check` names each fault, and what to run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import control_key
import pytest
import roles
import trustme
from confluent_kafka.admin import NewTopic
from databases import migrated, settings_of
from secured_kafka import SecuredKafka
from waiting import await_

from tidegate.alerts import control
from tidegate.errors import RetryLater
from tidegate.kafka import topics
from tidegate.kafka.acls import ROLES, table
from tidegate.kafka.connection import connection
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.preflight.condition import Condition, State
from tidegate.preflight.kafka_acls import inspect_acls
from tidegate.preflight.kafka_login import inspect_login
from tidegate.settings import Settings
from tidegate.settings import table as table_of_settings

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory, kafka_is_here: None) -> Iterator[SecuredKafka]:
    broker = SecuredKafka(tmp_path_factory.mktemp("secured"))
    try:
        broker.start()
        broker.allow()
        await_(lambda: topics.ensure_topics(settings(broker, "operator")).epoch != "")
        [made] = broker.admin.create_topics([NewTopic("tidegate-worker-keys-changelog", 1)]).values()
        made.result(30)  # as a worker makes it when it first runs
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


@pytest.mark.parametrize(
    ("role", "operation", "resource", "pattern", "name"),
    [
        ("gateway", "Write", "topic", "literal", "tidegate.client_events.raw"),
        ("worker", "Read", "topic", "literal", "tidegate.device_logs.raw"),
        ("worker", "Create", "topic", "prefixed", "tidegate-worker"),
        ("sink", "Describe", "topic", "prefixed", "tidegate"),
        ("api", "DescribeConfigs", "topic", "prefixed", "tidegate"),
        ("worker", "Write", "topic", "prefixed", "tidegate-worker"),
        ("worker", "Read", "topic", "prefixed", "tidegate-worker"),
        ("operator", "Create", "topic", "prefixed", "tidegate"),
        ("operator", "Alter", "topic", "prefixed", "tidegate"),
        ("operator", "AlterConfigs", "topic", "prefixed", "tidegate"),
        ("api", "Write", "topic", "literal", "tidegate.control"),
        ("sink", "Read", "group", "prefixed", "tidegate-sink"),
        ("notify", "Describe", "group", "prefixed", "tidegate"),
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


@pytest.fixture(scope="module")
def store(clickhouse: ClickHouseServer) -> Iterator[Settings]:
    ours = settings_of(clickhouse)
    with migrated(ours):
        yield ours


def check(kafka: SecuredKafka, store: Settings, folder: Path, role: str, **changed: Any) -> tuple[int, str]:
    """Status and output of `tidegate check` as an operator runs it for a role; not the settings."""
    values = {
        **kafka.settings(role),
        "control_key_file": os.environ[control_key.VARIABLE],
        "clickhouse_url": store.clickhouse_url,
        "clickhouse_database": store.clickhouse_database,
        "data_dir": str(folder),
        **{row.name: 0 for row in table_of_settings() if row.name.startswith("ttl_")},
        **changed,
    }
    done = roles.run("check", "--role", role, values=values)
    return done.returncode, done.stdout.partition("(* differs from the default)\n")[2] + done.stderr


def test_check_of_each_role_finds_nothing_wrong(kafka: SecuredKafka, store: Settings, tmp_path: Path) -> None:
    for role in ROLES:
        status, said = check(kafka, store, tmp_path, role)
        assert status == 0, said
        assert f"acl: {role} may do all that {role} does" in said


RIGHTS = {  # of each kind that there is: Tidegate has neither transactions nor rights on the cluster
    "topic write": ("gateway", "Write", "topic", "literal", "tidegate.device_logs.raw"),
    "topic read": ("sink", "Read", "topic", "literal", "tidegate.device_logs.enriched"),
    "topic create": ("worker", "Create", "topic", "prefixed", "tidegate-worker"),
    "group read": ("notify", "Read", "group", "prefixed", "tidegate-notify"),
}


@pytest.mark.parametrize(
    "fault",
    [
        "another CA",
        "expired certificate",
        "password",
        "mechanism",
        "port in the clear",
        "nobody there",
        *RIGHTS,
    ],
)
def test_check_names_each_of_ten_faults(
    kafka: SecuredKafka, store: Settings, tmp_path: Path, fault: str
) -> None:
    """It ends with status 1, names the fault, and what to set or run; and finds nothing else at Kafka."""
    if fault in RIGHTS:
        role, operation, resource, pattern, name = RIGHTS[fault]
        kafka.deny(role=role, operation=operation, resource=resource, pattern=pattern, name=name)
        log = connection(settings(kafka, role))
        try:
            await_(lambda: any(one.state is State.WRONG for one in inspect_acls(log, role)))
            status, said = check(kafka, store, tmp_path, role)
        finally:
            kafka.allow([role])
            await_(lambda: all(one.state is State.OK for one in inspect_acls(log, role)))
        named = f"acl: {role} lacks {operation} on {resource} {name}"
        do = f"--add --allow-principal User:{role} --operation {operation} --{resource} {name}"
    else:
        trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
        changed, named, do = {
            "another CA": (
                {"kafka_ca_file": str(tmp_path / "other.pem")},
                "is not trusted: its certificate is signed by another CA",
                "set kafka_ca_file to the CA that signed it",
            ),
            "expired certificate": (
                {"kafka_bootstrap": kafka.expired},
                "is not trusted: its certificate has expired",
                "renew the broker's certificate",
            ),
            "password": ({"kafka_sasl_password": "falsch"}, "refuses user sink", "kafka-configs.sh --alter"),
            "mechanism": (
                {"kafka_sasl_mechanism": "SCRAM-SHA-256"},
                "no SASL mechanism SCRAM-SHA-256",
                "set kafka_sasl_mechanism to one that the listener has enabled",
            ),
            "port in the clear": (
                {"kafka_bootstrap": kafka.clear},
                "takes a connection and no TLS",
                "set kafka_bootstrap to the TLS listener",
            ),
            "nobody there": (
                {"kafka_bootstrap": f"127.0.0.1:{free_port()}"},
                "does not answer: Connection refused",
                "see kafka_bootstrap",
            ),
        }[fault]
        status, said = check(kafka, store, tmp_path, "sink", **changed)
        assert "falsch" not in said
    assert status == 1, said
    lines = said.splitlines()
    [at] = [number for number, line in enumerate(lines) if line.startswith("wrong")]
    assert named in lines[at] and do in lines[at + 1], said


def test_the_file_of_acls_is_the_table(repository: Path) -> None:
    assert (repository / "deploy" / "kafka" / "acls.csv").read_text() == table()
