"""The request for each kind of receiver: its body and its headers.

Standard Webhooks gets the alert as it is, signed. The others show text to people: it is put where they do not
read markup (Slack's plain_text, Teams' TextRun), and cleaned of what turns text round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from tidegate import __version__
from tidegate.contracts.alerts import Alert
from tidegate.webhooks.endpoints import Endpoint, Format
from tidegate.webhooks.signing import headers
from tidegate.webhooks.text import clean, facts, sentence, title

AGENT = f"Tidegate/{__version__}"
_COLOURS = {"critical": "attention", "warning": "warning", "info": "accent"}  # of adaptive cards
_ICONS = {"critical": "🔴", "warning": "🟠", "info": "🔵"}
_DONE = "✅"
_SLACK = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Request(NamedTuple):
    body: bytes
    headers: dict[str, str]


def request(endpoint: Endpoint, alert: Alert, id: str, now: float, link: str = "") -> Request:
    """What is sent to an endpoint at `now`, epoch seconds. `link`: the page of the alert, if there is one."""
    body = _BODIES[endpoint.format](endpoint, alert, now, link)
    head = {"Content-Type": "application/json", "User-Agent": AGENT}
    if endpoint.format == "standard":
        head |= headers(id, int(now), body, endpoint.secrets_at(now))
    return Request(body, head)


def _standard(endpoint: Endpoint, alert: Alert, now: float, link: str) -> bytes:
    document = {"type": f"alert.{alert.state}", "timestamp": alert.updated_at, "data": alert}
    return msgspec.json.encode(document | ({"url": link} if link else {}))


def _slack(endpoint: Endpoint, alert: Alert, now: float, link: str) -> bytes:
    icon = _DONE if alert.state == "resolved" else _ICONS[alert.severity]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(f"{icon} {title(alert)}", 150)},
        {"type": "section", "text": _plain(sentence(alert), 3000)},
        {
            "type": "section",
            "fields": [_plain(f"{fact.title}: {fact.value}") for fact in facts(alert)[:10]],
        },
    ]
    if link:
        button = {"type": "button", "text": _plain("Open"), "url": link}
        blocks.append({"type": "actions", "elements": [button]})
    # The text stands in notifications; Slack would read &, < and > of it as markup.
    text = slack_escaped(f"{title(alert)}. {sentence(alert)}")
    return msgspec.json.encode({"text": text, "mrkdwn": False, "link_names": False, "blocks": blocks})


def slack_escaped(text: str, most: int = 3000) -> str:
    """Text of at most `most` characters in which Slack finds no link, mention or command."""
    escaped = [_SLACK.get(char, char) for char in text]
    while sum(map(len, escaped)) > most:
        del escaped[-1 - len(escaped) // 16 :]
    return "".join(escaped)


def _plain(text: str, most: int = 2000) -> dict[str, Any]:
    # Slack wants these three escaped in plain_text too.
    return {"type": "plain_text", "text": slack_escaped(text, most), "emoji": False}


PAGERDUTY_ACTIONS = {
    "open": "trigger",
    "flapping": "trigger",
    "acked": "acknowledge",
    "silenced": "acknowledge",
    "resolved": "resolve",
}


def _pagerduty(endpoint: Endpoint, alert: Alert, now: float, link: str) -> bytes:
    action = PAGERDUTY_ACTIONS[alert.state]
    document: dict[str, Any] = {
        "routing_key": next(iter(endpoint.secrets_at(now)), ""),
        "event_action": action,
        "dedup_key": alert.id,
    }
    if action == "trigger":
        document["payload"] = {
            "summary": sentence(alert),
            # One that is blank is refused, and a name may have nothing that is seen.
            "source": clean(alert.scope.site, 255) or clean(alert.fleet, 255) or "Tidegate",
            "severity": alert.severity,
            "timestamp": alert.updated_at,
            "component": clean(alert.scope.stage or alert.scope.ap or alert.scope.ssid, 255) or alert.signal,
            "group": clean(alert.fleet, 255),
            "class": alert.signal,
            "custom_details": {
                **{fact.title: fact.value for fact in facts(alert)},
                "incident": alert.incident,
                "rule": clean(alert.rule, 255),
            },
        }
        document["client"] = "Tidegate"
        if link:
            document["client_url"] = link
            document["links"] = [{"href": link, "text": "Open in Tidegate"}]
    return msgspec.json.encode(document)


def _teams(endpoint: Endpoint, alert: Alert, now: float, link: str) -> bytes:
    colour = "good" if alert.state == "resolved" else _COLOURS[alert.severity]
    body = [
        _rich(_run(title(alert), weight="bolder", size="large", color=colour)),
        _rich(_run(sentence(alert))),
        *(
            _rich(_run(f"{fact.title}: ", weight="bolder"), _run(fact.value), spacing="small")
            for fact in facts(alert)
        ),
    ]
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
    if link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open", "url": link}]
    content_type = "application/vnd.microsoft.card.adaptive"
    attachment = {"contentType": content_type, "contentUrl": None, "content": card}
    return msgspec.json.encode({"type": "message", "attachments": [attachment]})


def _rich(*runs: dict[str, Any], **more: str) -> dict[str, Any]:
    # A TextBlock and a FactSet would read markdown: links, and images of somebody's choice.
    return {"type": "RichTextBlock", "inlines": [*runs], **more}


def _run(text: str, **style: str) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **style}


_BODIES: dict[Format, Callable[[Endpoint, Alert, float, str], bytes]] = {
    "standard": _standard,
    "slack": _slack,
    "pagerduty": _pagerduty,
    "teams": _teams,
}
