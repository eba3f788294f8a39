"""A backup and its restore, on a store that stands still: what comes back, and what is refused."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import roles
from clickhouse_connect.driver.client import Client
from databases import settings_of
from store_contents import everything, groups
from table_rows import EPOCH, batch_plan, insert, store, table

from builders import device_log, failure, network_log, success
from tidegate.backup.manifest import NAME, Manifest, read
from tidegate.backup.restore import restore
from tidegate.backup.write import backup
from tidegate.contracts.ledger import BatchPlan
from tidegate.contracts.topics import Stream
from tidegate.errors import Rejected, Stop, UsageError
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.sink.blocks import token_suffix
from tidegate.store.client import connect
from tidegate.store.ledger import Ledger
from tidegate.store.migrate import migrate
from tidegate.verify.command import verify

TODAY = datetime.now(UTC).replace(hour=0, minute=10)
LONG_AGO = TODAY - timedelta(days=20)


@pytest.fixture
def settings(clickhouse: ClickHouseServer, tmp_path: Path) -> Settings:
    """Events of a week are kept, rollups for ever; Kafka is away."""
    ttl = {f"ttl_{table}_days": 7 for table in ("client_events", "connection_logs", "device_logs", "rejects")}
    return settings_of(clickhouse, kafka_bootstrap=f"127.0.0.1:{free_port()}", **ttl)


@pytest.fixture
def elsewhere(settings: Settings) -> Iterator[Settings]:
    """The settings of a database that is not there yet."""
    other = replace(settings, clickhouse_database=f"{settings.clickhouse_database}_restored")
    yield other
    with connect(settings, database="") as admin:
        admin.command(f"DROP DATABASE IF EXISTS {other.clickhouse_database} SYNC")


def micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


EVENTS: dict[Stream, list[dict[str, object]]] = {
    "client_events": [success(), failure(), success(bssid="aa:bb:cc:dd:ee:0f")],
    "connection_logs": [network_log(), network_log(network_name="Office")],
    "device_logs": [device_log()],
}


def fill(client: Client, settings: Settings) -> None:
    """Two batches of each stream, and days that are gone from the events and not from the rollups."""
    ledger = Ledger(client, settings.clickhouse_database)
    ledger.note_epoch(EPOCH)
    ledger.claim(EPOCH, settings.sink_group)
    for stream, events in EVENTS.items():
        store(client, stream, *events, offset=7, received_at=micros(LONG_AGO))
        client.command(f"ALTER TABLE {stream} DELETE WHERE offset = 7 SETTINGS mutations_sync = 2")
        for offset in (8, 9):
            plan = batch_plan(stream, offset, accepted=len(events), received=TODAY)
            ledger.write([plan])
            rows = table(stream, events, offset=offset, received_at=micros(TODAY))
            insert(client, stream, rows, token=plan.token + token_suffix(stream, TODAY.date()))


def taken(client: Client, settings: Settings, folder: Path) -> Manifest:
    fill(client, settings)
    return backup(client, settings, folder, lambda line: None)


def test_all_of_it_comes_back(
    client: Client, settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    found = taken(client, settings, tmp_path / "backup")
    before = everything(client)
    assert all(before[f"{stream}_1d"] for stream in ("client_events", "connection_logs", "device_logs"))
    with connect(elsewhere, database="") as admin:
        restore(admin, elsewhere, tmp_path / "backup", lambda line: None)
    with connect(elsewhere) as restored:
        assert everything(restored) == before
        old = groups(restored, "client_events_1d", f"received_day = '{LONG_AGO:%Y-%m-%d}'")
        assert (
            len(old) == len(groups(client, "client_events_1d", f"received_day = '{LONG_AGO:%Y-%m-%d}'")) > 0
        )
        report = verify(restored, elsewhere, kafka=False)
        assert report.findings == [] and sum(row.stored for row in report.partitions) == 12
        views = "SELECT name, engine FROM system.tables WHERE database = currentDatabase() ORDER BY name"
        assert restored.query(views).result_rows == client.query(views).result_rows
        # The sink may send the newest batch again, and goes on behind it.
        rows = table("device_logs", [device_log()], offset=9, received_at=micros(TODAY))
        token = f"{EPOCH}:device_logs:0:9-9:1" + token_suffix("device_logs", TODAY.date())
        insert(restored, "device_logs", rows, token=token)
        assert everything(restored) == before
        rows = table("device_logs", [device_log()], offset=10, received_at=micros(TODAY))
        insert(restored, "device_logs", rows, token=token.replace("9-9", "10-10"))
        assert len(everything(restored)["device_logs"]) == len(before["device_logs"]) + 1
    assert {end.raw_last for end in found.cut} == {9}


def test_it_comes_back_into_a_data_folder(client: Client, settings: Settings, tmp_path: Path) -> None:
    """`restore --data`: the embedded ClickHouse of `up` is started for it, and stopped again."""
    taken(client, settings, tmp_path / "backup")
    before, data = everything(client), tmp_path / "data"
    names = ["clickhouse_database", *(name for name in asdict(settings) if name.startswith("ttl_"))]
    values = {name: getattr(settings, name) for name in names}
    done = roles.run("restore", str(tmp_path / "backup"), "--data", str(data), values=values)
    assert done.returncode == 0, done.stderr
    assert "restored: 12 events" in done.stdout
    server = ClickHouseServer(
        f"127.0.0.1:{free_port()}",
        data / "clickhouse",
        tmp_path / "clickhouse.log",
        database=settings.clickhouse_database,
    )
    server.start()
    try:
        with connect(replace(settings, clickhouse_url=server.url)) as restored:
            assert everything(restored) == before
    finally:
        server.stop()


def test_what_comes_behind_the_cut_is_not_in_it(
    client: Client, settings: Settings, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that is stored while the backup is written: neither its rows nor its plan."""
    fill(client, settings)
    before = everything(client)
    later = batch_plan("client_events", 10, accepted=3, received=TODAY)

    def meanwhile(ledger: Ledger, waiting: object) -> list[BatchPlan]:
        ledger.write([later])
        events = [success(), failure(), success()]
        rows = table("client_events", events, offset=10, received_at=micros(TODAY))
        insert(client, "client_events", rows, token=later.token)
        return []

    monkeypatch.setattr("tidegate.backup.cut.await_stored", meanwhile)
    backup(client, settings, tmp_path / "backup", lambda line: None)
    assert len(everything(client)["client_events"]) == len(before["client_events"]) + 3
    with connect(elsewhere, database="") as admin:
        restore(admin, elsewhere, tmp_path / "backup", lambda line: None)
    with connect(elsewhere) as restored:
        now = everything(restored)
        del now["access_points"], before["access_points"]  # its newest sight of each is told as it is
        assert now == before
        assert verify(restored, elsewhere, kafka=False).findings == []


