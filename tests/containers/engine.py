"""A Docker engine that the tests start and stop: its own data, socket and containerd.

It touches nothing of the machine's network (no iptables, no default bridge): containers reach each other by
the network of their compose project, published ports are on loopback, builds use the host's network.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.parse
from pathlib import Path

from waiting import await_

from tidegate.local.child import Child

DEFAULT = "unix:///var/run/docker.sock"


def answering() -> bool:
    """Whether a Docker engine that is not ours is there."""
    address = urllib.parse.urlsplit(os.environ.get("DOCKER_HOST", DEFAULT))
    try:
        if address.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect(address.path)
        else:
            socket.create_connection((address.hostname or "", address.port or 2375), timeout=5).close()
    except OSError:
        return False
    return True


def compose_command() -> list[str] | None:
    """The compose client: the plugin of `docker`, or the program of its own; None where neither is."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    return None


class OwnEngine:
    """`start` needs root, `dockerd` and `containerd`. `stop` ends every container and leaves no file."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tidegate-docker-"))  # short: a socket's path is bounded
        self.host = f"unix://{self._folder}/docker.sock"
        folder = self._folder
        argv = [
            "dockerd",
            "--host",
            self.host,
            "--data-root",
            f"{folder}/data",
            "--exec-root",
            f"{folder}/run",
        ]
        argv += ["--pidfile", f"{folder}/docker.pid", "--log-level", "warn", "--bridge", "none"]
        argv += ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
        # SIGTERM also where the tests die: killed, it would leave its containers behind.
        self.child = Child("dockerd", argv, folder / "dockerd.log", orphaned=signal.SIGTERM)

    def start(self) -> None:
        self.child.start()
        socket_path = self._folder / "docker.sock"
        await_(lambda: socket_path.exists() and self._answers(), self.child.tail)

    def stop(self) -> None:
        self.child.stop(60)
        # The engine leaves the mount of the host's network behind, which its builds use.
        left = self._folder / "run/netns/default"
        if left.exists():
            subprocess.run(["umount", str(left)], capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self.child.running, self.child.tail()
        command = ["docker", "--host", self.host, "version"]
        return subprocess.run(command, capture_output=True).returncode == 0
