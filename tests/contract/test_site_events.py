"""The copy of client events that is sorted by site: answers are those of the events, whatever is copied."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import table_rows
from clickhouse_connect.driver.client import Client
from databases import migrated, settings_of

import builders
from tidegate.erase.client import Eraser
from tidegate.erase.rollups import Rollups
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.store import expiry, insight, site_events, site_levels
from tidegate.store.insight import Window
from tidegate.store.queries import Query
from tidegate.store.site_events import HOUR, Copied
from tidegate.store.site_levels import QUARTER, Levelled

STEP = 3100  # seconds between what comes
SITES = ("1", "2", "")
MACS = [f"02:00:00:00:00:{number:02x}" for number in range(7)]

ASKED: dict[str, Callable[[Window], Query]] = {
    "reasons": lambda of: insight.reasons(of, 50),
    "heat": insight.heat,
    "hardest_hit": lambda of: insight.hardest_hit(of, 4),
    "contrast": lambda of: insight.contrast(of, None),
    "contrast of a stage": lambda of: insight.contrast(of, "dhcp"),
    "contrast of a stage of none": lambda of: insight.contrast(of, "other"),
    "contrast of an SSID": lambda of: insight.contrast(of, "aaa", "guests"),
    "contrast of no SSID": lambda of: insight.contrast(of, None, ""),
}
"""Every question that reads the events of a window."""


@pytest.fixture
def settings(clickhouse: ClickHouseServer, tmp_path: Any) -> Settings:
    return settings_of(clickhouse, data_dir=str(tmp_path))


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with migrated(settings) as client:
        yield client


def refresh(client: Client) -> None:
    for view in ("site_events_mv", "site_levels_mv"):
        client.command(f"SYSTEM REFRESH VIEW {view}")
        client.command(f"SYSTEM WAIT VIEW {view}")


def events(pick: random.Random, at: int, count: int) -> list[dict[str, Any]]:
    """Of all kinds, from `at` (µs) on; some without what others have."""
    found = []
    for number in range(count):
        site = pick.choice(SITES)
        place: dict[str, Any] = {
            "locationId": {"type": "locallocationid", "id": int(site)} if site else None,
            "macAddress": pick.choice(MACS),
            "timestamp": at + number * pick.choice([0, 1000, 9_000_000]),
            "ssid": pick.choice(["staff", "guests", "", None]),
            "associatedAPName": pick.choice(["AP-1", "AP-2", None]),
            "channel": pick.choice([1, 36]),
        }
        kind, end = pick.randrange(5), at // 1000
        if kind == 0:
            stage = pick.choice(["association", "aaa", "dhcp", "dns"])
            found.append(builders.failed_at(stage, end, pick.choice([1, 9000]), **place))
        elif kind == 1:
            what = pick.choice([("Disassociation", None), (None, "disassociated"), ("Bandwidth", None)])
            found.append(
                builders.intermediate(
                    **place,
                    eventDescription=what[0],
                    subEventDescription=what[1],
                    rssi=pick.choice([None, -80, -73, -72, -50]),
                )
            )
        elif kind == 2:
            found.append(builders.success(**place))
        else:
            found.append(builders.connected(end, pick.choice([1, 1999, 2000, 2001, 90_000]), **place))
    return found


class Store:
    """Events that come, and the answers about them."""

    def __init__(self, client: Client, now: int) -> None:
        self.client = client
        self.now = now
        self._pick = random.Random(5)
        self._offset = 0

    def come(self, ago: int, count: int = 12, fleet: str = "demo", clock: int = 0) -> None:
        """Events received so many seconds ago, with clocks of the devices so many seconds behind."""
        received = (self.now - ago) * 1_000_000 + self._pick.randrange(1_000_000)
        made = events(self._pick, received - clock * 1_000_000, count)
        table_rows.store(
            self.client, "client_events", *made, fleet=fleet, offset=self._offset, received_at=received
        )
        self._offset += 1

    def read(self, window: Window) -> Window:
        """With what is copied and counted of it."""
        since, until = site_levels.begins(window.since) // HOUR * HOUR, -(-window.until // HOUR) * HOUR
        fine = self.now // HOUR * HOUR - site_events.FINE_HOURS * HOUR
        [(copied, apart, quarters)] = self.rows(site_events.copied(window.fleet, since, until, fine))
        return dataclasses.replace(
            window,
            copied=site_events.of_slices(since, copied, fine, apart),
            levelled=site_levels.of_quarters(window.since, window.until, self.now, quarters),
        )

    def rows(self, query: Query) -> list[Any]:
        return list(self.client.query(query.sql, parameters=dict(query.parameters)).result_rows)

    def check(self, window: Window) -> Copied:
        """Every answer about a window is that of the events; what of it is copied."""
        read = self.read(window)
        copied = read.copied
        for name, ask in ASKED.items():
            for site in (None, "1"):
                mine = dataclasses.replace(window, site=site)
                with_copy = ask(dataclasses.replace(mine, copied=copied))
                inside = max(copied.since, window.since) < min(copied.until, window.until)
                assert ("FROM site_events" in with_copy.sql) == inside, name
                assert _sorted(self.rows(with_copy)) == _sorted(self.rows(ask(mine))), (name, site)
        for site in (None, "1"):
            own = dataclasses.replace(read, site=site)
            plain = dataclasses.replace(own, copied=Copied(), levelled=Levelled())
            of_events = _sorted(self.rows(insight.levels(plain)))
            assert of_events == _sorted(self.rows(insight.levels(own)))
            assert of_events == _sorted(self.rows(insight.levels(dataclasses.replace(plain, copied=copied))))
        return copied


def _sorted(rows: list[Any]) -> list[str]:
    return sorted(map(str, rows))


@pytest.fixture
def store(client: Client) -> Store:
    return Store(client, int(time.time()))


def fill(store: Store) -> None:
    """A day and some hours, of two fleets, clocks behind and skewed."""
    for number, ago in enumerate(range(30, 30 * HOUR, STEP)):
        store.come(ago, clock=(0, 0, 100, 4000, 3 * 86_400)[number % 5])
        if number % 4 == 0:
            store.come(ago, 3, fleet="other")


def window(store: Store, since: int, until: int, fleet: str = "demo") -> Window:
    """From and to so many seconds ago."""
    return Window(
        fleet=fleet, since=(store.now - since) // 60 * 60, until=(store.now - until) // 60 * 60 + 60
    )


WINDOWS = ((7200, 0), (27 * HOUR, 0), (15 * HOUR + 77, 3 * HOUR + 5000), (600, 0))


def test_answers_are_those_of_the_events(store: Store) -> None:
    """Before the first refresh, behind it, with events that came late into what is copied, and again."""
    fill(store)
    assert store.check(window(store, 27 * HOUR, 0)) == Copied()
    refresh(store.client)
    for since, until in WINDOWS:
        mine = window(store, since, until)
        copied = store.check(mine)
        assert copied.until <= store.now - 120
        if since > STEP:
            assert (copied.since, copied.late) == (site_levels.begins(mine.since) // HOUR * HOUR, ())
            assert copied.until > min(mine.until, store.now - 200) - STEP
        assert store.check(window(store, since, until, "other")).late == ()
    store.come(20 * HOUR)
    store.come(2400, 1)
    late = store.check(whole := window(store, 27 * HOUR, 0))
    read = store.read(whole)
    assert read.levelled.late and read.levelled.since == whole.since // QUARTER * QUARTER
    trusting = dataclasses.replace(read, levelled=read.levelled._replace(late=()))
    assert store.rows(insight.levels(trusting)) != store.rows(insight.levels(read))
    assert late.late == ((store.now - 20 * HOUR) // HOUR * HOUR,)
    assert late.until <= store.now - 2400
    store.check(window(store, 7200, 0))
    refresh(store.client)
    healed = store.check(window(store, 27 * HOUR, 0))
    assert healed.late == () and healed.until > store.now - 2400
    read = store.read(whole)
    assert read.levelled.late == () and read.levelled.until > store.now - 2 * QUARTER
    assert read.levelled.until - read.levelled.since > 26 * HOUR
    [(rows, events_)] = store.client.query(
        "SELECT count(), uniqExact(epoch, partition, offset, `index`) FROM site_events"
    ).result_rows
    assert rows == events_


def test_a_refresh_copies_an_event_once(store: Store) -> None:
    for _ in range(3):
        store.come(3 * HOUR)
        refresh(store.client)
        refresh(store.client)
    store.come(30)
    refresh(store.client)
    there = "SELECT count() FROM {} WHERE received_at < now() - INTERVAL 1 HOUR"
    counts = [store.client.query(there.format(name)).result_rows for name in ("client_events", "site_events")]
    assert counts == [[(36,)], [(36,)]]
    columns = ", ".join(site_events.COLUMNS)
    of_events = site_events.expressions()
    copies = store.client.query(f"SELECT {columns} FROM site_events ORDER BY offset, `index`").result_rows
    assert (
        copies
        == store.client.query(
            f"SELECT {of_events} FROM client_events AS events WHERE received_at < now() - INTERVAL 1 HOUR"
            " ORDER BY offset, `index`"
        ).result_rows
    )


def test_a_large_store_is_copied_bit_by_bit_the_newest_first(store: Store) -> None:
    """A minute that says it has ten million events stands for one that has."""
    store.come(240)
    store.come(3 * HOUR)
    store.client.command(
        "INSERT INTO site_minutes (fleet, site, minute, outcome, events)"
        f" SELECT 'large', '', toStartOfMinute(toDateTime({store.now - 1200}, 'UTC')), 'success', 10000000"
    )
    refresh(store.client)
    offsets = "SELECT DISTINCT offset FROM site_events ORDER BY offset"
    assert store.client.query(offsets).result_rows == [(0,)]
    store.client.command(
        "ALTER TABLE site_minutes DELETE WHERE fleet = 'large'", settings={"mutations_sync": 2}
    )
    refresh(store.client)
    assert store.client.query(offsets).result_rows == [(0,), (1,)]


def test_both_tables_have_the_same_types(client: Client) -> None:
    """Or what is read of both would be converted, event by event."""
    copy = client.query(f"SELECT {', '.join(site_events.COLUMNS)} FROM site_events")
    own = client.query(f"SELECT {site_events.expressions()} FROM client_events AS events")
    assert [kind.name for kind in copy.column_types] == [kind.name for kind in own.column_types]


def test_an_erased_client_is_erased_in_the_copy_and_does_not_come_back(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where a refresh falls between what is noted and what is deleted."""
    fill(store)
    refresh(store.client)
    hers = f"SELECT count() FROM site_events WHERE mac = '{MACS[0]}' AND fleet = 'demo'"
    [(before,)] = store.client.query(hers).result_rows
    assert before
    eraser = Eraser(store.client, settings, "demo", MACS[0])
    delete = eraser._delete
    seen = []

    def between(table: str, where: str) -> None:
        delete(table, where)
        refresh(store.client)
        seen.append((table, store.client.query(hers).result_rows[0][0]))

    monkeypatch.setattr(eraser, "_delete", between)
    eraser.erase(lambda line: None)
    assert seen[0] == ("site_events", 0) and ("client_events", 0) in seen
    refresh(store.client)
    assert store.client.query(hers).result_rows == [(0,)]
    others = store.client.query(
        f"SELECT count() FROM site_events WHERE mac = '{MACS[0]}' AND fleet = 'other'"
    ).result_rows
    assert others[0][0]
    assert store.check(window(store, 27 * HOUR, 0)).until
    read = store.read(window(store, 27 * HOUR, 0))
    assert read.levelled.late == () and read.levelled.until - read.levelled.since > 26 * HOUR


