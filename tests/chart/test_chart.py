"""The Helm chart: linted, rendered for the value sets of ci/, held to the Kubernetes schemas and our rules.

No cluster runs it here. What KEDA and Prometheus define has no schema here; that is compared field by field.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import toolchains
import yaml

from tidegate import settings
from tidegate.connectors.command import NAMES
from tidegate.contracts import topics
from tidegate.contracts.topics import STREAMS
from tidegate.kafka import acls

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/tidegate"
SETS = sorted(path.stem for path in (CHART / "ci").glob("*.yaml"))
KUBERNETES = "1.30"
FOREIGN = ("keda.sh/", "monitoring.coreos.com/")
Document = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([toolchains.helm(), *arguments], capture_output=True, text=True)


@cache
def rendered(name: str, *options: str) -> tuple[Document, ...]:
    values = str(CHART / "ci" / f"{name}.yaml")
    done = helm("template", "tg", str(CHART), "--kube-version", KUBERNETES, "--values", values, *options)
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


def of_kind(documents: tuple[Document, ...], *kinds: str) -> dict[str, Document]:
    return {one["metadata"]["name"]: one for one in documents if one["kind"] in kinds}


def pods(documents: tuple[Document, ...]) -> Iterator[tuple[str, Document]]:
    for name, one in of_kind(documents, "Deployment", "Job").items():
        yield name, one["spec"]["template"]


def selects(selector: dict[str, str], pod: Document) -> bool:
    return bool(selector.items() <= pod["metadata"]["labels"].items())


@pytest.mark.parametrize("name", SETS)
def test_helm_has_nothing_to_say(name: str) -> None:
    values = str(CHART / "ci" / f"{name}.yaml")
    done = helm("lint", "--strict", "--kube-version", KUBERNETES, str(CHART), "--values", values)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SETS)
def test_the_schemas_of_kubernetes_hold(name: str) -> None:
    documents = rendered(name)
    held = [one for one in documents if not one["apiVersion"].startswith(FOREIGN)]
    assert held
    for document in held:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    names = [(one["kind"], one["metadata"]["name"]) for one in documents]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", SETS)
def test_pods_may_do_nothing_that_they_need_not(name: str) -> None:
    for role, pod in pods(rendered(name)):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False, role
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        [container] = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"] and container["resources"]["requests"]["cpu"]
        assert not container["image"].endswith(":latest")
        assert all(
            mount.get("readOnly") for mount in container["volumeMounts"] if "/etc" in mount["mountPath"]
        )
        assert not [volume for volume in spec["volumes"] if "hostPath" in volume]


@pytest.mark.parametrize("name", SETS)
def test_settings_exist_and_no_secret_is_a_value(name: str) -> None:
    rows = list(settings.table())
    variables = {row.variable for row in rows} | {row.file_variable for row in rows if row.secret}
    variables.add("TIDEGATE_NOTIFY_LISTEN")  # of the role that delivers webhooks
    secret = {row.variable for row in rows if row.secret} - {"TIDEGATE_CLICKHOUSE_URL"}
    for role, pod in pods(rendered(name)):
        spec = pod["spec"]
        [container] = spec["containers"]
        environment = {one["name"]: one for one in container["env"]}
        assert environment.keys() <= variables, role
        assert not environment.keys() & secret, role
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts.keys() == {volume["name"] for volume in spec["volumes"]}
        for variable, one in environment.items():
            value = one.get("value", "")
            if value.startswith("/etc/") and (variable, container["args"]) not in NO_FILE:
                assert str(Path(value).parent) in mounts.values(), (role, variable)
        assert all(
            volume["secret"]["defaultMode"] == 0o440 for volume in spec["volumes"] if "secret" in volume
        )


NO_FILE = (("TIDEGATE_TOKENS_FILE", ["topics"]), ("TIDEGATE_TOKENS_FILE", ["migrate"]))


@pytest.mark.parametrize("name", SETS)
def test_names_and_labels_lead_to_pods(name: str) -> None:
    documents = rendered(name)
    deployments = of_kind(documents, "Deployment")
    for deployment in deployments.values():
        pod = deployment["spec"]["template"]
        assert selects(deployment["spec"]["selector"]["matchLabels"], pod)
        for spread in pod["spec"]["topologySpreadConstraints"]:
            assert selects(spread["labelSelector"]["matchLabels"], pod)
    for service in of_kind(documents, "Service").values():
        [pod] = [one for _, one in pods(documents) if selects(service["spec"]["selector"], one)]
        ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for budget in of_kind(documents, "PodDisruptionBudget").values():
        chosen = [
            one for _, one in pods(documents) if selects(budget["spec"]["selector"]["matchLabels"], one)
        ]
        assert len(chosen) == 1
    for scaled in of_kind(documents, "HorizontalPodAutoscaler", "ScaledObject").values():
        target = deployments[scaled["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"]  # or each upgrade would undo the scaling


def test_network_policies_reach_every_pod() -> None:
    documents = rendered("secured")
    policies = of_kind(documents, "NetworkPolicy")
    everything = policies["tg-all"]["spec"]
    assert everything["policyTypes"] == ["Ingress", "Egress"]
    for _, pod in pods(documents):
        assert selects(everything["podSelector"]["matchLabels"], pod)
    opened = {
        name: [port["port"] for rule in one["spec"].get("ingress", []) for port in rule["ports"]]
        for name, one in policies.items()
    }
    assert opened == {
        "tg-all": ["metrics"],
        "tg-engines": [],
        "tg-gateway": ["http"],
        "tg-api": ["http"],
        "tg-notify": [],
    }
    for role in ("api", "notify"):  # to receivers: a try of the dashboard, and what is due
        assert [{"ports": [{"protocol": "TCP", "port": 443}]}] == policies[f"tg-{role}"]["spec"]["egress"]
    engines = policies["tg-engines"]["spec"]["egress"]
    [kafka] = [rule for rule in engines if rule["ports"] == [{"protocol": "TCP", "port": 9094}]]
    assert kafka["to"] == [{"podSelector": {"matchLabels": {"app": "kafka"}}}]


def test_keda_scales_by_the_lag_of_the_groups_and_never_past_the_partitions() -> None:
    scaled = of_kind(rendered("secured"), "ScaledObject")
    assert {name: one["spec"]["maxReplicaCount"] for name, one in scaled.items()} == {
        "tg-worker": 8,
        "tg-sink": 4,
    }
    expected = {
        "tg-worker": {("tidegate-worker", topics.raw(stream)) for stream in STREAMS},
        "tg-sink": {(settings.load({}).sink_group, topics.enriched(stream)) for stream in STREAMS},
    }
    for name, one in scaled.items():
        triggers = [trigger["metadata"] for trigger in one["spec"]["triggers"]]
        assert {(each["consumerGroup"], each["topic"]) for each in triggers} == expected[name]
        assert all(each["sasl"] == "scram_sha512" and each["tls"] == "enable" for each in triggers)


def test_each_role_logs_in_as_itself() -> None:
    users = {}
    for name, pod in pods(rendered("secured")):
        [volume] = [one for one in pod["spec"]["volumes"] if one["name"] == "kafka-user"]
        [username] = [e for e in pod["spec"]["containers"][0]["env"] if e["name"].endswith("SASL_USERNAME")]
        assert username["valueFrom"]["secretKeyRef"]["name"] == volume["secret"]["secretName"]
        users[name] = volume["secret"]["secretName"].removeprefix("kafka-")
    assert users == {
        **{f"tg-{role}": role for role in acls.ROLES if role != "operator"},
        "tg-topics": "operator",
        "tg-migrate": "operator",
    }


def test_the_api_signs_and_shares_the_webhooks_with_notify() -> None:
    """Acknowledgements need the control key; a webhook made on the dashboard is one that notify has."""
    for name, options, file, source in (
        ("secured", (), "/var/lib/tidegate-webhooks/webhooks.json", {"claimName": "webhooks"}),
        (
            "plain",
            ("--set", "notify.enabled=true,webhooks.secret=hooks"),
            "/etc/tidegate/webhooks/webhooks.json",
            {"secretName": "hooks", "defaultMode": 0o440},
        ),
    ):
        found = dict(pods(rendered(name, *options)))
        for role in ("tg-api", "tg-notify"):
            spec = found[role]["spec"]
            [container] = spec["containers"]
            environment = {one["name"]: one.get("value") for one in container["env"]}
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            volumes = {volume["name"]: volume for volume in spec["volumes"]}
            assert environment["TIDEGATE_WEBHOOKS_FILE"] == file == f"{mounts['webhooks']}/webhooks.json"
            assert source in volumes["webhooks"].values()
            key = str(environment["TIDEGATE_CONTROL_KEY_FILE"])
            assert key == f"{mounts['control-key']}/control-key.json"
            assert volumes["control-key"]["secret"]["secretName"] == "control-key"
        assert "webhooks" not in {volume["name"] for volume in found["tg-worker"]["spec"]["volumes"]}


CONNECTORS = {
    "mist": "mist",
    "meraki": "meraki",
    "radius": "radius",
    "aps": "hostapd",
    "openwifi": "openwifi",
}
SENT_TO = {  # what listens beside the status pages, by kind
    "mist": {("TCP", 8085)},
    "meraki": {("TCP", 8085)},
    "radius": {("UDP", 1813)},
    "hostapd": {("UDP", 5514), ("TCP", 5514)},
    "openwifi": set(),
}


def chosen(policy: Document, pod: Document) -> bool:
    """Whether a policy is about a pod."""
    selector, labels = policy["spec"]["podSelector"], pod["metadata"]["labels"]
    return selects(selector.get("matchLabels", {}), pod) and all(
        each["operator"] == "In" and labels[each["key"]] in each["values"]
        for each in selector.get("matchExpressions", ())
    )


def test_a_connector_of_each_kind_has_its_ports_and_its_secrets_alone() -> None:
    documents = rendered("connectors")
    found, services = dict(pods(documents)), of_kind(documents, "Service")
    assert sorted(CONNECTORS.values()) == sorted(NAMES)
    for name, kind in CONNECTORS.items():
        pod, service = found[f"tg-connect-{name}"], services[f"tg-connect-{name}"]["spec"]
        [container] = pod["spec"]["containers"]
        assert container["args"] == ["connect", kind]
        environment = {one["name"]: one.get("value") for one in container["env"]}
        secrets = {v["name"]: v["secret"]["secretName"] for v in pod["spec"]["volumes"] if "secret" in v}
        wanted = {"connect-token": f"{name}-token", "gateway-ca": "gateway-ca"}
        if kind in ("mist", "meraki", "radius"):
            wanted["connect-secret"] = "radius-shared" if kind == "radius" else f"{kind}-webhook"
        if kind == "mist":
            wanted["tls"] = "mist-tls"
        if kind == "openwifi":
            wanted |= {"kafka-user": "kafka-openwifi", "kafka-ca": "kafka-ca"}
        assert secrets == wanted  # no key of Tidegate's, and no password of ClickHouse
        assert environment["TIDEGATE_CONNECT_GATEWAY_URL"] == "https://tg-gateway:8080"
        assert ("TIDEGATE_CONNECT_ALLOW" in environment) == (kind in ("radius", "hostapd"))
        listens = {
            port["name"]: (port.get("protocol", "TCP"), port["containerPort"]) for port in container["ports"]
        }
        own = {listens[port["targetPort"]] for port in service["ports"] if port["name"] != "metrics"}
        assert own == SENT_TO[kind]
        assert listens["metrics"] == ("TCP", 9100) and listens["http"] == ("TCP", 8085)
        for protocol, port in own - {("TCP", 8085)}:
            variable = f"TIDEGATE_CONNECT_{'RADIUS' if kind == 'radius' else 'SYSLOG'}_LISTEN"
            assert environment[variable] == f"0.0.0.0:{port}", protocol
        local = service.get("externalTrafficPolicy") == "Local"
        assert local == (service.get("type") == "LoadBalancer") == (kind in ("radius", "hostapd"))


def test_a_connector_reaches_the_gateway_alone() -> None:
    documents = rendered("connectors")
    found, policies = dict(pods(documents)), of_kind(documents, "NetworkPolicy")
    dns = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    for name, kind in CONNECTORS.items():
        pod = found[f"tg-connect-{name}"]
        own = [one["spec"] for one in policies.values() if chosen(one, pod)]
        out = [rule for spec in own for rule in spec.get("egress", ())]
        to_gateway = {"app.kubernetes.io/component": "gateway"}
        for rule in out:
            if rule["ports"] == dns:
                continue
            [peer] = rule["to"]
            labels = peer["podSelector"]["matchLabels"]
            assert to_gateway.items() <= labels.items() or (kind, labels) == (
                "openwifi",
                {"app": "owgw-kafka"},
            )
        assert len(out) == (3 if kind == "openwifi" else 2)
        into = {port["port"] for spec in own for rule in spec.get("ingress", ()) for port in rule["ports"]}
        names = {"hostapd": {"syslog", "syslog-tcp"}, "radius": {"radius"}, "openwifi": set()}
        assert into == {"metrics", *names.get(kind, {"http"})}
        [ingress] = [
            peer["podSelector"]["matchExpressions"]
            for rule in policies["tg-gateway"]["spec"]["ingress"]
            for peer in rule["from"]
            if "podSelector" in peer
        ]
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        assert component in next(each for each in ingress if each["key"].endswith("component"))["values"]
    engines = policies["tg-engines"]
    assert {name for name, pod in found.items() if chosen(engines, pod)} == {
        name for name in found if "connect" not in name
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("connectors.x.token=t", "connectors.x.kind is required"),
        ("connectors.x.kind=mist", "connectors.x.token is required"),
        ("connectors.x.kind=mist,connectors.x.token=t", "connectors.x.secret is required"),
        (
            "connectors.x.kind=radius,connectors.x.token=t,connectors.x.secret=s",
            "connectors.x.allow is required",
        ),
        ("connectors.x.kind=hostapd,connectors.x.token=t,connectors.x.allow=a", "x.ingressFrom is required"),
        ("connectors.x.kind=aruba,connectors.x.token=t", 'a connector\'s kind is one of .*, not "aruba"'),
    ],
)
def test_what_a_connector_lacks_is_named(options: str, said: str) -> None:
    values = str(CHART / "ci/plain.yaml")
    done = helm("template", "tg", str(CHART), "--kube-version", KUBERNETES, "-f", values, "--set", options)
    assert done.returncode != 0 and re.search(said, done.stderr), done.stderr


def test_traces_go_to_the_collector_from_the_roles_that_make_them() -> None:
    documents = rendered("connectors")
    tracing = set()
    for name, pod in pods(documents):
        environment = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
        if "TIDEGATE_OTEL_ENDPOINT" in environment:
            tracing.add(name)
            assert environment["TIDEGATE_OTEL_ENDPOINT"] == "http://collector:4318"
            assert environment["TIDEGATE_OTEL_SHARE"] == "0.1"
    assert tracing == {"tg-gateway", "tg-worker", "tg-sink"}
    egress = of_kind(documents, "NetworkPolicy")["tg-engines"]["spec"]["egress"]
    assert {"ports": [{"protocol": "TCP", "port": 4318}]} in egress
    plain = of_kind(rendered("plain"), "NetworkPolicy")["tg-engines"]["spec"]["egress"]
    assert not any(port["port"] == 4318 for rule in plain for port in rule["ports"])


def test_pseudonyms_have_one_key_for_workers_and_api() -> None:
    found = {}
    for name, pod in pods(rendered("secured")):
        environment = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
        secrets = {one["secret"]["secretName"] for one in pod["spec"]["volumes"] if "secret" in one}
        if "TIDEGATE_PSEUDONYMISE" in environment:
            found[name] = environment["TIDEGATE_PSEUDONYM_KEY_FILE"], secrets & {"pseudonym-key", "api-keys"}
    assert found == {
        "tg-api": ("/etc/tidegate/api-keys/pseudonym-key.json", {"api-keys"}),
        "tg-worker": ("/etc/tidegate/pseudonym-key/pseudonym-key.json", {"pseudonym-key"}),
    }
    assert "PSEUDONYMISE" not in str(rendered("plain"))


def test_notify_without_webhooks_is_refused() -> None:
    values = str(CHART / "ci/plain.yaml")
    done = helm(
        "template",
        "tg",
        str(CHART),
        "--kube-version",
        KUBERNETES,
        "-f",
        values,
        "--set",
        "notify.enabled=true",
    )
    assert done.returncode != 0 and "webhooks.claim or webhooks.secret is required" in done.stderr


def test_topics_then_tables_before_anything_else() -> None:
    jobs = of_kind(rendered("plain"), "Job")
    hooks = {name: job["metadata"]["annotations"] for name, job in jobs.items()}
    assert {one["helm.sh/hook"] for one in hooks.values()} == {"pre-install,pre-upgrade"}
    order = sorted(hooks, key=lambda name: int(hooks[name]["helm.sh/hook-weight"]))
    assert order == ["tg-topics", "tg-migrate"]
    assert [jobs[name]["spec"]["template"]["spec"]["containers"][0]["args"] for name in order] == [
        ["topics"],
        ["migrate"],
    ]


def test_prometheus_gets_the_rules_and_every_role() -> None:
    documents = rendered("secured")
    [rules] = of_kind(documents, "PrometheusRule").values()
    assert rules["spec"] == yaml.safe_load((ROOT / "deploy/prometheus/tidegate-rules.yml").read_text())
    [monitor] = of_kind(documents, "ServiceMonitor").values()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    wanted = monitor["spec"]["selector"]["matchLabels"]
    services = of_kind(documents, "Service").values()
    assert len(services) == 5
    for service in services:
        labels = service["metadata"]["labels"]
        assert wanted.items() <= labels.items()
        assert labels[monitor["spec"]["jobLabel"]] == "tidegate"  # the job that the rules name
        assert "metrics" in [port["name"] for port in service["spec"]["ports"]]


def test_grafana_finds_the_dashboards() -> None:
    maps = of_kind(rendered("secured"), "ConfigMap").values()
    own = [one for one in maps if one["metadata"]["labels"].get("grafana_dashboard") == "1"]
    found = {name: text for one in own for name, text in one["data"].items()}
    files = ROOT.glob("deploy/grafana/dashboards/*.json")
    assert found == {path.name: path.read_text(encoding="utf-8") for path in files}
    assert all(len(text) < 1_000_000 for text in found.values())  # a ConfigMap has room for so much
    assert not any("dashboard" in name for name in of_kind(rendered("plain"), "ConfigMap"))


def test_https_is_probed_as_https() -> None:
    deployments = of_kind(rendered("secured"), "Deployment")
    schemes = {
        name: {
            one["spec"]["template"]["spec"]["containers"][0][probe]["httpGet"]["scheme"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        for name, one in deployments.items()
    }
    https = {name for name, found in schemes.items() if found == {"HTTPS"}}
    assert https == {"tg-gateway", "tg-api"}


def test_a_pod_has_longer_to_end_than_its_role_takes() -> None:
    drains = {
        "gateway": settings.load({}).gateway_drain_seconds,
        "sink": settings.load({}).sink_drain_seconds,
    }
    for name, pod in pods(rendered("plain")):
        role = name.removeprefix("tg-")
        if role in ("topics", "migrate"):
            continue
        environment = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
        notice = float(environment.get("TIDEGATE_HTTP_NOTICE_SECONDS", 0))
        assert (notice >= 5) == (role in ("gateway", "api"))  # endpoints are taken out meanwhile
        assert pod["spec"]["terminationGracePeriodSeconds"] >= notice + drains.get(role, 20) + 10


@pytest.mark.parametrize(
    "missing",
    ["kafka.bootstrap", "clickhouse.url", "secrets.controlKey", "secrets.tokens", "secrets.apiKeys"],
)
def test_what_is_missing_is_named(missing: str) -> None:
    values = str(CHART / "ci/plain.yaml")
    done = helm(
        "template", "tg", str(CHART), "--kube-version", KUBERNETES, "-f", values, "--set", f"{missing}="
    )
    assert done.returncode != 0
    assert re.search(rf"{re.escape(missing)} is required", done.stderr)
