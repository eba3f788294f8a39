"""`tidegate check`: the settings in force, and whether what they point at answers."""

from __future__ import annotations

import re
from collections.abc import Callable

from tidegate import topics
from tidegate.errors import TidegateError
from tidegate.settings import Row, Settings, table

_PASSWORD = re.compile(r"(?<=://)([^:/@]*):[^@/]*@")


def run(settings: Settings, say: Callable[[str], None]) -> int:
    """Print everything through `say`. Returns 0, or 1 if a connection failed."""
    for row in table():
        value = getattr(settings, row.name)
        mark = " " if value == row.default else "*"
        say(f"{mark} {row.name} = {masked(row, value)}")
    say("  (* differs from the default)")
    failed = False
    for name, try_it in {"kafka": _kafka, "clickhouse": _clickhouse, "tokens": _tokens}.items():
        try:
            say(f"{name}: ok, {try_it(settings)}")
        except TidegateError as error:
            failed = True
            say(f"{name}: FAILED, {error}")
    return int(failed)


def masked(row: Row, value: object) -> str:
    """The value as it may be shown: a secret URL without its password, any other secret not at all."""
    if not row.secret or not value:
        return repr(value)
    text = str(value)
    return repr(_PASSWORD.sub(r"\1:***@", text)) if "://" in text else "'***'"


def _kafka(settings: Settings) -> str:
    epoch = topics.read_epoch(settings.kafka_bootstrap, timeout_seconds=0)
    return f"{settings.kafka_bootstrap}, epoch {epoch}"


def _clickhouse(settings: Settings) -> str:
    from tidegate.store.client import connect, infrastructure

    with infrastructure():
        client = connect(settings, database="")
        try:
            database = settings.clickhouse_database
            migrated = client.command(f"EXISTS TABLE {database}.sink_batches")
            schema = "there" if migrated == 1 else "not there yet: run `tidegate migrate`"
            return f"version {client.server_version}, database {database} is {schema}"
        finally:
            client.close()


def _tokens(settings: Settings) -> str:
    from tidegate.tokens import TokenFile

    file = TokenFile(settings.tokens_path)
    return (
        f"{settings.tokens_path}, {len(file.list())} tokens, fleets {', '.join(sorted(file.fleets())) or '-'}"
    )
