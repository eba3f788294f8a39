"""Who connects: Wi-Fi clients of a site, and devices whose app reports their connections."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tidegate.simulate.fleet import AccessPoint, Band, Kind, Radio, Site

CLIENTS: dict[Kind, int] = {"office": 180, "retail": 110, "campus": 360}
APP_DEVICES: dict[Kind, int] = {"office": 60, "retail": 25, "campus": 90}

# Vendor OUIs of the devices that one meets; phones and laptops mostly send randomised addresses.
VENDORS = {
    "Apple, Inc.": ("3c:22:fb", "a4:83:e7", "8c:85:90", "f0:18:98"),
    "Intel Corporate": ("a4:34:d9", "3c:a9:f4"),
}
"""Makers whose clients an incident may hit, with their OUIs."""
_PERSONAL = (*VENDORS["Apple, Inc."], *VENDORS["Intel Corporate"], "8c:f5:a3", "f4:f5:d8", "68:05:71")
_THINGS = ("b8:27:eb", "dc:a6:32", "24:0a:c4", "00:17:23", "00:a0:f8", "00:80:77", "00:26:73")
_RANDOMISED = 0.55  # share of personal devices with a locally administered address

# What a client of each generation calls itself on each band (the document's protocol values).
_PROTOCOLS: tuple[dict[Band, bytes], ...] = (
    {"2.4": b"BG"},
    {"2.4": b"BGN", "5": b"AN"},
    {"2.4": b"BGN", "5": b"AC"},
    {"2.4": b"AX", "5": b"AX", "6": b"AX"},
    {"2.4": b"BE", "5": b"BE", "6": b"BE"},
)
_GENERATION_WEIGHTS = (4, 14, 40, 34, 8)

_FAST_BANDS: tuple[Band, ...] = ("6", "5")

_SYSTEMS = (
    ("iOS 17.4", "MobileApp/2.3.1 (iOS 17.4)"),
    ("iOS 18.1", "MobileApp/2.4.0 (iOS 18.1)"),
    ("Android 14", "MobileApp/2.3.4 (Android 14)"),
    ("Android 15", "MobileApp/2.4.0 (Android 15)"),
    ("Windows 11", "DesktopApp/5.1.2 (Windows 11)"),
    ("macOS 15", "DesktopApp/5.1.2 (macOS 15)"),
)


@dataclass(slots=True, eq=False)
class Client:
    """A Wi-Fi client. `radio` is where it is associated, None when it is not."""

    mac: bytes
    ssid: int  # index in the site's SSIDs
    generation: int
    home: int  # position of the access point it is usually near
    ip: bytes
    head: dict[Band, bytes]  # the JSON of its events up to eventType's value, by band
    radio: Radio | None = None
    rssi: int = -60
    associations: int = 0
    stale_psk: bool = False  # still has the key from before a change


@dataclass(slots=True, eq=False)
class AppDevice:
    """A phone or computer whose app reports the connections it makes."""

    id: bytes
    ip: bytes
    user_agent: bytes
    home_latitude: float
    home_longitude: float
    home_bssid: bytes
    home_network: bytes
    operator: bytes  # MCC and MNC
    abroad: bool
    mobile: bool  # has a cellular modem


def mac_address(rng: random.Random, ouis: tuple[str, ...], randomised: bool) -> bytes:
    tail = rng.getrandbits(24)
    if randomised:
        first = rng.getrandbits(8) & 0xFC | 0x02  # locally administered, unicast
        oui = f"{first:02x}:{rng.getrandbits(8):02x}:{rng.getrandbits(8):02x}"
    else:
        oui = rng.choice(ouis)
    return f"{oui}:{tail >> 16:02x}:{tail >> 8 & 255:02x}:{tail & 255:02x}".encode()


def build_clients(site: Site, rng: random.Random) -> list[Client]:
    """The site's clients in the order in which they come in the morning; the last leave first."""
    clients = []
    for number in range(CLIENTS[site.kind]):
        ssid = rng.choices((0, 1, 2), (60, 28, 12))[0]
        thing = ssid == 2
        generation = rng.choices(range(5), _GENERATION_WEIGHTS)[0] if not thing else rng.choice((0, 1, 2))
        mac = mac_address(rng, _THINGS if thing else _PERSONAL, not thing and rng.random() < _RANDOMISED)
        head = {
            band: b'{"macAddress":"%b","protocol":"%b",' % (mac, protocol)
            + b'"locationId":{"type":"locallocationid","id":%d},"eventType":"' % site.location
            for band, protocol in _PROTOCOLS[generation].items()
        }
        address = f"10.{site.index % 250}.{site.ssids[ssid].vlan}.{20 + number % 230}"
        clients.append(Client(mac, ssid, generation, rng.randrange(len(site.aps)), address.encode(), head))
    rng.shuffle(clients)
    return clients


def build_app_devices(site: Site, rng: random.Random, prefix: str) -> list[AppDevice]:
    """The devices of a site that send connection logs; their ids begin with `prefix`."""
    devices = []
    for number in range(APP_DEVICES[site.kind]):
        system, agent = rng.choice(_SYSTEMS)
        abroad = rng.random() < 0.05
        devices.append(
            AppDevice(
                id=f"{prefix}-{site.location}-{number:04d}".encode(),
                ip=f"10.{site.index % 250}.{site.ssids[0].vlan}.{20 + number % 230}".encode(),
                user_agent=agent.encode(),
                home_latitude=site.latitude + rng.gauss(0, 0.04),
                home_longitude=site.longitude + rng.gauss(0, 0.05),
                home_bssid=mac_address(rng, ("fc:ec:da", "74:da:88", "c0:56:27"), False),
                home_network=f"Home-{rng.getrandbits(16):04X}".encode(),
                operator=rng.choice(site.city.operators).encode(),
                abroad=abroad,
                mobile=not system.startswith(("Windows", "macOS")),
            )
        )
    return devices


def pick_radio(client: Client, ap: AccessPoint, rng: random.Random) -> Radio:
    """The radio that the client chooses on an access point: mostly the highest band both have."""
    if rng.random() < 0.85:
        for band in _FAST_BANDS:
            radio = ap.radios.get((band, client.ssid))
            if radio is not None and band in client.head:
                return radio
    return ap.radios["2.4", client.ssid]
