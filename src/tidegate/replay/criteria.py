"""Which rejects are meant: what the command's options say, as conditions on table `rejects`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from tidegate.contracts.rejects import Kind
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.errors import UsageError
from tidegate.store.client import infrastructure

READ_ONLY: dict[str, Any] = {"readonly": 2, "max_execution_time": 3600, "max_memory_usage": 2_000_000_000}
"""Settings of every statement that holds the operator's condition."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """The options of `tidegate replay`; empty ones are no condition."""

    kinds: Sequence[str] = ()
    codes: Sequence[str] = ()
    fleets: Sequence[str] = ()
    streams: Sequence[str] = ()
    since: int | None = None  # µs, received; inclusive
    until: int | None = None  # µs, exclusive
    where: str = ""  # SQL over the columns of `rejects`
    again: bool = False  # also what a replay under the present transform_version did not bring through
    limit: int | None = None

    def asked_streams(self) -> tuple[Stream, ...]:
        return tuple(stream for stream in STREAMS if not self.streams or stream in self.streams)

    def conditions(self) -> str:
        """SQL, over the columns of `rejects` and `parameters`."""
        found = ["origin = ''"]
        for column, values in (("kind", self.kinds), ("code", self.codes), ("fleet", self.fleets)):
            if values:
                found.append(f"{column} IN {{{column}s:Array(String)}}")
        if not self.kinds and not self.codes:
            found.append(f"kind != '{Kind.KEY}'")  # refused on purpose, and not for what they say
        if self.since is not None:
            found.append("received_at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')")
        if self.until is not None:
            found.append("received_at < fromUnixTimestamp64Micro({until:Int64}, 'UTC')")
        if self.where:
            found.append(f"(\n{self.where}\n)")  # on lines of its own: it may end in a comment
        return " AND ".join(found)

    def parameters(self) -> dict[str, Any]:
        return {
            "kinds": list(self.kinds),
            "codes": list(self.codes),
            "fleets": list(self.fleets),
            "since": self.since,
            "until": self.until,
        }

    def check(self, client: Client, database: str) -> None:
        """Raise UsageError where `where` is not one expression over the columns of `rejects`."""
        if not self.where:
            return
        try:
            with infrastructure():
                # By itself and in brackets, so that it cannot close the brackets that it will stand in.
                client.query(
                    "SELECT formatQuery({query:String})",
                    parameters={"query": f"SELECT\n{self.where}\n"},
                    settings=READ_ONLY,
                )
                client.query(
                    f"SELECT id FROM {database}.rejects WHERE (\n{self.where}\n) LIMIT 0", settings=READ_ONLY
                )
        except DatabaseError as error:
            said = str(error).strip().splitlines() or [""]
            raise UsageError(f"--where: {said[0][:500]}") from error
