"""Erasing a client from a store that stands still: what goes, what stays, and a ledger that balances."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from databases import migrated, settings_of
from store_contents import ROLLUPS, groups, rows
from table_rows import EPOCH, batch_plan, insert, table

from builders import device_log, failure, network_log, success
from tidegate import keyfile, pseudonyms
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.erase.client import Eraser, finish
from tidegate.erase.mentions import pattern
from tidegate.erase.rollups import ADDED_UP, HOURS, Day, Rollups
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.pseudonyms import Stored
from tidegate.settings import Settings
from tidegate.sink.blocks import token_suffix
from tidegate.steps.pseudonymise import pseudonymise
from tidegate.store import audit
from tidegate.store.ledger import Ledger
from tidegate.verify.command import verify

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=1)
BEFORE = TODAY - timedelta(days=3)
MAC, OTHER = "02:aa:bb:cc:dd:01", "02:aa:bb:cc:dd:02"

HERS: dict[Stream, list[dict[str, Any]]] = {
    "client_events": [
        success(macAddress=MAC),
        failure(macAddress=MAC.upper().replace(":", "-"), ssid="Hers alone"),
    ],
    "connection_logs": [network_log(network_name="Office", note=f"seen with {MAC.upper()}")],
    "device_logs": [device_log(notes="blocked 02aa.bbcc.dd01 by hand")],
}
THEIRS: dict[Stream, list[dict[str, Any]]] = {
    "client_events": [success(macAddress=OTHER), failure(macAddress=OTHER)],
    "connection_logs": [network_log(network_name="Office")],
    "device_logs": [device_log(notes=f"a{MAC.replace(':', '')}b is another number")],
}


def micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def fill(
    client: Client, settings: Settings, *, hers: bool = True, fleet: str = "demo", first: int = 0
) -> None:
    """A frame of hers and one of theirs a stream and day, in `fleet`, and hers in another one; rejects of
    each. Raw offsets from `first` on. The ledger has them all; without `hers`, the tables have what should be
    left."""
    ledger = Ledger(client, settings.clickhouse_database)
    ledger.note_epoch(EPOCH)
    for stream in STREAMS:
        offset = first
        for moment in (BEFORE, TODAY):
            day = moment.date()
            for events, whose in ((HERS, fleet), (THEIRS, fleet), (HERS, "other")):
                mine = [reject(stream, offset, moment, json.dumps(event)) for event in events[stream][:1]]
                if whose == "other":
                    mine = []
                plan = batch_plan(
                    stream, offset, accepted=len(events[stream]), rejected=len(mine), received=moment
                )
                ledger.write([plan])
                if hers or events is THEIRS or whose == "other":
                    found = table(
                        stream,
                        events[stream],
                        fleet=whose,
                        offset=offset,
                        received_at=micros(moment),
                    )
                    insert(client, stream, found, token=plan.token + token_suffix(stream, day))
                    if mine:
                        client.insert("rejects", mine, column_names=REJECT)
                offset += 1


REJECT = ["fleet", "id", "received_at", "stream", "epoch", "partition", "offset", "index", "original"]


def reject(stream: str, offset: int, moment: datetime, original: str) -> list[Any]:
    return ["", f"r{stream}{offset}", moment, stream, EPOCH, 0, offset, 9, original]


def contents(client: Client) -> dict[str, Any]:
    """Events and rejects whole; rollups of the day that is over whole, of today their sums."""
    over = f"received_day = '{BEFORE:%Y-%m-%d}'"
    found: dict[str, Any] = {name: rows(client, name) for name in (*STREAMS, "rejects")}
    for name in ROLLUPS:
        found[name] = groups(client, name, over)
        found[f"{name} today"] = client.query(
            f"SELECT fleet, sum(events) AS events FROM {name} WHERE NOT {over} GROUP BY fleet ORDER BY fleet"
        ).result_rows
    found["connection_logs_1d bytes"] = client.query(
        "SELECT fleet, received_day, sum(inbytes), sum(outbytes), sum(rssi_sum), sum(rssi_count)"
        " FROM connection_logs_1d GROUP BY ALL ORDER BY ALL"
    ).result_rows
    for name in HOURS:
        found[name] = groups(client, name, "fleet = 'demo'")
    over_hours = f"fleet = 'demo' AND toDate({{}}) = '{BEFORE:%Y-%m-%d}'"
    for name, day in zip(ADDED_UP, ("hour", "received_day"), strict=True):
        found[name] = groups(client, name, over_hours.format(day))
    found["site_minutes"] = groups(client, "site_minutes", f"toDate(minute) = '{BEFORE:%Y-%m-%d}'")
    return found


def count_hours(client: Client, settings: Settings) -> None:
    """As the views of the hours do it sooner or later, of the day that is over while it was one of two. Rows
    of the day before stand for what they counted then: a table is whole from its first row on."""
    day = (BEFORE - timedelta(days=1)).date()
    client.command(f"INSERT INTO site_hours (fleet, site, hour) VALUES ('demo', '', '{day} 00:00:00')")
    values = f"('demo', '', '{day} 00:00:00', '{day}')"
    client.command(f"INSERT INTO site_states (fleet, site, bucket, received_day) VALUES {values}")
    for moment in (BEFORE, TODAY):
        Rollups(client, settings, "demo").recount_hours(Day("client_events", moment.date()))


def erase(client: Client, settings: Settings, fleet: str = "demo") -> Any:
    return Eraser(client, settings, fleet, MAC).erase(lambda line: None)


def everything_said(client: Client) -> str:
    """Every text of every table."""
    names = client.query("SELECT name FROM system.tables WHERE database = currentDatabase()").result_rows
    found = []
    for (name,) in names:
        if not str(name).endswith("_mv") and not str(name).startswith("verify_"):
            found += [row[0] for row in client.query(f"SELECT toString(tuple(*)) FROM {name}").result_rows]
    return "\n".join(map(str, found))


def test_what_is_left_is_what_was_there_without_her(
    client: Client, settings: Settings, clickhouse: ClickHouseServer, tmp_path: Path
) -> None:
    fill(client, settings)
    count_hours(client, settings)
    assert contents(client)["contrast_hours"] and "Hers alone" in str(contents(client)["stage_hours"])
    assert Eraser(client, settings, "demo", MAC).find()["client_events"] == 4
    done = erase(client, settings)
    other = settings_of(clickhouse, data_dir=str(tmp_path))
    with migrated(other) as without:
        fill(without, other, hers=False)
        count_hours(without, other)
        assert contents(client) == contents(without)
    assert done.rows == {
        "client_events": 4,
        "connection_logs": 2,
        "device_logs": 2,
        "rejects": 6,
        "alerts": 0,
        "webhook_deliveries": 0,
    }
    assert {day.day for day in done.rebuilt} == {BEFORE.date()}
    assert {day.day for day in done.left} == {TODAY.date()}

    report = verify(client, settings, kafka=False)
    assert report.findings == []
    assert sum(row.erased for row in report.partitions) == 8
    assert sum(row.rejects_erased for row in report.partitions) == 6
    [entry] = audit.entries(client, settings.clickhouse_database)
    keys = keyfile.load(settings.pseudonym_key_path)
    assert (entry.kind, entry.id, entry.fleet) == ("erasure", done.erasure, "demo")
    assert entry.subject == pseudonyms.of_mac(keys, "demo", MAC)
    assert json.loads(entry.details)["rows"] == done.rows
    # The other fleet's rows have the MAC; nothing else has, the audit log least of all.
    for name in (*STREAMS, "site_events"):
        client.command(f"ALTER TABLE {name} DELETE WHERE fleet = 'other' SETTINGS mutations_sync = 2")
    said = everything_said(client).lower()
    assert OTHER in said
    for spelling in (MAC, MAC.replace(":", "-"), "02aa.bbcc.dd01"):
        assert spelling not in said
    assert verify(client, settings, kafka=False).findings != []


def test_an_erasure_that_was_broken_off_is_finished_by_the_next(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off behind each of its steps, at their first time, each in a fleet of its own."""

    def broken_off(whole: Callable[..., Any]) -> Callable[..., None]:
        def once(self: Any, *arguments: Any) -> None:
            whole(self, *arguments)
            raise ConnectionError("broken off")

        return once

    steps = ((Eraser, "_note"), (Rollups, "take_off"), (Eraser, "_delete"), (Rollups, "rebuild"))
    for number, (owner, step) in enumerate(steps):
        fleet = step
        fill(client, settings, fleet=fleet, first=6 * number)
        with monkeypatch.context() as patch, pytest.raises(ConnectionError):
            patch.setattr(owner, step, broken_off(getattr(owner, step)))
            erase(client, settings, fleet)
        erase(client, settings, fleet)
        assert verify(client, settings, kafka=False).findings == [], step
        left = Eraser(client, settings, fleet, MAC).find()
        assert left == dict.fromkeys((*STREAMS, "rejects", "alerts", "webhook_deliveries"), 0), step


