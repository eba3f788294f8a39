"""What HTTP promises a client, at every role: HEAD, Upgrade, Expect, pipelining, headers, metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import gateways
import httpx
import metrics
import pytest
import roles
from gateways import CONNECTION_LOGS, GatewayProcess, prepare_topics
from handmade_http import Answer, Wire, exchange
from waiting import await_

import builders
from tidegate.local.broker import Broker
from tidegate.local.child import Child, free_port
from tidegate.service.status_server import StatusServer
from tidegate.settings import Settings
from tidegate.telemetry import ROLES
from tidegate.tokens import Role, TokenFile

UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")


@pytest.fixture(scope="module")
def gateway(embedded_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    prepare_topics(embedded_broker.bootstrap)
    process = GatewayProcess(embedded_broker.bootstrap, tmp_path_factory.mktemp("gateway")).start()
    yield process
    assert process.stop() == 0, process.child.tail()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API's URL; it has no ClickHouse."""
    folder = tmp_path_factory.mktemp("api")
    child, url = start_api(folder)
    yield url
    assert child.stop(30.0) == 0, child.tail()


def start_api(folder: Path, **values: object) -> tuple[Child, str]:
    listen = f"127.0.0.1:{free_port()}"
    settings = {"api_listen": listen, "data_dir": folder, "clickhouse_url": f"http://127.0.0.1:{free_port()}"}
    child = roles.role("api", folder, settings | values)
    child.start()
    await_(lambda: roles.get(listen, "/healthz")[0] == 200, child.tail)
    return child, f"http://{listen}"


