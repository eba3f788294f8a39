"""What each kind of receiver is sent."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from alert_documents import alert
from standardwebhooks import Webhook, WebhookVerificationError

from tidegate.contracts.alerts import Alert, Cause
from tidegate.webhooks.endpoints import Endpoint, Format, Secret, new_secret
from tidegate.webhooks.formats import PAGERDUTY_ACTIONS, request
from tidegate.webhooks.signing import webhook_id
from tidegate.webhooks.text import clean, facts, sentence, title
from tidegate.webhooks.transport import Answer

ID = "msg_1"
LINK = "https://tidegate.example/alerts/a1b2c3"
HOSTILE = (
    "<!channel> <https://evil.example|click> *bold* [x](http://evil) ![i](http://e/i.png)"
    " \u202egnp\u200b\x07 &"
)


def endpoint(format: Format, *secrets: str) -> Endpoint:
    return Endpoint(
        id="we_1", name="n", fleet="demo", format=format, url="https://x/", secrets=[*map(Secret, secrets)]
    )


def sent(format: Format, told: Alert, link: str = LINK) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        request(endpoint(format, new_secret() if format == "standard" else "R"), told, ID, 0, link).body
    )
    return found


def hostile() -> Alert:
    return alert(
        site=HOSTILE,
        ssid=HOSTILE,
        summary=f"Logins fail at {HOSTILE}",
        cause=Cause(902, 1, HOSTILE, 0.9, "ssid", HOSTILE),
        by=HOSTILE,
        rule=HOSTILE,
    )


STATES = ("open", "acked", "flapping", "silenced", "resolved")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("told", [alert(), hostile()], ids=["plain", "hostile"])
def test_standard_webhooks_verify(state: Any, told: Alert) -> None:
    told = msgspec.structs.replace(told, state=state)
    secret = new_secret()
    made = request(endpoint("standard", secret), told, ID, time.time(), LINK)
    found = Webhook(secret).verify(made.body, made.headers)
    assert found["type"] == f"alert.{state}" and found["url"] == LINK
    assert found["timestamp"] == told.updated_at
    assert msgspec.convert(found["data"], Alert) == told
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(made.body, made.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(made.body + b" ", made.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(made.body, made.headers | {"webhook-id": "msg_2"})


def test_while_a_secret_is_rotated_either_verifies() -> None:
    secrets = [new_secret(), new_secret()]
    made = request(endpoint("standard", *secrets), alert(), ID, time.time())
    for secret in secrets:
        Webhook(secret).verify(made.body, made.headers)


def test_the_id_is_of_the_change_and_the_endpoint() -> None:
    ids = {webhook_id(a, s, e) for a in ("a", "a1") for s in (1, 11) for e in ("we_1", "1we_1")}
    assert len(ids) == 8
    assert webhook_id("a", 1, "we_1") == webhook_id("a", 1, "we_1")


@pytest.mark.parametrize("format", ["slack", "pagerduty", "teams"])
def test_no_signature_goes_where_nobody_checks_it(format: Format) -> None:
    made = request(endpoint(format, "R"), alert(), ID, 0)
    assert set(made.headers) == {"Content-Type", "User-Agent"}


# Text


def test_what_people_read() -> None:
    assert title(alert()) == "CRITICAL opened: Toronto · aaa"
    assert sentence(alert()) == "58 % of logins fail at Toronto (usual 0.4 %)"
    assert sentence(alert(summary="")) == "stage failures at Toronto"
    assert {fact.title: fact.value for fact in facts(alert())} == {
        "Fleet": "demo",
        "Since": "2026-03-04T21:26:00Z",
        "Failing": "58 % of 2,924 (usual 0.4 %)",
        "Clients": "206 of 284",
        "Access points": "26 of 26",
        "Why": "RADIUS server did not respond. (902/1): 97 % of it",
        "Do": "Check that the RADIUS server answers",
    }
    assert "Do" not in {fact.title for fact in facts(alert(state="resolved"))}


def test_unseen_characters_go() -> None:
    unseen = "\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u200e\u200f\u061c\u200b\u200d\ufeff"
    unseen += "\x00\x1b\x9b\u2028\U000e0041"
    assert clean(f"a{unseen}b", 100) == "a b"
    assert clean("a\r\n\tb", 100) == "a b"
    assert clean("x" * 20, 10) == "x" * 9 + "…"
    assert clean("\ud800", 10) == "\ufffd"
    assert clean("日本 São 🔴", 100) == "日本 São 🔴"


def texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("format", ["slack", "pagerduty", "teams"])
@pytest.mark.parametrize("state", STATES)
def test_no_text_is_turned_round_or_hidden(format: Format, state: str) -> None:
    told = msgspec.structs.replace(hostile(), state=state)
    for text in texts(sent(format, told)):
        assert not set(text) & set("\u202e\u200b\x07\n\r"), text


# Slack


def test_slack_shows_plain_text_and_finds_no_markup() -> None:
    found = sent("slack", hostile())
    for text in texts(found):
        assert "<" not in text and ">" not in text
    kinds = [
        block["text"]["type"] if "text" in block else {field["type"] for field in block.get("fields", [])}
        for block in found["blocks"]
    ]
    assert kinds == ["plain_text", "plain_text", {"plain_text"}, set()]
    assert found["mrkdwn"] is False and found["link_names"] is False
    assert "&lt;!channel&gt;" in found["text"]
    header, section, fields, actions = found["blocks"]
    assert len(fields["fields"]) <= 10
    assert actions["elements"][0]["url"] == LINK
    assert len(sent("slack", alert(), link="")["blocks"]) == 3


def test_slacks_limits_hold_for_the_longest_names() -> None:
    found = sent("slack", alert(site="<" * 5000, summary="&" * 50_000, ssid="x" * 5000))
    header, section, fields, _ = found["blocks"]
    assert 100 < len(header["text"]["text"]) <= 150
    assert 2000 < len(section["text"]["text"]) <= 3000
    assert all(len(field["text"]) <= 2000 for field in fields["fields"])


# PagerDuty


def test_pagerduty_triggers_acknowledges_and_resolves_by_the_alerts_id() -> None:
    actions = {state: sent("pagerduty", alert(state=state)) for state in STATES}
    assert {state: found["event_action"] for state, found in actions.items()} == PAGERDUTY_ACTIONS
    assert {found["dedup_key"] for found in actions.values()} == {"a1b2c3"}
    assert {found["routing_key"] for found in actions.values()} == {"R"}
    payload = actions["open"]["payload"]
    assert payload["summary"] == sentence(alert()) and payload["source"] == "Toronto"
    assert payload["severity"] == "critical" and payload["component"] == "aaa"
    assert payload["custom_details"]["Clients"] == "206 of 284"
    assert "payload" not in actions["resolved"]
    assert len(sent("pagerduty", alert(summary="x" * 5000))["payload"]["summary"]) <= 1024


def test_pagerduty_refuses_a_blank_source() -> None:
    assert sent("pagerduty", alert(site="\u200b \u202e"))["payload"]["source"] == "demo"


# Teams


def test_teams_gets_a_card_whose_text_is_no_markdown() -> None:
    found = sent("teams", hostile())
    [attachment] = found["attachments"]
    card = attachment["content"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    runs = [run for block in card["body"] for run in block["inlines"]]
    assert {run["type"] for run in runs} == {"TextRun"}
    assert all("selectAction" not in run for run in runs)
    assert card["actions"] == [{"type": "Action.OpenUrl", "title": "Open", "url": LINK}]
    assert len(json.dumps(found)) < 28_000
    colours = [
        sent("teams", alert(**changed))["attachments"][0]["content"]["body"][0]["inlines"][0]["color"]
        for changed in ({}, {"severity": "warning"}, {"severity": "info"}, {"state": "resolved"})
    ]
    assert colours == ["attention", "warning", "accent", "good"]


def test_an_answer_is_delivered_by_a_2xx_alone() -> None:
    assert [status for status in range(100, 600) if Answer(status).delivered] == list(range(200, 300))
