"""One request to a webhook, at a real server on loopback."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from webhook_receiver import Receiver, Reply, receiver

from tidegate.errors import UsageError
from tidegate.webhooks.addresses import Allowed, allowed
from tidegate.webhooks.formats import Request
from tidegate.webhooks.transport import Answer, Transport, retry_after

REQUEST = Request(b'{"type":"alert.open"}', {"Content-Type": "application/json", "webhook-id": "msg_1"})
LOOPBACK = allowed("127.0.0.0/8")


def send(at: Receiver | None, url: str = "", *, allow: Allowed = LOOPBACK, **changed: Any) -> Answer:
    transport = Transport(allow, **{"seconds": 10.0, "ca_file": str(at.ca_file) if at else "", **changed})
    return asyncio.run(transport.send(url or f"{at.url if at else ''}/hook", REQUEST))


def always(reply: Reply) -> Any:
    return lambda path, before: reply


def test_what_arrives_is_what_was_sent(tmp_path: Path) -> None:
    with receiver(always(Reply(202)), tmp_path) as at:
        answer = send(at, f"{at.url}/a/b?c=d%20e")
    assert answer.delivered and answer.error == "" and answer.seconds > 0
    [found] = at.received
    assert (found.path, found.body) == ("/a/b?c=d%20e", REQUEST.body)
    assert found.headers["host"] == at.url.removeprefix("https://")
    assert found.headers["webhook-id"] == "msg_1" and found.headers["connection"] == "close"


def test_a_private_address_is_not_even_connected_to(tmp_path: Path) -> None:
    with receiver(always(Reply()), tmp_path) as at:
        answer = send(at, allow=Allowed())
        for host in ("localhost", "[::1]", "127.1", "0x7f.0.0.1"):
            assert "loopback" in send(at, at.url.replace("127.0.0.1", host), allow=Allowed()).error
    assert answer == Answer(0, "127.0.0.1 is loopback (127.0.0.0/8)", None, answer.seconds)
    assert at.connections == 0


def test_the_connection_goes_to_the_address_that_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that answers otherwise at the second look (rebinding) is looked up once."""
    looks: list[object] = []

    def rebinding(host: object, port: int, **more: object) -> list[Any]:
        looks.append(host)
        address = "127.0.0.1" if len(looks) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with receiver(always(Reply()), tmp_path, name="hooks.example") as at:
        url = at.url.replace("127.0.0.1", "hooks.example")
        assert send(at, url + "/hook").delivered  # and TLS is held to the name
        assert looks == ["hooks.example"]
        looks.clear()
        assert send(at, at.url.replace("127.0.0.1", "other.example")).error.startswith("certificate: ")
    assert [one.headers["host"] for one in at.received] == [url.removeprefix("https://")]