def test_an_erasure_waits_for_a_refresh_that_has_read_her_events(store: Store, settings: Settings) -> None:
    store.come(3 * HOUR)
    store.client.command("DROP VIEW site_events_mv SYNC")
    store.client.command(
        "CREATE MATERIALIZED VIEW site_events_mv REFRESH EVERY 1 HOUR APPEND TO site_events AS"
        f" SELECT {site_events.expressions()} FROM client_events AS events WHERE NOT sleepEachRow(0.2)"
    )
    [(running,)] = store.client.query(
        "SELECT status FROM system.view_refreshes WHERE database = currentDatabase()"
        " AND view = 'site_events_mv'"
    ).result_rows
    assert str(running).startswith("Running")
    [(mac, events_)] = store.client.query(
        "SELECT mac, count() FROM client_events GROUP BY mac ORDER BY mac LIMIT 1"
    ).result_rows
    Eraser(store.client, settings, "demo", mac).erase(lambda line: None)
    store.client.command("SYSTEM WAIT VIEW site_events_mv")
    left = store.client.query(f"SELECT count(), countIf(mac = '{mac}') FROM site_events").result_rows
    assert left == [(12 - events_, 0)]


def test_a_refresh_that_has_read_her_events_does_not_count_them_again(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that began when refreshes had been waited for, and ends behind the counting anew."""
    store.come(3 * HOUR)
    [(mac, events_)] = store.client.query(
        "SELECT mac, count() FROM client_events GROUP BY mac ORDER BY mac LIMIT 1"
    ).result_rows
    slowly = (
        " FROM client_events WHERE NOT sleepEachRow(0.5) GROUP BY ALL"
        " SETTINGS function_sleep_max_microseconds_per_block = 60000000"
    )
    counted = {
        "site_levels": "site, toStartOfMinute(received_at) AS minute, count() AS events",
        "radio_hours": "site, toStartOfHour(received_at) AS hour, coalesce(ap_name, bssid, '') AS ap, band,"
        " count() AS events",
    }
    eraser = Eraser(store.client, settings, "demo", mac)
    delete = eraser._delete

    def begun(table: str, where: str) -> None:
        if table == "site_events":
            for name, columns in counted.items():
                store.client.command(f"DROP VIEW {name}_mv SYNC")
                store.client.command(
                    f"CREATE MATERIALIZED VIEW {name}_mv REFRESH EVERY 1 HOUR APPEND TO {name} AS"
                    f" SELECT fleet, {columns}{slowly}"
                )
        delete(table, where)

    monkeypatch.setattr(eraser, "_delete", begun)
    eraser.erase(lambda line: None)
    for name in counted:
        store.client.command(f"SYSTEM WAIT VIEW {name}_mv")
        sums = store.client.query(f"SELECT sum(events) FROM {name} FINAL").result_rows
        assert sums == [(12 - events_,)], name


def test_levels_are_there_all_the_while_they_are_counted_anew(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for minutes in which nobody else was: those go."""
    fill(store)
    alone = builders.success(macAddress=MACS[0])
    received = (store.now - 6 * HOUR) * 1_000_000
    table_rows.store(store.client, "client_events", alone, offset=900, received_at=received)
    refresh(store.client)
    delete = Rollups._delete
    there = []

    def deleted(self: Rollups, table: str, where: str) -> None:
        delete(self, table, where)
        if table == "site_levels":
            there.append(store.client.query(levels).result_rows)

    over = f"toDateTime({(store.now - 2 * QUARTER) // QUARTER * QUARTER}, 'UTC')"
    levels = f"SELECT sum(events), count() FROM site_levels FINAL WHERE fleet = 'demo' AND minute < {over}"
    monkeypatch.setattr(Rollups, "_delete", deleted)
    Eraser(store.client, settings, "demo", MACS[0]).erase(lambda line: None)
    of_events = store.client.query(
        "SELECT count(), uniqExact(site, toStartOfMinute(received_at)) FROM client_events"
        f" WHERE fleet = 'demo' AND received_at < {over}"
    ).result_rows
    assert there and there[-1] == store.client.query(levels).result_rows == of_events
    assert all(events_ >= of_events[0][0] for [(events_, _)] in there)


def test_a_day_that_is_counted_anew_tells_of_the_hour_behind_it(store: Store) -> None:
    """A roam behind midnight is none without the connection before it."""
    midnight = store.now // 86_400 * 86_400 - 86_400
    for number, (at, ap) in enumerate(((-300, "AP-1"), (300, "AP-2"))):
        received = (midnight + at) * 1_000_000
        place = {"macAddress": MACS[0], "timestamp": received, "ssid": "staff", "associatedAPName": ap}
        event = builders.connected(received // 1000, 100, **place)
        table_rows.store(store.client, "client_events", event, offset=number, received_at=received)

    def roams() -> Any:
        return store.client.query("SELECT sum(roams), sum(events) FROM site_levels FINAL").result_rows

    day = datetime.fromtimestamp(midnight - 1, UTC).date()
    database = str(store.client.database)
    site_levels.recount(store.client, database, "demo", day)
    assert roams() == [(1, 2)]
    store.client.command("ALTER TABLE client_events DELETE WHERE offset = 0 SETTINGS mutations_sync = 2")
    site_levels.recount(store.client, database, "demo", day)
    assert roams() == [(0, 2)]  # the minute that is empty goes with the erasure


def test_a_fleet_that_is_kept_shorter_is_out_of_the_copy(store: Store, settings: Settings) -> None:
    fill(store)
    refresh(store.client)
    short = dataclasses.replace(settings, fleet_retention_days="demo=1")
    expiry.expire(store.client, short)
    refresh(store.client)
    days = store.client.query(
        "SELECT fleet, min(toDate(minute)) = toDate(now('UTC')) FROM site_events GROUP BY fleet"
        " ORDER BY fleet"
    ).result_rows
    assert days == [("demo", True), ("other", False)]
    levelled = store.client.query(
        "SELECT fleet, min(toDate(minute)) = toDate(now('UTC')) FROM site_levels GROUP BY fleet"
        " ORDER BY fleet"
    ).result_rows
    assert levelled in ([("demo", True), ("other", False)], [("other", False)])  # today may have just begun


def test_a_step_counts_in_its_minute_by_what_the_client_did_before(store: Store) -> None:
    """Also over a quarter's edge; but not by what was received more than four quarters before."""
    begin = (store.now - 3 * HOUR) // QUARTER * QUARTER
    steps = [  # seconds from there, client, access point (none: disassociated), ms to connect
        (-10, 0, "AP-1", 100),
        (5, 0, "AP-2", 100),  # a roam
        (50, 0, "AP-1", 100),  # another one, which takes the first back
        (60, 0, None, 0),
        (110, 0, "AP-2", 100),  # thrown off, so not roamed
        (110 + 5 * QUARTER, 0, "AP-1", 100),
        (0, 1, "AP-1", 100),
        (5 * QUARTER - 1, 1, "AP-2", 3000),  # a slow roam
    ]
    for number, (at, whose, ap, took) in enumerate(steps):
        received = (begin + at) * 1_000_000
        place = {"macAddress": MACS[whose], "timestamp": received, "ssid": "staff", "associatedAPName": ap}
        event = (
            builders.intermediate(**place | {"associatedAPName": "AP-1"}, eventDescription="Disassociation")
            if ap is None
            else builders.connected(received // 1000, took, **place)
        )
        table_rows.store(store.client, "client_events", event, offset=number, received_at=received)
    refresh(store.client)
    rows = store.client.query(
        "SELECT toInt64(toUnixTimestamp(minute)) - {begin:UInt32} AS second, roams, swift, back, thrown"
        " FROM site_levels FINAL WHERE roams + thrown > 0 ORDER BY second",
        parameters={"begin": begin},
    ).result_rows
    last = (5 * QUARTER - 1) // 60 * 60
    assert rows == [(0, 2, 2, 1, 0), (60, 0, 0, 0, 1), (last, 1, 0, 0, 0)]
    store.check(window(store, 4 * HOUR, 0))


def test_quarters() -> None:
    """A quarter whose line has one that is not whole is none of those that are trusted."""
    whole = 10 * QUARTER
    now = whole + 10 * QUARTER

    def of(*apart: int, since: int = 0, until: int = whole, now: float = now) -> Levelled:
        return site_levels.of_quarters(since, until, now, apart)

    assert of() == Levelled(0, whole)
    assert of(-QUARTER) == Levelled(4 * QUARTER, whole)
    assert of(-4 * QUARTER) == Levelled(QUARTER, whole)
    assert of(3 * QUARTER) == Levelled(0, whole, tuple(range(3 * QUARTER, 8 * QUARTER, QUARTER)))
    assert of(7 * QUARTER) == Levelled(0, 7 * QUARTER)
    assert of(0, 5 * QUARTER) == Levelled()
    assert of(now=whole + 119) == Levelled(0, whole - QUARTER)
    assert of(since=100, until=whole - 100) == Levelled(0, whole)
    held = Levelled(QUARTER, 3 * QUARTER, (2 * QUARTER,))
    assert site_levels.rest(60, 3 * QUARTER + 60, held) == [
        (60, QUARTER),
        (2 * QUARTER, 3 * QUARTER),
        (3 * QUARTER, 3 * QUARTER + 60),
    ]
    assert site_levels.rest(QUARTER + 60, 2 * QUARTER, held) == []
    assert site_levels.rest(60, 120, Levelled()) == [(60, 120)]


def test_slices() -> None:
    """Of hours 0 to 5, minutes from hour 4 on."""
    fine = 4 * HOUR

    def of(until: int, *apart: int) -> Copied:
        return site_events.of_slices(0, until, fine, apart)

    assert of(0) == Copied()
    assert of(5 * HOUR) == Copied(0, 5 * HOUR)
    assert of(5 * HOUR, 4 * HOUR + 120, 5 * HOUR) == Copied(0, 4 * HOUR + 120)
    assert of(5 * HOUR, 0, HOUR, 3 * HOUR) == Copied(2 * HOUR, 5 * HOUR, (3 * HOUR,))
    assert of(4 * HOUR, 3 * HOUR) == Copied(0, 3 * HOUR)
    assert of(3 * HOUR - 60, HOUR, 2 * HOUR) == Copied(0, HOUR)
    assert of(2 * HOUR, 0, HOUR) == Copied()
