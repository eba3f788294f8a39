"""docker-compose.yml as it is: the checks of the whole way, on containers.

Where a Docker engine answers, the images come from its registry. Elsewhere (CI, which reaches no registry of
images) the tests start an engine of their own, build the product's image by its own Dockerfile, and stand-ins
for the rest: see containers/images.py. The embedded ClickHouse is in the server's place then, and the tests'
names say so.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import toolchains
import yaml
from containers import images
from containers.engine import OwnEngine, answering, compose_command
from testcontainers.core.docker_client import DockerClient
from waiting import await_
from whole_way import CHECKS, Tidegate

from builders import body
from tidegate.local.child import free_port

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("default"),  # testcontainers has warnings of its own
]
ROLES = ("gateway", "worker", "sink", "api")
PASSWORD = "for-these-tests"
KILL = """
import os, pathlib, signal, sys
for entry in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        words = (entry / "cmdline").read_bytes().split(b"\\0")
    except OSError:
        continue
    if entry.name != "1" and sys.argv[1].encode() in words and b"-c" not in words:
        os.kill(int(entry.name), signal.SIGKILL)
"""


class Composed:
    """A compose project with ports and a secret of its own."""

    def __init__(self, repository: Path, folder: Path, *, registry: bool, engine: dict[str, str]) -> None:
        (folder / "secrets").mkdir()
        (folder / "secrets/clickhouse-password").write_text(PASSWORD)
        self._registry = registry
        self.ports = {name: free_port() for name in ("GATEWAY", "API", "KAFKA", "CLICKHOUSE")}
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")},
            **engine,
            "TIDEGATE_GATEWAY_PORT": str(self.ports["GATEWAY"]),
            "TIDEGATE_API_PORT": str(self.ports["API"]),
            "KAFKA_PORT": str(self.ports["KAFKA"]),
            "CLICKHOUSE_PORT": str(self.ports["CLICKHOUSE"]),
        }
        command = compose_command()
        if command is None:
            toolchains.refuse("no compose client: install docker-compose")
            raise AssertionError
        files = [repository / "docker-compose.yml"]
        if not registry:
            override = folder / "stand-ins.yml"
            files_open = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # this machine gives no more
            stand_ins = {
                "kafka": {"image": images.KAFKA},
                "clickhouse": {
                    "image": images.CLICKHOUSE,
                    "ulimits": {"nofile": {"soft": files_open, "hard": files_open}},
                },
            }
            override.write_text(yaml.safe_dump({"services": stand_ins}))
            files.append(override)
            self._environment["TIDEGATE_IMAGE"] = images.PRODUCT
        project = folder if not registry else repository
        self._command = [*command, "--project-directory", str(project), "--project-name", f"tg{os.getpid()}"]
        for file in files:
            self._command += ["--file", str(file)]

    def up(self) -> None:
        self("up", "--detach", "--build" if self._registry else "--no-build")

    def down(self) -> None:
        self("down", "--volumes", "--timeout", "60")

    def __call__(self, *arguments: str) -> str:
        """Run `docker compose <arguments>`; what it prints."""
        done = subprocess.run(
            [*self._command, *arguments], env=self._environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    def container(self, service: str) -> dict[str, Any]:
        """What the engine says of a service's container."""
        engine = DockerClient(environment=self._environment)
        try:
            return dict(engine.client.containers.get(self("ps", "--quiet", service).strip()).attrs)
        finally:
            engine.client.close()

    def serves(self, port: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@pytest.fixture(
    scope="module", params=["clickhouse_server" if answering() else "embedded_clickhouse_as_the_server"]
)
def composed(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Composed]:
    folder = tmp_path_factory.mktemp("compose")
    registry = request.param == "clickhouse_server"
    with ExitStack() as stack:
        engine: dict[str, str] = {}
        if not registry:
            missing = [program for program in images.NEEDED if shutil.which(program) is None]
            if missing or os.geteuid():
                toolchains.refuse(f"containers need root and {', '.join(missing) or 'nothing else'}")
            own = OwnEngine()
            stack.callback(own.stop)
            own.start()
            images.Images(own.host, repository).build()
            engine = {"DOCKER_HOST": own.host}
        composed = Composed(repository, folder, registry=registry, engine=engine)
        stack.callback(composed.down)
        composed.up()
        for port in ("GATEWAY", "API"):
            await_(partial(composed.serves, port), lambda: composed("logs", "--tail", "20"), 300.0)
        yield composed


@pytest.fixture(scope="module")
def tidegate(composed: Composed) -> Tidegate:
    made = composed("run", "--rm", "-T", "token", "create", "checks", "--fleet", "demo", "--role", "ingest")
    [token] = [word for word in made.split() if word.startswith("tg_")]
    return Tidegate(
        f"http://127.0.0.1:{composed.ports['GATEWAY']}",
        token,
        f"http://tidegate:{PASSWORD}@127.0.0.1:{composed.ports['CLICKHOUSE']}",
        f"127.0.0.1:{composed.ports['KAFKA']}",
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_it_holds_on_containers(tidegate: Tidegate, check: Callable[[Tidegate], None]) -> None:
    check(tidegate)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_no_capability_and_writes_nowhere_but_its_own(composed: Composed, role: str) -> None:
    found = composed.container(role)
    assert found["HostConfig"]["ReadonlyRootfs"] and found["HostConfig"]["CapDrop"] == ["ALL"]
    assert found["Config"]["User"] == "10001:10001"
    status = composed("exec", "-T", role, "sh", "-c", "cat /proc/self/status; touch /opt/x 2>&1 || true")
    assert "CapEff:\t0000000000000000" in status and "Read-only file system" in status


@pytest.mark.parametrize("role", ["worker", "sink"])
def test_a_killed_role_comes_back_and_the_ledger_balances(
    composed: Composed, tidegate: Tidegate, role: str
) -> None:
    before = int(tidegate.sql("SELECT count() FROM tidegate.connection_logs"))
    composed("exec", "-T", role, "python", "-c", KILL, role)
    event = {"network_type": "wi", "network_security": "wp2", "network_name": f"{role} killed"}
    for _ in range(20):
        assert tidegate.post("device_app_connection_log", body(event)).status_code == 201
    count = "SELECT count() FROM tidegate.connection_logs"
    await_(lambda: tidegate.sql(count) == str(before + 20), lambda: composed("logs", "--tail", "20"), 300.0)
    assert composed.container(role)["RestartCount"] >= 1  # more where a slow machine freezes what comes back
    composed("run", "--rm", "-T", "--entrypoint", "tidegate", "token", "verify")
