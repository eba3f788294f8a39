"""The file of webhook endpoints."""

from __future__ import annotations

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from alert_documents import alert

from tidegate.errors import UsageError
from tidegate.webhooks.addresses import BadField, allowed
from tidegate.webhooks.endpoints import PAGERDUTY, Created, EndpointFile, key_of

NOW = 1_770_000_000.0
ALLOW = allowed("127.0.0.0/8,events.pagerduty.com")
URL = "https://127.0.0.1:1/hook?token=hidden"
KEY = "R0123456789ABCDEF"


@pytest.fixture
def file(tmp_path: Path) -> EndpointFile:
    return EndpointFile(tmp_path / "new" / "webhooks.json", check_seconds=0.0, clock=lambda: NOW)


def created(file: EndpointFile, name: str = "noc", **changed: str) -> Created:
    return file.create(name, **{"fleet": "demo", "format": "standard", "url": URL, **changed}, allow=ALLOW)  # type: ignore[arg-type]


def test_a_secret_is_shown_once_and_the_file_is_its_owners(file: EndpointFile) -> None:
    made = created(file)
    assert len(key_of(made.secret)) == 32
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    [row] = file.rows()
    assert row == made.endpoint == file.find("noc") == file.find(row.id, "demo")
    assert made.secret not in repr(row) and "hidden" not in repr(row)
    assert row.masked_url == "https://127.0.0.1:1/hook?***"
    assert file.endpoints() == {row.id: row}


@pytest.mark.parametrize("format", ["slack", "teams"])
def test_the_url_of_a_chat_is_its_secret(file: EndpointFile, format: str) -> None:
    made = created(file, format=format, url="https://127.0.0.1/services/T0/B0/token")
    assert made.secret == "" and made.endpoint.masked_url == "https://127.0.0.1/***"
    with pytest.raises(BadField, match="no secret but its URL"):
        file.rotate("noc")


def test_after_a_rotation_both_secrets_hold_for_a_while(file: EndpointFile) -> None:
    old = created(file).secret
    new = file.rotate("noc", overlap=timedelta(hours=1)).secret
    row = file.find("noc")
    assert row.secrets_at(NOW) == row.secrets_at(NOW + 3599) == [new, old]
    assert row.secrets_at(NOW + 3600) == [new]
    third = file.rotate("noc", overlap=timedelta(hours=1)).secret
    assert file.find("noc").secrets_at(NOW) == [third, new]
    last = file.rotate("noc", overlap=timedelta())
    assert last.endpoint.secrets_at(NOW) == [last.secret]


def test_pagerduty_has_a_routing_key(file: EndpointFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.webhooks.endpoints.check", lambda url, allow: None)
    for wrong in ("", "a b", "x" * 100):
        with pytest.raises(BadField, match="^routing_key: "):
            created(file, format="pagerduty", url="", routing_key=wrong)
    made = created(file, format="pagerduty", url="", routing_key=KEY)
    assert made.endpoint.url == PAGERDUTY and made.secret == ""
    assert file.rotate("noc", routing_key=KEY[::-1]).endpoint.secrets_at(NOW) == [KEY[::-1]]
    with pytest.raises(BadField, match="^routing_key: "):
        created(file, "other", routing_key=KEY)


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "x" * 65}),
        ("name", {"name": "a\u202eb"}),
        ("fleet", {"fleet": "a\nb"}),
        ("format", {"format": "carrier-pigeon"}),
        ("severity", {"severity": "loud"}),
        ("url", {"url": ""}),
        ("url", {"url": "https://10.0.0.1/"}),
        ("url", {"url": "https://[::1]/"}),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(
    file: EndpointFile, field: str, changed: dict[str, str]
) -> None:
    with pytest.raises(BadField, match=f"^{field}: ") as raised:
        created(file, **changed)
    assert raised.value.field == field
    assert file.rows() == []


def test_names_are_of_a_fleet(file: EndpointFile) -> None:
    created(file)
    with pytest.raises(BadField, match="^name: .*already"):
        created(file)
    other = created(file, fleet="other").endpoint
    with pytest.raises(BadField, match="demo, other"):
        file.find("noc")
    assert file.find("noc", "other") == other
    assert file.delete("noc", fleet="other") == other
    assert [row.fleet for row in file.rows()] == ["demo"]
    with pytest.raises(BadField, match="no webhook is named 'noc'"):
        file.delete("noc", fleet="other")