@pytest.fixture(scope="module")
def status(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a status server, as worker and sink have one."""
    listen = f"127.0.0.1:{free_port()}"
    folder = str(tmp_path_factory.mktemp("status"))
    with StatusServer("sink", Settings(sink_listen=listen, data_dir=folder), not_ready=list):
        yield f"http://{listen}"


@pytest.fixture(params=["gateway", "api", "status"])
def url(request: pytest.FixtureRequest) -> str:
    """Every role in turn."""
    found = request.getfixturevalue(request.param)
    return found.url if isinstance(found, GatewayProcess) else str(found)


def head(url: str, method: str, path: str, *lines: str) -> bytes:
    first = (f"{method} {path} HTTP/1.1", f"Host: {url.removeprefix('http://')}")
    return "".join(f"{line}\r\n" for line in (*first, *lines)).encode() + b"\r\n"


def posting(gateway: GatewayProcess, body: bytes, *lines: str) -> bytes:
    """A POST of connection logs with its body, and further header lines."""
    token = f"Authorization: Bearer {gateway.token[Role.INGEST]}"
    return head(gateway.url, "POST", CONNECTION_LOGS, token, f"Content-Length: {len(body)}", *lines) + body


def log(name: str) -> bytes:
    return json.dumps(builders.network_log(network_name=name)).encode()


# Upgrade


@pytest.mark.parametrize("cut", [None, 0, 10], ids=["one packet", "body later", "body in two"])
def test_an_upgrade_is_not_taken_up_and_the_body_is_read(gateway: GatewayProcess, cut: int | None) -> None:
    """It was 400 `empty_record`, and a body in a later packet was read as the next request."""
    body = log("upgraded")
    request = posting(gateway, body, *UPGRADE)
    at = len(request) if cut is None else len(request) - len(body) + cut
    answer = exchange(gateway.url, request[:at], request[at:])
    assert (answer.status, answer.json()["network_name"]) == (201, "upgraded")
    assert "upgrade" not in answer.headers


def test_keep_alive_and_pipelining_hold_behind_an_upgrade(gateway: GatewayProcess) -> None:
    requests = [
        posting(gateway, log("first"), *UPGRADE),
        head(gateway.url, "GET", "/healthz", "Connection: Upgrade", "Upgrade: websocket"),
        posting(gateway, log("second"), "connection: keep-alive, upgrade", "upgrade: h2c, foo/2"),
        posting(gateway, log("third")),
    ]
    with Wire(gateway.url) as wire:
        wire.send(b"".join(requests))
        answers = [wire.answer() for _ in requests]
        assert [answer.status for answer in answers] == [201, 200, 201, 201]
        assert [answers[number].json()["network_name"] for number in (0, 2, 3)] == [
            "first",
            "second",
            "third",
        ]
        wire.send(posting(gateway, log("later"), *UPGRADE))
        assert wire.answer().json()["network_name"] == "later"


def test_an_upgrade_with_a_chunked_body(gateway: GatewayProcess) -> None:
    body = log("chunked")
    token = f"Authorization: Bearer {gateway.token[Role.INGEST]}"
    chunked = head(gateway.url, "POST", CONNECTION_LOGS, token, "Transfer-Encoding: chunked", *UPGRADE)
    parts = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:7], body[7:])]
    answer = exchange(gateway.url, chunked, *parts, b"0\r\n\r\n")
    assert (answer.status, answer.json()["network_name"]) == (201, "chunked")


def test_each_byte_in_a_packet_of_its_own(gateway: GatewayProcess) -> None:
    request = posting(gateway, log("bytewise"), *UPGRADE)
    parts = [request[at : at + 1] for at in range(len(request))]
    assert exchange(gateway.url, *parts, pause=0.0005).json()["network_name"] == "bytewise"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_with_http2(gateway: GatewayProcess) -> None:
    command = ["curl", "-s", "--http2", "-H", f"Authorization: Bearer {gateway.token[Role.INGEST]}"]
    command += ["-H", "Content-Type: application/json", "-d", log("curl").decode()]
    done = subprocess.run([*command, gateway.url + CONNECTION_LOGS], capture_output=True, timeout=60)
    assert json.loads(done.stdout)["network_name"] == "curl"


# Pipelining, keep-alive


def test_pipelined_requests_are_answered_in_their_order(gateway: GatewayProcess) -> None:
    names = [f"ssid-{number}" for number in range(50)]
    with Wire(gateway.url) as wire:
        wire.send(b"".join(posting(gateway, log(name)) for name in names))
        assert [wire.answer().json()["network_name"] for _ in names] == names


def test_a_pipeline_that_is_too_long_is_answered_as_far_as_it_goes(url: str) -> None:
    """All of it was kept in memory, a hundred times as large as what was sent."""
    with Wire(url) as wire:
        wire.send(head(url, "GET", "/healthz") * 1_000)
        answers = _all(wire)
    assert 100 <= len(answers) < 1_000
    assert {answer.status for answer in answers} == {200}
    assert answers[-1].headers["connection"] == "close"


def test_a_broken_request_is_answered_behind_those_before_it(gateway: GatewayProcess) -> None:
    """Its 400 overtook the answer of a request that was under way, and passed for it."""
    with Wire(gateway.url) as wire:
        wire.send(posting(gateway, log("good")) + b"nonsense\r\n\r\n")
        assert wire.answer().json()["network_name"] == "good"
        refused = wire.answer()
        assert (refused.status, refused.json()["code"]) == (400, "bad_request")
        assert wire.closes()


def test_a_body_that_breaks_is_one_answer(gateway: GatewayProcess) -> None:
    token = f"Authorization: Bearer {gateway.token[Role.INGEST]}"
    request = head(gateway.url, "POST", CONNECTION_LOGS, token, "Transfer-Encoding: chunked")
    with Wire(gateway.url) as wire:
        wire.send(posting(gateway, log("good")) + request)
        assert wire.answer().status == 201
        wire.send(b"5\r\n{}\r\n\r\nxx\r\n")
        assert wire.answer().status == 400
        assert wire.closes()


def test_behind_an_early_refusal_the_connection_closes_and_the_answer_arrives(
    gateway: GatewayProcess,
) -> None:
    """The rest of the body was read to its end, however long; now a client gets its answer, not a reset."""
    body = b"[" + b" " * 7_000_000 + b"]"
    request = posting(gateway, body).replace(b"Bearer ", b"Bearer x")
    with Wire(gateway.url) as wire:
        wire.send(request[:100_000])
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert wire.closes()
    for _ in range(10):
        refused = httpx.post(gateway.url + CONNECTION_LOGS, content=body[:200_000], timeout=30)
        assert refused.status_code == 401


def test_behind_a_refusal_of_a_body_that_was_read_the_connection_stays(gateway: GatewayProcess) -> None:
    with Wire(gateway.url) as wire:
        wire.send(posting(gateway, b"no json"))
        assert wire.answer().status == 400
        wire.send(posting(gateway, log("next")))
        assert wire.answer().status == 201


# Expect


def test_expect_100_continue_is_met(gateway: GatewayProcess) -> None:
    request = posting(gateway, log("expected"), "Expect: 100-continue")
    with Wire(gateway.url) as wire:
        wire.send(request[: request.index(b"\r\n\r\n") + 4])
        assert wire.answer().status == 100
        wire.send(log("expected"))
        assert wire.answer().status == 201


def test_a_length_over_the_limit_is_not_invited(gateway: GatewayProcess) -> None:
    """The client was told to go on and send what would be refused."""
    token = f"Authorization: Bearer {gateway.token[Role.INGEST]}"
    lines = (token, "Content-Length: 9000000", "Expect: 100-continue")
    answer = exchange(gateway.url, head(gateway.url, "POST", CONNECTION_LOGS, *lines))
    assert (answer.status, answer.json()["code"]) == (413, "too_large")
    assert answer.headers["connection"] == "close"


def test_another_expectation_is_not_met(url: str) -> None:
    """It was ignored."""
    answer = exchange(url, head(url, "GET", "/healthz", "Expect: the-unexpected"))
    assert (answer.status, answer.json()["code"]) == (417, "expectation_failed")


# HEAD and headers


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/problems/not_found", "/x"]
)
def test_head_is_get_without_the_body(url: str, path: str) -> None:
    """It was a 405 at gateway and API."""
    got = httpx.get(url + path, timeout=30)
    with Wire(url) as wire:
        wire.send(head(url, "HEAD", path))
        answer = wire.answer(head=True)
        assert answer.status == got.status_code
        assert answer.headers["content-type"] == got.headers["content-type"]
        if path != "/metrics":
            assert answer.headers["content-length"] == str(len(got.content))
        wire.send(head(url, "GET", "/healthz"))  # the connection is where it should be
        assert wire.answer().body == b"ok\n"


def test_head_of_what_takes_events_is_405(gateway: GatewayProcess) -> None:
    with Wire(gateway.url) as wire:
        wire.send(head(gateway.url, "HEAD", CONNECTION_LOGS))
        answer = wire.answer(head=True)
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_a_405_allows_head(api: str) -> None:
    answer = httpx.post(api + "/V5/devices/aps")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path", ["/healthz", "/metrics", "/openapi.json", "/docs", "/V5/devices/aps", CONNECTION_LOGS, "/x"]
)
def test_every_answer_has_the_headers_that_keep_browsers_and_caches_in_check(url: str, path: str) -> None:
    """There were none."""
    answer = httpx.get(url + path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "no-store" in answer.headers["cache-control"]


@pytest.mark.parametrize("role", ["gateway", "api"])
def test_swagger_ui_is_served_from_here_and_runs_no_script_of_the_page(
    request: pytest.FixtureRequest, role: str
) -> None:
    found = request.getfixturevalue(role)
    base = found if isinstance(found, str) else found.url
    answer = httpx.get(base + "/docs")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'; style-src 'self';" in policy and "unsafe" not in policy
    assert not re.search(r"<[^>]* style=|<style|<script>|https?://", answer.text)
    for path in re.findall(r'(?:src|href)="(/docs/[^"]+)"', answer.text):
        file = httpx.get(base + path)
        assert file.status_code == 200 and file.headers["x-content-type-options"] == "nosniff", path
    assert httpx.get(base + "/docs/files/redoc.standalone.js").status_code == 404


def test_an_answer_to_an_event_has_them(gateway: GatewayProcess) -> None:
    for body in (builders.network_log(), [builders.network_log()], {}):
        answer = gateway.post(CONNECTION_LOGS, body)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_a_refusal_by_the_protocol_has_them(url: str) -> None:
    answer = exchange(url, b"GET / HTTP/1.1\r\n\r\n")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["path"] == "Host"


# Metrics


def test_a_role_exports_its_own_metrics_alone(url: str) -> None:
    """Those of the other roles stood there as 0, which made every alert on a minimum wrong."""
    families = {line.split()[2] for line in _metrics(url).splitlines() if line.startswith("# TYPE")}
    exported = {role for role in ROLES if any(name.startswith(f"tidegate_{role}_") for name in families)}
    assert len(exported) == 1, families
    assert "tidegate_http_connections" in families
    assert "process_resident_memory_bytes" in families


def test_connections_are_counted(url: str) -> None:
    assert metrics.sample(_metrics(url), "tidegate_http_connections") >= 1


def _metrics(url: str) -> str:
    answer = httpx.get(url + "/metrics")
    assert answer.status_code == 200
    return answer.text


def scrape(url: str, *lines: str) -> Answer:
    return exchange(url, head(url, "GET", "/metrics", *lines))


@pytest.mark.parametrize("proxy", ["X-Forwarded-For: 10.1.2.3", "Forwarded: for=10.1.2.3", "Via: 1.1 proxy"])
def test_metrics_through_a_proxy_ask_for_a_token(url: str, proxy: str) -> None:
    """They were there for everybody."""
    answer = scrape(url, proxy)
    assert (answer.status, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert scrape(url, proxy, "Authorization: Bearer none").status == 401


def test_metrics_with_a_token(gateway: GatewayProcess) -> None:
    proxy = "X-Forwarded-For: 10.1.2.3"
    assert scrape(gateway.url, proxy, f"Authorization: Bearer {gateway.token[Role.VIEWER]}").status == 200


def test_metrics_on_an_address_of_their_own(embedded_broker: Broker, tmp_path: Path) -> None:
    metrics_listen = f"127.0.0.1:{free_port()}"
    proxy = "X-Forwarded-For: 10.1.2.3"
    for role in ("gateway", "api"):
        folder = tmp_path / role
        folder.mkdir()
        if role == "gateway":
            prepare_topics(embedded_broker.bootstrap)
            values = {"metrics_listen": metrics_listen}
            process = GatewayProcess(embedded_broker.bootstrap, folder, **values).start()
            child, url = process.child, process.url
            assert process.post(CONNECTION_LOGS, builders.network_log()).status_code == 201
        else:
            child, url = start_api(folder, metrics_listen=metrics_listen)
        try:
            beside = f"http://{metrics_listen}"
            answer = scrape(beside, proxy)
            assert answer.status == 200
            assert f"# TYPE tidegate_{role}_" in answer.body.decode()
            if role == "gateway":
                events = metrics.total(answer.body.decode(), "tidegate_gateway_events_total")
                assert events == gateways.total(process, "tidegate_gateway_events_total") == 1
            assert httpx.get(beside + "/healthz").text == "ok\n"
            assert httpx.get(beside + "/openapi.json").status_code == 404
            assert httpx.post(beside + CONNECTION_LOGS).status_code == 405
            assert scrape(url, proxy).status == 401
        finally:
            assert child.stop(30.0) == 0, child.tail()
            if role == "gateway":
                process.client.close()


def test_a_status_server_reads_the_tokens_and_has_its_address_for_metrics(tmp_path: Path) -> None:
    token = TokenFile(tmp_path / "tokens.json").create("prometheus", fleet="demo", role=Role.OPERATOR)
    settings = Settings(
        worker_listen=f"127.0.0.1:{free_port()}",
        metrics_listen=f"127.0.0.1:{free_port()}",
        data_dir=str(tmp_path),
    )
    proxy = "X-Forwarded-For: 10.1.2.3"
    with StatusServer("worker", settings, not_ready=lambda: ["no broker"]):
        url = f"http://{settings.worker_listen}"
        await_(lambda: roles.get(settings.worker_listen, "/healthz")[0] == 200)
        assert scrape(url, proxy).status == 401
        assert scrape(url, proxy, f"Authorization: Bearer {token}").status == 200
        assert scrape(f"http://{settings.metrics_listen}", proxy).status == 200
        assert roles.get(settings.metrics_listen, "/readyz") == (503, "no broker\n")


def _all(wire: Wire) -> list[Answer]:
    answers = []
    try:
        while True:
            answers.append(wire.answer())
    except ConnectionError:
        return answers
