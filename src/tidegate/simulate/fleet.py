"""The topology: sites in real cities, their access points, and one radio for each band and SSID."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal["office", "retail", "campus"]
Band = Literal["2.4", "5", "6"]


class City(NamedTuple):
    name: str
    code: str  # leads the names of its access points
    latitude: float
    longitude: float
    timezone: str  # IANA name
    kind: Kind
    operators: tuple[str, ...]  # MCC and MNC of the networks that phones use there


CITIES: tuple[City, ...] = (
    City("London", "LON", 51.5074, -0.1278, "Europe/London", "office", ("23410", "23415", "23430")),
    City("New York", "NYC", 40.7128, -74.0060, "America/New_York", "office", ("31026", "310410", "311480")),
    City("Berlin", "BER", 52.5200, 13.4050, "Europe/Berlin", "campus", ("26201", "26202", "26211")),
    City("Singapore", "SIN", 1.3521, 103.8198, "Asia/Singapore", "retail", ("52501", "52503")),
    City("San Francisco", "SFO", 37.7749, -122.4194, "America/Los_Angeles", "office", ("310260", "310410")),
    City("Paris", "PAR", 48.8566, 2.3522, "Europe/Paris", "retail", ("20801", "20810", "20815")),
    City("Tokyo", "TYO", 35.6762, 139.6503, "Asia/Tokyo", "retail", ("44010",)),
    City("Mumbai", "BOM", 19.0760, 72.8777, "Asia/Kolkata", "office", ("40410",)),
    City("Sydney", "SYD", -33.8688, 151.2093, "Australia/Sydney", "campus", ("50501",)),
    City("Zurich", "ZRH", 47.3769, 8.5417, "Europe/Zurich", "office", ("22801", "22802", "22803")),
    City("São Paulo", "GRU", -23.5505, -46.6333, "America/Sao_Paulo", "retail", ("72410", "72411")),
    City("Toronto", "YYZ", 43.6532, -79.3832, "America/Toronto", "campus", ("302720",)),
    City("Milan", "MIL", 45.4642, 9.1900, "Europe/Rome", "retail", ("22210",)),
    City("Madrid", "MAD", 40.4168, -3.7038, "Europe/Madrid", "campus", ("21401", "21407")),
    City("Dubai", "DXB", 25.2048, 55.2708, "Asia/Dubai", "retail", ("42402", "42403")),
    City("Amsterdam", "AMS", 52.3676, 4.9041, "Europe/Amsterdam", "office", ("20404", "20408")),
    City("Warsaw", "WAW", 52.2297, 21.0122, "Europe/Warsaw", "office", ("26001",)),
    City("Stockholm", "STO", 59.3293, 18.0686, "Europe/Stockholm", "campus", ("24001",)),
    City("Johannesburg", "JNB", -26.2041, 28.0473, "Africa/Johannesburg", "retail", ("65501", "65507")),
    City("Seoul", "SEL", 37.5665, 126.9780, "Asia/Seoul", "office", ("45005", "45008")),
    City("Mexico City", "MEX", 19.4326, -99.1332, "America/Mexico_City", "retail", ("33402",)),
    City("Dublin", "DUB", 53.3498, -6.2603, "Europe/Dublin", "office", ("27201", "27202")),
    City("Bangkok", "BKK", 13.7563, 100.5018, "Asia/Bangkok", "retail", ("52003",)),
    City("Austin", "AUS", 30.2672, -97.7431, "America/Chicago", "campus", ("31026", "310410")),
)

FIRST_LOCATION = 101  # location id of the first site
ACCESS_POINTS: dict[Kind, int] = {"office": 14, "retail": 8, "campus": 26}
CHANNELS: dict[Band, tuple[int, ...]] = {
    "2.4": (1, 6, 11),
    "5": (36, 40, 44, 48, 52, 100, 149, 157),
    "6": (181, 197, 213, 229),  # preferred scanning channels; the lower ones are numbered as in other bands
}
FREQUENCY: dict[Band, float] = {"2.4": 2.4, "5": 5.0, "6": 6.0}  # GHz, as the app's form writes it
# A radio's base address ends in 00, 20, … e0; bands lie 8 apart in it, SSIDs 1 apart.
_BAND_STEP: dict[Band, int] = {"2.4": 0, "5": 8, "6": 16}
_AP_OUIS = (
    "00:11:74",
    "00:11:74",
    "30:86:2d",
    "fc:ec:da",
)  # Arista (Mojo) for the most part, Arista, Ubiquiti
_MODELS = ("C-130", "C-230", "C-250", "W-118")


class Ssid(NamedTuple):
    """A wireless network, with the codes that the app's form has for it."""

    name: str
    security: str  # opn, wep, wpa, wp2
    authentication: str  # non, cpo, psk, rad, eap
    vlan: int


