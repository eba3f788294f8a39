"""`tidegate check`: the settings in force, and whether what they point at is what the guarantee rests on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tidegate.errors import TidegateError
from tidegate.inspection.condition import Condition, State, ok, wrong
from tidegate.kafka import topics
from tidegate.settings import Row, Settings, table

_PASSWORD = re.compile(r"(?<=://)([^:/@]*):[^@/]*@")


def run(settings: Settings, say: Callable[[str], None]) -> int:
    """Print everything through `say`. Returns 0, or 1 if anything is wrong; nothing is changed."""
    for row in table():
        value = getattr(settings, row.name)
        mark = " " if value == row.default else "*"
        say(f"{mark} {row.name} = {masked(row, value)}")
    say("  (* differs from the default)")
    counts = dict.fromkeys(State, 0)
    for condition in conditions(settings):
        counts[condition.state] += 1
        for line in lines(condition):
            say(line)
    say(", ".join(f"{count} {state}" for state, count in counts.items()))
    return int(counts[State.WRONG] > 0)


def conditions(settings: Settings) -> Iterator[Condition]:
    """All that the guarantee rests on. Broker and ClickHouse are asked one after the other."""
    epoch = ""
    try:
        epoch = topics.read_epoch(settings.kafka_bootstrap, timeout_seconds=0)
        yield ok(f"kafka: {settings.kafka_bootstrap} answers, epoch {epoch}")
    except TidegateError as error:
        yield wrong(f"kafka: FAILED, {error}", "see kafka_bootstrap; or `tidegate topics` has not run")
    yield from _asked("topics", _topics, settings)
    try:
        yield from _clickhouse(settings, epoch)
    except TidegateError as error:
        yield wrong(f"clickhouse: FAILED, {error}", "see clickhouse_url")
    yield from _asked("tokens", _tokens, settings)


def lines(condition: Condition) -> Iterator[str]:
    """A condition as it is printed; what to do stands under it."""
    yield f"{condition.state:<8} {condition.what}"
    if condition.do:
        yield f"{'':8} > {condition.do}"


def masked(row: Row, value: object) -> str:
    """The value as it may be shown: a secret URL without its password, any other secret not at all."""
    if not row.secret or not value:
        return repr(value)
    text = str(value)
    return repr(_PASSWORD.sub(r"\1:***@", text)) if "://" in text else "'***'"


def _asked(
    name: str, ask: Callable[[Settings], Iterator[Condition]], settings: Settings
) -> Iterator[Condition]:
    try:
        yield from ask(settings)
    except TidegateError as error:
        yield wrong(f"{name}: FAILED, {error}", "nothing more can be said of it")


def _topics(settings: Settings) -> Iterator[Condition]:
    from tidegate.inspection.kafka import inspect_kafka

    yield from inspect_kafka(settings)


def _clickhouse(settings: Settings, epoch: str) -> Iterator[Condition]:
    from tidegate.inspection.clickhouse import inspect_clickhouse
    from tidegate.inspection.epoch import inspect_epoch
    from tidegate.sink.ledger import Ledger
    from tidegate.store.client import connect

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
