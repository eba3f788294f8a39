"""The past, folded again: stored events counted as the worker counts them, their minutes as it folds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from clickhouse_connect.driver.client import Client

from tidegate.contracts.alert_rules import Rules
from tidegate.contracts.alerts import Alert
from tidegate.contracts.counts import MINUTE, PartialCounts
from tidegate.contracts.topics import Stream
from tidegate.lookups import Lookups
from tidegate.steps.aggregate import COLUMNS, aggregate, merge_all
from tidegate.steps.detect import Counted, Detector, UnitKey, context_of
from tidegate.steps.tally import Tally, tallies
from tidegate.store.client import infrastructure

HOUR = 60 * MINUTE
DAY = 24 * HOUR
AT_ONCE = 1_000_000  # events that are read and counted together, about: each read looks through a whole day
STREAMS: tuple[Stream, ...] = ("client_events", "connection_logs")
ARROW = {
    "output_format_arrow_low_cardinality_as_dictionary": 1,
    "output_format_arrow_string_as_string": 1,
}
_READ = {"bssid": "if(isNull(ap_name), bssid, NULL) AS bssid"}  # names an access point that has no name


def minutes(
    client: Client, since: int, until: int, fleet: str = "", share: tuple[int, int] = (0, 1)
) -> Iterator[tuple[int, Mapping[UnitKey, Counted]]]:
    """Each minute from `since` to before `until` (µs) with the counts of what was received in it.

    `share` (number, of how many): of that share of the sites alone.
    """
    begin, hours = since, 1
    while begin < until:
        end = min(begin + hours * HOUR, (begin // DAY + 1) * DAY, until)
        events = 0
        sources = []
        for stream in STREAMS:
            counted, rows = _counted(client, stream, begin, end, fleet, share)
            events += rows
            sources.append(groupby(counted, attrgetter("minute")))
        heads = [next(source, None) for source in sources]
        for minute in range(begin, end, MINUTE):
            found: dict[UnitKey, Counted] = {}
            for number, head in enumerate(heads):
                if head is not None and head[0] == minute:
                    for one in head[1]:
                        found[one.stream, one.fleet, one.site] = one
                    heads[number] = next(sources[number], None)
            yield minute, found
        hours = max(1, AT_ONCE * ((end - begin) // HOUR) // max(events, 1))
        begin = end


def changes(
    client: Client, tables: Lookups, rules: Rules, since: int, until: int, fleet: str = ""
) -> Iterator[Alert]:
    """What these rules make of stored events. Learning begins at `since`."""
    detector = Detector(context_of(rules, tables))
    for minute, counted in minutes(client, since, until, fleet):
        yield from detector.close(minute, counted)


def first_event(client: Client) -> int | None:
    """When the oldest event that is kept was received (µs, start of its hour); None without any."""
    asked = " UNION ALL ".join(f"SELECT min(received_at) AS at FROM {stream}" for stream in STREAMS)
    with infrastructure():
        [(at,)] = client.query(
            f"SELECT toUnixTimestamp64Micro(minIf(at, at > toDateTime64(0, 6, 'UTC'))) FROM ({asked})"
        ).result_rows
    return int(at) // HOUR * HOUR if at else None


def _counted(
    client: Client, stream: Stream, since: int, until: int, fleet: str, share: tuple[int, int]
) -> tuple[Iterator[Tally | PartialCounts], int]:
    """What a stream received, minute by minute, and how many events that is."""
    columns = ", ".join(_READ.get(name, name) for name in COLUMNS[stream])
    where = "received_at >= fromUnixTimestamp64Micro({since:Int64}) AND received_at < "
    where += "fromUnixTimestamp64Micro({until:Int64}) AND ({fleet:String} = '' OR fleet = {fleet:String})"
    if share[1] > 1:
        site = "ifNull(site, '')" if stream == "client_events" else "''"
        where += f" AND cityHash64(fleet, {site}) % {share[1]} = {share[0]}"
    with infrastructure():
        table = client.query_arrow(
            f"SELECT {columns} FROM {stream} WHERE {where}",
            parameters={"since": since, "until": until, "fleet": fleet},
            settings=ARROW,
        )
    if not table.num_rows:
        return iter(()), 0
    batches = table.unify_dictionaries().combine_chunks().to_batches()
    if len(batches) == 1:
        return tallies(stream, batches[0]), table.num_rows
    partials = merge_all(one for batch in batches for one in aggregate(stream, batch))
    return iter(sorted(partials, key=attrgetter("minute"))), table.num_rows


def micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
