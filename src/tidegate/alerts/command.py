"""`tidegate alerts`: rules checked and tried on the past, alerts listed, acknowledged and silenced."""

from __future__ import annotations

import getpass
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from tidegate import lookups, settings
from tidegate.alerts import backtest, control, recount
from tidegate.contracts.alert_rules import Rules
from tidegate.contracts.counts import MINUTE
from tidegate.errors import UsageError
from tidegate.kafka.connection import connection
from tidegate.log_format import escaped
from tidegate.lookups import alert_rules
from tidegate.store.client import connect, infrastructure
from tidegate.telemetry import configure_logging
from tidegate.tokens import TokenFile

_UNITS = {"m": 60, "h": 3600, "d": 86_400}
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group("alerts")
def command() -> None:
    """Alert rules, and the alerts that they raised."""
    configure_logging("alerts", "critical")


@command.command("check")
@click.argument("file", type=_FILE, required=False)
def check(file: Path | None) -> None:
    """Check a file of rules, the one of `alerts_rules_file` unless FILE names another."""
    rules = _rules(file)
    for rule in rules.rules:
        sites = "all sites" if "*" in rule.sites else ", ".join(rule.sites)
        state = "" if rule.enabled else " (off)"
        click.echo(f"{rule.name:24} {rule.signal:20} {sites}{state}")


@command.command("test")
@click.argument("file", type=_FILE, required=False)
@click.option("--since", default="14d", show_default=True, help="How far back, as 90m, 12h or 14d.")
@click.option("--fleet", default="", help="One fleet alone.")
def test(file: Path | None, since: str, fleet: str) -> None:
    """Say what rules would have told of the events that are stored, without telling anybody.

    What is usual is learned from the first of these events on: the first days tell more than later ones.
    """
    rules = _rules(file)
    until = recount.micros(datetime.now(UTC)) // MINUTE * MINUTE
    begin = (until - round(_seconds(since) * 1e6)) // recount.HOUR * recount.HOUR
    counts: Counter[str] = Counter()
    for change in backtest.changes(settings.load(), rules, begin, until, fleet):
        if change.sequence == 1:
            counts[change.rule] += 1
            said = f"{change.updated_at}  {change.severity:8}  {change.rule:20}  {change.summary}"
            click.echo(escaped(said))
    total = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
    click.echo(f"{counts.total()} alerts: {total}")


@command.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that are over as well.")
@click.option("--fleet", default="", help="One fleet alone.")
def list_(everything: bool, fleet: str) -> None:
    """List alerts by their newest state, the worst first, and the silences in force."""
    loaded = settings.load()
    client = connect(loaded)
    try:
        with infrastructure():
            rows = client.query(
                "SELECT id, fleet, state, severity, formatDateTime(started_at, '%FT%TZ', 'UTC'), summary"
                " FROM alerts_now WHERE ({all:Bool} OR state != 'resolved')"
                " AND ({fleet:String} = '' OR fleet = {fleet:String})"
                " ORDER BY state = 'resolved', severity != 'critical', severity != 'warning', started_at DESC"
                " LIMIT 1000",
                parameters={"all": everything, "fleet": fleet},
            ).result_rows
    finally:
        client.close()
    for id, owner, state, severity, started, summary in rows:
        click.echo(escaped(f"{id}  {owner:12} {state:9} {severity:8} {started}  {summary}"))
    if not rows:
        click.echo("no alerts")
    for one in control.silences(connection(loaded), fleet):
        what = f"rule {one.rule or '(any)'} at site {one.site or '(any)'}"
        click.echo(escaped(f"silence: {one.fleet}: {what} until {one.until} by {one.by}"))


@command.command("ack")
@click.argument("id")
@click.option("--by", default="", help="Who looks after it  [default: who runs this]")
def ack(id: str, by: str) -> None:
    """Say that somebody looks after an alert. The worker answers with its next change."""
    loaded = settings.load()
    client = connect(loaded)
    try:
        with infrastructure():
            rows = client.query(
                "SELECT fleet, state FROM alerts_now WHERE id = {id:String}", parameters={"id": id}
            ).result_rows
    finally:
        client.close()
    control.require_open(id, str(rows[0][1]) if rows else None)
    control.acknowledge(connection(loaded), str(rows[0][0]), id, by or getpass.getuser())
    click.echo(f"alert {id} is acknowledged")


@command.command("silence")
@click.argument("fleet")
@click.option("--rule", default="", help="One rule alone.")
@click.option("--site", default="", help="One site alone.")
@click.option("--lasting", default="1h", show_default=True, help="How long, as 30m, 8h or 2d; 0m ends it.")
@click.option("--by", default="", help="Who silences  [default: who runs this]")
def silence(fleet: str, rule: str, site: str, lasting: str, by: str) -> None:
    """Silence a fleet's alerts for a while: they are told as silenced, and open when it is over."""
    loaded = settings.load()
    seconds = _seconds(lasting)
    kafka = connection(loaded)
    if not seconds:
        control.end_silence(kafka, fleet, rule, site)
        click.echo("the silence is over")
        return
    fleets = TokenFile(loaded.tokens_path).fleets()
    if fleets and fleet not in fleets:  # without a token file here nobody knows
        raise UsageError(f"no fleet {fleet!r}; there is: {', '.join(sorted(fleets))}")
    rules = alert_rules.load(loaded.alerts_rules_file).rules
    if rule and not any(rule == one.name for one in rules):
        raise UsageError(f"--rule: no rule {rule!r}; there is: {', '.join(one.name for one in rules)}")
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    found = control.silence(kafka, fleet, rule, site, until, by or getpass.getuser())
    click.echo(f"silenced until {found.until}")


def _rules(file: Path | None) -> Rules:
    loaded = settings.load()
    tables = lookups.load(loaded.lookups_dir)
    sites = {site.name for site in tables.sites.by_location.values()}
    return alert_rules.load(str(file or loaded.alerts_rules_file), sites or None)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,6})([mhd])", text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no length of time such as 90m, 12h or 14d")
    return float(int(match[1]) * _UNITS[match[2]])
