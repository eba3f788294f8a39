"""`tidegate webhook`: endpoints, what was sent to them, and sending it once more."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from tidegate import settings
from tidegate.errors import Rejected, UsageError
from tidegate.settings import Settings
from tidegate.store import deliveries
from tidegate.store.client import connect
from tidegate.store.deliveries import Entry
from tidegate.store.insert import insert
from tidegate.telemetry import configure_logging
from tidegate.webhooks.addresses import BadField, allowed
from tidegate.webhooks.endpoints import FORMATS, EndpointFile
from tidegate.webhooks.text import clean
from tidegate.webhooks.transport import Transport
from tidegate.webhooks.trial import tried

FLEET = click.option("--fleet", default="", help="Fleet of the webhook, where its name is in several.")


@dataclass(frozen=True, slots=True)
class Context:
    settings: Settings
    file: EndpointFile


@click.group("webhook")
@click.pass_context
def command(context: click.Context) -> None:
    """Webhooks, which `tidegate notify` tells of alerts: standard, Slack, PagerDuty, Teams."""
    configure_logging("webhook", "critical")
    if context.obj is None:
        loaded = settings.load()
        context.obj = Context(loaded, EndpointFile(loaded.webhooks_path))


@command.command("create")
@click.argument("name")
@click.option("--fleet", required=True, help="The fleet of whose alerts it is told.")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="standard", show_default=True)
@click.option("--url", default="", help="https address; for PagerDuty its own, unless another is given.")
@click.option(
    "--url-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="File that holds the address, - for standard input: where the address is a secret.",
)
@click.option(
    "--routing-key-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="PagerDuty: file that holds the integration key, - for standard input.",
)
@click.option(
    "--severity",
    type=click.Choice(["info", "warning", "critical"]),
    default="info",
    show_default=True,
    help="Least severity that it is told of.",
)
@click.option("--site", "sites", multiple=True, help="Only alerts of this site; may be given several times.")
@click.pass_obj
def create(
    context: Context,
    name: str,
    fleet: str,
    format_: str,
    url: str,
    url_file: Path | None,
    routing_key_file: Path | None,
    severity: str,
    sites: tuple[str, ...],
) -> None:
    """Add a webhook, and print the secret that its notices are signed with. It is not shown again."""
    if url and url_file is not None:
        raise UsageError("url: given twice, by --url and by --url-file")
    made = context.file.create(
        name,
        fleet=fleet,
        format=format_,
        url=url or _from_file("url", url_file),
        allow=allowed(context.settings.webhook_allow),
        routing_key=_from_file("routing_key", routing_key_file),
        severity=severity,
        sites=sites,
    )
    click.echo(made.secret or f"{made.endpoint.name} ({made.endpoint.id})")


@command.command("list")
@FLEET
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
@click.pass_obj
def list_(context: Context, fleet: str, as_json: bool) -> None:
    """Show every webhook, without its secrets."""
    now = time.time()
    rows = [
        {
            "id": row.id,
            "name": row.name,
            "fleet": row.fleet,
            "format": row.format,
            "url": row.masked_url,
            "severity": row.severity,
            "sites": row.sites,
            "secrets": len(row.secrets_at(now)),
            "created_at": row.created_at,
            "disabled": row.disabled,
        }
        for row in context.file.rows(fleet)
    ]
    if as_json:
        click.echo(json.dumps({"webhooks": rows}, ensure_ascii=False))
        return
    for row in rows:
        told = f"{row['severity']}+" + (f" at {', '.join(row['sites'])}" if row["sites"] else "")  # type: ignore[arg-type]
        state = f"  DISABLED: {row['disabled']}" if row["disabled"] else ""
        click.echo(f"{row['name']:24} {row['fleet']:16} {row['format']:10} {told:10} {row['url']}{state}")


@command.command("test")
@click.argument("name")
@FLEET
@click.pass_obj
def test(context: Context, name: str, fleet: str) -> None:
    """Send a notice of an alert that there is not, opened and resolved, and say what came of it.

    Status 1 where it was not delivered. Nothing of it is kept.
    """
    endpoint = context.file.find(name, fleet)
    loaded = context.settings
    transport = Transport(
        allowed(loaded.webhook_allow), seconds=loaded.webhook_seconds, ca_file=loaded.webhook_ca_file
    )

    async def each() -> None:
        async for state, answer in tried(endpoint, transport):
            if not answer.delivered:
                raise Rejected(f"{endpoint.name}: not delivered: {answer.error}")
            click.echo(f"{state}: delivered, answered {answer.status} in {answer.seconds * 1000:.0f} ms")

    asyncio.run(each())


@command.command("deliveries")
@click.argument("name", default="")
@FLEET
@click.option("--alert", "alert_id", default="", help="Only those of this alert, by its id.")
@click.option("--id", "webhook_id_", default="", help="Only those of this notice, by its webhook-id.")
@click.option("--failed", is_flag=True, help="Only what went wrong.")
@click.option("--limit", type=click.IntRange(1, deliveries.MOST_LISTED), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="A JSON document a line instead of a table.")
@click.pass_obj
def show(
    context: Context,
    name: str,
    fleet: str,
    alert_id: str,
    webhook_id_: str,
    failed: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Show what was sent, to the webhook NAME or to all: the newest entries of the log first."""
    loaded = context.settings
    with connect(loaded) as client:
        entries = deliveries.listing(
            client,
            loaded.clickhouse_database,
            fleet=fleet,
            endpoint=name,
            alert_id=alert_id,
            webhook_id=webhook_id_,
            failed=failed,
            limit=limit,
        )
    for entry in entries:
        click.echo(json.dumps(_document(entry), ensure_ascii=False) if as_json else _line(entry))


