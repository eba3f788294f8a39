"""`tidegate check`: the settings in force, and whether what they point at is what the guarantee rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tidegate.errors import TidegateError
from tidegate.kafka import topics
from tidegate.kafka.connection import connection
from tidegate.masking import MASK, masked_url
from tidegate.preflight.condition import Condition, State, ok, warning, wrong
from tidegate.preflight.kafka_acls import inspect_acls
from tidegate.preflight.kafka_login import inspect_login
from tidegate.setting_sources import Row
from tidegate.settings import Settings, table


def run(settings: Settings, say: Callable[[str], None], role: str = "") -> int:
    """Print everything through `say`. Returns 0, or 1 if anything is wrong; nothing is changed."""
    for row in table():
        value = getattr(settings, row.name)
        mark = " " if value == row.default else "*"
        say(f"{mark} {row.name} = {masked(row, value)}")
    say("  (* differs from the default)")
    counts = dict.fromkeys(State, 0)
    for condition in conditions(settings, role):
        counts[condition.state] += 1
        for line in lines(condition):
            say(line)
    say(", ".join(f"{count} {state}" for state, count in counts.items()))
    return int(counts[State.WRONG] > 0)


def conditions(settings: Settings, role: str = "") -> Iterator[Condition]:
    """All that the guarantee rests on. Broker and ClickHouse are asked one after the other; `role` is whose
    rights at the broker are looked at, one by one."""
    epoch = ""
    [login] = list(_asked("kafka", _login, settings))
    yield login
    if login.state is State.OK:
        yield from inspect_acls(connection(settings), role)
        try:
            epoch = topics.read_epoch(connection(settings), timeout_seconds=0)
            yield ok(f"epoch: {epoch}, signed by the roles' key")
        except TidegateError as error:
            yield wrong(f"epoch: FAILED, {error}", "`tidegate topics` names it")
        yield from _asked("topics", _topics, settings)
    try:
        yield from _clickhouse(settings, epoch)
    except TidegateError as error:
        yield wrong(f"clickhouse: FAILED, {error}", "see clickhouse_url")
    yield from _asked("tokens", _tokens, settings)
    yield from _asked("webhooks", _webhooks, settings)


def lines(condition: Condition) -> Iterator[str]:
    """A condition as it is printed; what to do stands under it."""
    yield f"{condition.state:<8} {condition.what}"
    if condition.do:
        yield f"{'':8} > {condition.do}"


def masked(row: Row, value: object) -> str:
    """The value as it may be shown: a URL without its password, any other secret not at all."""
    if not row.secret or not value:
        return repr(masked_url(value) if isinstance(value, str) else value)
    text = str(value)
    return repr(masked_url(text) if row.name.endswith("_url") and "://" in text else MASK)


def _asked(
    name: str, ask: Callable[[Settings], Iterator[Condition]], settings: Settings
) -> Iterator[Condition]:
    try:
        yield from ask(settings)
    except TidegateError as error:
        yield wrong(f"{name}: FAILED, {error}", "nothing more can be said of it")


def _login(settings: Settings) -> Iterator[Condition]:
    yield from inspect_login(connection(settings))


def _topics(settings: Settings) -> Iterator[Condition]:
    from tidegate.preflight.kafka import inspect_kafka

    yield from inspect_kafka(settings)


def _clickhouse(settings: Settings, epoch: str) -> Iterator[Condition]:
    from tidegate.preflight.clickhouse import inspect_clickhouse
    from tidegate.preflight.epoch import inspect_epoch
    from tidegate.store.client import connect
    from tidegate.store.ledger import Ledger

    client = connect(settings, database="")
    try:
        found = inspect_clickhouse(client, settings)
        yield from found
        migrated = any(item.what.startswith("schema:") and item.state is State.OK for item in found)
        if epoch and migrated:
            yield inspect_epoch(epoch, Ledger(client, settings.clickhouse_database).epochs())
    finally:
        client.close()


def _tokens(settings: Settings) -> Iterator[Condition]:
    from tidegate.tokens import TokenFile

    file = TokenFile(settings.tokens_path)
    fleets = ", ".join(sorted(file.fleets())) or "none"
    yield ok(f"tokens: {settings.tokens_path}, {len(file.list())} tokens, fleets: {fleets}")


def _webhooks(settings: Settings) -> Iterator[Condition]:
    from tidegate.webhooks.addresses import allowed
    from tidegate.webhooks.endpoints import EndpointFile

    allowed(settings.webhook_allow)
    rows = EndpointFile(settings.webhooks_path).rows()
    disabled = [row.name for row in rows if row.disabled]
    what = f"webhooks: {settings.webhooks_path}, {len(rows)} webhooks"
    if disabled:
        yield warning(
            f"{what}, disabled: {', '.join(disabled)}", "`tidegate webhook enable` once they answer"
        )
    else:
        yield ok(what)