SSIDS: dict[Kind, tuple[Ssid, ...]] = {
    "office": (
        Ssid("Harbour-Corp", "wp2", "rad", 10),
        Ssid("Harbour-Guest", "opn", "cpo", 90),
        Ssid("Harbour-Devices", "wp2", "psk", 30),
    ),
    "retail": (
        Ssid("Store-Staff", "wp2", "psk", 20),
        Ssid("Store Free WiFi", "opn", "cpo", 90),
        Ssid("Store-POS", "wp2", "psk", 40),
    ),
    "campus": (
        Ssid("eduroam", "wp2", "eap", 50),
        Ssid("Campus-Guest", "opn", "cpo", 90),
        Ssid("Campus-IoT", "wp2", "psk", 30),
    ),
}


@dataclass(slots=True, eq=False)
class Radio:
    """One SSID on one band of one access point; the byte pieces are its share of every event's JSON."""

    bssid: str
    band: Band
    channel: int
    ssid: Ssid
    ap: AccessPoint
    after_type: bytes = b""  # from eventType's value to timestamp's
    after_time: bytes = b""  # behind timestamp's value

    def __post_init__(self) -> None:
        self.after_type = b'","bssid":"%b","channel":%d,"timestamp":' % (self.bssid.encode(), self.channel)
        self.after_time = b',"associatedAPName":"%b","ssid":"%b",' % (
            self.ap.name.encode(),
            self.ssid.name.encode(),
        )


@dataclass(slots=True, eq=False)
class AccessPoint:
    name: str
    mac: str
    model: str
    floor: int
    position: int  # along the corridor: clients roam to a neighbouring position
    firmware: str = "13.0.1"
    clock_offset: int = 0  # µs that its clock is wrong by
    radios: dict[tuple[Band, int], Radio] = field(default_factory=dict)  # by band and index of the SSID


@dataclass(slots=True, eq=False)
class Site:
    index: int
    name: str
    location: int
    city: City
    latitude: float
    longitude: float
    ssids: tuple[Ssid, ...]
    aps: list[AccessPoint]
    radius_primary: str
    radius_secondary: str

    @property
    def kind(self) -> Kind:
        return self.city.kind


def build_sites(count: int, rng: random.Random) -> list[Site]:
    """`count` sites, the cities in order; a city that comes again gets a number and other coordinates."""
    sites = []
    for index in range(count):
        city = CITIES[index % len(CITIES)]
        lap = index // len(CITIES)
        site = Site(
            index=index,
            name=f"{city.name} {lap + 1}" if lap else city.name,
            location=FIRST_LOCATION + index,
            city=city,
            latitude=round(city.latitude + (rng.uniform(-0.1, 0.1) if lap else 0.0), 4),
            longitude=round(city.longitude + (rng.uniform(-0.1, 0.1) if lap else 0.0), 4),
            ssids=SSIDS[city.kind],
            aps=[],
            radius_primary=f"10.{index % 250}.0.11",
            radius_secondary=f"10.{index % 250}.0.12",
        )
        for number in range(ACCESS_POINTS[city.kind]):
            site.aps.append(_access_point(site, number, lap, rng))
        sites.append(site)
    return sites


def _access_point(site: Site, number: int, lap: int, rng: random.Random) -> AccessPoint:
    serial = site.index * 64 + number  # 8 access points to the last byte
    oui = _AP_OUIS[rng.randrange(len(_AP_OUIS))]
    base = (serial % 8) * 32
    head = f"{oui}:{(0x40 + serial // 2048) % 256:02x}:{serial // 8 % 256:02x}"
    floor = 1 + number // 6
    ap = AccessPoint(
        name=f"{site.city.code}{lap + 1 if lap else ''}-F{floor}-AP{number + 1:02d}",
        mac=f"{head}:{base:02x}",
        model=rng.choice(_MODELS),
        floor=floor,
        position=number,
    )
    bands: Sequence[Band] = ("2.4", "5", "6") if ap.model in ("C-230", "C-250") else ("2.4", "5")
    for band in bands:
        channel = rng.choice(CHANNELS[band])
        for ssid_index, ssid in enumerate(site.ssids):
            bssid = f"{head}:{base + _BAND_STEP[band] + ssid_index:02x}"
            ap.radios[band, ssid_index] = Radio(bssid, band, channel, ssid, ap)
    return ap


def write_lookups(folder: Path, fleet: str, sites: Sequence[Site]) -> None:
    """The fleet's lookup tables: sites.csv (names and coordinates of locations) and approved_networks.csv
    (its own SSIDs: a home network that a device joins is not approved)."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(
        folder / "sites.csv",
        ("fleet", "location_id", "name", "latitude", "longitude", "timezone"),
        [(fleet, s.location, s.name, s.latitude, s.longitude, s.city.timezone) for s in sites],
    )
    names = dict.fromkeys(ssid.name for site in sites for ssid in site.ssids)
    _write(
        folder / "approved_networks.csv",
        ("fleet", "network_name", "bssid"),
        [(fleet, name, "") for name in names],
    )


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)
