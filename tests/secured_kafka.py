"""Apache Kafka from its jars with TLS, SCRAM and ACLs: one broker, or several that keep everything thrice."""

from __future__ import annotations

import csv
import os
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from waiting import await_

from tidegate.kafka.acls import ROLES
from tidegate.local.child import Child, free_port
from tidegate.local.kafka import find_jars

HEAP = "-Xmx320m"
START_SECONDS = 280.0
USERS = ("admin", *ROLES)
MECHANISM = "SCRAM-SHA-512"
OTHER_MECHANISMS = ("SCRAM-SHA-256", "PLAIN", "OAUTHBEARER")
ACLS = Path(__file__).resolve().parents[1] / "deploy" / "kafka" / "acls.csv"
OPERATIONS = {
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Alter": AclOperation.ALTER,
    "AlterConfigs": AclOperation.ALTER_CONFIGS,
}


def password(user: str) -> str:
    return f"{user}-geheim"


class SecuredKafka:
    """`nodes` brokers, each with a listener of TLS and SCRAM-SHA-512 (`bootstrap`) and a controller's in the
    clear (`plain`); the first also with one of the other mechanisms (`others`; tokens are unsigned JWTs), one
    for clients with a certificate (`certified`), one whose own certificate has expired (`expired`), and one
    in the clear, where everybody may do everything (`clear`).

    Users are the roles of the ACL file and `admin`, who may do everything and alone logs in at `others`.
    """

    def __init__(self, folder: Path, *, nodes: int = 1) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)
        self._ports = [(free_port(), free_port()) for _ in range(nodes)]
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port, _ in self._ports)
        self.others, self.certified, self.expired, self.clear = (f"127.0.0.1:{free_port()}" for _ in range(4))
        self.plain = f"127.0.0.1:{self._ports[0][1]}"
        self._cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode("ascii").replace("-", "a")
        self.nodes = [self._node(number) for number in range(nodes)]

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        self.admin = AdminClient({**self.client("admin"), "log_level": 0})
        await_(self._whole, lambda: "\n".join(node.tail() for node in self.nodes), START_SECONDS)

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()
        for node in self.nodes:
            node.wait(30)

    def coordinator(self, group: str) -> Child:
        """The broker that keeps a consumer group."""
        [found] = self.admin.describe_consumer_groups([group], request_timeout=60).values()
        number: int = found.result().coordinator.id
        return self.nodes[number - 1]

    def client(self, user: str) -> dict[str, Any]:
        """Options of a client of librdkafka."""
        return {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.username": user,
            "sasl.password": password(user),
            "ssl.ca.location": self.ca_file,
        }

    def settings(self, user: str) -> dict[str, Any]:
        """The same as settings of Tidegate."""
        return {
            "kafka_bootstrap": self.bootstrap,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": MECHANISM,
            "kafka_sasl_username": user,
            "kafka_sasl_password": password(user),
            "kafka_ca_file": self.ca_file,
        }

    def allow(self, roles: Iterable[str] = ROLES) -> None:
        """Give the roles' users what deploy/kafka/acls.csv says."""
        wanted = set(roles)
        with ACLS.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["role"] in wanted]
        for future in self.admin.create_acls([binding(**row) for row in rows]).values():
            future.result(60)

    def deny(self, **row: str) -> None:
        """Take one row of it away."""
        [future] = self.admin.delete_acls([filter_of(binding(**row))]).values()
        assert len(future.result(60)) == 1, row

    def _whole(self) -> bool:
        try:
            return len(self.admin.list_topics(timeout=2).brokers) == len(self.nodes)
        except Exception:
            return False

    def _node(self, number: int) -> Child:
        folder = self._folder / f"node{number}"
        folder.mkdir()
        properties = folder / "server.properties"
        properties.write_text("".join(f"{k}={v}\n" for k, v in self._configuration(number, folder).items()))
        jars = f"{find_jars(os.environ.get('TIDEGATE_KAFKA_JARS', ''))}/*"
        scram = [f"--add-scram={MECHANISM}=[name={user},password={password(user)}]" for user in USERS]
        scram.append(f"--add-scram=SCRAM-SHA-256=[name=admin,password={password('admin')}]")
        tool = ["java", HEAP, "-XX:TieredStopAtLevel=1", "-cp", jars, "kafka.tools.StorageTool", "format"]
        command = [*tool, f"--cluster-id={self._cluster}", "-c", str(properties), *scram]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        argv = ["java", HEAP, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", jars, "kafka.Kafka"]
        return Child(f"node{number}", [*argv, str(properties)], folder / "kafka.log")

    def _configuration(self, number: int, folder: Path) -> dict[str, object]:
        port, controller = self._ports[number]
        mine = self.authority.issue_cert("127.0.0.1", "localhost")
        pem = folder / "broker.pem"
        old = self.authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) - timedelta(days=1))
        for path, one in ((pem, mine), (folder / "expired.pem", old)):
            chain = b"".join(blob.bytes() for blob in one.cert_chain_pems)
            path.write_bytes(pkcs8(one.private_key_pem.bytes()) + chain)
        voters = ",".join(f"{i + 1}@127.0.0.1:{ports[1]}" for i, ports in enumerate(self._ports))
        copies = min(3, len(self._ports))
        security = "org.apache.kafka.common.security"
        login = f"{security}.scram.ScramLoginModule required"
        as_admin = f'username="admin" password="{password("admin")}"'
        offered = f"SASL_SSL://127.0.0.1:{port}"
        if number == 0:
            offered += f",OTHERS://{self.others},CERTIFIED://{self.certified},EXPIRED://{self.expired},CLEAR://{self.clear}"
        return {
            "process.roles": "broker,controller",
            "node.id": number + 1,
            "controller.quorum.voters": voters,
            "listeners": f"{offered},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": offered,
            "listener.security.protocol.map": (
                "SASL_SSL:SASL_SSL,OTHERS:SASL_SSL,CERTIFIED:SSL,EXPIRED:SASL_SSL,CLEAR:PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
            "listener.name.certified.ssl.client.auth": "required",
            "listener.name.expired.ssl.keystore.type": "PEM",
            "listener.name.expired.ssl.keystore.location": folder / "expired.pem",
            "listener.name.expired.scram-sha-512.sasl.jaas.config": f"{login};",
            "listener.name.others.sasl.enabled.mechanisms": ",".join(OTHER_MECHANISMS),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "SASL_SSL",
            "sasl.enabled.mechanisms": MECHANISM,
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{login} {as_admin};",
            "listener.name.others.scram-sha-256.sasl.jaas.config": f"{login};",
            "listener.name.others.plain.sasl.jaas.config": (
                f'{security}.plain.PlainLoginModule required user_admin="{password("admin")}";'
            ),
            "listener.name.others.oauthbearer.sasl.jaas.config": (
                f"{security}.oauthbearer.OAuthBearerLoginModule required;"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": pem,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.ca_file,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # ANONYMOUS comes in by the controllers' listener and the clear one, which are on loopback.
            "super.users": "User:admin;User:ANONYMOUS",
            "log.dirs": folder / "log",
            "auto.create.topics.enable": "false",
            "message.max.bytes": 16_777_216,
            "replica.fetch.max.bytes": 16_777_216,
            "default.replication.factor": copies,
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": min(2, copies),
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": min(2, copies),
            "broker.session.timeout.ms": 6000,
            "broker.heartbeat.interval.ms": 1000,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
        }


def pkcs8(key: bytes) -> bytes:
    """A PEM key in the one form that Java reads."""
    return load_pem_private_key(key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def binding(role: str, operation: str, resource: str, pattern: str, name: str) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC if resource == "topic" else ResourceType.GROUP,
        name,
        ResourcePatternType.PREFIXED if pattern == "prefixed" else ResourcePatternType.LITERAL,
        f"User:{role}",
        "*",
        OPERATIONS[operation],
        AclPermissionType.ALLOW,
    )


def filter_of(one: AclBinding) -> Any:
    from confluent_kafka.admin import AclBindingFilter

    return AclBindingFilter(
        one.restype,
        one.name,
        one.resource_pattern_type,
        one.principal,
        one.host,
        one.operation,
        one.permission_type,
    )
