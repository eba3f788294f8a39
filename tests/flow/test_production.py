"""docs/production.md typed in, from a Kafka and a ClickHouse that have nothing to a balanced `verify`.

There is no cluster. What stands in for it: a `kubectl` that keeps the Secrets it is told to create as files,
and for each pod that Helm renders of the page's value set a process with its command, environment, Secrets.
"""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import production_page
import pytest
import roles
import toolchains
import yaml
from secured_kafka import MECHANISM, USERS, SecuredKafka, password
from waiting import await_

from builders import body, network_log
from tidegate.local.child import Child, free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.local.clickhouse.credentials import User
from tidegate.local.kafka import find_jars
from tidegate.settings import Settings
from tidegate.store.client import connect

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
SECONDS = 200.0
PROGRAMS = {
    "tidegate": 'exec {python} -m tidegate "$@"',
    "kafka-acls.sh": (
        "exec java -Xmx128m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error"
        ' -cp "{jars}/*" org.apache.kafka.tools.AclCommand "$@"'
    ),
    "kubectl": 'exec {python} {folder}/kubectl.py "$@"',
}
KUBECTL = """
import pathlib, sys
*_, verb, kind, name = [one for one in sys.argv[1:] if not one.startswith("--")]
options = [one for one in sys.argv[1:] if one.startswith("--")]
secrets = pathlib.Path("cluster")
if sys.argv[1:3] == ["create", "namespace"]:
    secrets.mkdir()
    sys.exit()
assert sys.argv[1:5] == ["-n", "tidegate", "create", "secret"] and kind in ("generic", "tls"), sys.argv
(secrets / name).mkdir()  # a Secret is created once
for option in options:
    how, _, what = option.partition("=")
    key, _, value = what.rpartition("=")
    if how == "--from-literal":
        (secrets / name / key).write_text(value)
        continue
    key = {"--cert": "tls.crt", "--key": "tls.key"}.get(how, key or pathlib.Path(value).name)
    (secrets / name / key).write_bytes(pathlib.Path(value).read_bytes())
for path in (secrets / name).iterdir():
    path.chmod(0o440)  # as the chart mounts it
"""


class Walk:
    """A folder of the operator's, in which the page's blocks are typed."""

    def __init__(
        self, folder: Path, kafka: SecuredKafka, clickhouse: ClickHouseServer, repository: Path
    ) -> None:
        self.folder = folder
        self.kafka = kafka
        self.clickhouse = clickhouse
        self.pods: dict[str, Child] = {}
        programs = folder / "bin"
        programs.mkdir()
        (folder / "kubectl.py").write_text(KUBECTL)
        said = {"python": sys.executable, "jars": find_jars(), "folder": folder}
        for name, script in PROGRAMS.items():
            (programs / name).write_text(f"#!/bin/sh\n{script.format(**said)}\n")
            (programs / name).chmod(0o755)
        (folder / "deploy").symlink_to(repository / "deploy")
        self.environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
        for variable in [name for name in self.environment if name.startswith("TIDEGATE_")]:
            del self.environment[variable]

    def type(self, commands: str, **environment: str) -> str:
        """Run a block in one shell; what it printed."""
        done = subprocess.run(
            ["bash", "-euc", commands],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout

    def write_what_the_operator_has(self) -> None:
        """Passwords, certificates, and the properties of Kafka's administrator."""
        for user in USERS:
            (self.folder / f"kafka-{user}").write_text(password(user))
        (self.folder / "clickhouse-password").write_text(self.clickhouse.credentials[User.TIDEGATE])
        for name in ("kafka-ca.pem", "clickhouse-ca.pem"):
            (self.folder / name).write_bytes(Path(self.kafka.ca_file).read_bytes())
        mine = self.kafka.authority.issue_cert("127.0.0.1")
        (self.folder / "tidegate.crt").write_bytes(b"".join(one.bytes() for one in mine.cert_chain_pems))
        (self.folder / "tidegate.key").write_bytes(mine.private_key_pem.bytes())
        properties = {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required"
                f' username="admin" password="{password("admin")}";'
            ),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.kafka.ca_file,
        }
        text = "".join(f"{name}={value}\n" for name, value in properties.items())
        (self.folder / "admin.properties").write_text(text)

    def render(self, helm: str) -> list[dict[str, Any]]:
        """What the page's `helm upgrade` would install, of its value set for this Kafka and ClickHouse."""
        line = (
            production_page.block("5.")
            .strip()
            .replace("upgrade --install", "template")
            .replace(" --wait", "")
        )
        values = yaml.safe_load((self.folder / "deploy/helm/tidegate/ci/secured.yaml").read_text())
        values["kafka"] |= {"bootstrap": self.kafka.bootstrap, "partitions": 2, "replication": 1}
        values["clickhouse"] = {
            "url": f"http://tidegate@{self.clickhouse.address}",  # the embedded one speaks no TLS
            "database": "tidegate",
            "passwordSecret": values["clickhouse"]["passwordSecret"],
        }
        (self.folder / "values.yaml").write_text(yaml.safe_dump(values))
        written = self.type(
            f"{line} --kube-version 1.30", PATH=f"{Path(helm).parent}:{self.environment['PATH']}"
        )
        return [one for one in yaml.safe_load_all(written) if one]

    def environment_of(self, name: str, pod: dict[str, Any]) -> dict[str, str]:
        """What a pod's container sees: its variables, its Secrets, addresses of this machine."""
        [container] = pod["spec"]["containers"]
        data = self.folder / "pods" / name
        data.mkdir(parents=True, exist_ok=True)
        (self.folder / "claim").mkdir(exist_ok=True)
        places = {"/var/lib/tidegate-webhooks": self.folder / "claim"}
        for volume in pod["spec"]["volumes"]:
            if "secret" in volume:
                places[f"/etc/tidegate/{volume['name']}"] = self.secret(volume["secret"]["secretName"])
        found = {"TIDEGATE_DATA_DIR": str(data)}
        for one in container["env"]:
            if "value" in one:
                value = re.sub(r"^0\.0\.0\.0:\d+$", lambda _: f"127.0.0.1:{free_port()}", one["value"])
                for inside, outside in places.items():
                    value = value.replace(inside, str(outside))
            else:
                wanted = one["valueFrom"]["secretKeyRef"]
                value = (self.secret(wanted["name"]) / wanted["key"]).read_text()
            found[one["name"]] = value
        return found

    def secret(self, name: str) -> Path:
        folder = self.folder / "cluster" / name
        assert folder.is_dir(), f"the page makes no Secret {name}"
        return folder

    def start(self, name: str, pod: dict[str, Any]) -> dict[str, str]:
        """Start a pod's command; its environment."""
        environment = self.environment_of(name, pod)
        [container] = pod["spec"]["containers"]
        log = self.folder / "pods" / f"{name}.log"
        child = Child(
            name, roles.command(*container["args"]), log, environment=self.environment | environment
        )
        child.start()
        self.pods[name] = child
        return environment

    def tails(self) -> str:
        return "\n".join(f"--- {name}\n{child.tail()}" for name, child in self.pods.items())


