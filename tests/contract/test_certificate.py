"""The certificate of gateway and API, served and read again."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import roles
import trustme
from waiting import await_

from tidegate.errors import UsageError
from tidegate.local.child import free_port
from tidegate.service.certificate import Certificate
from tidegate.service.server import Server, listener
from tidegate.service.status_server import StatusServer, beside
from tidegate.settings import Settings


def issue(authority: trustme.CA, folder: Path, name: str) -> Settings:
    mine = authority.issue_cert("localhost", common_name=name)
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in mine.cert_chain_pems))
    mine.private_key_pem.write_to_path(folder / "key.pem")
    return Settings(tls_cert_file=str(folder / "cert.pem"), tls_key_file=str(folder / "key.pem"))


async def answer(
    scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": scope["scheme"][:2].encode()})


async def ask(port: int, authority: trustme.CA) -> tuple[str, bytes]:
    """Who serves, and what it answers."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    body = await reader.read()
    subject: Any = writer.get_extra_info("peercert")["subject"]
    writer.close()
    return dict(part[0] for part in subject)["commonName"], body


async def test_https_is_served_and_a_new_certificate_without_a_restart(tmp_path: Path) -> None:
    authority = trustme.CA()
    settings = issue(authority, tmp_path, "first")
    listening = listener("127.0.0.1:0", "gateway_listen")
    server = Server(answer, settings, drain_seconds=1.0, signals=False)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started:
            await asyncio.sleep(0.02)
        port = listening.getsockname()[1]
        name, body = await ask(port, authority)
        assert name == "first" and body.startswith(b"HTTP/1.1 200")
        issue(authority, tmp_path, "second")
        for _ in range(300):
            await asyncio.sleep(0.1)
            if (await ask(port, authority))[0] == "second":
                break
        else:
            pytest.fail("the new certificate was not served")
    finally:
        server.should_exit = True
        await serving


def test_files_that_do_not_belong_together_change_nothing(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = Certificate.of(issue(authority, tmp_path, "one"))
    assert certificate is not None
    key = tmp_path / "key.pem"
    authority.issue_cert("localhost").private_key_pem.write_to_path(key)
    os.utime(key, ns=(1, 1))
    certificate.renew()
    with pytest.raises(UsageError, match="tls_cert_file"):
        Certificate(tmp_path / "cert.pem", key)


def test_half_of_the_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="go together"):
        Certificate.of(Settings(tls_cert_file="/c.pem"))
    assert Certificate.of(Settings()) is None


async def test_metrics_and_the_status_of_other_roles_are_by_http_all_the_same(tmp_path: Path) -> None:
    """Prometheus scrapes all roles by one scheme; those of gateway and API were HTTPS."""
    ports = [free_port() for _ in range(3)]
    settings = replace(
        issue(trustme.CA(), tmp_path, "any"),
        worker_listen=f"127.0.0.1:{ports[0]}",
        metrics_listen=f"127.0.0.1:{ports[1]}",
        data_dir=str(tmp_path),
    )
    with StatusServer("worker", settings, not_ready=list):
        for port in ports[:2]:
            assert await asyncio.to_thread(status_by_http, port) == 200
    async with beside("gateway", replace(settings, metrics_listen=f"127.0.0.1:{ports[2]}")):
        assert await asyncio.to_thread(status_by_http, ports[2]) == 200


def status_by_http(port: int) -> int:
    """Of /healthz, as soon as it answers."""
    await_(lambda: roles.get(f"127.0.0.1:{port}", "/healthz")[0])
    return roles.get(f"127.0.0.1:{port}", "/healthz")[0]