def test_a_day_that_is_over_by_then_is_made_anew_later(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is what comes of her while she is erased."""
    fill(client, settings)
    take = Eraser._take

    def taken(self: Eraser, name: str, part: str) -> int:
        found = take(self, name, part)
        if name == "client_events" and part.endswith("-0"):
            plan = batch_plan("client_events", 6, accepted=1, received=TODAY)
            Ledger(client, settings.clickhouse_database).write([plan])
            more = table("client_events", [success(macAddress=MAC)], offset=6, received_at=micros(TODAY))
            insert(
                client, "client_events", more, token=plan.token + token_suffix("client_events", TODAY.date())
            )
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Rollups, "may_rebuild", lambda self, day: False)
        patch.setattr(Eraser, "_take", taken)
        done = erase(client, settings)
        assert (len(done.left), done.rows["client_events"]) == (6, 5)
        assert verify(client, settings, kafka=False).findings == []
    clients = "SELECT uniqMerge(clients) FROM client_events_1d WHERE fleet = 'demo' AND received_day = '{}'"
    assert client.query(clients.format(BEFORE.date())).result_rows == [(2,)]
    rebuilt, left = finish(Rollups(client, settings, "demo"), client, settings.clickhouse_database, "demo")
    assert ({day.day for day in rebuilt}, {day.day for day in left}) == ({BEFORE.date()}, {TODAY.date()})
    assert client.query(clients.format(BEFORE.date())).result_rows == [(1,)]
    assert verify(client, settings, kafka=False).findings == []


def test_what_is_stored_under_a_pseudonym_goes_too(client: Client, settings: Settings) -> None:
    """Of her, under whichever key; as a device id too."""
    path = settings.pseudonym_key_path
    first = Stored(keyfile.load_or_create(path))
    second = Stored(keyfile.rotate(path))
    ledger = Ledger(client, settings.clickhouse_database)
    for offset, names in enumerate((first, second)):
        for stream, mine, other in (
            ("client_events", success(macAddress=MAC), success(macAddress=OTHER)),
            ("device_logs", device_log(parent={"id": MAC.upper()}), device_log(notes=f"by {MAC}")),
        ):
            plan = batch_plan(stream, offset, accepted=2, received=BEFORE)  # type: ignore[arg-type]
            ledger.write([plan])
            found = table(stream, [mine, other], offset=offset, received_at=micros(BEFORE))  # type: ignore[arg-type]
            [batch] = found.to_batches()
            rows_ = found.from_batches([pseudonymise(stream, batch, names)])  # type: ignore[arg-type]
            insert(client, stream, rows_, token=f"{plan.token}{offset}")
    assert MAC not in everything_said(client).lower()
    assert erase(client, settings).rows["client_events"] == 2
    assert client.query("SELECT mac FROM client_events ORDER BY offset").result_rows == [
        (names.of("demo", OTHER),) for names in (first, second)
    ]
    assert client.query("SELECT count() FROM device_logs").result_rows == [(0,)]
    assert verify(client, settings, kafka=False).findings == []


def test_no_day_is_added_in_front_of_the_hours_that_are_there(client: Client, settings: Settings) -> None:
    """Of a store whose tables of hours begin later: nothing would be taken to have come in between."""
    fill(client, settings)
    rollups = Rollups(client, settings, "demo")
    rollups.rebuild(Day("client_events", BEFORE.date()))
    for name, time in zip(ADDED_UP, ("hour", "bucket"), strict=True):
        assert groups(client, name, f"toDate({time}) <= '{BEFORE:%Y-%m-%d}'") == []


def test_a_fleet_of_any_name(client: Client, settings: Settings) -> None:
    """Its hours were deleted, and their counting anew broke off."""
    fleet = "100%s {pattern} '%(wifi)s"
    fill(client, settings, fleet=fleet)
    done = erase(client, settings, fleet)
    assert done.rows["client_events"] == 4
    assert {day.day for day in done.rebuilt} == {BEFORE.date()}
    for name, sql in HOURS.items():
        sums = client.query(
            f"SELECT toDate(hour) AS day, {sql} FROM {name} FINAL WHERE fleet = {{fleet:String}}"
            " GROUP BY day ORDER BY day",
            parameters={"fleet": fleet},
        ).result_rows
        assert sums == [(BEFORE.date(), 2), (TODAY.date(), 2)], name
    assert verify(client, settings, kafka=False).findings == []


def test_spellings() -> None:
    found = pattern(MAC, ["k1.ab"])
    assert found == "(?i)(^|[^0-9A-Fa-f])02[:.-]?aa[:.-]?bb[:.-]?cc[:.-]?dd[:.-]?01([^0-9A-Fa-f]|$)|k1\\.ab"


@pytest.mark.parametrize("ago", [40, 29, 3])
def test_days_whose_minutes_have_gone_are_made_anew_all_the_same(
    clickhouse: ClickHouseServer, tmp_path: Path, ago: int
) -> None:
    """By default minutes go after 30 days and events after 90: an erasure of anybody with older events never
    came to its end, and was not in the audit log."""
    kept = {"ttl_client_events_days": 90, "ttl_rollups_1m_days": 30, "ttl_rollups_1h_days": 400}
    settings = settings_of(clickhouse, data_dir=str(tmp_path), **kept)
    received = TODAY.replace(hour=5) - timedelta(days=ago)
    counted = {
        **{f"client_events_{level}": "SELECT sum(events) FROM {}" for level in ("1h", "1d")},
        **{
            name: "SELECT sum(events) FROM {} FINAL"
            for name in ("site_hours", "site_states", "site_outcomes")
        },
        "stage_hours": "SELECT sumIf(reached, stage = 'connect') FROM {} FINAL",
    }
    with migrated(settings) as client:
        for offset, mac in enumerate((MAC, OTHER)):
            events = [success(macAddress=mac), failure(macAddress=mac)]
            found = table("client_events", events, offset=offset, received_at=micros(received))
            insert(client, "client_events", found, token=f"t{offset}")
        day = (received - timedelta(days=1)).date()  # a table is whole from its first row on
        client.command(f"INSERT INTO site_hours (fleet, hour) VALUES ('demo', '{day} 00:00:00')")
        values = f"('demo', '{day} 00:00:00', '{day}')"
        client.command(f"INSERT INTO site_states (fleet, bucket, received_day) VALUES {values}")
        done = erase(client, settings)
        assert (done.rows["client_events"], [day.day for day in done.rebuilt]) == (2, [received.date()])
        sums = {name: client.query(sql.format(name)).result_rows for name, sql in counted.items()}
        assert sums == dict.fromkeys(counted, [(2,)])
        clients = client.query("SELECT uniqMerge(clients) FROM client_events_1d").result_rows
        assert clients == [(1,)]
        assert [entry.kind for entry in audit.entries(client, settings.clickhouse_database)] == ["erasure"]
