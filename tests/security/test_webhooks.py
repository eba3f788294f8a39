"""Whoever creates a webhook does not reach the network that Tidegate stands in."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from private_addresses import REFUSED

from tidegate.cli import main
from tidegate.webhooks.addresses import Allowed
from tidegate.webhooks.formats import Request
from tidegate.webhooks.transport import Transport


def create(folder: Path, url: str) -> tuple[int, str]:
    arguments = ["webhook", "create", "x", "--fleet", "f", "--url", url]
    done = CliRunner().invoke(main, arguments, env={"TIDEGATE_DATA_DIR": str(folder)})
    return done.exit_code, done.output


@pytest.fixture
def no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test in which anything is connected to fails."""

    async def connect(*arguments: Any, **more: Any) -> Any:
        raise AssertionError(f"connects to {arguments}")

    monkeypatch.setattr(asyncio, "open_connection", connect)


@pytest.mark.usefixtures("no_connections")
@pytest.mark.parametrize("address", REFUSED)
def test_no_private_address_is_connected_to_whatever_the_name(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **more: found)
    status, said = create(tmp_path, "https://hooks.example/x")
    assert status == 2
    shown = ip_address(address.partition("%")[0])
    assert said.startswith(f"tidegate: url: hooks.example has address {shown}, which is ")
    assert not (tmp_path / "webhooks.json").exists()
    # It had another address when it was created.
    sent = Transport(Allowed(), seconds=10.0).send("https://hooks.example/x", Request(b"{}", {}))
    answer = asyncio.run(sent)
    assert answer.status == 0 and answer.error.startswith("hooks.example has address ")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "017700000001", "localhost", "[::1]", "[::]"]
)
def test_no_way_of_writing_loopback_is_taken(host: str, tmp_path: Path) -> None:
    status, said = create(tmp_path, f"https://{host}:8123/")
    assert status == 2 and said.startswith("tidegate: url: ")


@pytest.mark.parametrize(
    "url",
    [
        "http://1.1.1.1/",
        "ftp://1.1.1.1/",
        "file:///etc/passwd",
        "gopher://1.1.1.1/",
        "https://user:hunter2@1.1.1.1/",
        "https://1.1.1.1\\@10.0.0.1/",
        "https://1.1.1.1/\r\nHost: other",
    ],
)
def test_only_https_without_a_user_is_taken(url: str, tmp_path: Path) -> None:
    status, said = create(tmp_path, url)
    assert status == 2 and said.startswith("tidegate: url: ") and "hunter2" not in said