@pytest.fixture
def walk(tmp_path: Path, kafka_is_here: None, repository: Path) -> Iterator[Walk]:
    kafka = SecuredKafka(tmp_path / "kafka")
    clickhouse = ClickHouseServer(f"127.0.0.1:{free_port()}", tmp_path / "store", tmp_path / "clickhouse.log")
    made = None
    try:
        kafka.start()
        clickhouse.start()
        made = Walk(tmp_path, kafka, clickhouse, repository)
        yield made
    finally:
        for child in made.pods.values() if made else ():
            child.stop(45)
        clickhouse.stop()
        kafka.stop()


def test_the_page_leads_from_nothing_to_a_balanced_verify(walk: Walk) -> None:
    helm = toolchains.helm()
    walk.write_what_the_operator_has()
    walk.type(production_page.block("2.").replace("BROKER", walk.kafka.bootstrap))
    said = walk.type(production_page.block("3."))
    [token] = re.findall(r"\btg_\S+", said)
    walk.type(production_page.block("4."))
    documents = walk.render(helm)

    def kind(name: str) -> dict[str, dict[str, Any]]:
        return {one["metadata"]["name"]: one["spec"]["template"] for one in documents if one["kind"] == name}

    jobs = kind("Job")
    operator: dict[str, str] = {}
    for name in ("tidegate-topics", "tidegate-migrate"):
        operator = walk.environment_of(name, jobs[name])
        walk.type(f"tidegate {jobs[name]['spec']['containers'][0]['args'][0]}", **operator)
    environments = {name: walk.start(name, pod) for name, pod in kind("Deployment").items()}

    def ready() -> bool:
        beside = [environment["TIDEGATE_METRICS_LISTEN"] for environment in environments.values()]
        return all(roles.get(listen, "/readyz")[0] == 200 for listen in beside)

    await_(ready, walk.tails, SECONDS)
    gateway = f"https://{environments['tidegate-gateway']['TIDEGATE_GATEWAY_LISTEN']}"
    trusted = ssl.create_default_context(cafile=walk.kafka.ca_file)
    with httpx.Client(base_url=gateway, verify=trusted, timeout=60.0) as client:
        answer = client.post(
            "/api/v1/device_app_connection_log/",
            content=body(network_log(network_name="from the page")),
            headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
        )
    assert answer.status_code == 201, answer.text
    operator |= {"TIDEGATE_DATA_DIR": "./secrets"}
    check, verify = production_page.block("6.").strip().splitlines()
    query = "SELECT network_name FROM connection_logs"
    with connect(Settings(clickhouse_url=walk.clickhouse.url)) as store:
        await_(lambda: store.query(query).result_rows == [("from the page",)], walk.tails, SECONDS)
    checked = walk.type(check, **operator)
    assert "acl: operator may do all that operator does" in checked
    assert not re.search(r"^wrong", checked, re.MULTILINE), checked
    balanced = walk.type(verify, **operator)
    assert "balanced" in balanced and "connection_logs" in balanced, balanced
    backup = production_page.block("7.").strip().replace("/backups", "backups")
    walk.type(f"mkdir -p backups\n{backup}", **operator)
    assert list((walk.folder / "backups").rglob("*"))