@command.command("replay")
@click.argument("webhook_ids", nargs=-1, metavar="[WEBHOOK_ID]...")
@click.option("--failed", is_flag=True, help="All that were given up, dropped or refused as gone.")
@click.option("--endpoint", default="", help="With --failed: only those of this webhook.")
@FLEET
@click.option("--since", default="24h", show_default=True, help="With --failed: not older, as 30m, 12h, 7d.")
@click.pass_obj
def replay(
    context: Context, webhook_ids: tuple[str, ...], failed: bool, endpoint: str, fleet: str, since: str
) -> None:
    """Send notices once more, under the same webhook-id. `tidegate notify` does it within seconds."""
    if bool(webhook_ids) == failed:
        raise UsageError("replay: name webhook-ids, or give --failed")
    loaded, database = context.settings, context.settings.clickhouse_database
    now = time.time()
    with connect(loaded) as client:
        if failed:
            found = deliveries.ended(
                client, database, fleet=fleet, endpoint=endpoint, since=now - _seconds(since)
            )
        else:
            found = deliveries.newest(client, database, webhook_ids)
            known = {entry.webhook_id for entry in found}
            if unknown := [id for id in webhook_ids if id not in known]:
                raise Rejected(f"no notice has the webhook-id {unknown[0]}")
        again = [deliveries.replayed(entry, now) for entry in found]
        if again:
            insert(client, database, deliveries.block(again), token="")
    click.echo(f"{len(again)} owed once more")


@command.command("rotate")
@click.argument("name")
@FLEET
@click.option(
    "--overlap", default="24h", show_default=True, help="How long the old secret signs too: 30m, 12h, 7d, 0."
)
@click.option(
    "--routing-key-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="PagerDuty: file that holds the new integration key, - for standard input.",
)
@click.pass_obj
def rotate(context: Context, name: str, fleet: str, overlap: str, routing_key_file: Path | None) -> None:
    """Draw a new secret and print it. Until the overlap is over notices carry a signature by each."""
    made = context.file.rotate(
        name,
        fleet=fleet,
        routing_key=_from_file("routing_key", routing_key_file),
        overlap=timedelta(seconds=_seconds(overlap, "overlap")),
    )
    click.echo(made.secret or f"{made.endpoint.name}: the new key is used from now on")


@command.command("enable")
@click.argument("name")
@FLEET
@click.pass_obj
def enable(context: Context, name: str, fleet: str) -> None:
    """Send to a webhook again that answered 410 Gone. What was dropped meanwhile: `replay --failed`."""
    found = context.file.find(name, fleet)
    context.file.disable(found.id, "")
    click.echo(f"{found.name} is told of alerts again")


@command.command("delete")
@click.argument("name")
@FLEET
@click.pass_obj
def delete(context: Context, name: str, fleet: str) -> None:
    """Remove a webhook. What is still owed to it is not sent."""
    gone = context.file.delete(name, fleet=fleet)
    click.echo(f"{gone.name} ({gone.id}) is deleted")


def _from_file(field: str, path: Path | None) -> str:
    """A secret, which does not belong on a command line that others can read."""
    if path is None:
        return ""
    try:
        text = sys.stdin.read(4096) if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadField(field, f"{path}: {getattr(error, 'strerror', None) or 'is no text'}") from error
    return text.strip()


def _seconds(text: str, field: str = "since") -> float:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
    if text == "0":
        return 0.0
    number, unit = text[:-1], text[-1:]
    if unit not in units or not (number.isascii() and number.isdigit() and len(number) <= 6):
        raise BadField(field, f"{text!r} is not a time as 30m, 12h or 7d")
    seconds = float(int(number) * units[unit])
    if seconds > 366 * 86_400:
        raise BadField(field, f"{text!r} is more than a year")
    return seconds


def _document(entry: Entry) -> dict[str, object]:
    document = entry._asdict()
    for field in ("partition", "alert"):
        del document[field]
    for field in ("at", "next_attempt_at"):
        document[field] = _moment(document[field])
    return document


def _line(entry: Entry) -> str:
    then = f"  next {_moment(entry.next_attempt_at)}" if entry.next_attempt_at else ""
    error = f"  {entry.error}" if entry.error else ""
    about = f"{clean(entry.alert_id, 40)} {entry.sequence} {entry.state}"
    attempt = f"attempt {entry.attempt}, {entry.status or '-'}"
    return (
        f"{_moment(entry.at)}  {entry.endpoint:16} {entry.webhook_id}  {about}"
        f"  {entry.outcome} ({attempt}){then}{error}"
    )


def _moment(seconds: object) -> str | None:
    if not isinstance(seconds, float):
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
