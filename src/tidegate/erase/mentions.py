"""Where a client stands in a row: in any text of it, as a MAC in any spelling or as one of its pseudonyms."""

from __future__ import annotations

import re
from collections.abc import Iterable

from clickhouse_connect.driver.client import Client

from tidegate import keyfile, pseudonyms
from tidegate.settings import Settings
from tidegate.store.client import infrastructure


def pattern(mac: str, pseudonyms: Iterable[str] = ()) -> str:
    """A regular expression (RE2) of the canonical MAC with any separators or none, and of the pseudonyms."""
    spelled = "[:.-]?".join(mac.split(":"))
    alternatives = [f"(^|[^0-9A-Fa-f]){spelled}([^0-9A-Fa-f]|$)", *map(re.escape, pseudonyms)]
    return f"(?i){'|'.join(alternatives)}"


def names(settings: Settings, fleet: str, mac: str) -> list[str]:
    """The client's pseudonyms under every key, the current one first, and behind them those that are stored.
    Draws a key where there is none."""
    keys = keyfile.load_or_create(settings.pseudonym_key_path)
    told = [pseudonyms.of_mac(keys, fleet, mac, id=id) for id in pseudonyms.ids(keys)]
    return [*told, *pseudonyms.all_stored(keys, fleet, mac)]


def condition(client: Client, database: str, table: str) -> str:
    """SQL: whether a row's fleet is {fleet} and one of its texts matches {pattern}.

    A reject without a fleet may be of any.
    """
    with infrastructure():
        rows = client.query(
            "SELECT name FROM system.columns WHERE database = {database:String} AND table = {table:String}"
            " AND type LIKE '%String%' AND name NOT IN ('fleet', 'epoch', 'id', 'original_encoding')"
            " AND default_kind IN ('', 'DEFAULT') ORDER BY position",
            parameters={"database": database, "table": table},
        ).result_rows
    texts = [f"ifNull(toString(`{name}`), '')" for (name,) in rows]
    if table == "rejects":
        texts.append("if(original_encoding = 'base64', tryBase64Decode(original), '')")
    fleet = "fleet IN ({fleet:String}, '')" if table == "rejects" else "fleet = {fleet:String}"
    joined = ", '\\n', ".join(texts)
    return f"{fleet} AND match(concat({joined}), {{pattern:String}})"