def test_one_private_address_among_several_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def both(host: object, port: int, **more: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in ("127.0.0.1", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with receiver(always(Reply()), tmp_path) as at:
        answer = send(at, at.url.replace("127.0.0.1", "hooks.example"))
    assert answer.error == "hooks.example has address 10.0.0.1, which is private (10.0.0.0/8)"
    assert at.connections == 0


def test_names_that_nobody_answers_for_hold_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than a loop has threads by default, and one of them by many webhooks."""
    over = threading.Event()
    looks: list[str] = []

    def look_up(host: str, port: int, **more: object) -> list[Any]:
        looks.append(host)
        if host != "hooks.example":
            over.wait(300)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def send_all(at: Receiver) -> Answer:
        transport = Transport(LOOPBACK, seconds=300.0, ca_file=str(at.ca_file))
        names = [*(f"n{number}.example" for number in range(40)), *["same.example"] * 200]
        waiting = [asyncio.create_task(transport.send(f"https://{name}/", REQUEST)) for name in names]
        try:
            while len(looks) < 41:
                await asyncio.sleep(0.01)
            return await transport.send(at.url.replace("127.0.0.1", "hooks.example") + "/hook", REQUEST)
        finally:
            over.set()
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with receiver(always(Reply()), tmp_path, name="hooks.example") as at:
        assert asyncio.run(send_all(at)).delivered
    assert looks.count("same.example") == 1


def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As IPv6 where it leads nowhere: all the time went into it, at each attempt."""

    def both(host: object, port: int, **more: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with receiver(always(Reply()), tmp_path, name="hooks.example") as at, ExitStack() as open_:
        url = at.url.replace("127.0.0.1", "hooks.example")
        # Nobody takes connections out of this queue; when it is full, the kernel answers no more.
        silent = ("127.0.0.2", at.server.server_port)
        open_.enter_context(socket.create_server(silent, backlog=0))
        while True:
            waiting = open_.enter_context(socket.socket())
            waiting.settimeout(0.5)
            try:
                waiting.connect(silent)
            except TimeoutError:
                break
        assert send(at, url + "/hook", seconds=4.0).delivered


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with receiver(always(Reply(302, {"Location": "/elsewhere"})), tmp_path) as at:
        answer = send(at)
        assert [one.path for one in at.received] == ["/hook"]
    assert answer.status == 302 and not answer.delivered


def test_the_environments_proxy_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with receiver(always(Reply()), tmp_path) as at:
        assert send(at).delivered


def test_a_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    with receiver(always(Reply()), tmp_path) as at:
        assert send(None, at.url + "/hook").error.startswith("certificate: ")
    assert at.received == []


def test_plain_http_where_it_is_allowed(tmp_path: Path) -> None:
    with receiver(always(Reply()), tmp_path, tls=False) as at:
        assert send(None, at.url + "/hook").delivered
        assert send(None, at.url.replace("http", "https") + "/hook").error.startswith("TLS: ")


def test_what_an_error_says_is_quoted_in_part(tmp_path: Path) -> None:
    with receiver(always(Reply(503, {"Retry-After": "17"}, b"busy \n" * 100_000)), tmp_path) as at:
        answer = send(at)
    assert (answer.status, answer.retry_after) == (503, 17.0)
    assert answer.error.startswith("answers 503: busy busy") and len(answer.error) < 250


def test_time_is_bounded(tmp_path: Path) -> None:
    with receiver(always(Reply(wait=3.0)), tmp_path) as at:
        answer = send(at, seconds=0.3)
    assert answer.error == "no answer within 0.3 s" and answer.seconds < 3


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", "it answers nothing"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "what it answers is no HTTP"),
        (b"HTTP/1.1 200 OK\r\n", "it answers nothing"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "it answers nothing"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000, "it answers nothing"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"z" * 200_000, ""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nrubbish", ""),
    ],
)
def test_answers_that_are_none(raw: bytes, error: str) -> None:
    async def answered() -> Answer:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(REQUEST.body)
            writer.write(raw)
            try:
                await writer.drain()
            except ConnectionError:
                pass
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            return await Transport(LOOPBACK, seconds=10.0).send(f"http://127.0.0.1:{port}/", REQUEST)

    answer = asyncio.run(answered())
    assert answer.error == error and answer.delivered == (error == "")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200),
        (b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", 202),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", 200),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 10\r\n\r\nno", 410),
    ],
)
def test_who_has_answered_is_not_told_again_for_how_the_answer_ends(head: bytes, status: int) -> None:
    """A receiver that took the notice and left its answer open was sent it ten times."""

    async def answered() -> Answer:
        over = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(REQUEST.body)
            writer.write(head)
            await over.wait()
            writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            answer = await Transport(LOOPBACK, seconds=1.0).send(f"http://127.0.0.1:{port}/", REQUEST)
            over.set()
        return answer

    answer = asyncio.run(answered())
    assert answer.status == status and answer.delivered == (status < 300)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    answer = send(None, f"https://127.0.0.1:{port}/")
    assert answer.status == 0 and answer.error.startswith("no connection: ")


def test_a_file_of_authorities_that_is_none(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UsageError, match="webhook_ca_file: "):
            Transport(Allowed(), seconds=10.0, ca_file=str(path))


def test_retry_after_as_number_and_date() -> None:
    now = 1_770_000_000.0  # 2026-02-02 02:40:00 UTC
    assert retry_after("120", now) == 120.0
    assert retry_after("Mon, 02 Feb 2026 02:41:00 GMT", now) == 60.0
    assert retry_after("Mon, 02 Feb 2026 02:00:00 GMT", now) == 0.0
    for text in ("", "soon", "-5", "1.5", "٣"):
        assert retry_after(text, now) is None
    assert retry_after("9" * 400, now) == 999_999_999_999.0