def test_a_name_that_is_the_id_of_another_hides_it_from_nobody(file: EndpointFile) -> None:
    """Neither could be deleted, tried or rotated any more."""
    first = created(file).endpoint
    second = created(file, first.id).endpoint
    assert file.find(first.id) == first and file.find(second.id) == second
    assert file.delete(first.id, fleet="demo") == first
    assert file.find(first.id) == second


def test_a_file_that_others_can_read_is_refused_and_the_last_content_stays(file: EndpointFile) -> None:
    made = created(file).endpoint
    assert file.endpoints()
    file.path.chmod(0o604)
    file.path.write_text(file.path.read_text() + " ")
    assert file.endpoints() == {made.id: made}
    with pytest.raises(UsageError, match="open to every user"):
        file.rows()
    file.path.chmod(0o600)
    file.path.write_text("{")
    assert file.endpoints() == {made.id: made}
    with pytest.raises(UsageError, match="webhooks_file"):
        file.rows()


def test_a_file_that_is_gone_drops_nothing(file: EndpointFile) -> None:
    made = created(file).endpoint
    assert file.endpoints() == {made.id: made}
    data = file.path.read_bytes()
    file.path.unlink()
    assert file.endpoints() == file.endpoints() == {made.id: made}
    file.path.write_bytes(data)
    file.path.chmod(0o600)
    assert file.endpoints() == {made.id: made}
    file.delete("noc")
    assert file.endpoints() == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("created_at", "yesterday"),
        ("created_at", "2026-01-01T00:00:00"),
        ("created_at", ""),
        ("created_at", 1_770_000_000),
        ("id", ""),
        ("url", "https://[::1/hook-secret"),
        ("url", "hook-secret"),
    ],
)
def test_what_a_hand_wrote_wrongly_is_named_and_the_last_content_stays(
    file: EndpointFile, field: str, value: object
) -> None:
    """A time that was none ended notify at the next alert, of whatever fleet, and at each start."""
    one, other = created(file).endpoint, created(file, "other").endpoint
    assert len(file.endpoints()) == 2
    content = json.loads(file.path.read_text())
    content["endpoints"][1][field] = value
    file.path.write_text(json.dumps(content))
    assert file.endpoints() == {one.id: one, other.id: other}
    with pytest.raises(UsageError, match=rf"webhooks.json.*\$\.endpoints\[1\]\.{field}") as refused:
        file.rows()
    assert "hook-secret" not in str(refused.value)
    content["endpoints"][1] = content["endpoints"][0]
    file.path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"\$\.endpoints\[1\]\.id: is that of \$\.endpoints\[0\]"):
        file.rows()


def test_disabled_and_enabled_again(file: EndpointFile) -> None:
    id = created(file).endpoint.id
    file.disable(id, "answered 410")
    assert file.endpoints()[id].disabled == "answered 410"
    assert json.loads(file.path.read_text())["endpoints"][0]["disabled"] == "answered 410"
    file.disable(id, "")
    assert not file.endpoints()[id].disabled


def test_what_an_endpoint_is_told_of(file: EndpointFile) -> None:
    row = created(file, severity="warning").endpoint
    assert row.wants(alert(severity="warning")) and row.wants(alert(severity="critical"))
    assert not row.wants(alert(severity="info"))
    assert not row.wants(alert(fleet="other"))
    assert row.wants(alert(state="silenced"))
    chat = created(file, "chat", format="slack").endpoint
    assert chat.wants(alert()) and not chat.wants(alert(state="silenced"))
    one = file.create("one", fleet="demo", format="standard", url=URL, allow=ALLOW, sites=("Paris",)).endpoint
    assert one.wants(alert(site="Paris")) and not one.wants(alert(site="Toronto"))


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_####", "QUFB" * 8, "whsec_" + "QUFB" * 40])
def test_a_secret_that_is_none(text: str) -> None:
    with pytest.raises(BadField, match="^secret: "):
        key_of(text)