def test_a_file_that_was_touched_is_named_and_nothing_is_made(
    client: Client, settings: Settings, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = taken(client, settings, tmp_path / "backup")
    file = tmp_path / "backup" / found.parts[0].file
    whole = file.read_bytes()
    body = bytearray(whole)
    body[len(body) // 2] ^= 1
    file.write_bytes(body)
    with connect(elsewhere, database="") as admin:
        with pytest.raises(Stop, match=found.parts[0].file):
            restore(admin, elsewhere, tmp_path / "backup", lambda line: None)
        file.unlink()
        with pytest.raises(Stop, match=found.parts[0].file):
            restore(admin, elsewhere, tmp_path / "backup", lambda line: None)
        known = [name for (name,) in admin.query("SHOW DATABASES").result_rows]
        assert elsewhere.clickhouse_database not in known
        # Broken off later, it leaves nothing that a role would take for a database.
        file.write_bytes(whole)
        monkeypatch.setattr("tidegate.backup.restore._check_rows", _break_off)
        with pytest.raises(Stop, match="broken off"):
            restore(admin, elsewhere, tmp_path / "backup", lambda line: None)
        with pytest.raises(Stop, match="which Tidegate did not make"):
            migrate(admin, elsewhere)
        with pytest.raises(Stop, match="is not empty"):
            restore(admin, elsewhere, tmp_path / "backup", lambda line: None)


def _break_off(*_: object) -> None:
    raise Stop("broken off")


def test_places_that_do_not_serve(client: Client, settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    taken(client, settings, folder)
    with pytest.raises(UsageError, match="not empty"):
        backup(client, settings, folder, lambda line: None)
    with connect(settings, database="") as admin, pytest.raises(Stop, match="is not empty"):
        restore(admin, settings, folder, lambda line: None)
    with pytest.raises(Rejected, match="is no backup"):
        read(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    text = (folder / NAME).read_text()
    (folder / NAME).write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(Rejected, match="format 2"):
        read(folder)
