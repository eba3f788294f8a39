"""The simulated fleet: repeatable, valid where it should be, broken where it should be."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tidegate import lookups
from tidegate.contracts.rejects import Code, Fault
from tidegate.contracts.topics import STREAMS
from tidegate.errors import UsageError
from tidegate.simulate.broken import HTTP_ONLY, KAFKA_ONLY
from tidegate.simulate.fleet import CITIES, build_sites, write_lookups
from tidegate.simulate.incidents import KINDS
from tidegate.simulate.pace import Pace
from tidegate.simulate.rhythm import presence
from tidegate.simulate.schedule import Spec, parse
from tidegate.simulate.simulation import Event, Plan, Simulation

START = int(datetime(2026, 3, 4, 10, 0, tzinfo=UTC).timestamp() * 1_000_000)


def taken(count: int, **changes: object) -> list[Event]:
    plan = {"seed": 7, "start": START, "rate": 1000.0, "incidents": parse("all"), **changes}
    return Simulation(Plan(**plan)).take(count)  # type: ignore[arg-type]


def test_the_same_seed_and_start_give_the_same_events() -> None:
    assert taken(20_000, invalid=0.01) == taken(20_000, invalid=0.01)


def test_it_does_not_matter_how_many_are_taken_at_once() -> None:
    whole = Simulation(Plan(seed=7, start=START))
    parts = Simulation(Plan(seed=7, start=START))
    assert whole.take(3000) == [event for _ in range(30) for event in parts.take(100)]


def test_another_seed_gives_other_events() -> None:
    assert taken(100) != taken(100, seed=8)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_single_stream(stream: str) -> None:
    assert {event.stream for event in taken(500, streams=[stream])} == {stream}


def test_every_form_and_network_type_comes() -> None:
    found: Counter[object] = Counter()
    for event in taken(20_000):
        body = json.loads(event.body)
        if event.stream == "client_events":
            found[body["eventType"]] += 1
        elif event.stream == "device_logs":
            found[body["action"]] += 1
        elif "data" in body:
            found["wrapper of " + ("legacy" if "app_id" in json.loads(body["data"]) else "network")] += 1
        else:
            found[body.get("network_type", "session")] += 1
    assert {
        "Success",
        "Failure",
        "Intermediate",
        "config_change",
        "firmware_update",
        "restart",
        "wrapper of legacy",
        "wrapper of network",
        "wi",
        "mo",
        "bl",
        "et",
        "session",
    } <= found.keys()


def failures(site: int, events: list[Event]) -> Counter[str]:
    bodies = (json.loads(event.body) for event in events if event.stream == "client_events")
    return Counter(
        body["failure"]
        for body in bodies
        if body["eventType"] == "Failure" and body["locationId"]["id"] == site
    )


@pytest.mark.parametrize(
    ("incident", "failure"),
    [
        ("radius", "RADIUS Failure"),
        ("dhcp", "DHCP Failure"),
        ("dns", "DNS Failure"),
        ("psk", "Incorrect PSK"),
    ],
)
def test_an_incident_shows_at_its_site(incident: str, failure: str) -> None:
    simulation = Simulation(
        Plan(seed=3, start=START, rate=1000, incidents=parse(f"{incident}@5+60"), streams=["client_events"])
    )
    simulation.take(40_000)
    running = simulation.running()
    (site,) = [site for site in simulation.sites if running == [f"{incident} at {site.name}"]]
    during = failures(site.location, simulation.take(20_000))
    simulation.take(20_000)
    after = failures(site.location, simulation.take(20_000))
    assert during[failure] > 10 * max(after[failure], 1)


def test_a_flapping_access_point_restarts_and_loses_its_clients() -> None:
    events = taken(60_000, incidents=parse("flapping@5+50"))
    logs = [json.loads(event.body) for event in events if event.stream == "device_logs"]
    restarts = Counter(
        log["parent"]["name"] for log in logs if log["notes"] == "Restarted by watchdog: PoE power lost"
    )
    assert len(restarts) == 1 and restarts.total() >= 2


def test_bad_clocks_follow_a_firmware_update() -> None:
    events = taken(60_000, incidents=parse("clocks@5+40"))
    years = Counter(
        datetime.fromtimestamp(json.loads(event.body)["timestamp"] / 1e6, UTC).year
        for event in events
        if event.stream == "client_events"
    )
    assert years[2010] > 100
    assert any(b'"Scheduled update"' in event.body for event in events if event.stream == "device_logs")


def test_access_points_and_clients_have_addresses_of_their_own() -> None:
    sites = build_sites(60, random.Random(1))
    bssids = [radio.bssid for site in sites for ap in site.aps for radio in ap.radios.values()]
    assert len(bssids) == len(set(bssids))
    assert len({site.location for site in sites}) == len({site.name for site in sites}) == 60


def test_the_written_lookups_name_the_fleets_sites_and_networks(tmp_path: Path) -> None:
    simulation = Simulation(Plan(start=START, sites=30))
    write_lookups(tmp_path, "demo", simulation.sites)
    tables = lookups.load(str(tmp_path))
    for site in simulation.sites:
        found = tables.sites.find("demo", site.location)
        assert (found.name, found.latitude, found.longitude) == (site.name, site.latitude, site.longitude)
        for ssid in site.ssids:
            assert tables.approved.approves("demo", ssid.name, None)
    assert not tables.approved.approves("demo", "Home-1A2B", None)


def test_an_office_is_busy_at_ten_and_empty_at_night_by_its_own_clock() -> None:
    for city in CITIES:
        zone = ZoneInfo(city.timezone)
        busy = presence(city, int(datetime(2026, 3, 4, 13, 0, tzinfo=zone).timestamp() * 1e6))
        night = presence(city, int(datetime(2026, 3, 4, 3, 0, tzinfo=zone).timestamp() * 1e6))
        assert busy > 0.6 > 0.1 > night, city.name


def test_incidents_as_written_on_the_command_line() -> None:
    assert parse("radius@60+120,dns") == [Spec("radius", 60.0, 120.0), Spec("dns")]
    assert parse("ap:São Paulo@5, none") == [Spec("ap", 5.0, None, "São Paulo")]
    assert parse("none") == []
    assert {spec.name for spec in parse("all,negatives")} == KINDS.keys()
    for text in ("fire", "radius@soon", "radius:London@soon", "fleet:London"):
        with pytest.raises(UsageError, match="--incidents"):
            parse(text)
    with pytest.raises(UsageError, match="no site 'Atlantis'"):
        Simulation(Plan(start=START, incidents=parse("radius:Atlantis")))


def test_pace_holds_the_rate_and_lets_it_slip_when_the_receiver_is_slower() -> None:
    pace = Pace(100.0, 0.0, limit=250)
    assert [pace.due(0.5), pace.due(1.0)] == [50, 50]
    assert pace.due(11.0) == 100  # ten seconds late: one second's worth, not ten
    assert pace.slipped == pytest.approx(9.0)
    assert pace.due(12.0) == 50 and pace.finished


def test_valid_events_pass_the_contract() -> None:
    forms = pytest.importorskip("tidegate.contracts.forms")
    for event in taken(60_000, rate=200):
        found = forms.examine(event.stream, event.body)
        assert not isinstance(found, Fault), (event.body, found)


@pytest.mark.parametrize("stream", STREAMS)
def test_broken_events_are_refused_with_their_code(stream: str) -> None:
    forms = pytest.importorskip("tidegate.contracts.forms")
    codes = frozenset(Code) - KAFKA_ONLY - HTTP_ONLY
    seen = set()
    for event in taken(3000, streams=[stream], invalid=1.0, codes=codes):
        found = forms.examine(event.stream, event.body)
        assert isinstance(found, Fault) and found.code == event.fault, (event.body, found, event.fault)
        seen.add(found.code)
    always = {
        Code.NOT_JSON,
        Code.NOT_UTF8,
        Code.NOT_OBJECT,
        Code.MISSING_FIELD,
        Code.WRONG_TYPE,
        Code.BAD_FORMAT,
    }
    assert always <= seen


@pytest.mark.parametrize(("negative", "hour"), [("restarts", 11), ("retrying", 22)])
def test_what_one_site_adds_takes_nothing_from_the_others(negative: str, hour: int) -> None:
    def elsewhere(incidents: str) -> int:
        start = int(datetime(2026, 3, 4, hour, 0, tzinfo=UTC).timestamp() * 1_000_000)
        plan = Plan(
            seed=11,
            start=start,
            rate=0.4,  # a retrying client alone sends half as many
            sites=4,
            streams=("client_events",),
            incidents=parse(incidents),
            seasonal=True,
        )
        taken = Simulation(plan).until(start + 3_600_000_000)
        return sum(json.loads(event.body)["locationId"]["id"] != 101 for _, event in taken)

    assert elsewhere(f"{negative}:London@300+3000") > 0.9 * elsewhere("none")


def test_a_flapping_access_point_throws_the_same_clients_off_and_planned_restarts_each_one_once() -> None:
    def thrown(incident: str) -> Counter[bytes]:
        start = int(datetime(2026, 3, 4, 11, 0, tzinfo=UTC).timestamp() * 1_000_000)
        simulation = Simulation(
            Plan(
                seed=11, start=start, rate=2.0, sites=1, streams=("client_events",), incidents=parse(incident)
            )
        )
        simulation.until(start + 1_800_000_000)
        taken = simulation.until(start + 2_400_000_000)
        return Counter(event.device for _, event in taken if b"Disassociation" in event.body)

    usual, flapping, planned = map(thrown, ("none", "flapping@1810+580", "restarts@1810+580"))
    assert sum(times >= 3 for times in flapping.values()) >= 5
    assert sum(times >= 3 for times in planned.values()) <= len(planned) // 10
    assert len(planned) > 2 * len(usual)
